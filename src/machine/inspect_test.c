#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "machine/inspect_private.h"

enum { PRESENT = 1, LARGE = 0x80 };
#define MIB UINT64_C(0x100000)

static struct mem *mem;

static int set_up(void **state)
{
    (void)state;
    return mem_create(4 * MIB, UINT64_C(0xc0000000), &mem);
}

static int tear_down(void **state)
{
    (void)state;
    mem_destroy(mem);
    return 0;
}

static void put(uint64_t gpa, uint64_t entry, size_t size)
{
    assert_int_equal(mem_write(mem, gpa, &entry, size), 0);
}

/* A translation: its address, or UINT64_MAX where nothing is mapped. */
static uint64_t walk(const struct engine_registers *registers, uint64_t linear, uint64_t left)
{
    struct physical physical = {0};

    int error = linear_to_physical(mem, registers, linear, &physical);
    if (error < 0) {
        assert_int_equal(error, -EFAULT);
        return UINT64_MAX;
    }
    assert_int_equal(physical.left, left);
    return physical.gpa;
}

static void unpaged_is_the_identity_below_4_gib(void **state)
{
    const struct engine_registers registers = {.cr0 = 1};
    (void)state;

    assert_int_equal(walk(&registers, 0x1234, 0x1000 - 0x234), 0x1234);
    assert_int_equal(walk(&registers, UINT64_C(0x500001234), 0x1000 - 0x234), 0x1234);
}

static void long_mode_walks_four_levels(void **state)
{
    const struct engine_registers registers = {
        .cr0 = 0x80000001, .cr3 = 0x1018, .cr4 = 0x20, .efer = 0x500};
    const uint64_t kernel = UINT64_C(0xffffffff81000000); /* 511, 510, 8, 0 */
    (void)state;

    put(0x1000 + 511 * 8, 0x2000 | PRESENT, 8);
    put(0x2000 + 510 * 8, 0x3000 | PRESENT, 8);
    put(0x3000 + 8 * 8, 0x200000 | LARGE | PRESENT, 8);
    put(0x3000 + 9 * 8, 0x4000 | PRESENT, 8);
    put(0x4000 + 5 * 8, UINT64_C(0x8000000000300000) | PRESENT, 8);
    put(0x2000 + 511 * 8, UINT64_C(0x40000000) | LARGE | PRESENT, 8);

    assert_int_equal(walk(&registers, kernel + 0x12345, 0x200000 - 0x12345), 0x212345);
    assert_int_equal(walk(&registers, kernel + 0x205678, 0x1000 - 0x678), 0x300678);
    assert_int_equal(walk(&registers, kernel + 0x206000, 0), UINT64_MAX);
    assert_int_equal(walk(&registers, UINT64_C(0xffffffffc0000007), 0x40000000 - 7), 0x40000007);
    assert_int_equal(walk(&registers, 0x1000, 0), UINT64_MAX);
    assert_int_equal(walk(&registers, kernel ^ (UINT64_C(1) << 60), 0), UINT64_MAX);
}

static void tables_outside_ram_map_nothing(void **state)
{
    const struct engine_registers registers = {
        .cr0 = 0x80000001, .cr3 = 0x1000, .cr4 = 0x20, .efer = 0x500};
    (void)state;

    put(0x1000, UINT64_C(0x000ffffffffff000) | PRESENT, 8);
    assert_int_equal(walk(&registers, 0, 0), UINT64_MAX);
}

static void pae_walks_three_levels(void **state)
{
    const struct engine_registers registers = {.cr0 = 0x80000001, .cr3 = 0x5020, .cr4 = 0x20};
    (void)state;

    put(0x5020 + 3 * 8, 0x6000 | PRESENT, 8);
    put(0x6000 + 1 * 8, 0x200000 | LARGE | PRESENT, 8);
    put(0x6000 + 2 * 8, 0x7000 | PRESENT, 8);
    put(0x7000 + 511 * 8, 0x123000 | PRESENT, 8);

    assert_int_equal(walk(&registers, 0xc0200010, 0x200000 - 0x10), 0x200010);
    assert_int_equal(walk(&registers, 0xc05ff004, 0x1000 - 4), 0x123004);
    assert_int_equal(walk(&registers, 0x1000, 0), UINT64_MAX);
}

static void legacy_walks_two_levels(void **state)
{
    struct engine_registers registers = {.cr0 = 0x80000001, .cr3 = 0x8000, .cr4 = 0x10};
    (void)state;

    put(0x8000 + 0x300 * 4, 0x9000 | PRESENT, 4);
    put(0x9000 + 0x3ff * 4, 0x234000 | PRESENT, 4);
    put(0x8000 + 0x301 * 4, 0x00400000 | 3 << 13 | LARGE | PRESENT, 4);

    assert_int_equal(walk(&registers, 0xc03ff00c, 0x1000 - 12), 0x23400c);
    assert_int_equal(walk(&registers, 0xc0412345, 0x400000 - 0x12345), UINT64_C(0x300412345));
    registers.cr4 = 0; /* without PSE the bit means nothing: a table at 4 MiB, which is no RAM */
    assert_int_equal(walk(&registers, 0xc0412345, 0), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unpaged_is_the_identity_below_4_gib, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_mode_walks_four_levels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tables_outside_ram_map_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pae_walks_three_levels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(legacy_walks_two_levels, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
