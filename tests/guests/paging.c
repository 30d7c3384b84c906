/*
 * 4-level paging: permissions, error codes, accessed and dirty bits, invalidation, PCIDs, accesses
 * that cross pages. Source: Intel SDM vol. 3A chapter 4.
 */
#include "area.h"
#include "cpu.h"
#include "pages.h"
#include "permission.h"
#include "tap.h"

/* The same offset serves pages of all sizes: a 1 GiB page of physical address 0 holds it too. */
#define OFFSET 0x8000000ull
#define SPACE  0x8000000000ull
#define TEST   (SPACE + OFFSET)
#define OTHER  (OFFSET + 0x400000)

static uint64_t *root;

static volatile uint64_t *at(uint64_t address)
{
    return (volatile uint64_t *)address;
}

static void space_start(void)
{
    pages_release();
    root = root_new();
    write_cr3((word)root);
    for (unsigned i = 0; i < 512; i++)
        at(OFFSET)[i] = 0xc3c3c3c3c3c3c3c3ull; /* RET */
}

static void space_end(void)
{
    write_cr3((word)boot_root);
}

/* Maps OFFSET (or its big page) at TEST. */
static uint64_t *map_test(uint64_t rights, unsigned level)
{
    uint64_t *entry = map_page(root, TEST, (level == 3 ? 0 : OFFSET) | rights, level);
    invlpg(at(TEST));
    return entry;
}

static bool level_exists(unsigned level)
{
    return level < 3 || HAS_1G_PAGES;
}

static const char *const size_names[] = {"", "4 KiB", "2 MiB", "1 GiB", "512 GiB"};

/* --- permissions --- */

static uint64_t rights_bits(struct page_rights page)
{
    return (page.user ? PTE_U : 0) | (page.writable ? PTE_W : 0) | (page.no_execute ? PTE_NX : 0);
}

/* The rights are taken away in the entry of the page, or in one above it. */
static void permissions_at(unsigned level, unsigned above, struct page_rights page)
{
    static char where[80];
    char *end = where;
    const char *parts[] = {size_names[level], page.user ? " user" : " supervisor",
                           page.writable ? " writable" : " read-only",
                           page.no_execute ? " no-execute" : "",
                           !above       ? ""
                           : above == 1 ? ", set one level up"
                                        : ", set at the top"};
    for (unsigned i = 0; i < ARRAY_LENGTH(parts); i++) {
        for (const char *c = parts[i]; *c; c++)
            *end++ = *c;
    }
    *end = 0;

    space_start();
    map_test(above ? PTE_U | PTE_W : rights_bits(page), level);
    if (above) {
        uint64_t *upper = entry_at(root, TEST, above == 1 ? level + 1 : 4);
        *upper = (*upper & PTE_ADDRESS) | PTE_P | rights_bits(page);
        write_cr3((word)root);
    }
    check_permissions(page, at(TEST), where);
    space_end();
}

static void permissions(void)
{
    for (unsigned level = 1; level <= 3; level++) {
        if (!level_exists(level)) {
            skip("permissions of 1 GiB pages", "no 1 GiB pages");
            continue;
        }
        for (unsigned above = 0; above < 3; above++) {
            for (unsigned bits = 0; bits < 8; bits++) {
                struct page_rights page = {bits & 1, bits & 2, (bits & 4) && HAS_NX};
                if ((bits & 4) && !HAS_NX)
                    continue;
                permissions_at(level, above, page);
            }
        }
    }
    if (!HAS_SMEP)
        skip("SMEP in the permissions", "no SMEP");
    if (!HAS_SMAP)
        skip("SMAP in the permissions", "no SMAP");
}

/* Changes of the mode count at once, without invalidation. */
static void mode_changes(void)
{
    struct access_mode closed = {.wp = true};
    struct access_mode open = {.wp = false};

    space_start();
    map_test(0, 1);
    set_access_mode(open);
    check_equal(try_access(open, WRITE, TEST)->vector, NO_TRAP, "WP=0: read-only page is written");
    set_access_mode(closed);
    check_equal(try_access(closed, WRITE, TEST)->vector, PF, "WP=1 counts at once");
    set_access_mode(open);
    check_equal(try_access(open, WRITE, TEST)->vector, NO_TRAP, "WP=0 counts at once");
    set_access_mode(closed);

    map_test(PTE_U | PTE_W, 1);
    check_equal(try_access(closed, FETCH, TEST)->vector, NO_TRAP, "user page runs in ring 0");
    check_equal(try_access((struct access_mode){.user = true}, FETCH, TEST)->vector, NO_TRAP,
                "and in ring 3");
    if (HAS_SMEP) {
        write_cr4(read_cr4() | CR4_SMEP);
        check_equal(try_access(closed, FETCH, TEST)->vector, PF, "SMEP counts at once");
        check_equal(try_access((struct access_mode){.user = true}, FETCH, TEST)->vector, NO_TRAP,
                    "and ring 3 still runs");
        write_cr4(read_cr4() & ~CR4_SMEP);
    } else {
        skip("SMEP counts at once", "no SMEP");
    }
    if (HAS_SMAP) {
        write_cr4(read_cr4() | CR4_SMAP);
        check_equal(try_access(closed, READ, TEST)->vector, PF, "SMAP counts at once");
        check_equal(try_access((struct access_mode){.ac = true}, READ, TEST)->vector, NO_TRAP,
                    "AC opens it at once");
        check_equal(try_access(closed, READ, TEST)->vector, PF, "and closes it");
        write_cr4(read_cr4() & ~CR4_SMAP);
    } else {
        skip("SMAP counts at once", "no SMAP");
    }
    space_end();
}

static void without_nxe(void)
{
    struct access_mode mode = {.wp = true};
    const struct trap *trap;

    if (!HAS_NX) {
        skip("NX with EFER.NXE clear", "no NX");
        return;
    }
    space_start();
    map_test(PTE_U | PTE_W, 1);
    write_msr(MSR_EFER, read_msr(MSR_EFER) & ~(uint64_t)EFER_NXE);
    write_cr3((word)root);
    check_equal(try_access(mode, FETCH, TEST)->vector, NO_TRAP, "a page runs with NXE clear");
    map_test(PTE_U | PTE_W | PTE_NX, 1);
    trap = try_access(mode, READ, TEST);
    check_equal(trap->vector, PF, "NX bit with NXE clear is reserved");
    check_equal(trap->error, PF_P | PF_RSVD, "its error code");
    *entry_at(root, TEST, 1) = 0;
    invlpg(at(TEST));
    trap = try_access(mode, FETCH, TEST);
    check_equal(trap->vector, PF, "fetch from a missing page");
    check_equal(trap->error, 0, "has no I bit with NXE and SMEP clear");
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
    write_cr3((word)root);
    check_equal(try_access(mode, FETCH, TEST)->error, PF_I, "and has it with NXE set");
    space_end();
}

/* --- reserved bits --- */

struct reserved_row {
    unsigned level;
    bool big;
    unsigned bit;
};

static void check_reserved(const struct reserved_row *row)
{
    struct access_mode mode = {.wp = true};
    uint64_t *entry;
    const struct trap *trap;

    space_start();
    map_test(PTE_W | PTE_U, row->big ? row->level : 1);
    entry = entry_at(root, TEST, row->level);
    *entry |= 1ull << row->bit;
    write_cr3((word)root);
    trap = try_access(mode, WRITE, TEST);
    check(trap->vector == PF && trap->error == (PF_P | PF_W | PF_RSVD) && trap->cr2 == TEST,
          "bit %u of a level %u entry%s is reserved", row->bit, row->level,
          row->big ? " of a page" : "");
    if (trap->vector != PF || trap->error != (PF_P | PF_W | PF_RSVD))
        note("  is %s(%lx)", trap_name(trap->vector), trap->error);
    *entry &= ~PTE_P;
    write_cr3((word)root);
    trap = try_access(mode, WRITE, TEST);
    check_equal(trap->error, PF_W, "but not when the entry is not present");
    space_end();
}

static void reserved_bits(void)
{
    static const struct reserved_row rows[] = {
        {4, false, 7}, {2, true, 13}, {2, true, 20}, {3, true, 13}, {3, true, 29}};
    unsigned width = has_leaf(0x80000008u) ? cpuid(0x80000008u, 0).a & 255 : 36;

    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (level_exists(rows[i].level) || rows[i].level == 4)
            check_reserved(&rows[i]);
    }
    if (width >= 52) {
        skip("physical address bits", "all 52 are there");
        return;
    }
    for (unsigned level = 1; level <= 4; level++) {
        check_reserved(&(struct reserved_row){level, level == 1, width});
        check_reserved(&(struct reserved_row){level, level == 1, 51});
    }
    check_reserved(&(struct reserved_row){2, true, 51});
}

/* --- accessed and dirty bits --- */

/* The A bits of all levels, from the page up, and the D bit of the page. */
static unsigned accessed_levels(unsigned level)
{
    unsigned set = 0;
    for (unsigned up = level; up <= 4; up++)
        set |= (*entry_at(root, TEST, up) & PTE_A ? 1u : 0) << up;
    return set;
}

static void clear_bits(unsigned level)
{
    for (unsigned up = level; up <= 4; up++)
        *entry_at(root, TEST, up) &= ~(PTE_A | PTE_D);
    write_cr3((word)root);
}

static void accessed_and_dirty_at(unsigned level)
{
    struct access_mode mode = {.wp = true};
    unsigned all = 0x1f & ~((1u << level) - 1);
    uint64_t *entry;

    space_start();
    entry = map_test(PTE_W | PTE_U, level);
    clear_bits(level);
    try_access(mode, READ, TEST);
    check_equal(accessed_levels(level), all, "%s: a read sets A on all levels", size_names[level]);
    check_equal(*entry & PTE_D, 0, "%s: a read leaves D", size_names[level]);
    try_access(mode, WRITE, TEST);
    check_equal(*entry & PTE_D, PTE_D, "%s: a write after a read sets D", size_names[level]);
    clear_bits(level);
    try_access(mode, WRITE, TEST);
    check_equal(accessed_levels(level), all, "%s: a write sets A on all levels", size_names[level]);
    check_equal(*entry & PTE_D, PTE_D, "%s: a write sets D", size_names[level]);
    clear_bits(level);
    try_access(mode, FETCH, TEST);
    check_equal(accessed_levels(level), all, "%s: a fetch sets A on all levels", size_names[level]);
    check_equal(*entry & PTE_D, 0, "%s: a fetch leaves D", size_names[level]);

    *entry = (*entry & ~PTE_W);
    clear_bits(level);
    try_access(mode, WRITE, TEST);
    check_equal(*entry & PTE_D, 0, "%s: a refused write leaves D", size_names[level]);
    set_access_mode((struct access_mode){0});
    clear_bits(level);
    try_access((struct access_mode){0}, WRITE, TEST);
    check_equal(*entry & PTE_D, PTE_D, "%s: a write with WP=0 sets D", size_names[level]);
    set_access_mode(mode);
    space_end();
}

SNIPPET(compare_exchange_fails, "xor %eax, %eax; mov $1, %ecx", "lock cmpxchg %ecx, (%rdi)", "");

static void accessed_and_dirty(void)
{
    uint64_t *entry;

    for (unsigned level = 1; level <= 3; level++) {
        if (level_exists(level))
            accessed_and_dirty_at(level);
    }
    space_start();
    entry = map_test(PTE_W | PTE_U, 1);
    clear_bits(1);
    trial_in(KERNEL, &compare_exchange_fails, TEST);
    check_equal(*entry & PTE_D, PTE_D, "a failing cmpxchg writes, so it sets D");
    *entry = OFFSET;
    clear_bits(1);
    try_access((struct access_mode){.wp = true}, READ, TEST);
    check_equal(*entry, OFFSET, "an entry that is not present is not touched");
    space_end();
}

/* --- accesses over the border of two pages --- */

#define BORDER (TEST + PAGE)

SNIPPET(cross_read, "", "mov (%rdi), %rax", "");
SNIPPET(cross_write, "mov $-1, %rax", "mov %rax, (%rdi)", "");
SNIPPET(cross_add, "mov $-1, %rax", "add %rax, (%rdi)", "");
SNIPPET(cross_push, "mov %rsp, %rcx; lea 8(%rdi), %rsp; mov $-1, %rax", "push %rax",
        "mov %rcx, %rsp");
SNIPPET(cross_sse_write, "pcmpeqd %xmm0, %xmm0", "movups %xmm0, (%rdi)", "");
SNIPPET(cross_sse_read, "", "movups (%rdi), %xmm0", "");
SNIPPET(cross_x87_write, "fninit; fld1", "fstpt (%rdi)", "fninit");
SNIPPET(cross_x87_read, "fninit", "fldt (%rdi)", "fninit");
SNIPPET(cross_xchg, "mov $-1, %rax", "xchg %rax, (%rdi)", "");

static void fill_border(uint64_t first, uint64_t second)
{
    for (unsigned i = 0; i < 16; i++)
        ((volatile uint8_t *)(OFFSET + PAGE - 16))[i] = (uint8_t)(first + i);
    for (unsigned i = 0; i < 16; i++)
        ((volatile uint8_t *)OTHER)[i] = (uint8_t)(second + i);
}

static bool border_is(uint64_t first, uint64_t second)
{
    bool good = true;
    for (unsigned i = 0; i < 16; i++) {
        good = good && ((volatile uint8_t *)(OFFSET + PAGE - 16))[i] == (uint8_t)(first + i);
        good = good && ((volatile uint8_t *)OTHER)[i] == (uint8_t)(second + i);
    }
    return good;
}

static void check_cross(const struct snippet *code, word error)
{
    const struct trap *trap;

    fill_border(0x10, 0x40);
    if (code == &cross_push)
        idt[PF].ist = 3;
    trap = trial_in(KERNEL, code, BORDER - 3);
    check(trap->vector == PF && trap->error == error && trap->cr2 == BORDER &&
              trap->frame.ip == (word)code->at,
          "%s: #PF(%lx), CR2 is the second page", code->name, error);
    if (trap->vector != PF || trap->error != error || trap->cr2 != BORDER)
        note("  is %s(%lx) cr2 %lx", trap_name(trap->vector), trap->error, trap->cr2);
    check(border_is(0x10, 0x40), "%s: nothing was written", code->name);
    traps_reset(PF);
}

static void crossing_faults(void)
{
    static const struct snippet *const writes[] = {&cross_write,     &cross_add,  &cross_push,
                                                   &cross_sse_write, &cross_xchg, &cross_x87_write};
    static const struct snippet *const reads[] = {&cross_read, &cross_sse_read, &cross_x87_read};

    space_start();
    map_test(PTE_W, 1);
    *entry_at(root, BORDER, 1) = 0;
    invlpg(at(BORDER));
    for (unsigned i = 0; i < ARRAY_LENGTH(reads); i++)
        check_cross(reads[i], 0);
    for (unsigned i = 0; i < ARRAY_LENGTH(writes); i++)
        check_cross(writes[i], PF_W);
    map_page(root, BORDER, OTHER, 1);
    invlpg(at(BORDER));
    for (unsigned i = 0; i < ARRAY_LENGTH(writes); i++)
        check_cross(writes[i], PF_P | PF_W);

    *entry_at(root, TEST, 1) = 0;
    invlpg(at(TEST));
    trial_in(KERNEL, &cross_read, BORDER - 3);
    check_equal(this_area()->trap.cr2, BORDER - 3,
                "CR2 is the first byte when page one is missing");
    space_end();
}

static void crossing_values(void)
{
    space_start();
    map_test(PTE_W, 1);
    map_page(root, BORDER, OTHER | PTE_W, 1);
    fill_border(0x10, 0x40);
    check_equal(trial_in(KERNEL, &cross_read, BORDER - 3)->value, 0x44434241401f1e1dull,
                "a read over two distant pages");
    trial_in(KERNEL, &cross_write, BORDER - 5);
    check_equal(((volatile uint8_t *)OFFSET)[PAGE - 5], 0xff, "a write reaches the first page");
    check_equal(((volatile uint8_t *)OFFSET)[PAGE - 6], 0x1a, "and not the byte before");
    check_equal(((volatile uint8_t *)OTHER)[2], 0xff, "it reaches the second page");
    check_equal(((volatile uint8_t *)OTHER)[3], 0x43, "and not the byte after");
    check_equal(*entry_at(root, TEST, 1) & PTE_D, PTE_D, "D is set in the first entry");
    check_equal(*entry_at(root, BORDER, 1) & PTE_D, PTE_D, "D is set in the second entry");
    space_end();
}

static void crossing_code(void)
{
    const struct trap *trap;

    space_start();
    map_test(PTE_W, 1);
    *entry_at(root, BORDER, 1) = 0;
    __builtin_memcpy((void *)(OFFSET + PAGE - 2), "\xb8\x78\x56", 3);
    trap = trial((const void *)(BORDER - 2), 0);
    check(trap->vector == PF && trap->cr2 == BORDER && trap->frame.ip == BORDER - 2,
          "an instruction that reaches into a missing page: #PF at the page");
    check_equal(trap->error, HAS_NX ? PF_I : 0, "its error code");
    map_page(root, BORDER, OTHER, 1);
    __builtin_memcpy((void *)OTHER, "\x56\x34\x12\xc3", 4);
    __builtin_memcpy((void *)(OFFSET + PAGE - 2), "\xb8\x78", 2);
    check_equal(trial((const void *)(BORDER - 2), 0)->value, 0x12345678,
                "an instruction over two distant pages runs");
    __builtin_memcpy((void *)OTHER, "\x65\x43\x21\xc3", 4);
    check_equal(trial((const void *)(BORDER - 2), 0)->value, 0x21436578,
                "and again after its second page was written");
    if (HAS_NX) {
        *entry_at(root, BORDER, 1) |= PTE_NX;
        invlpg(at(BORDER));
        trap = trial((const void *)(BORDER - 2), 0);
        check(trap->vector == PF && trap->cr2 == BORDER && trap->error == (PF_P | PF_I),
              "an instruction that reaches into a no-execute page faults");
    }
    space_end();
}

/* --- odds and ends --- */

SNIPPET(load_ds, "", "mov %edi, %ds", "mov $0x33, %eax; mov %eax, %ds");

/* The CPU reads descriptors as ring 0 even when ring 3 loads them (SDM vol. 3A § 4.6.1). */
static void implicit_accesses(void)
{
    struct area *area = this_area();
    struct table_pointer table = {PAGE + 0xff, BORDER - PAGE};
    struct table_pointer real = {sizeof(area->gdt) - 1, (word)area->gdt};
    const struct trap *trap;

    space_start();
    map_test(PTE_W, 1);
    __builtin_memcpy((void *)OFFSET, area->gdt, sizeof(area->gdt));
    *entry_at(root, BORDER, 1) = 0;
    load_gdt(&table);
    check_runs(USER, &load_ds, USER_DS);
    trap = trial_in(USER, &load_ds, 0x1000 | 3);
    check(trap->vector == PF && trap->cr2 == BORDER && trap->error == 0,
          "descriptor in a missing page, from ring 3: #PF(0), U is clear");
    load_gdt(&real);
    space_end();
}

static void high_half(void)
{
    static const uint64_t addresses[] = {0xffff800000000000ull, 0xfffffffffffff000ull,
                                         0xffffffff80000000ull, 0x00007ffffffff000ull};
    space_start();
    *at(OFFSET) = 0x1234;
    for (unsigned i = 0; i < ARRAY_LENGTH(addresses); i++) {
        map_page(root, addresses[i], OFFSET | PTE_W, 1);
        check_equal(*at(addresses[i]), 0x1234, "a page at %llx is read",
                    (unsigned long long)addresses[i]);
    }
    root[511] = (uint64_t)root | PTE_P | PTE_W;
    write_cr3((word)root);
    check_equal(at(0xfffffffffffff000ull)[511] & PTE_ADDRESS, (uint64_t)root,
                "a root that maps itself shows itself");
    space_end();
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"permissions", permissions},           {"mode-changes", mode_changes},
        {"without-nxe", without_nxe},           {"reserved-bits", reserved_bits},
        {"accessed-dirty", accessed_and_dirty}, {"crossing-faults", crossing_faults},
        {"crossing-values", crossing_values},   {"crossing-code", crossing_code},
        {"implicit", implicit_accesses},        {"high-half", high_half},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
