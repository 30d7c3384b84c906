/* Far branches and software interrupts as instructions: operands, and where they return to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/ops.h"

enum { TARGET = 0xa000, POINTER = 0x9800 };

static void jump_takes_selector_and_offset(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_protected(m);
    op.extra = KERNEL_CODE16;
    op.imm = TARGET;
    assert_int_equal(op_far_jump(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->rip, TARGET);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, KERNEL_CODE16);
}

static void pointers_come_from_memory(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_long(m);
    op.flags = OP_MEMORY;
    op.disp = POINTER;
    put64(m, POINTER, UINT64_C(0xffff800000000000));
    put16(m, POINTER + 8, KERNEL_CODE64);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(op_far_call_indirect(m->cpu, &op), STEP_JUMP);
    assert_true(m->cpu->rip == UINT64_C(0xffff800000000000));
    assert_int_equal(get64(m, rsp - 16), CODE + 2);
    m->cpu->rip = CODE;
    op.width = 4; /* m16:32 */
    put32(m, POINTER, TARGET);
    put16(m, POINTER + 4, KERNEL_CODE);
    assert_int_equal(op_far_jump_indirect(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->rip, TARGET);
    assert_false(cpu_long(m->cpu));
}

static void return_drops_its_immediate(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_protected(m);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    put32(m, rsp, TARGET);
    put32(m, rsp + 4, KERNEL_CODE);
    op.imm = 0xfff0;
    assert_int_equal(op_far_return(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->rip, TARGET);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp + 8 + 0xfff0);
}

typedef int (*handler_fn)(struct cpu *cpu, const struct op *op);

static void expect_entry(struct machine *m, handler_fn handler, unsigned vector)
{
    struct op op = make_op(4);
    op.imm = vector;
    use_protected(m);
    m->cpu->flags |= FLAG_OF;
    m->cpu->entered = false;
    set_gate(m, vector, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(handler(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->rip, HANDLER);
    assert_int_equal(get32(m, rsp - 12), CODE + 2);
    assert_true(m->cpu->entered);
}

static void software_interrupts_return_behind_themselves(void **state)
{
    struct machine *m = *state;
    expect_entry(m, op_int, 0x80);
    expect_entry(m, op_int3, VECTOR_BP);
    expect_entry(m, op_into, VECTOR_OF);
    expect_entry(m, op_icebp, VECTOR_DB);
}

static void into_wants_the_overflow_flag(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_protected(m);
    assert_int_equal(op_into(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->rip, CODE);
}

static void gates_of_level_0_are_closed_to_user_code(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    set_gate(m, VECTOR_BP, KERNEL_CODE, HANDLER, SYSTEM_TRAP_GATE);
    set_gate(m, VECTOR_DB, KERNEL_CODE, HANDLER, SYSTEM_TRAP_GATE);
    expect_fault(m, op_int3(m->cpu, &op), VECTOR_GP, VECTOR_BP * 8 + 2);
    assert_int_equal(m->cpu->rip, CODE);
    assert_int_equal(op_icebp(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->cpl, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(jump_takes_selector_and_offset),
        machine_test(pointers_come_from_memory),
        machine_test(return_drops_its_immediate),
        machine_test(software_interrupts_return_behind_themselves),
        machine_test(into_wants_the_overflow_flag),
        machine_test(gates_of_level_0_are_closed_to_user_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
