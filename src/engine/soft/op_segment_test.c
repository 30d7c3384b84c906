/* Instructions that move selectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/ops.h"

static void mov_to_stack_segment_shadows_interrupts(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    struct op op = make_op(2);
    op.extra = SEGMENT_SS;
    op.rm = GPR_RBX * 8;
    m->cpu->gpr[GPR_RBX] = KERNEL_DATA;
    assert_int_equal(op_mov_to_segment(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->shadow, SHADOW_STACK);
    assert_int_equal(m->cpu->rip, CODE + 2);
    op.extra = SEGMENT_CS;
    expect_undefined(m, op_mov_to_segment(m->cpu, &op));
}

static void pop_restores_the_stack_when_the_load_faults(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    struct op op = make_op(4);
    op.extra = SEGMENT_DS;
    put32(m, rsp, TSS_SELECTOR);
    expect_fault(m, op_pop_segment(m->cpu, &op), VECTOR_GP, TSS_SELECTOR);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp);
    put32(m, rsp, USER_DATA);
    assert_int_equal(op_pop_segment(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp + 4);
    assert_int_equal(m->cpu->segment[SEGMENT_DS].selector, USER_DATA);
}

static void push_writes_two_bytes_of_four(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    struct op op = make_op(4);
    op.extra = SEGMENT_SS;
    put32(m, rsp - 4, 0xdeadbeef);
    assert_int_equal(op_push_segment(m->cpu, &op), STEP_NEXT);
    assert_int_equal(get32(m, rsp - 4), 0xdead0000 | KERNEL_DATA);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp - 4);
}

static void far_pointer_loads_both_or_none(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    struct op op = make_op(4);
    op.flags = OP_MEMORY | OP_REVERSED;
    op.extra = SEGMENT_GS;
    op.reg = GPR_RSI * 8;
    op.disp = 0x9800;
    put32(m, 0x9800, 0x11223344);
    put16(m, 0x9804, TSS_SELECTOR);
    expect_fault(m, op_load_far_pointer(m->cpu, &op), VECTOR_GP, TSS_SELECTOR);
    assert_int_equal(m->cpu->gpr[GPR_RSI], 0);
    put16(m, 0x9804, USER_DATA);
    assert_int_equal(op_load_far_pointer(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RSI], 0x11223344);
    assert_int_equal(m->cpu->segment[SEGMENT_GS].selector, USER_DATA);
}

static void arpl_raises_the_requested_level(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    struct op op = make_op(2);
    op.flags = OP_MEMORY;
    op.disp = 0x9800;
    op.reg = GPR_RCX * 8;
    m->cpu->gpr[GPR_RCX] = 3;
    put16(m, 0x9800, 0x1231);
    assert_int_equal(op_arpl(m->cpu, &op), STEP_NEXT);
    assert_int_equal(get16(m, 0x9800), 0x1233);
    assert_true(m->cpu->flags & FLAG_ZF);
    assert_int_equal(op_arpl(m->cpu, &op), STEP_NEXT);
    assert_false(m->cpu->flags & FLAG_ZF);
    m->cpu->cr0 &= ~(uint64_t)CR0_PE;
    cpu_mode_changed(m->cpu);
    expect_undefined(m, op_arpl(m->cpu, &op));
}

static void user_stores_are_hidden_by_umip(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    struct op op = make_op(4);
    op.rm = GPR_RDX * 8;
    assert_int_equal(op_str(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RDX], TSS_SELECTOR);
    m->cpu->cr4 |= CR4_UMIP;
    assert_int_equal(op_sldt(m->cpu, &op), STEP_NEXT);
    use_level(m, USER_CODE, USER_DATA);
    expect_fault(m, op_sldt(m->cpu, &op), VECTOR_GP, 0);
    expect_fault(m, op_str(m->cpu, &op), VECTOR_GP, 0);
    expect_fault(m, op_lldt(m->cpu, &op), VECTOR_GP, 0);
    expect_fault(m, op_ltr(m->cpu, &op), VECTOR_GP, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(mov_to_stack_segment_shadows_interrupts),
        machine_test(pop_restores_the_stack_when_the_load_faults),
        machine_test(push_writes_two_bytes_of_four),
        machine_test(far_pointer_loads_both_or_none),
        machine_test(arpl_raises_the_requested_level),
        machine_test(user_stores_are_hidden_by_umip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
