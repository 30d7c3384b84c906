/* Delivery through IVT and IDT: frames, levels, stacks, escalation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"

enum { VECTOR = 0x40 };

static int interrupt(struct machine *m, unsigned vector, enum event_type type)
{
    return exception_interrupt(m->cpu, (uint8_t)vector, type, m->cpu->rip);
}

static int raise_code(struct machine *m, unsigned vector, unsigned code)
{
    (void)fault_code(m->cpu, vector, code);
    return exception_deliver(m->cpu);
}

/* ---- real mode ---- */

static void use_real(struct machine *m)
{
    struct cpu *cpu = m->cpu;
    segment_load_real(cpu, SEGMENT_CS, 0x200);
    segment_load_real(cpu, SEGMENT_SS, 0x1000);
    cpu->gpr[GPR_RSP] = 0xffff0100;
    cpu->rip = 0x1234;
    cpu->flags = FLAG_FIXED | FLAG_IF | FLAG_TF | FLAG_ZF;
    cpu->idt = (struct engine_table){0, 0x3ff};
    cpu_mode_changed(cpu);
    put16(m, VECTOR * UINT64_C(4), 0x5678);
    put16(m, VECTOR * UINT64_C(4) + 2, 0x0300);
}

static void real_mode_pushes_three_words(void **state)
{
    struct machine *m = *state;
    use_real(m);
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    assert_int_equal(m->cpu->rip, 0x5678);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, 0x300);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].base, 0x3000);
    assert_int_equal(m->cpu->gpr[GPR_RSP], 0xffff00fa);
    assert_int_equal(get16(m, 0x100fa), 0x1234);
    assert_int_equal(get16(m, 0x100fc), 0x200);
    assert_int_equal(get16(m, 0x100fe), FLAG_FIXED | FLAG_IF | FLAG_TF | FLAG_ZF);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_ZF);
}

static void real_mode_vector_past_limit_shuts_down(void **state)
{
    struct machine *m = *state;
    use_real(m);
    m->cpu->idt.limit = 0;
    (void)fault(m->cpu, VECTOR_UD);
    assert_int_equal(exception_deliver(m->cpu), STEP_SHUTDOWN);
}

static void real_mode_gp_when_vector_past_limit(void **state)
{
    struct machine *m = *state;
    use_real(m);
    m->cpu->idt.limit = 13 * 4 + 3;
    put16(m, VECTOR_GP * UINT64_C(4), 0x4444);
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_FAULT);
    assert_int_equal(m->cpu->fault.vector, VECTOR_GP);
    assert_int_equal(exception_deliver(m->cpu), STEP_JUMP);
    assert_int_equal(m->cpu->rip, 0x4444);
}

static void real_mode_stack_wraps_at_64k(void **state)
{
    struct machine *m = *state;
    use_real(m);
    m->cpu->gpr[GPR_RSP] = 2;
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    assert_int_equal(m->cpu->gpr[GPR_RSP], 0xfffc);
    assert_int_equal(get16(m, 0x10000 + 0xfffc), 0x1234);
}

/* ---- 32-bit protected mode ---- */

static void same_level_pushes_three_doublewords(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    assert_int_equal(m->cpu->rip, HANDLER);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp - 12);
    assert_int_equal(get32(m, rsp - 12), CODE);
    assert_int_equal(get32(m, rsp - 8), KERNEL_CODE);
    assert_int_equal(get32(m, rsp - 4), FLAG_FIXED | FLAG_IF);
    assert_int_equal(m->cpu->flags, FLAG_FIXED);
}

static void trap_gate_keeps_interrupts_on(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR, KERNEL_CODE, HANDLER, SYSTEM_TRAP_GATE);
    m->cpu->flags |= FLAG_TF | FLAG_NT;
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    assert_int_equal(m->cpu->flags, FLAG_FIXED | FLAG_IF);
}

static void user_code_changes_to_the_stack_of_the_tss(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    set_gate(m, VECTOR_GP, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    assert_int_equal(raise_code(m, VECTOR_GP, 0x1234), STEP_JUMP);
    assert_int_equal(m->cpu->cpl, 0);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, KERNEL_CODE);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, KERNEL_DATA);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_KERNEL - 24);
    const uint32_t frame[] = {0x1234,     CODE,     USER_CODE, FLAG_FIXED | FLAG_IF | FLAG_RF,
                              STACK_USER, USER_DATA};
    assert_memory_equal(m->ram + STACK_KERNEL - 24, frame, sizeof(frame));
}

static void gate_of_16_bits_pushes_words(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR, KERNEL_CODE, 0x12348000, SYSTEM_INTERRUPT_GATE16);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    assert_int_equal(m->cpu->rip, 0x8000);
    assert_int_equal(m->cpu->gpr[GPR_RSP], rsp - 6);
    assert_int_equal(get16(m, rsp - 6), CODE);
}

static void conforming_handler_keeps_the_level(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    set_gate(m, VECTOR, CONFORMING_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->segment[SEGMENT_CS].selector, CONFORMING_CODE | 3);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER - 12);
}

static void error_codes_name_the_gate_and_the_origin(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    set_gate(m, VECTOR, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, VECTOR * 8 + 2);
    assert_int_equal(interrupt(m, VECTOR, EVENT_ICEBP), STEP_JUMP);
    use_level(m, USER_CODE, USER_DATA);
    put64(m, AT_IDT + UINT64_C(8) * VECTOR,
          make_gate(KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE, 3) & ~(UINT64_C(1) << 47));
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_NP, VECTOR * 8 + 2);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_NP, VECTOR * 8 + 3);
    set_gate(m, VECTOR, KERNEL_CODE, HANDLER, SYSTEM_CALL_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_GP, VECTOR * 8 + 3);
    m->cpu->idt.limit = VECTOR * 8 + 6;
    expect_fault(m, interrupt(m, VECTOR, EVENT_ICEBP), VECTOR_GP, VECTOR * 8 + 3);
}

static void handler_segments_are_checked(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR, 0, HANDLER, SYSTEM_INTERRUPT_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, 0);
    set_gate(m, VECTOR, KERNEL_DATA, HANDLER, SYSTEM_INTERRUPT_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, KERNEL_DATA);
    set_gate(m, VECTOR, USER_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_GP, (USER_CODE & ~3) | 1);
    set_gate(m, VECTOR, GDT_LIMIT + 1, HANDLER, SYSTEM_INTERRUPT_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, GDT_LIMIT + 1);
    set_gdt(m, SCRATCH, 0, 0xfffff, (CODE_ATTRIBUTES | BIG) & ~SEGMENT_P);
    set_gate(m, VECTOR, SCRATCH, HANDLER, SYSTEM_INTERRUPT_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_NP, SCRATCH);
    set_gdt(m, SCRATCH, 0, 0xff, CODE_ATTRIBUTES | SEGMENT_DB);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, 0);
}

static void inner_stacks_are_checked(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    use_level(m, USER_CODE, USER_DATA);
    set_gate(m, VECTOR, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    put32(m, AT_TSS + 8, 0);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_TS, 1);
    put32(m, AT_TSS + 8, USER_DATA);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_TS, (USER_DATA & ~3) | 1);
    put32(m, AT_TSS + 8, KERNEL_CODE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_TS, KERNEL_CODE | 1);
    set_gdt(m, SCRATCH, 0, 0xfffff, (DATA_ATTRIBUTES | BIG) & ~SEGMENT_P);
    put32(m, AT_TSS + 8, SCRATCH);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_SS, SCRATCH | 1);
    set_gdt(m, SCRATCH, 0, STACK_KERNEL - 4, DATA_ATTRIBUTES | SEGMENT_DB);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_SS, SCRATCH | 1);
    m->cpu->segment[SEGMENT_TR].limit = 8;
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_TS, TSS_SELECTOR | 1);
    assert_int_equal(m->cpu->cpl, 3);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER);
    assert_int_equal(m->cpu->rip, CODE);
}

/* ---- virtual-8086 mode ---- */

static void use_v86(struct machine *m)
{
    struct cpu *cpu = m->cpu;
    use_protected(m);
    cpu->flags = FLAG_FIXED | FLAG_IF | FLAG_VM;
    cpu->cpl = 3;
    for (unsigned i = 0; i < 6; i++)
        segment_load_real(cpu, i, (uint16_t)(0x100 + i));
    cpu->gpr[GPR_RSP] = 0x8000;
    cpu->rip = 0x10;
    cpu_mode_changed(cpu);
}

static void virtual_8086_segments_are_pushed_and_dropped(void **state)
{
    struct machine *m = *state;
    use_v86(m);
    set_gate(m, VECTOR, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    const uint32_t frame[] = {0x10,
                              0x100 + SEGMENT_CS,
                              FLAG_FIXED | FLAG_IF | FLAG_VM,
                              0x8000,
                              0x100 + SEGMENT_SS,
                              0x100 + SEGMENT_ES,
                              0x100 + SEGMENT_DS,
                              0x100 + SEGMENT_FS,
                              0x100 + SEGMENT_GS};
    assert_memory_equal(m->ram + STACK_KERNEL - sizeof(frame), frame, sizeof(frame));
    assert_int_equal(m->cpu->flags, FLAG_FIXED);
    assert_int_equal(m->cpu->cpl, 0);
    assert_int_equal(m->cpu->segment[SEGMENT_DS].selector, 0);
    assert_true(m->cpu->segment[SEGMENT_GS].attributes & SEGMENT_UNUSABLE);
}

static void virtual_8086_handler_must_be_at_level_0(void **state)
{
    struct machine *m = *state;
    use_v86(m);
    set_gate(m, VECTOR, CONFORMING_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_GP, CONFORMING_CODE | 1);
}

/* ---- IA-32e mode ---- */

static void long_mode_aligns_and_pushes_five(void **state)
{
    struct machine *m = *state;
    use_long(m);
    set_gate64(m, VECTOR, HANDLER, SYSTEM_INTERRUPT_GATE, 0);
    uint64_t rsp = m->cpu->gpr[GPR_RSP] - 3;
    m->cpu->gpr[GPR_RSP] = rsp;
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    uint64_t top = rsp & ~UINT64_C(15);
    const uint64_t frame[] = {CODE, KERNEL_CODE64, FLAG_FIXED | FLAG_IF, rsp, KERNEL_DATA};
    assert_memory_equal(m->ram + top - sizeof(frame), frame, sizeof(frame));
    assert_int_equal(m->cpu->gpr[GPR_RSP], top - sizeof(frame));
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, KERNEL_DATA);
}

static void long_mode_level_change_loads_a_null_stack_segment(void **state)
{
    struct machine *m = *state;
    use_long(m);
    use_level(m, USER_CODE64, USER_DATA);
    set_gate64(m, VECTOR_PF, HANDLER, SYSTEM_INTERRUPT_GATE, 0);
    (void)fault_code(m->cpu, VECTOR_PF, 6);
    m->cpu->fault.address = 0x123456789000;
    assert_int_equal(exception_deliver(m->cpu), STEP_JUMP);
    assert_int_equal(m->cpu->cr2, 0x123456789000);
    const uint64_t frame[] = {6,          CODE,     USER_CODE64, FLAG_FIXED | FLAG_IF | FLAG_RF,
                              STACK_USER, USER_DATA};
    assert_memory_equal(m->ram + STACK_KERNEL - sizeof(frame), frame, sizeof(frame));
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, 0);
    assert_true(m->cpu->segment[SEGMENT_SS].attributes & SEGMENT_UNUSABLE);
    assert_int_equal(m->cpu->cpl, 0);
}

static void long_mode_ist_changes_the_stack_at_the_same_level(void **state)
{
    struct machine *m = *state;
    use_long(m);
    set_gate64(m, VECTOR, HANDLER, SYSTEM_INTERRUPT_GATE, 1);
    assert_int_equal(interrupt(m, VECTOR, EVENT_EXTERNAL), STEP_JUMP);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_IST - 40);
    assert_int_equal(m->cpu->segment[SEGMENT_SS].selector, KERNEL_DATA);
}

static void long_mode_refuses_what_is_not_64_bit(void **state)
{
    struct machine *m = *state;
    use_long(m);
    set_gate64(m, VECTOR, HANDLER, SYSTEM_INTERRUPT_GATE16, 0);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, VECTOR * 8 + 2);
    set_gate64(m, VECTOR, HANDLER, SYSTEM_TASK_GATE, 0);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, VECTOR * 8 + 2);
    put64(m, AT_IDT + UINT64_C(16) * VECTOR, make_gate(KERNEL_CODE, HANDLER, SYSTEM_TRAP_GATE, 0));
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, KERNEL_CODE);
    set_gate64(m, VECTOR, UINT64_C(0x800000000000), SYSTEM_TRAP_GATE, 0);
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_GP, 0);
    set_gate64(m, VECTOR, HANDLER, SYSTEM_TRAP_GATE, 1);
    put64(m, AT_TSS + 0x24, UINT64_C(0x8000000000000000));
    expect_fault(m, interrupt(m, VECTOR, EVENT_EXTERNAL), VECTOR_SS, 1);
    set_gate64(m, VECTOR, HANDLER, SYSTEM_TRAP_GATE, 7);
    m->cpu->segment[SEGMENT_TR].limit = 0x5a;
    expect_fault(m, interrupt(m, VECTOR, EVENT_SOFTWARE), VECTOR_TS, TSS_SELECTOR);
}

/* ---- escalation, flags, debug registers ---- */

static void contributory_faults_make_a_double_fault(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR_DF, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(raise_code(m, VECTOR_GP, 0x10), STEP_JUMP);
    assert_int_equal(m->cpu->rip, HANDLER);
    assert_int_equal(get32(m, rsp - 16), 0);
    assert_int_equal(get32(m, rsp - 12), CODE);
}

static void benign_fault_gives_way_to_the_second(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR_GP, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    (void)fault(m->cpu, VECTOR_UD);
    assert_int_equal(exception_deliver(m->cpu), STEP_JUMP);
    assert_int_equal(get32(m, rsp - 16), VECTOR_UD * 8 + 3);
}

static void third_fault_shuts_down(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    assert_int_equal(raise_code(m, VECTOR_GP, 0), STEP_SHUTDOWN);
    assert_int_equal(m->cpu->rip, CODE);
}

static void page_fault_in_page_fault_delivery_is_double(void **state)
{
    struct machine *m = *state;
    use_long(m);
    use_level(m, USER_CODE64, USER_DATA);
    set_gate64(m, VECTOR_PF, HANDLER, SYSTEM_INTERRUPT_GATE, 0);
    set_gate64(m, VECTOR_DF, HANDLER + 16, SYSTEM_INTERRUPT_GATE, 1);
    put64(m, AT_TSS + 4, 0x400000); /* not mapped */
    (void)fault_code(m->cpu, VECTOR_PF, 4);
    assert_int_equal(exception_deliver(m->cpu), STEP_JUMP);
    assert_int_equal(m->cpu->rip, HANDLER + 16);
    assert_int_equal(m->cpu->cr2, 0x400000 - 8);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_IST - 48);
}

static void debug_exception_sets_dr6_and_clears_general_detect(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR_DB, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    m->cpu->dr[6] = 0xffff0ff4;
    m->cpu->dr[7] = 0x2400;
    m->cpu->fault = (struct fault){.vector = VECTOR_DB, .dr6 = 1 << 13};
    assert_int_equal(exception_deliver(m->cpu), STEP_JUMP);
    assert_int_equal(m->cpu->dr[6], 0xffff2ff0);
    assert_int_equal(m->cpu->dr[7], 0x400);
    assert_true(get32(m, rsp - 4) & FLAG_RF);
}

static void resume_flag_is_pushed_for_faults_only(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    for (unsigned vector = 0; vector < 20; vector++)
        set_gate(m, vector, KERNEL_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    static const struct {
        unsigned vector;
        bool resumes;
    } cases[] = {{VECTOR_DE, true}, {VECTOR_UD, true}, {VECTOR_DB, false}, {VECTOR_MF, true}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t rsp = m->cpu->gpr[GPR_RSP];
        (void)fault(m->cpu, cases[i].vector);
        assert_int_equal(exception_deliver(m->cpu), STEP_JUMP);
        assert_int_equal((get32(m, rsp - 4) & FLAG_RF) != 0, cases[i].resumes);
    }
    uint64_t rsp = m->cpu->gpr[GPR_RSP];
    assert_int_equal(interrupt(m, VECTOR_BP, EVENT_SOFTWARE), STEP_JUMP);
    assert_false(get32(m, rsp - 4) & FLAG_RF);
}

/* Neither #AC is contributory, so it goes on for ever: the run loop must get its turn. */
static void endless_alignment_checks_let_the_run_loop_look_around(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gate(m, VECTOR_AC, USER_CODE, HANDLER, SYSTEM_INTERRUPT_GATE);
    m->cpu->cr0 |= CR0_AM;
    cpu_set_flags(m->cpu, m->cpu->flags | FLAG_AC);
    use_level(m, USER_CODE, USER_DATA);
    m->cpu->gpr[GPR_RSP] = STACK_USER + 1;
    assert_int_equal(raise_code(m, VECTOR_AC, 0), STEP_JUMP);
    assert_int_equal(m->cpu->rip, CODE);
    assert_int_equal(m->cpu->gpr[GPR_RSP], STACK_USER + 1);
    m->cpu->gpr[GPR_RSP] = STACK_USER;
    assert_int_equal(raise_code(m, VECTOR_AC, 0), STEP_JUMP);
    assert_int_equal(m->cpu->rip, HANDLER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(real_mode_pushes_three_words),
        machine_test(real_mode_vector_past_limit_shuts_down),
        machine_test(real_mode_gp_when_vector_past_limit),
        machine_test(real_mode_stack_wraps_at_64k),
        machine_test(same_level_pushes_three_doublewords),
        machine_test(trap_gate_keeps_interrupts_on),
        machine_test(user_code_changes_to_the_stack_of_the_tss),
        machine_test(gate_of_16_bits_pushes_words),
        machine_test(conforming_handler_keeps_the_level),
        machine_test(error_codes_name_the_gate_and_the_origin),
        machine_test(handler_segments_are_checked),
        machine_test(inner_stacks_are_checked),
        machine_test(virtual_8086_segments_are_pushed_and_dropped),
        machine_test(virtual_8086_handler_must_be_at_level_0),
        machine_test(long_mode_aligns_and_pushes_five),
        machine_test(long_mode_level_change_loads_a_null_stack_segment),
        machine_test(long_mode_ist_changes_the_stack_at_the_same_level),
        machine_test(long_mode_refuses_what_is_not_64_bit),
        machine_test(contributory_faults_make_a_double_fault),
        machine_test(benign_fault_gives_way_to_the_second),
        machine_test(third_fault_shuts_down),
        machine_test(page_fault_in_page_fault_delivery_is_double),
        machine_test(debug_exception_sets_dr6_and_clears_general_detect),
        machine_test(resume_flag_is_pushed_for_faults_only),
        machine_test(endless_alignment_checks_let_the_run_loop_look_around),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
