/* System instructions: what they check, what they move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/memory.h"
#include "engine/soft/ops.h"

static void lmsw_cannot_leave_protected_mode(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(2);
    use_protected(m);
    op.rm = GPR_RAX * 8;
    m->cpu->gpr[GPR_RAX] = CR0_TS;
    assert_int_equal(op_lmsw(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->cr0, CR0_PE | CR0_ET | CR0_NE | CR0_TS);
    assert_int_equal(op_clts(m->cpu, &op), STEP_JUMP);
    assert_int_equal(m->cpu->cr0, CR0_PE | CR0_ET | CR0_NE);
    use_level(m, USER_CODE, USER_DATA);
    expect_fault(m, op_lmsw(m->cpu, &op), VECTOR_GP, 0);
    expect_fault(m, op_clts(m->cpu, &op), VECTOR_GP, 0);
}

static void control_register_numbers(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_long(m);
    op.rm = GPR_RAX * 8;
    op.extra = 1;
    expect_undefined(m, op_mov_from_cr(m->cpu, &op));
    op.extra = 8;
    m->cpu->gpr[GPR_RAX] = 16;
    expect_fault(m, op_mov_to_cr(m->cpu, &op), VECTOR_GP, 0);
    m->cpu->gpr[GPR_RAX] = 9;
    assert_int_equal(op_mov_to_cr(m->cpu, &op), STEP_JUMP);
    m->cpu->gpr[GPR_RAX] = 0;
    assert_int_equal(op_mov_from_cr(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RAX], 9);
    use_level(m, USER_CODE64, USER_DATA);
    expect_fault(m, op_mov_from_cr(m->cpu, &op), VECTOR_GP, 0);
}

static void invpcid_checks_its_descriptor(void **state)
{
    static const struct {
        uint64_t type, pcid, address;
        bool refused;
    } cases[] = {
        {0, 0, 0x1000, false},
        {0, 0, UINT64_C(0x800000000000), true},
        {1, 0, UINT64_C(0x800000000000), false},
        {1, 1, 0, true}, /* without CR4.PCIDE */
        {2, 1, 0, false},
        {3, 0x1000, 0, true},
        {4, 0, 0, true},
    };
    struct machine *m = *state;
    struct op op = make_op(8);
    use_long(m);
    op.flags = OP_MEMORY | OP_REVERSED;
    op.reg = GPR_RAX * 8;
    op.disp = 0x9800;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        m->cpu->rip = CODE;
        m->cpu->gpr[GPR_RAX] = cases[i].type;
        put64(m, 0x9800, cases[i].pcid);
        put64(m, 0x9808, cases[i].address);
        int step = op_invpcid(m->cpu, &op);
        if (cases[i].refused)
            expect_fault(m, step, VECTOR_GP, 0);
        else
            assert_int_equal(step, STEP_JUMP);
    }
}

static void invlpg_drops_one_page(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    uint64_t value;
    use_long(m);
    op.disp = 0x50123;
    assert_int_equal(linear_read(m->cpu, 0x50000, 4, ACCESS_READ, &value), STEP_NEXT);
    assert_int_equal(linear_read(m->cpu, 0x51000, 4, ACCESS_READ, &value), STEP_NEXT);
    put64(m, AT_PD, 0);
    assert_int_equal(op_invlpg(m->cpu, &op), STEP_JUMP);
    expect_fault(m, linear_read(m->cpu, 0x50000, 4, ACCESS_READ, &value), VECTOR_PF, 0);
    op.disp = UINT64_C(0x800000000000);
    assert_int_equal(op_invlpg(m->cpu, &op), STEP_JUMP);
}

static void table_registers_move_whole(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_long(m);
    op.flags = OP_MEMORY;
    op.disp = 0x9800;
    put16(m, 0x9800, 0x123);
    put64(m, 0x9802, UINT64_C(0xffff888012345678));
    assert_int_equal(op_lidt(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->idt.limit, 0x123);
    assert_int_equal(m->cpu->idt.base, UINT64_C(0xffff888012345678));
    op.disp = 0x9900;
    assert_int_equal(op_sidt(m->cpu, &op), STEP_NEXT);
    assert_memory_equal(m->ram + 0x9900, m->ram + 0x9800, 10);
    put64(m, 0x9902, UINT64_C(0x800000000000));
    expect_fault(m, op_lgdt(m->cpu, &op), VECTOR_GP, 0);
    use_level(m, USER_CODE64, USER_DATA);
    expect_fault(m, op_lgdt(m->cpu, &op), VECTOR_GP, 0);
    m->cpu->cr4 |= CR4_UMIP;
    expect_fault(m, op_sgdt(m->cpu, &op), VECTOR_GP, 0);
    expect_fault(m, op_smsw(m->cpu, &op), VECTOR_GP, 0);
}

static void short_table_base_has_24_bits(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(2);
    use_protected(m);
    op.flags = OP_MEMORY;
    op.disp = 0x9800;
    put16(m, 0x9800, 0xff);
    put32(m, 0x9802, 0x12345678);
    assert_int_equal(op_lgdt(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gdt.base, 0x345678);
}

static void base_instructions_want_their_bit(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_long(m);
    op.rm = GPR_RBX * 8;
    m->cpu->gpr[GPR_RBX] = UINT64_C(0xffff800000001000);
    expect_undefined(m, op_wrfsbase(m->cpu, &op));
    m->cpu->cr4 |= CR4_FSGSBASE;
    assert_int_equal(op_wrfsbase(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->segment[SEGMENT_FS].base, UINT64_C(0xffff800000001000));
    m->cpu->gpr[GPR_RBX] = UINT64_C(0x1234000000000000);
    expect_fault(m, op_wrgsbase(m->cpu, &op), VECTOR_GP, 0);
    op.width = 4;
    assert_int_equal(op_rdfsbase(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RBX], 0x1000);
}

static void time_can_be_hidden(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(8);
    use_long(m);
    m->cpu->tsc_aux = 7;
    m->cpu->cr4 |= CR4_TSD;
    assert_int_equal(op_rdtscp(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RCX], 7);
    use_level(m, USER_CODE64, USER_DATA);
    expect_fault(m, op_rdtsc(m->cpu, &op), VECTOR_GP, 0);
    expect_fault(m, op_rdtscp(m->cpu, &op), VECTOR_GP, 0);
    m->cpu->cr4 &= ~(uint64_t)CR4_TSD;
    assert_int_equal(op_rdtsc(m->cpu, &op), STEP_NEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(lmsw_cannot_leave_protected_mode), machine_test(control_register_numbers),
        machine_test(invpcid_checks_its_descriptor),    machine_test(invlpg_drops_one_page),
        machine_test(table_registers_move_whole),       machine_test(short_table_base_has_24_bits),
        machine_test(base_instructions_want_their_bit), machine_test(time_can_be_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
