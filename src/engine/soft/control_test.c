/* What may be written to CR0, CR3, CR4, EFER, and what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/memory.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
