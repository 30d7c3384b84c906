/* Hardware task switches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"

enum { TSS2 = SCRATCH, GATE = SCRATCH + 8, TASK_CODE = 0xb000, TASK_STACK = 0x50000 };

/* A 32-bit TSS for a second task at level 0, and a task gate to it. */
static void use_tasks(struct machine *m)
{
    use_protected(m);
    memset(m->ram + AT_TSS2, 0, 0x68);
    set_gdt(m, TSS2, AT_TSS2, 0x67, SEGMENT_P | SYSTEM_TSS);
    put64(m, AT_GDT + GATE, make_gate(TSS2, 0, SYSTEM_TASK_GATE, 0));
    put32(m, AT_TSS2 + 0x20, TASK_CODE);
    put32(m, AT_TSS2 + 0x24, FLAG_CF);
    put32(m, AT_TSS2 + 0x28, 0xaaaa); /* EAX */
    put32(m, AT_TSS2 + 0x38, TASK_STACK);
    put32(m, AT_TSS2 + 0x48, USER_DATA); /* ES */
    put32(m, AT_TSS2 + 0x4c, KERNEL_CODE);
    put32(m, AT_TSS2 + 0x50, KERNEL_DATA);
    put32(m, AT_TSS2 + 0x54, KERNEL_DATA);
    m->cpu->gpr[GPR_RAX] = 0x1111;
    m->cpu->segment[SEGMENT_LDTR] = segment_null(0, 0);
}

static uint8_t type_in_gdt(const struct machine *m, unsigned selector)
{
    return m->ram[AT_GDT + selector + 5];
}

static void expect_second_task(const struct machine *m, unsigned tss_type)
{
    const struct cpu *cpu = m->cpu;
    assert_int_equal(cpu->rip, TASK_CODE);
    assert_int_equal(cpu->gpr[GPR_RAX], 0xaaaa);
    assert_int_equal(cpu->segment[SEGMENT_TR].selector, TSS2);
    assert_int_equal(cpu->segment[SEGMENT_CS].selector, KERNEL_CODE);
    assert_int_equal(cpu->segment[SEGMENT_ES].selector, USER_DATA);
    assert_true(cpu->segment[SEGMENT_FS].attributes & SEGMENT_UNUSABLE);
    assert_true(cpu->cr0 & CR0_TS);
    assert_int_equal(type_in_gdt(m, TSS2), SEGMENT_P | TYPE_TSS_BUSY | tss_type);
}

static void expect_first_task_saved(const struct machine *m)
{
    assert_int_equal(get32(m, AT_TSS + 0x20), CODE + 2);
    assert_int_equal(get32(m, AT_TSS + 0x28), 0x1111);
    assert_int_equal(get16(m, AT_TSS + 0x4c), KERNEL_CODE);
}

static void jump_leaves_the_old_task(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    assert_int_equal(transfer_far_jump(m->cpu, &op, TSS2, 0), STEP_JUMP);
    expect_second_task(m, SYSTEM_TSS);
    expect_first_task_saved(m);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_CF);
    assert_int_equal(type_in_gdt(m, TSS_SELECTOR), 0x89);
    expect_fault(m, transfer_far_jump(m->cpu, &op, TSS2, 0), VECTOR_GP, TSS2);
}

static void call_nests_and_iret_comes_back(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    assert_int_equal(transfer_far_call(m->cpu, &op, GATE, 0), STEP_JUMP);
    expect_second_task(m, SYSTEM_TSS);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_CF | FLAG_NT);
    assert_int_equal(get16(m, AT_TSS2), TSS_SELECTOR);
    assert_int_equal(type_in_gdt(m, TSS_SELECTOR), 0x8b);
    assert_int_equal(transfer_iret(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->rip, CODE + 2);
    assert_int_equal(m->cpu->gpr[GPR_RAX], 0x1111);
    assert_int_equal(m->cpu->segment[SEGMENT_TR].selector, TSS_SELECTOR);
    assert_int_equal(type_in_gdt(m, TSS2), 0x89);
    assert_int_equal(type_in_gdt(m, TSS_SELECTOR), 0x8b);
    assert_false(get32(m, AT_TSS2 + 0x24) & FLAG_NT);
    assert_int_equal(get32(m, AT_TSS2 + 0x20), TASK_CODE + 2);
}

static void exception_pushes_its_code_in_the_new_task(void **state)
{
    struct machine *m = *state;
    use_tasks(m);
    set_gate(m, VECTOR_GP, TSS2, 0, SYSTEM_TASK_GATE);
    (void)fault_code(m->cpu, VECTOR_GP, 0x1234);
    assert_int_equal(exception_deliver(m->cpu), STEP_JUMP);
    expect_second_task(m, SYSTEM_TSS);
    assert_int_equal(m->cpu->gpr[GPR_RSP], TASK_STACK - 4);
    assert_int_equal(get32(m, TASK_STACK - 4), 0x1234);
    assert_int_equal(get32(m, AT_TSS + 0x20), CODE);
    assert_true(get32(m, AT_TSS + 0x24) & FLAG_RF);
}

static void bad_segment_faults_in_the_new_task(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    put32(m, AT_TSS2 + 0x54, TSS_SELECTOR);
    set_gate(m, VECTOR_TS, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    assert_int_equal(transfer_far_jump(m->cpu, &op, TSS2, 0), STEP_JUMP);
    assert_int_equal(m->cpu->rip, HANDLER);
    assert_int_equal(m->cpu->gpr[GPR_RSP], TASK_STACK - 16);
    assert_int_equal(get32(m, TASK_STACK - 16), TSS_SELECTOR);
    assert_int_equal(get32(m, TASK_STACK - 12), TASK_CODE);
}

static void bad_tss_faults_in_the_old_task(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    set_gdt(m, TSS2, AT_TSS2, 0x66, SEGMENT_P | SYSTEM_TSS);
    expect_fault(m, transfer_far_jump(m->cpu, &op, TSS2, 0), VECTOR_TS, TSS2);
    set_gdt(m, TSS2, AT_TSS2, 0x67, SYSTEM_TSS);
    expect_fault(m, transfer_far_call(m->cpu, &op, TSS2, 0), VECTOR_NP, TSS2);
    put64(m, AT_GDT + GATE, make_gate(TSS2 | 4, 0, SYSTEM_TASK_GATE, 0));
    expect_fault(m, transfer_far_call(m->cpu, &op, GATE, 0), VECTOR_GP, TSS2 | 4);
    m->cpu->flags |= FLAG_NT;
    put16(m, AT_TSS, KERNEL_DATA);
    expect_fault(m, transfer_iret(m->cpu, &op), VECTOR_TS, KERNEL_DATA);
    assert_int_equal(m->cpu->segment[SEGMENT_TR].selector, TSS_SELECTOR);
    assert_int_equal(m->cpu->gpr[GPR_RAX], 0x1111);
}

static void tss_of_16_bits(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    memset(m->ram + AT_TSS2, 0, 0x68);
    set_gdt(m, TSS2, AT_TSS2, 0x2b, SEGMENT_P | SYSTEM_TSS16);
    put16(m, AT_TSS2 + 0x0e, TASK_CODE);
    put16(m, AT_TSS2 + 0x12, 0xaaaa);
    put16(m, AT_TSS2 + 0x1a, 0x8000);
    put16(m, AT_TSS2 + 0x22, USER_DATA);
    put16(m, AT_TSS2 + 0x24, KERNEL_CODE);
    put16(m, AT_TSS2 + 0x26, KERNEL_DATA16);
    assert_int_equal(transfer_far_call(m->cpu, &op, TSS2, 0), STEP_JUMP);
    expect_second_task(m, SYSTEM_TSS16);
    expect_first_task_saved(m);
    assert_int_equal(transfer_iret(m->cpu, &op), STEP_JUMP);
    assert_int_equal(get16(m, AT_TSS2 + 0x0e), TASK_CODE + 2);
    assert_int_equal(get16(m, AT_TSS2 + 0x12), 0xaaaa);
    assert_int_equal(get16(m, AT_TSS2 + 0x26), KERNEL_DATA16);
}

static void task_in_virtual_8086_mode(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    put32(m, AT_TSS2 + 0x24, FLAG_VM);
    put32(m, AT_TSS2 + 0x4c, 0xb00);
    put32(m, AT_TSS2 + 0x20, 0x10);
    assert_int_equal(transfer_far_jump(m->cpu, &op, TSS2, 0), STEP_JUMP);
    assert_true(m->cpu->mode & MODE_V86);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].base, 0xb000);
}

static void trap_bit_raises_debug_exception(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    put16(m, AT_TSS2 + 0x64, 1);
    set_gate(m, VECTOR_DB, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    assert_int_equal(transfer_far_jump(m->cpu, &op, TSS2, 0), STEP_JUMP);
    assert_int_equal(m->cpu->rip, HANDLER);
    assert_true(m->cpu->dr[6] & 0x8000);
    assert_int_equal(get32(m, TASK_STACK - 12), TASK_CODE);
}

static void long_mode_has_no_tasks(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_tasks(m);
    use_long(m);
    expect_fault(m, transfer_far_jump(m->cpu, &op, TSS2, 0), VECTOR_GP, TSS2);
    expect_fault(m, transfer_far_call(m->cpu, &op, GATE, 0), VECTOR_GP, GATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(jump_leaves_the_old_task),
        machine_test(call_nests_and_iret_comes_back),
        machine_test(exception_pushes_its_code_in_the_new_task),
        machine_test(bad_segment_faults_in_the_new_task),
        machine_test(bad_tss_faults_in_the_old_task),
        machine_test(tss_of_16_bits),
        machine_test(task_in_virtual_8086_mode),
        machine_test(trap_bit_raises_debug_exception),
        machine_test(long_mode_has_no_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
