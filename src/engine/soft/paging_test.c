/* Page walks of every format: rights, error codes, reserved bits, accessed and dirty bits. */
#include "engine/soft/paging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/memory.h"
#include "tests/harness/soft_fixture.h"

enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, NO_FAULT = -1 };
enum { LINEAR = DATA_AT, ENTRY_AT = PT_AT + (DATA_AT >> 12) * 8 };

/* The error code of an access, or NO_FAULT. */
static int try_access(struct guest *g, uint64_t linear, unsigned access)
{
    struct walked_page to;
    if (paging_walk(g->cpu, linear, access, &to) == STEP_NEXT)
        return NO_FAULT;
    assert_int_equal(g->cpu->fault.vector, VECTOR_PF);
    assert_true(g->cpu->fault.has_code);
    assert_int_equal(g->cpu->fault.address, linear);
    return (int)g->cpu->fault.code;
}

static struct walked_page walk(struct guest *g, uint64_t linear, unsigned access)
{
    struct walked_page to;
    assert_int_equal(paging_walk(g->cpu, linear, access, &to), STEP_NEXT);
    return to;
}

/* ---- rights ---- */

struct rights {
    uint64_t entry; /* bits besides P */
    unsigned cpl;
    unsigned access;
    int code;
};

static void assert_rights(struct guest *g, const struct rights *rights, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        guest_write64(g, ENTRY_AT, LINEAR | PAGE_P | rights[i].entry);
        g->cpu->cpl = (uint8_t)rights[i].cpl;
        if (try_access(g, LINEAR, rights[i].access) != rights[i].code)
            fail_msg("row %u", i);
    }
    g->cpu->cpl = 0;
}

#define ASSERT_RIGHTS(g, table) assert_rights(g, table, sizeof(table) / sizeof((table)[0]))

static void rights_of_pages(void **state)
{
    static const struct rights table[] = {
        {PAGE_W | PAGE_U, 3, ACCESS_READ, NO_FAULT},
        {PAGE_W | PAGE_U, 3, ACCESS_WRITE, NO_FAULT},
        {PAGE_W | PAGE_U, 3, ACCESS_FETCH, NO_FAULT},
        {PAGE_U, 3, ACCESS_READ, NO_FAULT},
        {PAGE_U, 3, ACCESS_WRITE, PF_P | PF_W | PF_U},
        {PAGE_W, 3, ACCESS_READ, PF_P | PF_U},
        {PAGE_W, 3, ACCESS_WRITE, PF_P | PF_W | PF_U},
        {PAGE_W, 3, ACCESS_FETCH, PF_P | PF_U | PF_I},
        {PAGE_W, 3, ACCESS_SYSTEM, NO_FAULT}, /* a descriptor table, from CPL 3 */
        {PAGE_U, 0, ACCESS_READ, NO_FAULT},
        {PAGE_U, 0, ACCESS_WRITE, PF_P | PF_W},
        {0, 0, ACCESS_WRITE, PF_P | PF_W},
        {PAGE_W, 0, ACCESS_READ | ACCESS_USER, PF_P | PF_U},
        {PAGE_W | PAGE_XD, 0, ACCESS_FETCH, PF_P | PF_I},
        {PAGE_W | PAGE_XD, 0, ACCESS_READ, NO_FAULT},
        {PAGE_W | PAGE_U | PAGE_XD, 3, ACCESS_FETCH, PF_P | PF_U | PF_I},
    };
    ASSERT_RIGHTS(*state, table);
}

static void rights_without_write_protection(void **state)
{
    struct guest *g = *state;
    static const struct rights table[] = {
        {PAGE_U, 0, ACCESS_WRITE, NO_FAULT},
        {0, 0, ACCESS_WRITE, NO_FAULT},
        {PAGE_U, 3, ACCESS_WRITE, PF_P | PF_W | PF_U},
        {0, 3, ACCESS_WRITE | ACCESS_SYSTEM, NO_FAULT},
    };
    g->cpu->cr0 &= ~(uint64_t)CR0_WP;
    ASSERT_RIGHTS(g, table);
}

static void supervisor_is_kept_off_user_pages(void **state)
{
    struct guest *g = *state;
    static const struct rights kept_off[] = {
        {PAGE_W | PAGE_U, 0, ACCESS_FETCH, PF_P | PF_I}, {PAGE_W | PAGE_U, 0, ACCESS_READ, PF_P},
        {PAGE_W | PAGE_U, 0, ACCESS_WRITE, PF_P | PF_W}, {PAGE_W | PAGE_U, 3, ACCESS_SYSTEM, PF_P},
        {PAGE_W | PAGE_U, 3, ACCESS_READ, NO_FAULT},     {PAGE_W, 0, ACCESS_FETCH, NO_FAULT},
    };
    static const struct rights with_ac[] = {
        {PAGE_W | PAGE_U, 0, ACCESS_FETCH, PF_P | PF_I},
        {PAGE_W | PAGE_U, 0, ACCESS_READ, NO_FAULT},
        {PAGE_W | PAGE_U, 0, ACCESS_WRITE, NO_FAULT},
        {PAGE_W | PAGE_U, 3, ACCESS_SYSTEM, PF_P}, /* AC is for explicit accesses only */
    };
    g->cpu->cr4 |= CR4_SMEP | CR4_SMAP;
    ASSERT_RIGHTS(g, kept_off);
    g->cpu->flags |= FLAG_AC;
    ASSERT_RIGHTS(g, with_ac);
}

static void rights_are_those_of_all_levels(void **state)
{
    struct guest *g = *state;
    static const uint64_t levels[] = {PML4_AT, PDPT_AT, PD_AT};
    g->cpu->cpl = 3;
    for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        uint64_t entry = guest_read64(g, levels[i]);
        assert_int_equal(try_access(g, LINEAR, ACCESS_WRITE), NO_FAULT);
        guest_write64(g, levels[i], entry & ~(uint64_t)PAGE_W);
        assert_int_equal(try_access(g, LINEAR, ACCESS_WRITE), PF_P | PF_W | PF_U);
        guest_write64(g, levels[i], entry & ~(uint64_t)PAGE_U);
        assert_int_equal(try_access(g, LINEAR, ACCESS_READ), PF_P | PF_U);
        guest_write64(g, levels[i], entry | PAGE_XD);
        assert_int_equal(try_access(g, LINEAR, ACCESS_FETCH), PF_P | PF_U | PF_I);
        guest_write64(g, levels[i], entry & ~(uint64_t)PAGE_P);
        assert_int_equal(try_access(g, LINEAR, ACCESS_WRITE), PF_W | PF_U);
        guest_write64(g, levels[i], entry);
    }
}

/* ---- reserved bits ---- */

static void reserved_bits_fault_at_every_level(void **state)
{
    struct guest *g = *state;
    uint64_t beyond = UINT64_C(1) << g->soft->physical_bits;
    static const uint64_t levels[] = {PML4_AT, PDPT_AT, PD_AT, ENTRY_AT};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t entry = guest_read64(g, levels[i]);
        guest_write64(g, levels[i], entry | beyond);
        assert_int_equal(try_access(g, LINEAR, ACCESS_READ), PF_P | PF_RSVD);
        guest_write64(g, levels[i], entry | UINT64_C(0x7ff0000000000000)); /* ignored bits */
        assert_int_equal(try_access(g, LINEAR, ACCESS_READ), NO_FAULT);
        guest_write64(g, levels[i], entry | PAGE_XD);
        g->cpu->efer &= ~(uint64_t)EFER_NXE;
        assert_int_equal(try_access(g, LINEAR, ACCESS_WRITE), PF_P | PF_W | PF_RSVD);
        g->cpu->efer |= EFER_NXE;
        guest_write64(g, levels[i], entry);
    }
    guest_write64(g, PML4_AT, guest_read64(g, PML4_AT) | PAGE_PS);
    assert_int_equal(try_access(g, LINEAR, ACCESS_READ), PF_P | PF_RSVD);
}

static void large_pages_have_reserved_address_bits(void **state)
{
    struct guest *g = *state;
    uint64_t at = PD_AT + (LARGE_AT >> 21) * 8;
    uint64_t entry = guest_read64(g, at);
    struct walked_page to = walk(g, LARGE_AT + 0x12345, ACCESS_READ);
    assert_int_equal(to.gpa, LARGE_AT + 0x12345);
    assert_int_equal(to.shift, 21);
    guest_write64(g, at, entry | 0x1000); /* PAT */
    assert_int_equal(walk(g, LARGE_AT + 0x12345, ACCESS_READ).gpa, LARGE_AT + 0x12345);
    guest_write64(g, at, entry | 0x2000);
    assert_int_equal(try_access(g, LARGE_AT, ACCESS_READ), PF_P | PF_RSVD);
    guest_write64(g, PDPT_AT + 8, PAGE_P | PAGE_W | PAGE_PS);
    to = walk(g, (1 << 30) + LARGE_AT + 1, ACCESS_READ);
    assert_int_equal(to.gpa, LARGE_AT + 1);
    assert_int_equal(to.shift, 30);
    guest_write64(g, PDPT_AT + 8, PAGE_P | PAGE_W | PAGE_PS | 0x20000000);
    assert_int_equal(try_access(g, 1 << 30, ACCESS_READ), PF_P | PF_RSVD);
}

static void tables_outside_ram_read_as_ones(void **state)
{
    struct guest *g = *state;
    guest_write64(g, PD_AT, MMIO_GPA | PAGE_P | PAGE_W);
    assert_int_equal(try_access(g, LINEAR, ACCESS_READ), PF_P | PF_RSVD);
}

/* ---- accessed and dirty ---- */

static void refused_access_leaves_no_mark(void **state)
{
    struct guest *g = *state;
    g->cpu->cpl = 3;
    guest_write64(g, ENTRY_AT, LINEAR | PAGE_P | PAGE_U);
    uint64_t pml4 = guest_read64(g, PML4_AT);
    assert_int_equal(try_access(g, LINEAR, ACCESS_WRITE), PF_P | PF_W | PF_U);
    assert_int_equal(guest_read64(g, ENTRY_AT) & (PAGE_A | PAGE_D), 0);
    assert_int_equal(guest_read64(g, PML4_AT), pml4);
}

static void marks_follow_reads_and_writes(void **state)
{
    struct guest *g = *state;
    assert_false(walk(g, LINEAR, ACCESS_READ).dirty);
    assert_int_equal(guest_read64(g, ENTRY_AT) & (PAGE_A | PAGE_D), PAGE_A);
    assert_int_equal(guest_read64(g, PML4_AT) & (PAGE_A | PAGE_D), PAGE_A);
    assert_int_equal(guest_read64(g, PDPT_AT) & PAGE_A, PAGE_A);
    assert_int_equal(guest_read64(g, PD_AT) & (PAGE_A | PAGE_D), PAGE_A);
    assert_true(walk(g, LINEAR, ACCESS_WRITE).dirty);
    assert_int_equal(guest_read64(g, ENTRY_AT) & (PAGE_A | PAGE_D), PAGE_A | PAGE_D);
    assert_int_equal(guest_read64(g, PD_AT) & PAGE_D, 0);
    assert_true(walk(g, LINEAR, ACCESS_READ).dirty);
    assert_true(walk(g, LARGE_AT, ACCESS_WRITE).dirty);
    assert_int_equal(guest_read64(g, PD_AT + (LARGE_AT >> 21) * 8) & PAGE_D, PAGE_D);
}

static void marks_are_writes_for_the_dirty_log(void **state)
{
    struct guest *g = *state;
    uint64_t before = 0;
    uint64_t after = 0;
    assert_int_equal(soft_engine.take_dirty(g->partition, 0, 16, &before), 0);
    (void)walk(g, LINEAR, ACCESS_READ);
    assert_int_equal(soft_engine.take_dirty(g->partition, 0, 16, &after), 0);
    assert_int_equal(after, 1u << (PML4_AT >> 12) | 1u << (PDPT_AT >> 12) | 1u << (PD_AT >> 12) |
                                1u << (ENTRY_AT >> 12));
}

/* ---- 32-bit paging ---- */

static void use_legacy(struct guest *g)
{
    guest_use_protected(g, 0);
    g->cpu->cr3 = FREE_TABLES_AT;
    g->cpu->cr0 |= CR0_PG | CR0_WP;
}

static void put32(struct guest *g, uint64_t gpa, uint32_t value)
{
    guest_write(g, gpa, &value, sizeof(value));
}

static void legacy_paging_walks_two_levels(void **state)
{
    struct guest *g = *state;
    enum { AT = 0x00c03000, TABLE_AT = FREE_TABLES_AT + 0x1000 };
    use_legacy(g);
    assert_int_equal(try_access(g, AT, ACCESS_READ), 0);
    put32(g, FREE_TABLES_AT + 3 * 4, TABLE_AT | PAGE_P | PAGE_W | PAGE_U);
    assert_int_equal(try_access(g, AT, ACCESS_WRITE), PF_W);
    put32(g, TABLE_AT + 3 * 4, DATA_AT | PAGE_P | PAGE_U);
    assert_int_equal(walk(g, AT + 0x123, ACCESS_READ).gpa, DATA_AT + 0x123);
    assert_int_equal(guest_read32(g, TABLE_AT + 3 * 4) & (PAGE_A | PAGE_D), PAGE_A);
    assert_int_equal(try_access(g, AT, ACCESS_WRITE), PF_P | PF_W);
    /* There is no XD, so that a fetch says nothing of itself in the error code. */
    g->cpu->cpl = 3;
    put32(g, TABLE_AT + 3 * 4, DATA_AT | PAGE_P);
    assert_int_equal(try_access(g, AT, ACCESS_FETCH), PF_P | PF_U);
    g->cpu->cr4 |= CR4_SMEP;
    assert_int_equal(try_access(g, AT, ACCESS_FETCH), PF_P | PF_U | PF_I);
}

static void legacy_paging_has_pages_of_4_mib(void **state)
{
    struct guest *g = *state;
    enum { AT = 0x00c03000, TABLE_AT = 0x400000 };
    use_legacy(g);
    /* With PSE a page, without it a table. */
    put32(g, FREE_TABLES_AT + 3 * 4, TABLE_AT | PAGE_P | PAGE_W | PAGE_PS);
    put32(g, TABLE_AT + 3 * 4, DATA_AT | PAGE_P);
    assert_int_equal(walk(g, AT, ACCESS_READ).gpa, DATA_AT);
    g->cpu->cr4 |= CR4_PSE;
    struct walked_page to = walk(g, AT + 5, ACCESS_WRITE);
    assert_int_equal(to.gpa, TABLE_AT + 0x3005);
    assert_int_equal(to.shift, 22);
    assert_int_equal(guest_read32(g, FREE_TABLES_AT + 3 * 4) & PAGE_D, PAGE_D);
    /* Bits 32 to 39 of the address in bits 13 to 20; bit 21 is reserved. */
    put32(g, FREE_TABLES_AT + 3 * 4, TABLE_AT | PAGE_P | PAGE_PS | 5 << 13);
    assert_int_equal(walk(g, AT, ACCESS_READ).gpa, UINT64_C(0x500403000));
    put32(g, FREE_TABLES_AT + 3 * 4, TABLE_AT | PAGE_P | PAGE_PS | 1 << 21);
    assert_int_equal(try_access(g, AT, ACCESS_READ), PF_P | PF_RSVD);
}

/* ---- PAE ---- */

static void use_pae(struct guest *g)
{
    guest_use_protected(g, 0);
    g->cpu->cr4 |= CR4_PAE;
    g->cpu->efer |= EFER_NXE;
    g->cpu->cr0 |= CR0_PG | CR0_WP;
}

static void pae_paging_starts_at_loaded_pointers(void **state)
{
    struct guest *g = *state;
    use_pae(g);
    enum { CR3 = FREE_TABLES_AT + 0x20 };
    guest_write64(g, CR3 + 8, PD_AT | PAGE_P);
    assert_int_equal(paging_load_pdptes(g->cpu, CR3), STEP_NEXT);
    guest_write64(g, CR3 + 8, 0); /* too late */
    assert_int_equal(try_access(g, LINEAR, ACCESS_WRITE), PF_W);
    struct walked_page to = walk(g, (1 << 30) + LINEAR + 7, ACCESS_WRITE);
    assert_int_equal(to.gpa, LINEAR + 7);
    assert_int_equal(walk(g, (1 << 30) + LARGE_AT, ACCESS_READ).shift, 21);
    guest_write64(g, ENTRY_AT, LINEAR | PAGE_P | PAGE_XD);
    assert_int_equal(try_access(g, (1 << 30) + LINEAR, ACCESS_FETCH), PF_P | PF_I);
    /* Bits 52 to 62 are reserved here, not ignored. */
    guest_write64(g, ENTRY_AT, LINEAR | PAGE_P | UINT64_C(1) << 52);
    assert_int_equal(try_access(g, (1 << 30) + LINEAR, ACCESS_READ), PF_P | PF_RSVD);
}

/* Reserved bits refuse the whole load; without P nothing is looked at. SDM vol. 3A table 4-8. */
static void pae_pointers_are_all_or_nothing(void **state)
{
    struct guest *g = *state;
    use_pae(g);
    static const uint64_t reserved[] = {PAGE_W,  PAGE_U, PAGE_A,  PAGE_D,
                                        PAGE_PS, PAGE_G, PAGE_XD, UINT64_C(1) << 62};
    guest_write64(g, FREE_TABLES_AT, PD_AT | PAGE_P);
    assert_int_equal(paging_load_pdptes(g->cpu, FREE_TABLES_AT), STEP_NEXT);
    guest_write64(g, FREE_TABLES_AT, 0);
    for (unsigned i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        guest_write64(g, FREE_TABLES_AT + 24, PD_AT | PAGE_P | reserved[i]);
        assert_int_equal(paging_load_pdptes(g->cpu, FREE_TABLES_AT), STEP_FAULT);
        assert_int_equal(g->cpu->fault.vector, VECTOR_GP);
        assert_int_equal(g->cpu->fault.code, 0);
        assert_int_equal(try_access(g, LINEAR, ACCESS_READ), NO_FAULT);
    }
    guest_write64(g, FREE_TABLES_AT + 24, UINT64_MAX & ~(uint64_t)PAGE_P);
    assert_int_equal(paging_load_pdptes(g->cpu, FREE_TABLES_AT), STEP_NEXT);
    assert_int_equal(try_access(g, LINEAR, ACCESS_READ), 0);
}

/* ---- no paging ---- */

static void without_paging_addresses_are_physical(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    struct walked_page to = walk(g, UINT32_MAX, ACCESS_WRITE);
    assert_int_equal(to.gpa, UINT32_MAX);
    assert_true(to.user && to.writable && to.executable && to.dirty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rights_of_pages),
        TEST(rights_without_write_protection),
        TEST(supervisor_is_kept_off_user_pages),
        TEST(rights_are_those_of_all_levels),
        TEST(reserved_bits_fault_at_every_level),
        TEST(large_pages_have_reserved_address_bits),
        TEST(tables_outside_ram_read_as_ones),
        TEST(refused_access_leaves_no_mark),
        TEST(marks_follow_reads_and_writes),
        TEST(marks_are_writes_for_the_dirty_log),
        TEST(legacy_paging_walks_two_levels),
        TEST(legacy_paging_has_pages_of_4_mib),
        TEST(pae_paging_starts_at_loaded_pointers),
        TEST(pae_pointers_are_all_or_nothing),
        TEST(without_paging_addresses_are_physical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
