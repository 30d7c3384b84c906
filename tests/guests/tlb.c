/*
 * Translations that change: invalidation in all ways, global pages, PCIDs.
 * Source: Intel SDM vol. 3A § 4.10.
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

static const char *const size_names[] = {"", "4 KiB", "2 MiB", "1 GiB", "512 GiB"};

/* --- invalidation --- */

typedef void invalidator(void);

static void by_invlpg(void)
{
    invlpg(at(TEST));
}

static void by_invlpg_inside(void)
{
    invlpg((volatile char *)TEST + 0xfff);
}

static void by_cr3(void)
{
    write_cr3(read_cr3());
}

static void by_pge(void)
{
    write_cr4(read_cr4() ^ CR4_PGE);
    write_cr4(read_cr4() ^ CR4_PGE);
}

static void invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
    uint64_t descriptor[2] = {pcid, address};
    asm volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

static void by_invpcid_address(void)
{
    invpcid(0, read_cr3() & 0xfff, TEST);
}

static void by_invpcid_context(void)
{
    invpcid(1, read_cr3() & 0xfff, 0);
}

static void by_invpcid_all_global(void)
{
    invpcid(2, 0, 0);
}

static void by_invpcid_all(void)
{
    invpcid(3, 0, 0);
}

static void check_invalidation(invalidator *invalidate, unsigned level, uint64_t bits,
                               const char *name)
{
    uint64_t *entry;
    bool good = true;
    uint64_t first;

    space_start();
    *at(OFFSET) = 0x1111;
    *at(OTHER) = 0x2222;
    entry = map_test(PTE_W | bits, level);
    for (unsigned round = 0; round < 8 && good; round++) {
        *entry ^= OFFSET ^ OTHER;
        invalidate();
        first = *at(TEST);
        good = first == (round & 1 ? 0x1111 : 0x2222);
    }
    check(good, "%s: %s%s: a changed entry is seen", name, size_names[level],
          bits & PTE_G ? " global" : "");
    space_end();
}

SNIPPET(return_one, "", "mov $1, %eax", "");
SNIPPET(return_two, "", "mov $2, %eax", "");

static void check_code_invalidation(invalidator *invalidate, const char *name)
{
    uint64_t *entry;
    bool good = true;

    space_start();
    __builtin_memcpy((void *)OFFSET, return_one.code, 6);
    __builtin_memcpy((void *)OTHER, return_two.code, 6);
    entry = map_test(PTE_W, 1);
    for (unsigned round = 0; round < 20 && good; round++) {
        *entry ^= OFFSET ^ OTHER;
        invalidate();
        good = trial((const void *)TEST, 0)->value == (round & 1 ? 1 : 2);
    }
    check(good, "%s: code behind a changed entry is seen", name);
    space_end();
}

static void check_upper_invalidation(invalidator *invalidate, const char *name)
{
    uint64_t *second = NULL;
    bool good = true;

    space_start();
    *at(OFFSET) = 0x1111;
    *at(OTHER) = 0x2222;
    map_test(PTE_W, 1);
    second = page_new();
    second[TEST >> 12 & 511] = OTHER | PTE_P | PTE_W;
    for (unsigned level = 2; level <= 4; level++) {
        uint64_t *entry = entry_at(root, TEST, level);
        uint64_t old = *entry;
        uint64_t *table = second;
        for (unsigned up = 2; up < level; up++) {
            uint64_t *above = page_new();
            above[TEST >> (12 + 9 * (up - 1)) & 511] = (uint64_t)table | PTE_P | PTE_W;
            table = above;
        }
        good = good && *at(TEST) == 0x1111;
        *entry = (uint64_t)table | PTE_P | PTE_W;
        invalidate();
        good = good && *at(TEST) == 0x2222;
        *entry = old;
        invalidate();
    }
    check(good && *at(TEST) == 0x1111, "%s: changed tables above are seen", name);
    space_end();
}

struct invalidation {
    invalidator *invalidate;
    const char *name;
    bool global, needs_invpcid;
};

static void invalidation(void)
{
    static const struct invalidation all[] = {
        {by_invlpg, "invlpg", true, false},
        {by_invlpg_inside, "invlpg of another byte", true, false},
        {by_cr3, "mov to CR3", false, false},
        {by_pge, "CR4.PGE changed", true, false},
        {by_invpcid_address, "invpcid of an address", false, true},
        {by_invpcid_context, "invpcid of a PCID", false, true},
        {by_invpcid_all_global, "invpcid of all", true, true},
        {by_invpcid_all, "invpcid of all but global", false, true},
    };
    write_cr4(read_cr4() | CR4_PGE);
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++) {
        if (all[i].needs_invpcid && !HAS_INVPCID) {
            skip(all[i].name, "no INVPCID");
            continue;
        }
        check_invalidation(all[i].invalidate, 1, 0, all[i].name);
        check_invalidation(all[i].invalidate, 2, 0, all[i].name);
        if (all[i].global) {
            check_invalidation(all[i].invalidate, 1, PTE_G, all[i].name);
            check_invalidation(all[i].invalidate, 2, PTE_G, all[i].name);
        }
        check_code_invalidation(all[i].invalidate, all[i].name);
        check_upper_invalidation(all[i].invalidate, all[i].name);
    }
    write_cr4(read_cr4() & ~CR4_PGE);
}

/* More rights need no invalidation: at most one spurious fault (SDM vol. 3A § 4.10.4.3). */
static void more_rights(void)
{
    struct access_mode kernel = {.wp = true};
    struct access_mode user = {.wp = true, .user = true};
    uint64_t *entry;

    space_start();
    entry = map_test(PTE_W, 1);
    *entry = 0;
    invlpg(at(TEST));
    check_equal(try_access(kernel, READ, TEST)->vector, PF, "a missing page faults");
    *entry = OFFSET | PTE_P;
    check_equal(try_access(kernel, READ, TEST)->vector, NO_TRAP,
                "a page made present is seen without invalidation");
    check_equal(try_access(kernel, WRITE, TEST)->vector, PF, "it is read-only");
    *entry |= PTE_W;
    try_access(kernel, WRITE, TEST);
    check_equal(try_access(kernel, WRITE, TEST)->vector, NO_TRAP,
                "made writable, it faults once at most");
    check_equal(try_access(user, READ, TEST)->vector, PF, "it is closed to ring 3");
    *entry |= PTE_U;
    try_access(user, READ, TEST);
    check_equal(try_access(user, READ, TEST)->vector, NO_TRAP,
                "opened to ring 3, it faults once at most");
    space_end();
}

/* A big page becomes small ones, all through one invlpg (SDM vol. 3A § 4.10.4.1). */
static void split_page(void)
{
    uint64_t *table;
    uint64_t *entry;

    space_start();
    *at(OFFSET + PAGE) = 0x1111;
    *at(OTHER) = 0x2222;
    entry = map_test(PTE_W, 2);
    check_equal(at(TEST)[512], 0x1111, "the 2 MiB page is read");
    table = page_new();
    table[0] = OFFSET | PTE_P | PTE_W;
    table[1] = OTHER | PTE_P | PTE_W;
    *entry = (uint64_t)table | PTE_P | PTE_W;
    invlpg(at(TEST));
    check_equal(at(TEST)[512], 0x2222, "one invlpg removes the whole 2 MiB page");
    space_end();
}

/* --- PCIDs --- */

static void pcid_isolation(void)
{
    uint64_t *roots[2];
    bool good = true;

    space_start();
    *at(OFFSET) = 0x1111;
    *at(OTHER) = 0x2222;
    for (unsigned i = 0; i < 2; i++) {
        roots[i] = root_new();
        map_page(roots[i], TEST, (i ? OTHER : OFFSET) | PTE_W, 1);
    }
    write_cr3((word)root);
    write_cr4(read_cr4() | CR4_PCIDE);
    for (unsigned round = 0; round < 1000 && good; round++) {
        unsigned i = round & 1;
        write_cr3((word)roots[i] | (i + 1) | (round > 1 ? 1ull << 63 : 0));
        good = *at(TEST) == (i ? 0x2222 : 0x1111);
    }
    check(good, "each PCID sees its own page over 1000 switches");
    check_equal(read_cr3() >> 63, 0, "bit 63 of CR3 reads as 0");

    *entry_at(roots[1], TEST, 1) = OFFSET | PTE_P | PTE_W;
    write_cr3((word)roots[0] | 1ull << 63 | 1);
    write_cr3((word)roots[1] | 2);
    check_equal(*at(TEST), 0x1111, "a load without bit 63 flushes the PCID");
    *entry_at(roots[1], TEST, 1) = OTHER | PTE_P | PTE_W;
    write_cr3((word)roots[0] | 1ull << 63 | 1);
    write_cr3((word)roots[1] | 3);
    check_equal(*at(TEST), 0x2222, "another PCID of the same root walks by itself");
    write_cr3((word)root);
    write_cr4(read_cr4() & ~CR4_PCIDE);
    space_end();
}

static void invpcid_of_another(void)
{
    uint64_t *second;
    bool good = true;

    space_start();
    *at(OFFSET) = 0x1111;
    *at(OTHER) = 0x2222;
    second = root_new();
    map_page(second, TEST, OFFSET | PTE_W, 1);
    write_cr4(read_cr4() | CR4_PCIDE);
    for (unsigned type = 0; type < 4; type++) {
        uint64_t *entry = entry_at(second, TEST, 1);
        *entry = OFFSET | PTE_P | PTE_W;
        write_cr3((word)second | 7);
        good = good && *at(TEST) == 0x1111;
        write_cr3((word)root | 1ull << 63);
        *entry = OTHER | PTE_P | PTE_W;
        invpcid(type, type < 2 ? 7 : 0, type ? 0 : TEST);
        write_cr3((word)second | 7 | 1ull << 63);
        good = good && *at(TEST) == 0x2222;
        write_cr3((word)root);
    }
    check(good, "invpcid of each type reaches another PCID");
    write_cr4(read_cr4() & ~CR4_PCIDE);
    space_end();
}

SNIPPET(gp_cr3_bit_63, "mov %cr3, %rax; bts $63, %rax", "mov %rax, %cr3", "");
SNIPPET(gp_set_pcide, "mov %cr4, %rax; bts $17, %rax", "mov %rax, %cr4", "");
SNIPPET(gp_clear_pg, "mov %cr0, %rax; btr $31, %rax", "mov %rax, %cr0", "");
SNIPPET(gp_invpcid_type_4, "mov $4, %esi", "invpcid (%rdi), %rsi", "");
SNIPPET(gp_invpcid_type_0, "xor %esi, %esi", "invpcid (%rdi), %rsi", "");
SNIPPET(gp_invpcid_type_1, "mov $1, %esi", "invpcid (%rdi), %rsi", "");
SNIPPET(ok_invpcid_type_2, "mov $2, %esi", "invpcid (%rdi), %rsi", "");

static void pcid(void)
{
    static uint64_t descriptor[2];

    if (!HAS_PCID) {
        skip("PCID", "no PCID");
        return;
    }
    check_fault(KERNEL, &gp_cr3_bit_63, 0, GP, 0);
    pcid_isolation();
    write_cr3(read_cr3() | 0x18); /* PWT and PCD would become a PCID */
    check_fault(KERNEL, &gp_set_pcide, 0, GP, 0);
    write_cr3(read_cr3() & ~0x18ul);
    write_cr4(read_cr4() | CR4_PCIDE);
    check_fault(KERNEL, &gp_clear_pg, 0, GP, 0);
    write_cr4(read_cr4() & ~CR4_PCIDE);
    if (!HAS_INVPCID) {
        skip("INVPCID", "no INVPCID");
        return;
    }
    invpcid_of_another();
    check_fault(USER, &gp_invpcid_type_0, 0x40000000 + (word)descriptor, GP, 0);
    check_fault(KERNEL, &gp_invpcid_type_4, (word)descriptor, GP, 0);
    check_runs(KERNEL, &gp_invpcid_type_0, (word)descriptor);
    descriptor[1] = 1ull << 47;
    check_fault(KERNEL, &gp_invpcid_type_0, (word)descriptor, GP, 0);
    check_runs(KERNEL, &gp_invpcid_type_1, (word)descriptor);
    descriptor[1] = 0;
    descriptor[0] = 5;
    check_fault(KERNEL, &gp_invpcid_type_0, (word)descriptor, GP, 0);
    check_fault(KERNEL, &gp_invpcid_type_1, (word)descriptor, GP, 0);
    descriptor[0] = 0x1000;
    check_fault(KERNEL, &ok_invpcid_type_2, (word)descriptor, GP, 0);
    check_fault(KERNEL, &gp_invpcid_type_0, SPACE + 0x5000, PF, 0);
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"invalidation", invalidation},
        {"more-rights", more_rights},
        {"split-page", split_page},
        {"pcid", pcid},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
