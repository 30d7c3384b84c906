/* Shifts and rotates: masked counts, counts of zero, which flags change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/soft_rows.h"

#define TOP (UINT64_C(1) << 63)

static void rotates_change_only_carry_and_overflow(void **state)
{
    static const struct soft_row rows[] = {
        {"rol al, 1", CODE("\xd0\xc0"), .rax = 0x1181, .flags = ZF | SF,
         .then = {.rax = 0x1103, .flags = CF | OF | ZF | SF}},
        {"rol ax, 16", CODE("\x66\xd3\xc0"), .rax = 0x78001, .rcx = 16, .flags = PF,
         .then = {.rax = 0x78001, .flags = CF | PF, .undefined = OF}},
        {"ror eax, 8", CODE("\xc1\xc8\x08"), .rax = 0xf11223344, .flags = CF | AF,
         .then = {.rax = 0x44112233, .flags = AF, .undefined = OF}},
        {"rcl al, 9", CODE("\xd2\xd0"), .rax = 0x5a, .rcx = 9, .flags = CF,
         .then = {.rax = 0x5a, .flags = CF, .undefined = OF}},
        {"rcr rax, 1", CODE("\x48\xd1\xd8"), .flags = CF, .then = {.rax = TOP, .flags = OF}},
        {"rcr dword [rdi], 3", CODE("\xc1\x1f\x03"), .memory = 0x7700000000, .flags = CF,
         .then = {.memory = 0x7720000000, .undefined = OF}},
    };
    CHECK_ROWS(*state, rows);
}

static void shifts_set_all_flags(void **state)
{
    static const struct soft_row rows[] = {
        {"shr ax, 1", CODE("\x66\xd3\xe8"), .rax = 0x78001, .rcx = 1,
         .then = {.rax = 0x74000, .flags = CF | OF | PF, .undefined = AF}},
        {"sar rax, 63", CODE("\x48\xc1\xf8\x3f"), .rax = TOP, .flags = CF | ZF,
         .then = {.rax = UINT64_MAX, .flags = SF | PF, .undefined = AF | OF}},
        {"sar al, 31", CODE("\xd2\xf8"), .rax = 0x80, .rcx = 31,
         .then = {.rax = 0xff, .flags = CF | SF | PF, .undefined = AF | OF}},
        {"shl byte [rdi], 4", CODE("\xd2\x27"), .rcx = 4, .memory = 0x111f,
         .then = {.memory = 0x11f0, .flags = CF | SF | PF, .undefined = AF | OF}},
    };
    CHECK_ROWS(*state, rows);
}

static void counts_of_zero_change_no_flag(void **state)
{
    static const struct soft_row rows[] = {
        {"shl eax, 32", CODE("\xd3\xe0"), .rax = 0x700000001, .rcx = 32, .flags = ALL,
         .then = {.rax = 1, .flags = ALL}},
        {"shl rax, 64", CODE("\x48\xd3\xe0"), .rax = 0x700000001, .rcx = 64, .flags = ALL,
         .then = {.rax = 0x700000001, .flags = ALL}},
        {"rcl al, 0", CODE("\xd2\xd0"), .rax = 0x80, .then = {.rax = 0x80}},
        {"sar byte [rdi], 0", CODE("\xd2\x3f"), .rcx = 0x20, .memory = 0xff, .flags = OF,
         .then = {.memory = 0xff, .flags = OF}},
    };
    CHECK_ROWS(*state, rows);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rotates_change_only_carry_and_overflow),
        TEST(shifts_set_all_flags),
        TEST(counts_of_zero_change_no_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
