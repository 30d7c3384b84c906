/* Far jumps, calls and returns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/ops.h"

enum { TARGET = 0xa000, GATE = SCRATCH };

static void push32(struct machine *m, uint32_t value)
{
    m->cpu->gpr[GPR_RSP] -= 4;
    put32(m, m->cpu->gpr[GPR_RSP], value);
}

static int jump(struct machine *m, unsigned selector, uint64_t offset)
{
    struct op op = make_op(4);
    return transfer_far_jump(m->cpu, &op, (uint16_t)selector, offset);
}

static int call(struct machine *m, unsigned width, unsigned selector, uint64_t offset)
{
    struct op op = make_op(width);
    return transfer_far_call(m->cpu, &op, (uint16_t)selector, offset);
}

static int far_return(struct machine *m, unsigned width, unsigned extra)
{
    struct op op = make_op(width);
    return transfer_far_return(m->cpu, &op, (uint16_t)extra);
}

/* ---- direct ---- */

struct jump_case {
    unsigned level;
    unsigned selector;
    unsigned vector, code;
};

static void direct_targets_are_checked(void **state)
{
    static const struct jump_case cases[] = {
        {0, KERNEL_CODE, 0, 0},
        {0, KERNEL_CODE | 3, VECTOR_GP, KERNEL_CODE},
        {0, 0, VECTOR_GP, 0},
        {0, 3, VECTOR_GP, 0},
        {0, USER_CODE, VECTOR_GP, USER_CODE & ~3},
        {3, USER_CODE, 0, 0},
        {3, USER_CODE & ~3, 0, 0},
        {3, CONFORMING_CODE, 0, 0},
        {3, KERNEL_CODE, VECTOR_GP, KERNEL_CODE},
        {0, KERNEL_DATA, VECTOR_GP, KERNEL_DATA},
        {0, SCRATCH, VECTOR_NP, SCRATCH},
        {0, SCRATCH + 8, VECTOR_GP, 0}, /* limit below the target */
        {0, GDT_LIMIT + 1, VECTOR_GP, GDT_LIMIT + 1},
    };
    struct machine *m = *state;
    use_protected(m);
    set_gdt(m, SCRATCH, 0, 0xfffff, CODE_ATTRIBUTES & ~SEGMENT_P);
    set_gdt(m, SCRATCH + 8, 0, TARGET - 1, CODE_ATTRIBUTES);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool user = cases[i].level == 3;
        use_level(m, user ? USER_CODE : KERNEL_CODE, user ? USER_DATA : KERNEL_DATA);
        int step = jump(m, cases[i].selector, TARGET);
        if (cases[i].vector != 0) {
            expect_fault(m, step, cases[i].vector, cases[i].code);
            assert_int_equal(m->cpu->rip, CODE);
            continue;
        }
        assert_int_equal(step, STEP_JUMP);
        assert_int_equal(m->cpu->rip, TARGET);
        assert_int_equal(m->cpu->segment[SEGMENT_CS].selector,
                         (cases[i].selector & ~3u) | cases[i].level);
        assert_int_equal(m->cpu->cpl, cases[i].level);
    }
}

static void call_and_return_at_the_same_level(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(call(m, 4, KERNEL_CODE16, TARGET), STEP_JUMP);
    assert_int_equal(get32(m, rsp - 8), CODE + 2);
    assert_int_equal(get32(m, rsp - 4), KERNEL_CODE);
    assert_false(m->cpu->mode & MODE_CODE32);
    assert_int_equal(far_return(m, 4, 0), STEP_JUMP);
    assert_int_equal(m->cpu->rip, CODE + 2);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp);
    assert_true(m->cpu->mode & MODE_CODE32);
}

static void real_mode_call_and_return(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    segment_load_real(cpu, SEGMENT_CS, 0x900);
    segment_load_real(cpu, SEGMENT_SS, 0x1000);
    cpu->gpr[GPR_RSP] = 0x100;
    cpu->rip = 0x20;
    cpu_mode_changed(cpu);
    assert_int_equal(call(m, 2, 0x1234, 0x5678), STEP_JUMP);
    assert_int_equal(cpu->segment[SEGMENT_CS].base, 0x12340);
    assert_int_equal(cpu->rip, 0x5678);
    assert_int_equal(get16(m, 0x100fc), 0x22);
    assert_int_equal(far_return(m, 2, 6), STEP_JUMP);
    assert_int_equal(cpu->rip, 0x22);
    assert_int_equal(cpu->gpr[GPR_RSP], 0x106);
    expect_fault(m, call(m, 4, 0x1234, 0x10000), VECTOR_GP, 0);
}

/* ---- call gates ---- */

static void inner_call_copies_parameters(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    put64(m, AT_GDT + GATE,
          make_gate(KERNEL_CODE, TARGET, SYSTEM_CALL_GATE, 3) | UINT64_C(2) << 32);
    push32(m, 0x2222);
    push32(m, 0x1111);
    uint32_t rsp = (uint32_t)m->cpu->gpr[GPR_RSP];
    assert_int_equal(call(m, 4, GATE | 3, 0), STEP_JUMP);
    const uint32_t frame[] = {CODE + 2, USER_CODE, 0x1111, 0x2222, rsp, USER_DATA};
    assert_memory_equal(m->ram + STACK_KERNEL - sizeof(frame), frame, sizeof(frame));
    assert_int_equal(m->cpu->cpl, 0);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, KERNEL_CODE);
    assert_int_equal(m->cpu->rip, TARGET);
    assert_int_equal(far_return(m, 4, 8), STEP_JUMP);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->rip, CODE + 2);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp + 8);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, USER_DATA);
}

static void gates_are_checked(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    put64(m, AT_GDT + GATE, make_gate(KERNEL_CODE, TARGET, SYSTEM_CALL_GATE, 0));
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_GP, GATE);
    put64(m, AT_GDT + GATE,
          make_gate(KERNEL_CODE, TARGET, SYSTEM_CALL_GATE, 3) & ~(UINT64_C(1) << 47));
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_NP, GATE);
    put64(m, AT_GDT + GATE, make_gate(0, TARGET, SYSTEM_CALL_GATE, 3));
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_GP, 0);
    put64(m, AT_GDT + GATE, make_gate(USER_DATA, TARGET, SYSTEM_CALL_GATE, 3));
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_GP, USER_DATA & ~3);
    put64(m, AT_GDT + GATE, make_gate(KERNEL_CODE, TARGET, SYSTEM_CALL_GATE, 3));
    expect_fault(m, jump(m, GATE, 0), VECTOR_GP, KERNEL_CODE);
    put32(m, AT_TSS + 8, USER_DATA);
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_TS, USER_DATA & ~3);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER);
}

static void gate_of_16_bits_truncates(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    put64(m, AT_GDT + GATE, make_gate(KERNEL_CODE, 0x1234a000, SYSTEM_CALL_GATE16, 0));
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(call(m, 4, GATE, 0), STEP_JUMP);
    assert_int_equal(m->cpu->rip, 0xa000);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp - 4);
}

static void long_mode_gate_changes_to_rsp0(void **state)
{
    struct machine *m = *state;
    use_long(m);
    use_level(m, USER_CODE, USER_DATA); /* compatibility mode */
    put64(m, AT_GDT + GATE, make_gate(KERNEL_CODE64, TARGET, SYSTEM_CALL_GATE, 3));
    put64(m, AT_GDT + GATE + 8, 0);
    assert_int_equal(call(m, 4, GATE, 0), STEP_JUMP);
    const uint64_t frame[] = {CODE + 2, USER_CODE, STACK_USER, USER_DATA};
    assert_memory_equal(m->ram + STACK_KERNEL - sizeof(frame), frame, sizeof(frame));
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, 0);
    assert_true(cpu_long(m->cpu));
    assert_int_equal(far_return(m, 8, 0), STEP_JUMP);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, USER_CODE);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER);
    put64(m, AT_GDT + GATE + 8, UINT64_C(1) << 40);
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_GP, GATE);
    put64(m, AT_GDT + GATE, make_gate(KERNEL_CODE, TARGET, SYSTEM_CALL_GATE, 3));
    put64(m, AT_GDT + GATE + 8, 0);
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_GP, KERNEL_CODE);
    put64(m, AT_GDT + GATE, make_gate(KERNEL_CODE64, TARGET, SYSTEM_CALL_GATE16, 3));
    expect_fault(m, call(m, 4, GATE, 0), VECTOR_GP, GATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(direct_targets_are_checked),
        machine_test(call_and_return_at_the_same_level),
        machine_test(real_mode_call_and_return),
        machine_test(inner_call_copies_parameters),
        machine_test(gates_are_checked),
        machine_test(gate_of_16_bits_truncates),
        machine_test(long_mode_gate_changes_to_rsp0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
