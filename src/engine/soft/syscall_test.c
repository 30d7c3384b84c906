/* SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/ops.h"

enum { TARGET = 0xa000 };

static void use_syscall(struct machine *m)
{
    use_long(m);
    use_level(m, USER_CODE64, USER_DATA);
    m->cpu->star = (uint64_t)KERNEL_CODE << 32 | (uint64_t)(KERNEL_DATA | 3) << 48;
    m->cpu->lstar = TARGET;
    m->cpu->sfmask = FLAG_IF | FLAG_TF;
    m->cpu->sysenter_cs = KERNEL_CODE;
    m->cpu->sysenter_eip = TARGET;
    m->cpu->sysenter_esp = STACK_KERNEL;
}

static void syscall_and_sysret(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_syscall(m);
    assert_int_equal(op_syscall(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->gpr[GPR_RCX], CODE + 2);
    assert_int_equal(m->cpu->gpr[GPR_R11], FLAG_FIXED | FLAG_IF);
    assert_int_equal(m->cpu->flags, FLAG_FIXED);
    assert_int_equal(m->cpu->rip, TARGET);
    assert_int_equal(m->cpu->cpl, 0);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, KERNEL_CODE);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, KERNEL_DATA);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER);
    assert_int_equal(op_sysret(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->rip, CODE + 2);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, (KERNEL_DATA + 16) | 3);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, (KERNEL_DATA + 8) | 3);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_IF);
}

static void sysret_faults_at_level_0(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_syscall(m);
    expect_fault(m, op_sysret(m->cpu, &op), VECTOR_GP, 0);
    use_level(m, KERNEL_CODE64, KERNEL_DATA);
    m->cpu->gpr[GPR_RCX] = UINT64_C(0x800000000000);
    expect_fault(m, op_sysret(m->cpu, &op), VECTOR_GP, 0);
    assert_int_equal(m->cpu->cpl, 0);
    op.width = 4;
    assert_int_equal(op_sysret(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->rip, 0);
    assert_false(cpu_long(m->cpu));
    m->cpu->efer &= ~(uint64_t)EFER_SCE;
    use_level(m, KERNEL_CODE64, KERNEL_DATA);
    expect_undefined(m, op_syscall(m->cpu, &op));
    expect_undefined(m, op_sysret(m->cpu, &op));
}

static void syscall_is_for_64_bit_code(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_syscall(m);
    use_level(m, USER_CODE, USER_DATA);
    expect_undefined(m, op_syscall(m->cpu, &op));
    expect_undefined(m, op_swapgs(m->cpu, &op));
    use_level(m, USER_CODE64, USER_DATA);
    expect_fault(m, op_swapgs(m->cpu, &op), VECTOR_GP, 0);
}

static void sysenter_and_sysexit(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_syscall(m);
    use_level(m, USER_CODE, USER_DATA);
    assert_int_equal(op_sysenter(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->rip, TARGET);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_KERNEL);
    assert_int_equal(m->cpu->flags, FLAG_FIXED);
    assert_true(cpu_long(m->cpu));
    m->cpu->gpr[GPR_RDX] = UINT64_C(0x800000000000);
    expect_fault(m, op_sysexit(m->cpu, &op), VECTOR_GP, 0);
    m->cpu->gpr[GPR_RDX] = CODE;
    m->cpu->gpr[GPR_RCX] = STACK_USER;
    assert_int_equal(op_sysexit(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, (KERNEL_CODE + 32) | 3);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, (KERNEL_CODE + 40) | 3);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER);
    m->cpu->sysenter_cs = 3;
    expect_fault(m, op_sysenter(m->cpu, &op), VECTOR_GP, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(syscall_and_sysret),
        machine_test(sysret_faults_at_level_0),
        machine_test(syscall_is_for_64_bit_code),
        machine_test(sysenter_and_sysexit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
