/* Decimal adjustments, compared with additions and subtractions done in decimal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_rows.h"

static uint8_t packed(unsigned number)
{
    return (uint8_t)((number / 10 % 10) << 4 | number % 10);
}

/* Every pair of two-digit numbers. */
static void packed_sums_and_differences(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    struct cpu *cpu = g->cpu;
    static const char codes[2][4] = {"\x00\xd8\x27", "\x28\xd8\x2f"}; /* add, daa; sub, das */
    for (unsigned kind = 0; kind < 2; kind++) {
        guest_place(g, CODE_AT, codes[kind], 3);
        for (unsigned i = 0; i < 10000; i += 7) {
            unsigned a = i / 100;
            unsigned b = i % 100;
            cpu->gpr[GPR_RAX] = 0x7700u | packed(a);
            cpu->gpr[GPR_RBX] = packed(b);
            guest_start(g, CODE_AT);
            assert_int_equal(guest_run_to_port(g), PORT_DONE);
            unsigned result = kind == 0 ? a + b : 100 + a - b;
            bool carry = kind == 0 ? a + b > 99 : a < b;
            assert_int_equal(cpu->gpr[GPR_RAX], 0x7700u | packed(result % 100));
            assert_int_equal((cpu->flags & FLAG_CF) != 0, carry);
            assert_int_equal((cpu->flags & FLAG_ZF) != 0, result % 100 == 0);
        }
    }
}

static void unpacked_digits(void **state)
{
    struct guest *g = *state;
    static const struct soft_row rows[] = {
        {"aaa", CODE("\x37"), .rax = 0x010b,
         .then = {.rax = 0x0201, .flags = AF | CF, .undefined = OF | SF | ZF | PF}},
        {"aaa of a digit", CODE("\x37"), .rax = 0x0135, .flags = CF,
         .then = {.rax = 0x0105, .undefined = OF | SF | ZF | PF}},
        {"aas", CODE("\x3f"), .rax = 0x02fb, .flags = AF,
         .then = {.rax = 0x0105, .flags = AF | CF, .undefined = OF | SF | ZF | PF}},
        {"aam", CODE("\xd4\x0a"), .rax = 0x7763,
         .then = {.rax = 0x0909, .flags = PF, .undefined = OF | AF | CF}},
        {"aam 16", CODE("\xd4\x10"), .rax = 0x80,
         .then = {.rax = 0x0800, .flags = ZF | PF, .undefined = OF | AF | CF}},
        {"aad", CODE("\xd5\x0a"), .rax = 0x0909,
         .then = {.rax = 0x63, .flags = PF, .undefined = OF | AF | CF}},
        {"salc", CODE("\xd6"), .rax = 0x1200, .flags = CF, .then = {.rax = 0x12ff, .flags = CF}},
        {"salc of 0", CODE("\xd6"), .rax = 0x12ff, .then = {.rax = 0x1200}},
    };
    guest_use_protected(g, 0);
    CHECK_ROWS(g, rows);
}

static void division_by_zero(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->gpr[GPR_RAX] = 0x1234;
    assert_int_equal(TRY(g, "\xd4\x00"), VECTOR_DE); /* aam 0 */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x1234);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(packed_sums_and_differences),
        TEST(unpacked_digits),
        TEST(division_by_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
