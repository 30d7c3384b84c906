/* Far jumps, calls, returns and IRET; SYSCALL and its like. */
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

static void push64(struct machine *m, uint64_t value)
{
    m->cpu->gpr[GPR_RSP] -= 8;
    put64(m, m->cpu->gpr[GPR_RSP], value);
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

static int iret(struct machine *m, unsigned width)
{
    struct op op = make_op(width);
    return transfer_iret(m->cpu, &op);
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

/* ---- IRET ---- */

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

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS ---- */

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
        machine_test(direct_targets_are_checked),
        machine_test(call_and_return_at_the_same_level),
        machine_test(real_mode_call_and_return),
        machine_test(inner_call_copies_parameters),
        machine_test(gates_are_checked),
        machine_test(gate_of_16_bits_truncates),
        machine_test(long_mode_gate_changes_to_rsp0),
        machine_test(return_to_user_drops_kernel_segments),
        machine_test(user_cannot_change_privileged_flags),
        machine_test(returns_check_code_and_stack),
        machine_test(return_to_virtual_8086_mode),
        machine_test(long_mode_iret_always_pops_the_stack),
        machine_test(long_mode_iret_refuses),
        machine_test(return_to_16_bit_stack_keeps_the_upper_half),
        machine_test(syscall_and_sysret),
        machine_test(sysret_faults_at_level_0),
        machine_test(syscall_is_for_64_bit_code),
        machine_test(sysenter_and_sysexit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
