/* Two-operand and one-operand arithmetic: results, flags, upper halves, memory, LOCK. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/soft_rows.h"

#define ONES UINT64_MAX
#define TOP  (UINT64_C(1) << 63)

static void registers_of_every_width(void **state)
{
    static const struct soft_row rows[] = {
        {"add al, bl", CODE("\x00\xd8"), .rax = 0x11ff, .rbx = 1,
         .then = {.rax = 0x1100, .flags = CF | AF | ZF | PF}},
        {"add ax, bx", CODE("\x66\x01\xd8"), .rax = 0xffffffffffff7fff, .rbx = 1,
         .then = {.rax = 0xffffffffffff8000, .flags = SF | OF | AF | PF}},
        {"add eax, ebx", CODE("\x01\xd8"), .rax = ONES, .rbx = 1,
         .then = {.rax = 0, .flags = CF | ZF | AF | PF}},
        {"add rax, rbx", CODE("\x48\x01\xd8"), .rax = TOP - 1, .rbx = 1,
         .then = {.rax = TOP, .flags = SF | OF | AF | PF}},
        {"add ah, bl", CODE("\x00\xdc"), .rax = 0xff01, .rbx = 1,
         .then = {.rax = 1, .flags = CF | ZF | AF | PF}},
        {"adc al, bl", CODE("\x10\xd8"), .rax = 0x0f, .flags = CF,
         .then = {.rax = 0x10, .flags = AF}},
        {"sbb rax, rbx", CODE("\x48\x19\xd8"), .flags = CF,
         .then = {.rax = ONES, .flags = CF | SF | AF | PF}},
        {"sub rax, rbx", CODE("\x48\x29\xd8"), .rax = TOP, .rbx = 1,
         .then = {.rax = TOP - 1, .flags = OF | AF | PF}},
        {"cmp al, bl", CODE("\x38\xd8"), .rax = 0x80, .rbx = 1,
         .then = {.rax = 0x80, .flags = OF | AF}},
        {"and eax, ebx", CODE("\x21\xd8"), .rax = ONES, .rbx = 0x80000000, .flags = ALL,
         .then = {.rax = 0x80000000, .flags = SF | PF, .undefined = AF}},
        {"or rax, rbx", CODE("\x48\x09\xd8"), .flags = ALL,
         .then = {.flags = ZF | PF, .undefined = AF}},
        {"xor eax, eax", CODE("\x31\xc0"), .rax = ONES, .flags = ALL,
         .then = {.flags = ZF | PF, .undefined = AF}},
        {"test al, bl", CODE("\x84\xd8"), .rax = 0xf80, .rbx = 0x80, .flags = ALL,
         .then = {.rax = 0xf80, .flags = SF, .undefined = AF}},
    };
    CHECK_ROWS(*state, rows);
}

static void immediates_are_sign_extended(void **state)
{
    static const struct soft_row rows[] = {
        {"add al, -1", CODE("\x04\xff"), .rax = 1, .then = {.flags = CF | ZF | AF | PF}},
        {"add rax, -1", CODE("\x48\x83\xc0\xff"), .then = {.rax = ONES, .flags = SF | PF}},
        {"cmp byte [rdi], 5", CODE("\x80\x3f\x05"), .memory = 0x1104,
         .then = {.memory = 0x1104, .flags = CF | SF | AF | PF}},
    };
    CHECK_ROWS(*state, rows);
}

static void one_operand(void **state)
{
    static const struct soft_row rows[] = {
        {"inc al", CODE("\xfe\xc0"), .rax = 0x7f, .flags = CF,
         .then = {.rax = 0x80, .flags = CF | OF | SF | AF}},
        {"dec eax", CODE("\xff\xc8"), .rax = 0xffffffff00000000,
         .then = {.rax = 0xffffffff, .flags = SF | AF | PF}},
        {"neg rax", CODE("\x48\xf7\xd8"), .rax = 1,
         .then = {.rax = ONES, .flags = CF | SF | AF | PF}},
        {"neg of 0", CODE("\x48\xf7\xd8"), .flags = CF, .then = {.flags = ZF | PF}},
        {"not ax", CODE("\x66\xf7\xd0"), .rax = 0x71234, .flags = ALL,
         .then = {.rax = 0x7edcb, .flags = ALL}},
    };
    CHECK_ROWS(*state, rows);
}

static void memory_operands(void **state)
{
    static const struct soft_row rows[] = {
        {"add [rdi], bl", CODE("\x00\x1f"), .rbx = 2, .memory = 0x11223344556677ff,
         .then = {.memory = 0x1122334455667701, .flags = CF | AF}},
        {"adc rax, [rdi]", CODE("\x48\x13\x07"), .rax = 1, .memory = ONES, .flags = CF,
         .then = {.rax = 1, .memory = ONES, .flags = CF | AF}},
        {"inc qword [rdi]", CODE("\x48\xff\x07"), .memory = ONES, .flags = CF,
         .then = {.flags = CF | ZF | AF | PF}},
        {"lock sub [rdi], ebx", CODE("\xf0\x29\x1f"), .rbx = 1, .memory = 0x1111111100000000,
         .then = {.memory = 0x11111111ffffffff, .flags = CF | SF | AF | PF}},
        {"lock adc [rdi], rax", CODE("\xf0\x48\x11\x07"), .memory = ONES, .flags = CF,
         .then = {.flags = CF | ZF | AF | PF}},
        {"lock neg word [rdi]", CODE("\x66\xf0\xf7\x1f"), .memory = 0x71118000,
         .then = {.memory = 0x71118000, .flags = CF | SF | OF | PF}},
        {"lock not byte [rdi]", CODE("\xf0\xf6\x17"), .memory = 0xff00, .flags = ALL,
         .then = {.memory = 0xffff, .flags = ALL}},
    };
    CHECK_ROWS(*state, rows);
}

static void lock_needs_a_memory_destination(void **state)
{
    struct guest *g = *state;
    assert_int_equal(TRY(g, "\xf0\x01\xd8"), VECTOR_UD); /* lock add eax, ebx */
    g->cpu->gpr[GPR_RDI] = DATA_AT;
    assert_int_equal(TRY(g, "\xf0\x39\x1f"), VECTOR_UD); /* lock cmp [rdi], ebx */
    assert_int_equal(TRY(g, "\xf0\x03\x1f"), VECTOR_UD); /* lock add ebx, [rdi] */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_of_every_width),
        TEST(immediates_are_sign_extended),
        TEST(one_operand),
        TEST(memory_operands),
        TEST(lock_needs_a_memory_destination),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
