/* What may be written to CR0, CR3, CR4, EFER and the debug registers, and what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/memory.h"
#include "engine/soft/ops.h"

static void cr0_refuses_impossible_combinations(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    uint64_t cr0 = m->cpu->cr0;
    expect_fault(m, control_write_cr0(m->cpu, CR0_PG), VECTOR_GP, 0);
    expect_fault(m, control_write_cr0(m->cpu, cr0 | CR0_NW), VECTOR_GP, 0);
    expect_fault(m, control_write_cr0(m->cpu, cr0 | UINT64_C(1) << 32), VECTOR_GP, 0);
    assert_int_equal(m->cpu->cr0, cr0);
    assert_int_equal(control_write_cr0(m->cpu, cr0 | CR0_NW | CR0_CD | 1 << 27), STEP_NEXT);
    assert_int_equal(m->cpu->cr0, cr0 | CR0_NW | CR0_CD);
    assert_int_equal(control_write_cr0(m->cpu, 0), STEP_NEXT);
    assert_int_equal(m->cpu->cr0, CR0_ET);
    assert_true(m->cpu->mode & MODE_REAL);
}

static void long_mode_starts_and_stops_with_paging(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    use_long(m);
    use_level(m, KERNEL_CODE, KERNEL_DATA);
    uint64_t cr0 = cpu->cr0;
    assert_int_equal(control_write_cr0(cpu, cr0 & ~CR0_PG), STEP_NEXT);
    assert_int_equal(cpu->efer, EFER_LME | EFER_SCE);
    cpu->cr4 &= ~(uint64_t)CR4_PAE;
    expect_fault(m, control_write_cr0(cpu, cr0), VECTOR_GP, 0);
    cpu->cr4 |= CR4_PAE;
    use_segment(m, SEGMENT_CS, KERNEL_CODE64);
    expect_fault(m, control_write_cr0(cpu, cr0), VECTOR_GP, 0);
    use_segment(m, SEGMENT_CS, KERNEL_CODE);
    cpu->segment[SEGMENT_TR].attributes = SEGMENT_P | SYSTEM_TSS16 | TYPE_TSS_BUSY;
    expect_fault(m, control_write_cr0(cpu, cr0), VECTOR_GP, 0);
    cpu->segment[SEGMENT_TR].attributes = SEGMENT_P | SYSTEM_TSS | TYPE_TSS_BUSY;
    assert_int_equal(control_write_cr0(cpu, cr0), STEP_NEXT);
    assert_true(cpu->efer & EFER_LMA);
    use_level(m, KERNEL_CODE64, KERNEL_DATA);
    expect_fault(m, control_write_cr0(cpu, cr0 & ~CR0_PG), VECTOR_GP, 0);
}

static void write_protect_takes_effect_at_once(void **state)
{
    struct machine *m = *state;
    use_long(m);
    put64(m, AT_PD, 0x80 | 5); /* read-only */
    assert_int_equal(linear_write(m->cpu, 0x50000, 4, ACCESS_WRITE, 1), STEP_NEXT);
    assert_int_equal(control_write_cr0(m->cpu, m->cpu->cr0 | CR0_WP), STEP_NEXT);
    expect_fault(m, linear_write(m->cpu, 0x50000, 4, ACCESS_WRITE, 1), VECTOR_PF, 3);
}

static void cr3_refuses_reserved_bits_and_flushes(void **state)
{
    struct machine *m = *state;
    uint64_t value;
    use_long(m);
    expect_fault(m, control_write_cr3(m->cpu, AT_PML4 | UINT64_C(1) << 63), VECTOR_GP, 0);
    expect_fault(m, control_write_cr3(m->cpu, UINT64_C(1) << 52), VECTOR_GP, 0);
    assert_int_equal(linear_read(m->cpu, 0x50000, 4, ACCESS_READ, &value), STEP_NEXT);
    put64(m, AT_PD, 0);
    assert_int_equal(linear_read(m->cpu, 0x50000, 4, ACCESS_READ, &value), STEP_NEXT);
    assert_int_equal(control_write_cr3(m->cpu, AT_PML4 | 0x18), STEP_NEXT);
    assert_int_equal(m->cpu->cr3, AT_PML4 | 0x18);
    expect_fault(m, linear_read(m->cpu, 0x50000, 4, ACCESS_READ, &value), VECTOR_PF, 0);
}

static void pcids_keep_translations_apart(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    uint64_t value;
    use_long(m);
    cpu->cr3 |= 8;
    expect_fault(m, control_write_cr4(cpu, cpu->cr4 | CR4_PCIDE), VECTOR_GP, 0);
    cpu->cr3 = AT_PML4;
    assert_int_equal(control_write_cr4(cpu, cpu->cr4 | CR4_PCIDE), STEP_NEXT);
    assert_int_equal(control_write_cr3(cpu, AT_PML4 | 5), STEP_NEXT);
    assert_int_equal(linear_read(cpu, 0x50000, 4, ACCESS_READ, &value), STEP_NEXT);
    put64(m, AT_PD, 0);
    assert_int_equal(control_write_cr3(cpu, AT_PML4 | 6), STEP_NEXT);
    expect_fault(m, linear_read(cpu, 0x50000, 4, ACCESS_READ, &value), VECTOR_PF, 0);
    assert_int_equal(control_write_cr3(cpu, AT_PML4 | 5 | UINT64_C(1) << 63), STEP_NEXT);
    assert_int_equal(cpu->cr3, AT_PML4 | 5);
    assert_int_equal(linear_read(cpu, 0x50000, 4, ACCESS_READ, &value), STEP_NEXT);
    assert_int_equal(control_write_cr3(cpu, AT_PML4 | 5), STEP_NEXT);
    expect_fault(m, linear_read(cpu, 0x50000, 4, ACCESS_READ, &value), VECTOR_PF, 0);
    put64(m, AT_PD, 0x80 | 7);
    use_level(m, KERNEL_CODE, KERNEL_DATA);
    expect_fault(m, control_write_cr0(cpu, cpu->cr0 & ~CR0_PG), VECTOR_GP, 0);
}

static void pae_table_is_checked_when_loaded(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    use_protected(m);
    put64(m, AT_PDPT, AT_PD | 1);
    put64(m, AT_PD, 0x80 | 7);
    put64(m, AT_PDPT + 8, 2 | 1); /* reserved bit 1 */
    assert_int_equal(control_write_cr4(cpu, CR4_PAE), STEP_NEXT);
    assert_int_equal(control_write_cr3(cpu, AT_PDPT), STEP_NEXT);
    expect_fault(m, control_write_cr0(cpu, cpu->cr0 | CR0_PG), VECTOR_GP, 0);
    assert_false(cpu->cr0 & CR0_PG);
    put64(m, AT_PDPT + 8, 2); /* not present: nothing is reserved */
    assert_int_equal(control_write_cr0(cpu, cpu->cr0 | CR0_PG), STEP_NEXT);
    put64(m, AT_PDPT + 8, 2 | 1);
    expect_fault(m, control_write_cr3(cpu, AT_PDPT), VECTOR_GP, 0);
    expect_fault(m, control_write_cr4(cpu, CR4_PAE | CR4_PGE), VECTOR_GP, 0);
    assert_int_equal(cpu->cr4, CR4_PAE);
}

static void cr4_has_the_bits_of_cpuid(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    uint32_t words[4];
    use_long(m);
    cpuid_query(cpu, 7, 0, words);
    bool smap = (words[1] >> 20) & 1;
    assert_int_equal(control_write_cr4(cpu, CR4_PAE | CR4_SMAP), smap ? STEP_NEXT : STEP_FAULT);
    cpu->cr4 = CR4_PAE;
    expect_fault(m, control_write_cr4(cpu, CR4_PAE | CR4_VME), VECTOR_GP, 0);
    expect_fault(m, control_write_cr4(cpu, CR4_PAE | 1 << 12), VECTOR_GP, 0); /* LA57 */
    expect_fault(m, control_write_cr4(cpu, CR4_PAE | 1 << 13), VECTOR_GP, 0); /* VMXE */
    expect_fault(m, control_write_cr4(cpu, CR4_PAE | UINT64_C(1) << 40), VECTOR_GP, 0);
    expect_fault(m, control_write_cr4(cpu, 0), VECTOR_GP, 0);
    assert_int_equal(cpu->cr4, CR4_PAE);
}

static void efer_keeps_lma_and_refuses_the_unknown(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    use_long(m);
    assert_int_equal(control_write_efer(cpu, EFER_LME | EFER_NXE), STEP_NEXT);
    assert_int_equal(cpu->efer, EFER_LME | EFER_LMA | EFER_NXE);
    expect_fault(m, control_write_efer(cpu, EFER_NXE), VECTOR_GP, 0);
    expect_fault(m, control_write_efer(cpu, EFER_LME | 1 << 12), VECTOR_GP, 0); /* SVME */
}

/* ---- instructions ---- */

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

/* ---- debug registers ---- */

static void debug_registers_have_fixed_bits(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    assert_int_equal(debug_write(m->cpu, 6, 0), STEP_NEXT);
    assert_int_equal(m->cpu->dr[6], 0xffff0ff0);
    assert_int_equal(debug_write(m->cpu, 7, 0xffffffff), STEP_NEXT);
    assert_int_equal(m->cpu->dr[7], 0xffff27ff);
    expect_fault(m, debug_write(m->cpu, 7, UINT64_C(1) << 32), VECTOR_GP, 0);
    assert_int_equal(debug_write(m->cpu, 0, UINT64_C(1) << 32), STEP_NEXT);
}

static void data_breakpoints_match_by_overlap(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    use_protected(m);
    assert_int_equal(debug_write(cpu, 0, 0x50002), STEP_NEXT);
    assert_int_equal(debug_write(cpu, 7, 1 | 0x5 << 16), STEP_NEXT); /* write, 2 bytes */
    assert_int_equal(linear_write(cpu, 0x50000, 2, ACCESS_WRITE, 0), STEP_NEXT);
    assert_int_equal(linear_write(cpu, 0x50004, 4, ACCESS_WRITE, 0), STEP_NEXT);
    uint64_t value;
    assert_int_equal(linear_read(cpu, 0x50002, 2, ACCESS_READ, &value), STEP_NEXT);
    assert_int_equal(cpu->debug_trap, 0);
    assert_int_equal(linear_write(cpu, 0x50000, 4, ACCESS_WRITE, 0), STEP_NEXT);
    assert_int_equal(cpu->debug_trap, 1);
    cpu->debug_trap = 0;
    assert_int_equal(debug_write(cpu, 7, 2 | 0xf << 16), STEP_NEXT); /* any access, 4 bytes */
    assert_int_equal(linear_read(cpu, 0x50003, 1, ACCESS_READ, &value), STEP_NEXT);
    assert_int_equal(cpu->debug_trap, 1);
}

static void fetch_breakpoints_match_the_first_byte(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    assert_int_equal(debug_write(m->cpu, 1, CODE), STEP_NEXT);
    assert_int_equal(debug_check_fetch(m->cpu, CODE), 0);
    assert_int_equal(debug_write(m->cpu, 7, 0x8), STEP_NEXT);
    assert_int_equal(debug_check_fetch(m->cpu, CODE), 2);
    assert_int_equal(debug_check_fetch(m->cpu, CODE + 1), 0);
    assert_true(m->cpu->mode & MODE_SINGLE);
    assert_int_equal(debug_write(m->cpu, 7, 0), STEP_NEXT);
    assert_false(m->cpu->mode & MODE_SINGLE);
}

static void debug_register_moves_are_guarded(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_protected(m);
    op.extra = 4;
    assert_int_equal(op_mov_from_dr(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RAX], m->cpu->dr[6]);
    m->cpu->cr4 |= CR4_DE;
    expect_undefined(m, op_mov_from_dr(m->cpu, &op));
    op.extra = 7;
    m->cpu->dr[7] |= 1 << 13;
    assert_int_equal(op_mov_to_dr(m->cpu, &op), STEP_FAULT);
    assert_int_equal(m->cpu->fault.vector, VECTOR_DB);
    assert_int_equal(m->cpu->fault.dr6, 1 << 13);
    use_level(m, USER_CODE, USER_DATA);
    expect_fault(m, op_mov_from_dr(m->cpu, &op), VECTOR_GP, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(cr0_refuses_impossible_combinations),
        machine_test(long_mode_starts_and_stops_with_paging),
        machine_test(write_protect_takes_effect_at_once),
        machine_test(cr3_refuses_reserved_bits_and_flushes),
        machine_test(pcids_keep_translations_apart),
        machine_test(pae_table_is_checked_when_loaded),
        machine_test(cr4_has_the_bits_of_cpuid),
        machine_test(efer_keeps_lma_and_refuses_the_unknown),
        machine_test(lmsw_cannot_leave_protected_mode),
        machine_test(control_register_numbers),
        machine_test(invpcid_checks_its_descriptor),
        machine_test(invlpg_drops_one_page),
        machine_test(table_registers_move_whole),
        machine_test(short_table_base_has_24_bits),
        machine_test(base_instructions_want_their_bit),
        machine_test(time_can_be_hidden),
        machine_test(debug_registers_have_fixed_bits),
        machine_test(data_breakpoints_match_by_overlap),
        machine_test(fetch_breakpoints_match_the_first_byte),
        machine_test(debug_register_moves_are_guarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
