/*
 * 32-bit paging and PAE paging, from 32-bit protected mode.
 * Source: Intel SDM vol. 3A § 4.3 (32-bit), § 4.4 (PAE), § 4.6 to § 4.10.
 */
#include "area.h"
#include "cpu.h"
#include "permission.h"
#include "tap.h"
#include "trial.h"

#define PAGE   4096u
#define PTE_P  1u
#define PTE_W  2u
#define PTE_U  4u
#define PTE_A  0x20u
#define PTE_D  0x40u
#define PTE_PS 0x80u
#define PTE_G  0x100u
#define PTE_NX (1ull << 63)

#define TEST   0x80400000u /* where the tests map their page: a border of 4 MiB */
#define OFFSET 0x6000000u  /* what lies behind it; so is this */
#define OTHER  0x6800000u

/* --- tables: one description for both kinds --- */

struct kind {
    const char *name, *big_name;
    bool pae;
    unsigned entry_size, big_shift;
};

static const struct kind legacy = {"32-bit paging", "4 MiB", false, 4, 22};
static const struct kind pae = {"PAE paging", "2 MiB", true, 8, 21};
static const struct kind *kind;

static uint64_t pointers[4] __attribute__((aligned(32))); /* PAE only */
static uint8_t directories[4 * PAGE] __attribute__((aligned(4096)));
static uint8_t test_table[2 * PAGE] __attribute__((aligned(4096))); /* below TEST */

static uint64_t entry_get(const void *table, unsigned index)
{
    return kind->pae ? ((const uint64_t *)table)[index] : ((const uint32_t *)table)[index];
}

static void entry_set(void *table, unsigned index, uint64_t value)
{
    if (kind->pae)
        ((uint64_t *)table)[index] = value;
    else
        ((uint32_t *)table)[index] = (uint32_t)value;
}

/* The directories of both kinds are one array over all 4 GiB. */
static unsigned directory_index(uint32_t address)
{
    return address >> kind->big_shift;
}

static unsigned table_index(uint32_t address)
{
    return address >> 12 & (kind->pae ? 511 : 1023);
}

/* 0 to 256 MiB for ring 0, a second time from 1 GiB on for ring 3. */
static void map_kernel(void)
{
    for (uint32_t at = 0; at < 0x10000000; at += 1u << kind->big_shift) {
        entry_set(directories, directory_index(at), at | PTE_P | PTE_W | PTE_PS);
        entry_set(directories, directory_index(at + USER_ALIAS),
                  at | PTE_P | PTE_W | PTE_U | PTE_PS);
    }
}

static uint32_t root(void)
{
    return kind->pae ? (uint32_t)pointers : (uint32_t)directories;
}

static void paging_on(const struct kind *which)
{
    kind = which;
    __builtin_memset(directories, 0, sizeof(directories));
    __builtin_memset(test_table, 0, sizeof(test_table));
    map_kernel();
    for (unsigned i = 0; i < 4; i++)
        pointers[i] = ((uint32_t)directories + i * PAGE) | PTE_P;
    write_cr4((read_cr4() & ~CR4_PAE) | CR4_PSE | (kind->pae ? CR4_PAE : 0));
    write_cr3(root());
    write_cr0(read_cr0() | CR0_PG | CR0_WP);
    user_offset = USER_ALIAS;
    for (unsigned i = 0; i < PAGE; i++)
        ((volatile uint8_t *)OFFSET)[i] = 0xc3; /* RET */
}

static void paging_off(void)
{
    write_cr0(read_cr0() & ~CR0_PG);
    user_offset = 0;
}

/* The entry that maps TEST with a page of either size. */
static void map_test(bool big, uint64_t rights)
{
    if (big) {
        entry_set(directories, directory_index(TEST), OFFSET | rights | PTE_P | PTE_PS);
    } else {
        entry_set(directories, directory_index(TEST), (uint32_t)test_table | PTE_P | PTE_W | PTE_U);
        entry_set(test_table, table_index(TEST), OFFSET | rights | PTE_P);
    }
    write_cr3(root());
    invlpg((volatile void *)TEST); /* it may have been global */
}

static uint64_t test_entry(bool big)
{
    return big ? entry_get(directories, directory_index(TEST))
               : entry_get(test_table, table_index(TEST));
}

static void test_entry_set(bool big, uint64_t value)
{
    if (big)
        entry_set(directories, directory_index(TEST), value);
    else
        entry_set(test_table, table_index(TEST), value);
}

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)address;
}

/* --- permissions --- */

static uint64_t rights_bits(struct page_rights page)
{
    return (page.user ? PTE_U : 0) | (page.writable ? PTE_W : 0) | (page.no_execute ? PTE_NX : 0);
}

static const char *where_name(bool big, bool above, struct page_rights page)
{
    static char where[80];
    char *end = where;
    const char *parts[] = {big ? kind->big_name : "4 KiB", page.user ? " user" : " supervisor",
                           page.writable ? " writable" : " read-only",
                           page.no_execute ? " no-execute" : "", above ? ", set above" : ""};
    for (unsigned i = 0; i < ARRAY_LENGTH(parts); i++) {
        for (const char *c = parts[i]; *c; c++)
            *end++ = *c;
    }
    *end = 0;
    return where;
}

static void check_rights(bool big, bool above, struct page_rights page)
{
    map_test(big, above ? PTE_W | PTE_U : rights_bits(page));
    if (above) {
        entry_set(directories, directory_index(TEST),
                  (uint32_t)test_table | PTE_P | rights_bits(page));
        write_cr3(root());
    }
    check_permissions(page, (volatile void *)TEST, where_name(big, above, page));
}

static void permissions(void)
{
    for (unsigned bits = 0; bits < (kind->pae && HAS_NX ? 8 : 4); bits++) {
        struct page_rights page = {bits & 1, bits & 2, bits & 4};
        check_rights(false, false, page);
        check_rights(false, true, page);
        check_rights(true, false, page);
    }
}

/* --- accessed and dirty bits --- */

static void accessed_and_dirty(bool big)
{
    struct access_mode mode = {.wp = true};
    const char *size = big ? kind->big_name : "4 KiB";

    map_test(big, PTE_W);
    try_access(mode, READ, TEST);
    check_equal(test_entry(big) & (PTE_A | PTE_D), PTE_A, "%s: a read sets A alone", size);
    check_equal(entry_get(directories, directory_index(TEST)) & PTE_A, PTE_A,
                "%s: A is set in the directory", size);
    try_access(mode, WRITE, TEST);
    check_equal(test_entry(big) & (PTE_A | PTE_D), PTE_A | PTE_D, "%s: a write sets D", size);
    map_test(big, PTE_W);
    try_access(mode, FETCH, TEST);
    check_equal(test_entry(big) & (PTE_A | PTE_D), PTE_A, "%s: a fetch sets A alone", size);
    map_test(big, 0);
    try_access(mode, WRITE, TEST);
    check_equal(test_entry(big) & PTE_D, 0, "%s: a refused write leaves D", size);
    set_access_mode((struct access_mode){0});
    try_access((struct access_mode){0}, WRITE, TEST);
    check_equal(test_entry(big) & PTE_D, PTE_D, "%s: a write with WP=0 sets D", size);
    set_access_mode(mode);
}

/* --- invalidation --- */

static void by_invlpg(void)
{
    invlpg(at(TEST));
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

static void by_paging_off(void)
{
    write_cr0(read_cr0() & ~CR0_PG);
    write_cr0(read_cr0() | CR0_PG);
}

static void check_invalidation(void (*invalidate)(void), bool big, uint32_t bits, const char *name)
{
    bool good = true;

    *at(OFFSET) = 0x1111;
    *at(OTHER) = 0x2222;
    map_test(big, PTE_W | bits);
    for (unsigned round = 0; round < 10 && good; round++) {
        test_entry_set(big, test_entry(big) ^ (OFFSET ^ OTHER));
        invalidate();
        good = *at(TEST) == (round & 1 ? 0x1111 : 0x2222);
    }
    check(good, "%s: %s%s: a changed entry is seen", name, big ? kind->big_name : "4 KiB",
          bits ? " global" : "");
}

static void invalidation(void)
{
    write_cr4(read_cr4() | CR4_PGE);
    for (unsigned big = 0; big < 2; big++) {
        check_invalidation(by_invlpg, big, 0, "invlpg");
        check_invalidation(by_invlpg, big, PTE_G, "invlpg");
        check_invalidation(by_cr3, big, 0, "mov to CR3");
        check_invalidation(by_pge, big, PTE_G, "CR4.PGE changed");
        check_invalidation(by_paging_off, big, PTE_G, "CR0.PG changed");
    }
    write_cr4(read_cr4() & ~CR4_PGE);
}

/* --- faults --- */

static void check_page_fault(enum access access, word address, word error, const char *what)
{
    const struct trap *trap = try_access((struct access_mode){.wp = true}, access, address);
    check(trap->vector == PF && trap->error == error && trap->cr2 == address, "%s: #PF(%lx)", what,
          error);
    if (trap->vector != PF || trap->error != error || trap->cr2 != address)
        note("  is %s(%lx) cr2 %lx", trap_name(trap->vector), trap->error, trap->cr2);
}

SNIPPET(read_4, "", "mov (%edi), %eax", "");
SNIPPET(write_4, "mov $-1, %eax", "mov %eax, (%edi)", "");

static void crossing(void)
{
    map_test(false, PTE_W);
    entry_set(test_table, table_index(TEST) + 1, 0);
    write_cr3(root());
    check(trial_in(KERNEL, &read_4, TEST + PAGE - 2)->vector == PF &&
              this_area()->trap.cr2 == TEST + PAGE,
          "a read into a missing page: CR2 is that page");
    *at(OFFSET + PAGE - 4) = 0x12345678;
    check(trial_in(KERNEL, &write_4, TEST + PAGE - 2)->vector == PF &&
              this_area()->trap.error == PF_W && *at(OFFSET + PAGE - 4) == 0x12345678,
          "a write into a missing page writes nothing");
    entry_set(test_table, table_index(TEST) + 1, OTHER | PTE_P | PTE_W);
    write_cr3(root());
    *at(OTHER) = 0xabcdef01;
    check_equal(trial_in(KERNEL, &read_4, TEST + PAGE - 2)->value, 0xef011234,
                "a read over two distant pages");
}

static void missing(void)
{
    map_test(false, PTE_W);
    test_entry_set(false, 0xfffffffe & ~1u);
    write_cr3(root());
    check_page_fault(READ, TEST, 0, "missing page, read");
    check_page_fault(WRITE, TEST, PF_W, "missing page, write");
    entry_set(directories, directory_index(TEST), 0xfe);
    write_cr3(root());
    check_page_fault(READ, TEST, 0, "missing table, read");
}

static void common(void)
{
    note("%s", kind->name);
    permissions();
    accessed_and_dirty(false);
    accessed_and_dirty(true);
    invalidation();
    crossing();
    missing();
}

/* --- 32-bit paging alone --- */

static uint8_t small_tables[16 * PAGE] __attribute__((aligned(4096)));

/* Without CR4.PSE, bit 7 of a directory entry means nothing: it still points to a table. */
static void without_pse(void)
{
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned j = 0; j < 1024; j++)
            ((uint32_t *)(void *)(small_tables + i * PAGE))[j] = i << 22 | j << 12 | PTE_P | PTE_W;
        entry_set(directories, i, ((uint32_t)small_tables + i * PAGE) | PTE_P | PTE_W);
    }
    map_test(false, PTE_W);
    entry_set(directories, directory_index(TEST), (uint32_t)test_table | PTE_P | PTE_W | PTE_PS);
    *at(OFFSET) = 0x4711;
    write_cr3(root());
    write_cr4(read_cr4() & ~CR4_PSE);
    check_equal(trial_in(KERNEL, &read_4, TEST)->value, 0x4711,
                "bit 7 of a directory entry means nothing with CR4.PSE clear");
    check_equal(this_area()->trap.vector, NO_TRAP, "and is not reserved");
    write_cr4(read_cr4() | CR4_PSE);
}

static void legacy_paging(void)
{
    paging_on(&legacy);
    common();
    map_test(true, PTE_W);
    test_entry_set(true, test_entry(true) | 1u << 21);
    write_cr3(root());
    check_page_fault(READ, TEST, PF_P | PF_RSVD, "bit 21 of a 4 MiB page");
    without_pse();
    paging_off();
}

/* --- PAE paging alone --- */

SNIPPET(load_cr3, "", "mov %edi, %cr3", "");
SNIPPET(set_cr0, "mov %cr0, %ecx", "mov %edi, %cr0", "mov %ecx, %cr0");

static void pae_reserved(void)
{
    static const unsigned bits[] = {52, 58, 62};

    for (unsigned i = 0; i < ARRAY_LENGTH(bits); i++) {
        map_test(false, PTE_W);
        test_entry_set(false, test_entry(false) | 1ull << bits[i]);
        write_cr3(root());
        check_page_fault(READ, TEST, PF_P | PF_RSVD, "a high bit of a 4 KiB page");
    }
    map_test(true, PTE_W);
    test_entry_set(true, test_entry(true) | 1u << 13);
    write_cr3(root());
    check_page_fault(WRITE, TEST, PF_P | PF_W | PF_RSVD, "bit 13 of a 2 MiB page");
    map_test(true, PTE_W);
    if (HAS_NX) {
        write_msr(MSR_EFER, read_msr(MSR_EFER) & ~(uint64_t)EFER_NXE);
        test_entry_set(true, test_entry(true) | PTE_NX);
        write_cr3(root());
        check_page_fault(READ, TEST, PF_P | PF_RSVD, "bit 63 with NXE clear");
        write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
    }
}

/* The four pointers are loaded, and checked, with CR3 (SDM vol. 3A § 4.4.1). */
static void pae_pointers(void)
{
    static const unsigned reserved[] = {1, 2, 5, 6, 7, 8, 63};
    uint64_t kept = pointers[2];
    unsigned width = has_leaf(0x80000008u) ? cpuid(0x80000008u, 0).a & 255 : 36;

    map_test(true, PTE_W);
    for (unsigned i = 0; i < ARRAY_LENGTH(reserved); i++) {
        pointers[2] = kept | 1ull << reserved[i];
        check_fault(KERNEL, &load_cr3, root(), GP, 0);
    }
    pointers[2] = kept | 1ull << width;
    check_fault(KERNEL, &load_cr3, root(), GP, 0);
    pointers[2] = 0x1e6; /* not present: nothing is checked */
    check_runs(KERNEL, &load_cr3, root());
    check_page_fault(READ, TEST, 0, "no directory");
    pointers[2] = kept;
    write_cr3(root());
    *at(OFFSET) = 0x1234;
    if (cpuid(0, 0).b == 0x756e6547) {
        pointers[2] = 0;
        invlpg(at(TEST));
        check_equal(trial_in(KERNEL, &read_4, TEST)->value, 0x1234,
                    "a pointer changed in memory counts after the load of CR3 only");
        write_cr3(root());
        check_page_fault(READ, TEST, 0, "then it does");
    } else {
        skip("a pointer changed in memory", "only Intel's keep the old");
    }
    pointers[2] = kept;
    write_cr3(root());
}

static void pae_paging(void)
{
    if (!HAS_PAE) {
        skip("PAE paging", "no PAE");
        return;
    }
    if (HAS_NX)
        write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
    paging_on(&pae);
    common();
    pae_reserved();
    pae_pointers();
    /* from PAE to 32-bit tables and back, with paging off in between */
    paging_off();
    paging_on(&legacy);
    *at(OFFSET) = 0x77;
    map_test(false, 0);
    check_equal(*at(TEST), 0x77, "32-bit paging after PAE paging");
    paging_off();
    paging_on(&pae);
    *at(OFFSET) = 0x78;
    map_test(false, 0);
    check_equal(*at(TEST), 0x78, "PAE paging after 32-bit paging");
    paging_off();
}

/* --- what cannot be switched on --- */

SNIPPET(set_pcide, "mov %cr4, %eax; bts $17, %eax", "mov %eax, %cr4", "");

static void refused(void)
{
    check_fault(KERNEL, &set_cr0, (read_cr0() | CR0_PG) & ~CR0_PE, GP, 0);
    check_fault(KERNEL, &set_cr0, (read_cr0() | CR0_NW) & ~CR0_CD, GP, 0);
    check_fault(KERNEL, &set_pcide, 0, GP, 0);
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_LME);
    write_cr4(read_cr4() & ~CR4_PAE);
    check_fault(KERNEL, &set_cr0, read_cr0() | CR0_PG, GP, 0);
    write_msr(MSR_EFER, read_msr(MSR_EFER) & ~(uint64_t)EFER_LME);
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"legacy", legacy_paging},
        {"pae", pae_paging},
        {"refused", refused},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
