/* Near branches: targets, counts, limits, what a refused branch leaves behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_fixture.h"

static void call_and_return(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RBX] = DATA_AT;
    guest_write(g, DATA_AT, "\xb0\x07\xc2\x08\x00", 5); /* mov al, 7; ret 8 */
    assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE);    /* call rbx */
    assert_int_equal(gpr[GPR_RAX], 7);
    assert_int_equal(gpr[GPR_RSP], STACK_TOP + 8);
    assert_int_equal(guest_read64(g, STACK_TOP - 8), CODE_AT + 2);
    guest_write64(g, LARGE_AT, DATA_AT);
    gpr[GPR_RBX] = LARGE_AT;
    gpr[GPR_RAX] = 0;
    assert_int_equal(TRY(g, "\xff\x13"), PORT_DONE); /* call [rbx] */
    assert_int_equal(gpr[GPR_RAX], 7);
}

static void relative_branches_go_both_ways(void **state)
{
    struct guest *g = *state;
    /* jmp 2f; 1: mov al, 5; jmp 3f; 2: jmp 1b; 3: */
    assert_int_equal(TRY(g, "\xeb\x04\xb0\x05\xeb\x02\xeb\xfa"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 5);
    assert_int_equal(TRY(g, "\xe8\x00\x00\x00\x00\x58"), PORT_DONE); /* call next; pop rax */
    assert_int_equal(g->cpu->gpr[GPR_RAX], CODE_AT + 5);
}

static void refused_targets_are_faults_of_the_branch(void **state)
{
    struct guest *g = *state;
    uint64_t hole = UINT64_C(1) << 47;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RBX] = hole;
    assert_int_equal(TRY(g, "\xff\xe3"), VECTOR_GP); /* jmp rbx */
    assert_int_equal(guest_frame(g, 1), CODE_AT);
    gpr[GPR_RSP] = STACK_TOP;
    guest_write64(g, STACK_TOP - 8, 0);
    assert_int_equal(TRY(g, "\xff\xd3"), VECTOR_GP); /* call rbx: nothing pushed */
    assert_int_equal(guest_frame(g, 1), CODE_AT);
    assert_int_equal(guest_frame(g, 4), STACK_TOP);
    gpr[GPR_RSP] = STACK_TOP - 8;
    guest_write64(g, STACK_TOP - 8, hole);
    assert_int_equal(TRY(g, "\xc3"), VECTOR_GP); /* ret: RSP stays */
    assert_int_equal(guest_frame(g, 1), CODE_AT);
    assert_int_equal(guest_frame(g, 4), STACK_TOP - 8);
}

static void targets_past_the_limit_are_faults_of_the_branch(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->segment[SEGMENT_CS].limit = CODE_AT + 0xfff;
    cpu_mode_changed(g->cpu);
    g->cpu->gpr[GPR_RBX] = CODE_AT + 0x1000;
    assert_int_equal(TRY(g, "\xff\xe3"), VECTOR_GP); /* jmp ebx */
    assert_int_equal(guest_read32(g, g->cpu->gpr[GPR_RSP] + 4), CODE_AT);
}

static void loops_count_down(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RCX] = 5;
    assert_int_equal(TRY(g, "\xff\xc0\xe2\xfc"), PORT_DONE); /* 1: inc eax; loop 1b */
    assert_int_equal(gpr[GPR_RAX], 5);
    assert_int_equal(gpr[GPR_RCX], 0);
    gpr[GPR_RAX] = 0;
    gpr[GPR_RCX] = UINT64_C(0x700000003);
    assert_int_equal(TRY(g, "\xff\xc0\x67\xe2\xfb"), PORT_DONE); /* by ECX */
    assert_int_equal(gpr[GPR_RAX], 3);
    assert_int_equal(gpr[GPR_RCX], 0);
    /* 1: inc eax; cmp eax, 2; loopne 1b */
    gpr[GPR_RAX] = 0;
    gpr[GPR_RCX] = 10;
    assert_int_equal(TRY(g, "\xff\xc0\x83\xf8\x02\xe0\xf9"), PORT_DONE);
    assert_int_equal(gpr[GPR_RCX], 8);
    /* 1: inc eax; cmp eax, eax; loope 1b */
    gpr[GPR_RAX] = 0;
    gpr[GPR_RCX] = 4;
    assert_int_equal(TRY(g, "\xff\xc0\x39\xc0\xe1\xfa"), PORT_DONE);
    assert_int_equal(gpr[GPR_RAX], 4);
}

static void jump_if_the_count_is_zero(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RCX] = UINT64_C(0x100000000);
    assert_int_equal(TRY(g, "\xe3\x02\xff\xc0"), PORT_DONE); /* jrcxz 1f; inc eax; 1: */
    assert_int_equal(gpr[GPR_RAX], 1);
    assert_int_equal(TRY(g, "\x67\xe3\x02\xff\xc0"), PORT_DONE); /* by ECX */
    assert_int_equal(gpr[GPR_RAX], 1);
}

static void sixteen_bit_targets_are_cut_off(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    PLACE(g, 0xa000, "\xb0\x09"); /* mov al, 9 */
    g->cpu->gpr[GPR_RBX] = 0x7777a000;
    assert_int_equal(TRY(g, "\x66\xff\xe3"), PORT_DONE); /* jmp bx */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 9);
    assert_int_equal(g->cpu->rip, 0xa002);
}

static void privileged_ones_need_privilege(void **state)
{
    struct guest *g = *state;
    static const char codes[][2] = {"\xf4", "\xfa", "\xfb"}; /* hlt, cli, sti */
    for (unsigned i = 0; i < 3; i++) {
        guest_use_long(g, 0);
        guest_use_user(g, 0);
        assert_int_equal(guest_try(g, codes[i], 1), VECTOR_GP);
        assert_int_equal(guest_frame(g, 0), 0);
    }
    guest_use_long(g, 0);
    guest_use_user(g, 0);
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IOPL);
    assert_int_equal(TRY(g, "\xfb\x90\xfa"), PORT_DONE); /* sti; nop; cli */
    assert_int_equal(g->cpu->flags & FLAG_IF, 0);
}

static void bounds(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    guest_write64(g, DATA_AT, UINT64_C(0x00000005fffffffe)); /* -2 … 5 */
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    static const struct {
        uint32_t index;
        int outcome;
    } cases[] = {{5, PORT_DONE},
                 {6, VECTOR_BR},
                 {UINT32_MAX - 1, PORT_DONE},
                 {UINT32_MAX - 2, VECTOR_BR},
                 {0, PORT_DONE}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        g->cpu->gpr[GPR_RAX] = cases[i].index;
        assert_int_equal(TRY(g, "\x62\x03"), cases[i].outcome); /* bound eax, [ebx] */
    }
}

static void undefined_instructions(void **state)
{
    struct guest *g = *state;
    assert_int_equal(TRY(g, "\x0f\x0b"), VECTOR_UD);
    assert_int_equal(guest_frame(g, 0), CODE_AT);
    assert_int_equal(TRY(g, "\x37"), VECTOR_UD); /* aaa: not in 64-bit code */
    assert_int_equal(TRY(g, "\x06"), VECTOR_UD); /* push es */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(call_and_return),
        TEST(relative_branches_go_both_ways),
        TEST(refused_targets_are_faults_of_the_branch),
        TEST(targets_past_the_limit_are_faults_of_the_branch),
        TEST(loops_count_down),
        TEST(jump_if_the_count_is_zero),
        TEST(sixteen_bit_targets_are_cut_off),
        TEST(privileged_ones_need_privilege),
        TEST(bounds),
        TEST(undefined_instructions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
