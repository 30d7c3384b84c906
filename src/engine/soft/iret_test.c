/* IRET in all modes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/ops.h"

enum { TARGET = 0xa000 };

static void push32(struct machine *m, uint32_t value)
{
    m->cpu->gpr[GPR_RSP] -= 4;
    put32(m, m->cpu->gpr[GPR_RSP], value);
}

static void push64(struct machine *m, uint64_t value)
{
    m->cpu->gpr[GPR_RSP] -= 8;
    put64(m, m->cpu->gpr[GPR_RSP], value);
}

static int iret(struct machine *m, unsigned width)
{
    struct op op = make_op(width);
    return transfer_iret(m->cpu, &op);
}

static void return_to_user_drops_kernel_segments(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_segment(m, SEGMENT_FS, USER_DATA);
    use_segment(m, SEGMENT_GS, CONFORMING_CODE);
    push32(m, USER_DATA);
    push32(m, STACK_USER);
    push32(m, FLAG_IF | FLAG_IOPL | FLAG_RF | FLAG_CF);
    push32(m, USER_CODE);
    push32(m, TARGET);
    m->cpu->nmi_blocked = true;
    assert_int_equal(iret(m, 4), STEP_JUMP);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->rip, TARGET);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_IF | FLAG_IOPL | FLAG_RF | FLAG_CF);
    assert_int_equal(m->cpu->segment[SEGMENT_DS].selector, 0);
    assert_int_equal(m->cpu->segment[SEGMENT_FS].selector, USER_DATA);
    assert_int_equal(m->cpu->segment[SEGMENT_GS].selector, CONFORMING_CODE);
    assert_false(m->cpu->nmi_blocked);
}

static void user_cannot_change_privileged_flags(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    push32(m, FLAG_IOPL | FLAG_VM | FLAG_VIF | FLAG_ID | FLAG_AC);
    push32(m, USER_CODE);
    push32(m, TARGET);
    assert_int_equal(iret(m, 4), STEP_JUMP);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_IF | FLAG_ID | FLAG_AC);
    push32(m, FLAG_IF);
    push32(m, KERNEL_CODE);
    push32(m, TARGET);
    m->cpu->nmi_blocked = true;
    expect_fault(m, iret(m, 4), VECTOR_GP, KERNEL_CODE);
    assert_false(m->cpu->nmi_blocked);
}

static void returns_check_code_and_stack(void **state)
{
    static const struct {
        unsigned cs, ss, vector, code;
    } cases[] = {
        {0, USER_DATA, VECTOR_GP, 0},
        {USER_CODE & ~3, USER_DATA, VECTOR_GP, USER_CODE & ~3},
        {KERNEL_CODE | 3, USER_DATA, VECTOR_GP, KERNEL_CODE},
        {USER_DATA, USER_DATA, VECTOR_GP, USER_DATA & ~3},
        {USER_CODE, 3, VECTOR_GP, 0},
        {USER_CODE, KERNEL_DATA, VECTOR_GP, KERNEL_DATA},
        {USER_CODE, KERNEL_DATA | 3, VECTOR_GP, KERNEL_DATA},
        {USER_CODE, SCRATCH | 3, VECTOR_SS, SCRATCH},
        {(SCRATCH + 8) | 3, USER_DATA, VECTOR_NP, SCRATCH + 8},
        {(SCRATCH + 16) | 3, USER_DATA, VECTOR_GP, 0},
    };
    struct machine *m = *state;
    use_protected(m);
    set_gdt(m, SCRATCH, 0, 0xfffff, (DATA_ATTRIBUTES | BIG | DPL3) & ~SEGMENT_P);
    set_gdt(m, SCRATCH + 8, 0, 0xfffff, (CODE_ATTRIBUTES | BIG | DPL3) & ~SEGMENT_P);
    set_gdt(m, SCRATCH + 16, 0, TARGET - 1, CODE_ATTRIBUTES | DPL3);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        use_level(m, KERNEL_CODE, KERNEL_DATA);
        push32(m, cases[i].ss);
        push32(m, STACK_USER);
        push32(m, 0);
        push32(m, cases[i].cs);
        push32(m, TARGET);
        uint64_t rsp = m->cpu->gpr[GPR_RSP];
        expect_fault(m, iret(m, 4), cases[i].vector, cases[i].code);
        assert_int_equal(m->cpu->gpr[GPR_RSP], rsp);
        assert_int_equal(m->cpu->cpl, 0);
        assert_int_equal(m->cpu->segment[SEGMENT_DS].selector, KERNEL_DATA);
    }
}

static void return_to_virtual_8086_mode(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    static const uint16_t segments[] = {0x500, 0x400, 0x300, 0x200, 0x1000};
    for (unsigned i = 0; i < 5; i++) /* GS, FS, DS, ES, SS */
        push32(m, segments[i]);
    uint64_t top = m->cpu->gpr[GPR_RSP];
    put32(m, top - 4, 0xfff0);
    put32(m, top - 8, FLAG_VM | FLAG_IOPL | FLAG_IF);
    put32(m, top - 12, 0x900);
    put32(m, top - 16, 0x1234);
    m->cpu->gpr[GPR_RSP] = top - 16;
    assert_int_equal(iret(m, 4), STEP_JUMP);
    assert_true(m->cpu->mode & MODE_V86);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->gpr[GPR_RSP], 0xfff0);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].base, 0x9000);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].base, 0x10000);
    assert_int_equal(m->cpu->segment[SEGMENT_GS].selector, 0x500);
    assert_int_equal(m->cpu->segment[SEGMENT_ES].attributes, DATA_ATTRIBUTES | DPL3);
    put16(m, 0x1fff0, 0x44);
    put16(m, 0x1fff2, 0x901);
    put16(m, 0x1fff4, FLAG_CF);
    assert_int_equal(iret(m, 2), STEP_JUMP);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_VM | FLAG_IOPL | FLAG_CF);
    assert_int_equal(m->cpu->rip, 0x44);
    m->cpu->flags &= ~(uint64_t)FLAG_IOPL;
    expect_fault(m, iret(m, 2), VECTOR_GP, 0);
    struct op op = make_op(2);
    op.imm = 0x21;
    expect_fault(m, op_int(m->cpu, &op), VECTOR_GP, 0);
}

static void long_mode_iret_always_pops_the_stack(void **state)
{
    struct machine *m = *state;
    use_long(m);
    push64(m, 0);
    push64(m, 0x12340);
    push64(m, FLAG_IF);
    push64(m, KERNEL_CODE64);
    push64(m, TARGET);
    assert_int_equal(iret(m, 8), STEP_JUMP);
    assert_int_equal(m->cpu->gpr[GPR_RSP], 0x12340);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, 0);
    assert_int_equal(m->cpu->cpl, 0);
}

static void long_mode_iret_refuses(void **state)
{
    static const struct {
        uint64_t rip, cs, ss;
        unsigned vector, code;
    } cases[] = {
        {UINT64_C(0x800000000000), KERNEL_CODE64, KERNEL_DATA, VECTOR_GP, 0},
        {TARGET, USER_CODE64, 3, VECTOR_GP, 0},
        {TARGET, KERNEL_CODE, 0, VECTOR_GP, 0},
        {TARGET, SCRATCH, KERNEL_DATA, VECTOR_GP, SCRATCH}, /* L and D */
    };
    struct machine *m = *state;
    use_long(m);
    set_gdt(m, SCRATCH, 0, 0xfffff, CODE_ATTRIBUTES | SEGMENT_L | SEGMENT_DB);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        use_level(m, KERNEL_CODE64, KERNEL_DATA);
        push64(m, cases[i].ss);
        push64(m, STACK_USER);
        push64(m, 0);
        push64(m, cases[i].cs);
        push64(m, cases[i].rip);
        expect_fault(m, iret(m, 8), cases[i].vector, cases[i].code);
    }
    m->cpu->flags |= FLAG_NT;
    expect_fault(m, iret(m, 8), VECTOR_GP, 0);
}

static void return_to_16_bit_stack_keeps_the_upper_half(void **state)
{
    struct machine *m = *state;
    use_long(m);
    push64(m, USER_DATA16);
    push64(m, 0xaaaa5678);
    push64(m, FLAG_IF);
    push64(m, USER_CODE);
    push64(m, TARGET);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(iret(m, 8), STEP_JUMP);
    assert_int_equal(m->cpu->gpr[GPR_RSP], (rsp & ~UINT64_C(0xffff)) | 0x5678);
    assert_false(cpu_long(m->cpu));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(return_to_user_drops_kernel_segments),
        machine_test(user_cannot_change_privileged_flags),
        machine_test(returns_check_code_and_stack),
        machine_test(return_to_virtual_8086_mode),
        machine_test(long_mode_iret_always_pops_the_stack),
        machine_test(long_mode_iret_refuses),
        machine_test(return_to_16_bit_stack_keeps_the_upper_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
