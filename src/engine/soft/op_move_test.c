/* Moves, exchanges, extensions, conditions and the flag instructions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/soft_rows.h"

#define ONES UINT64_MAX

static void moves_keep_or_clear_the_rest(void **state)
{
    static const struct soft_row rows[] = {
        {"mov ah, bl", CODE("\x88\xdc"), .rax = ONES, .rbx = 5,
         .then = {.rax = 0xffffffffffff05ff}},
        {"mov ax, imm", CODE("\x66\xb8\x34\x12"), .rax = ONES, .then = {.rax = 0xffffffffffff1234}},
        {"mov eax, imm", CODE("\xb8\xff\xff\xff\xff"), .then = {.rax = 0xffffffff}},
        {"mov rax, imm32", CODE("\x48\xc7\xc0\xff\xff\xff\xff"), .then = {.rax = ONES}},
        {"mov rax, imm64", CODE("\x48\xb8\x88\x77\x66\x55\x44\x33\x22\x11"),
         .then = {.rax = 0x1122334455667788}},
        {"lea eax", CODE("\x8d\x44\x8b\xff"), .rax = ONES, .rbx = 0x1fffffffe, .rcx = 1,
         .then = {.rax = 1}},
        {"lea ax", CODE("\x66\x8d\x83\x45\x23\x01\x00"), .rax = ONES, .rbx = 1,
         .then = {.rax = 0xffffffffffff2346}},
        {"lea rax, [ebx+8]", CODE("\x67\x48\x8d\x43\x08"), .rbx = 0x1fffffffc, .then = {.rax = 4}},
    };
    CHECK_ROWS(*state, rows);
}

static void exchanges(void **state)
{
    static const struct soft_row rows[] = {
        {"xchg al, ah", CODE("\x86\xe0"), .rax = 0x71122, .then = {.rax = 0x72211}},
        {"xchg rax, rbx", CODE("\x48\x93"), .rax = 1, .rbx = 2, .then = {.rax = 2}},
        {"xchg [rdi], ax", CODE("\x66\x87\x07"), .rax = 0x71122, .memory = 0x93344,
         .then = {.rax = 0x73344, .memory = 0x91122}},
        {"xchg eax, eax", CODE("\x87\xc0"), .rax = ONES, .then = {.rax = 0xffffffff}},
        {"nop", CODE("\x90"), .rax = ONES, .then = {.rax = ONES}},
    };
    CHECK_ROWS(*state, rows);
}

static void extensions(void **state)
{
    static const struct soft_row rows[] = {
        {"movzx eax, bl", CODE("\x0f\xb6\xc3"), .rax = ONES, .rbx = 0x1f0, .then = {.rax = 0xf0}},
        {"movzx rax, bx", CODE("\x48\x0f\xb7\xc3"), .rbx = 0x1ffff, .then = {.rax = 0xffff}},
        {"movsx ax, bl", CODE("\x66\x0f\xbe\xc3"), .rax = 0x70000, .rbx = 0x80,
         .then = {.rax = 0x7ff80}},
        {"movsx rax, [rdi]", CODE("\x48\x0f\xbe\x07"), .memory = 0x80,
         .then = {.rax = 0xffffffffffffff80, .memory = 0x80}},
        {"movsxd rax, ebx", CODE("\x48\x63\xc3"), .rbx = 0x80000000,
         .then = {.rax = 0xffffffff80000000}},
        {"cbw", CODE("\x66\x98"), .rax = 0x70080, .then = {.rax = 0x7ff80}},
        {"cwde", CODE("\x98"), .rax = 0xf00008000, .then = {.rax = 0xffff8000}},
        {"cdqe", CODE("\x48\x98"), .rax = 0x80000000, .then = {.rax = 0xffffffff80000000}},
    };
    CHECK_ROWS(*state, rows);
}

static void doubled_registers(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RAX] = 0x80008000;
    g->cpu->gpr[GPR_RDX] = 0x7777777777777777;
    assert_int_equal(TRY(g, "\x66\x99"), PORT_DONE); /* cwd */
    assert_int_equal(g->cpu->gpr[GPR_RDX], 0x777777777777ffff);
    assert_int_equal(TRY(g, "\x99"), PORT_DONE); /* cdq */
    assert_int_equal(g->cpu->gpr[GPR_RDX], 0xffffffff);
    assert_int_equal(TRY(g, "\x48\x99"), PORT_DONE); /* cqo */
    assert_int_equal(g->cpu->gpr[GPR_RDX], 0);
}

/* Each condition with each of the flags alone, and with SF and OF together. */
static void conditions(void **state)
{
    struct guest *g = *state;
    static const unsigned flags[] = {0, CF, PF, ZF, SF, OF, SF | OF, ZF | SF | OF};
    static const uint8_t met[16] = {0x00 | 1 << 5 | 1 << 6 | 1 << 7,
                                    0x1f,
                                    1 << 1,
                                    (uint8_t) ~(1 << 1),
                                    1 << 3 | 1 << 7,
                                    (uint8_t) ~(1 << 3 | 1 << 7),
                                    1 << 1 | 1 << 3 | 1 << 7,
                                    (uint8_t) ~(1 << 1 | 1 << 3 | 1 << 7),
                                    1 << 4 | 1 << 6 | 1 << 7,
                                    (uint8_t) ~(1 << 4 | 1 << 6 | 1 << 7),
                                    1 << 2,
                                    (uint8_t) ~(1 << 2),
                                    1 << 4 | 1 << 5,
                                    (uint8_t) ~(1 << 4 | 1 << 5),
                                    1 << 3 | 1 << 4 | 1 << 5 | 1 << 7,
                                    (uint8_t) ~(1 << 3 | 1 << 4 | 1 << 5 | 1 << 7)};
    for (unsigned code = 0; code < 16; code++) {
        /* setcc cl; cmovcc edx, ebx; jcc over; inc esi; over: */
        const uint8_t bytes[] = {0x0f, (uint8_t)(0x90 | code), 0xc1, 0x0f, (uint8_t)(0x40 | code),
                                 0xd3, (uint8_t)(0x70 | code), 0x02, 0xff, 0xc6};
        guest_place(g, CODE_AT, bytes, sizeof(bytes));
        for (unsigned i = 0; i < 8; i++) {
            bool expected = (met[code] >> i) & 1;
            g->cpu->gpr[GPR_RBX] = 9;
            g->cpu->gpr[GPR_RCX] = 0x55;
            g->cpu->gpr[GPR_RDX] = ONES;
            g->cpu->gpr[GPR_RSI] = 0;
            g->cpu->flags = FLAG_FIXED | flags[i];
            guest_start(g, CODE_AT);
            assert_int_equal(guest_run_to_port(g), PORT_DONE);
            assert_int_equal(g->cpu->gpr[GPR_RCX], expected);
            assert_int_equal(g->cpu->gpr[GPR_RDX], expected ? 9 : 0xffffffff);
            assert_int_equal(g->cpu->gpr[GPR_RSI], !expected);
        }
    }
}

static void conditional_moves_and_sets_in_memory(void **state)
{
    static const struct soft_row rows[] = {
        {"cmovz ax, [rdi]", CODE("\x66\x0f\x44\x07"), .rax = 0x71111, .memory = 0x2222, .flags = ZF,
         .then = {.rax = 0x72222, .memory = 0x2222, .flags = ZF}},
        {"setg [rdi]", CODE("\x0f\x9f\x07"), .memory = ONES,
         .then = {.memory = 0xffffffffffffff01}},
        {"setc ah", CODE("\x0f\x92\xc4"), .rax = ONES, .flags = CF,
         .then = {.rax = 0xffffffffffff01ff, .flags = CF}},
        {"lahf", CODE("\x9f"), .flags = ALL, .then = {.rax = 0xd700, .flags = ALL}},
        {"sahf", CODE("\x9e"), .rax = 0xff00, .flags = OF, .then = {.rax = 0xff00, .flags = ALL}},
        {"sahf of 0", CODE("\x9e"), .flags = ALL, .then = {.flags = OF}},
        {"stc; cmc; setc al", CODE("\xf9\xf5\x0f\x92\xc0"), .rax = 0xff, .then = {.rax = 0}},
        {"cmc", CODE("\xf5"), .then = {.flags = CF}},
        {"clc", CODE("\xf8"), .flags = ALL, .then = {.flags = ALL & ~CF}},
    };
    CHECK_ROWS(*state, rows);
}

static void table_look_up(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RAX] = 0x11ff;
    guest_write(g, DATA_AT + 0xff, "\x5a", 1);
    assert_int_equal(TRY(g, "\xd7"), PORT_DONE); /* xlatb */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x115a);
    g->cpu->segment[SEGMENT_FS].base = 0x1000;
    g->cpu->gpr[GPR_RAX] = 1;
    guest_write(g, DATA_AT + 0x1001, "\x77", 1);
    assert_int_equal(TRY(g, "\x64\xd7"), PORT_DONE); /* xlatb from FS */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x77);
    g->cpu->gpr[GPR_RBX] = UINT64_C(0xf00000000) + DATA_AT;
    g->cpu->gpr[GPR_RAX] = 0xff;
    assert_int_equal(TRY(g, "\x67\xd7"), PORT_DONE); /* by EBX */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x5a);
}

static void direction_flag(void **state)
{
    struct guest *g = *state;
    assert_int_equal(TRY(g, "\xfd"), PORT_DONE); /* std */
    assert_int_equal(g->cpu->flags, FLAG_FIXED | FLAG_DF);
    assert_int_equal(TRY(g, "\xfc"), PORT_DONE); /* cld */
    assert_int_equal(g->cpu->flags, FLAG_FIXED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(moves_keep_or_clear_the_rest),
        TEST(exchanges),
        TEST(extensions),
        TEST(doubled_registers),
        TEST(conditions),
        TEST(conditional_moves_and_sets_in_memory),
        TEST(table_look_up),
        TEST(direction_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
