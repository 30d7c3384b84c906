/* Reset, the mode derived from the registers, and what a change of flags sets going. */
#include "engine/soft/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/tlb.h"
#include "tests/harness/soft_fixture.h"

/* Intel SDM vol. 3A table 9-1. */
static void assert_reset_state(const struct cpu *cpu)
{
    for (unsigned i = 0; i <= GPR_ZERO; i++) {
        if (i != GPR_RDX)
            assert_int_equal(cpu->gpr[i], 0);
    }
    assert_int_equal((cpu->gpr[GPR_RDX] >> 8) & 0xf, 6); /* the processor's family */
    assert_int_equal(cpu->rip, 0xfff0);
    assert_int_equal(cpu->flags, FLAG_FIXED);
    assert_int_equal(cpu->segment[SEGMENT_CS].selector, 0xf000);
    assert_int_equal(cpu->segment[SEGMENT_CS].base, 0xffff0000);
    assert_int_equal(cpu->segment[SEGMENT_CS].limit, 0xffff);
    assert_int_equal(cpu->segment[SEGMENT_DS].base, 0);
    assert_int_equal(cpu->segment[SEGMENT_DS].limit, 0xffff);
    assert_int_equal(cpu->idt.base, 0);
    assert_int_equal(cpu->idt.limit, 0xffff);
    assert_int_equal(cpu->cr3, 0);
    assert_int_equal(cpu->cr4, 0);
    assert_int_equal(cpu->efer, 0);
    assert_int_equal(cpu->dr[6], 0xffff0ff0);
    assert_int_equal(cpu->dr[7], 0x400);
    assert_int_equal(cpu->mode, MODE_REAL);
    assert_int_equal(cpu->cpl, 0);
}

static void dirty_registers(struct guest *g, unsigned index)
{
    struct cpu *cpu = g->cpus[index];
    for (unsigned i = 0; i < GPR_COUNT; i++)
        cpu->gpr[i] = i + 1;
    cpu->nmi_blocked = true;
    cpu->shadow = SHADOW_STI;
    cpu->debug_trap = 1;
    cpu->reply_count = 1;
    cpu->dr[7] = 0x402;
}

static void power_on_state(void **state)
{
    struct guest *g = *state;
    dirty_registers(g, 0);
    cpu_reset(g->cpu, false);
    assert_reset_state(g->cpu);
    assert_int_equal(g->cpu->cr0, CR0_ET | CR0_CD | CR0_NW);
    assert_int_equal(g->cpu->activity, ENGINE_ACTIVITY_RUNNING);
    assert_false(g->cpu->nmi_blocked);
    assert_int_equal(g->cpu->shadow, SHADOW_NONE);
    assert_int_equal(g->cpu->reply_count, 0);
    assert_false(g->cpu->tlb->used);
}

static void init_keeps_the_cache_bits(void **state)
{
    struct guest *g = *state;
    dirty_registers(g, 0);
    g->cpu->cr0 |= CR0_CD;
    cpu_reset(g->cpu, true);
    assert_reset_state(g->cpu);
    assert_int_equal(g->cpu->cr0, CR0_ET | CR0_CD);
    g->cpu->cr0 = CR0_PE | CR0_ET;
    cpu_reset(g->cpu, true);
    assert_int_equal(g->cpu->cr0, CR0_ET);
}

static void only_the_first_processor_starts_by_itself(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    cpu_reset(g->cpus[1], false);
    assert_reset_state(g->cpus[1]);
    assert_int_equal(g->cpus[1]->activity, ENGINE_ACTIVITY_WAIT_FOR_SIPI);
    guest_destroy(g);
}

/* ---- mode ---- */

static void mode_follows_the_registers(void **state)
{
    struct guest *g = *state;
    struct cpu *cpu = g->cpu;
    assert_int_equal(cpu->mode, MODE_LONG);
    cpu->cpl = 3;
    cpu_mode_changed(cpu);
    assert_int_equal(cpu->mode, MODE_LONG | MODE_USER);
    cpu->segment[SEGMENT_CS].attributes ^= SEGMENT_L | SEGMENT_DB;
    cpu_mode_changed(cpu);
    assert_int_equal(cpu->mode, MODE_CODE32 | MODE_STACK32 | MODE_USER); /* compatibility mode */
    cpu->segment[SEGMENT_SS].attributes &= (uint16_t)~SEGMENT_DB;
    cpu->segment[SEGMENT_CS].attributes |= SEGMENT_L;
    cpu->segment[SEGMENT_CS].attributes &= (uint16_t)~SEGMENT_DB;
    cpu->efer = 0; /* L means nothing without IA-32e mode */
    cpu_mode_changed(cpu);
    assert_int_equal(cpu->mode, MODE_USER);
    cpu->flags |= FLAG_VM;
    cpu_mode_changed(cpu);
    assert_int_equal(cpu->mode, MODE_V86 | MODE_USER);
    cpu->cr0 = 0;
    cpu->cpl = 0;
    cpu_mode_changed(cpu);
    assert_int_equal(cpu->mode, MODE_REAL);
}

static void traps_and_breakpoints_make_single_instructions(void **state)
{
    struct guest *g = *state;
    struct cpu *cpu = g->cpu;
    static const uint64_t flags[] = {FLAG_TF, FLAG_RF};
    for (unsigned i = 0; i < 2; i++) {
        cpu_set_flags(cpu, cpu->flags | flags[i]);
        assert_int_equal(cpu->mode, MODE_LONG | MODE_SINGLE);
        cpu_set_flags(cpu, cpu->flags & ~flags[i]);
        assert_int_equal(cpu->mode, MODE_LONG);
    }
    cpu->dr[7] |= 0x80;
    cpu_mode_changed(cpu);
    assert_int_equal(cpu->mode, MODE_LONG | MODE_SINGLE);
}

static void view_follows_the_registers(void **state)
{
    struct guest *g = *state;
    struct cpu *cpu = g->cpu;
    assert_ptr_equal(cpu->tlb, &cpu->tables[VIEW_SUPERVISOR]);
    cpu->cr4 |= CR4_SMAP;
    cpu_mode_changed(cpu);
    assert_ptr_equal(cpu->tlb, &cpu->tables[VIEW_SUPERVISOR_SMAP]);
    cpu_set_flags(cpu, cpu->flags | FLAG_AC);
    assert_ptr_equal(cpu->tlb, &cpu->tables[VIEW_SUPERVISOR]);
    cpu->cpl = 3;
    cpu_mode_changed(cpu);
    assert_ptr_equal(cpu->tlb, &cpu->tables[VIEW_USER]);
    cpu->cr0 |= CR0_AM;
    cpu_mode_changed(cpu);
    assert_ptr_equal(cpu->tlb, &cpu->tables[VIEW_USER_ALIGNED]);
}

static void set_if_asks_for_a_look_at_what_waits(void **state)
{
    struct guest *g = *state;
    atomic_store(&g->cpu->pending, 0);
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_ZF);
    assert_int_equal(atomic_load(&g->cpu->pending), 0);
    cpu_set_flags(g->cpu, FLAG_IF);
    assert_int_equal(atomic_load(&g->cpu->pending), 0);
    cpu_set_flags(g->cpu, 0);
    atomic_store(&g->cpu->lapic.irr[2], 1);
    cpu_set_flags(g->cpu, FLAG_FIXED);
    assert_int_equal(atomic_load(&g->cpu->pending), 0);
    cpu_set_flags(g->cpu, FLAG_IF);
    assert_int_equal(atomic_load(&g->cpu->pending), PENDING_INTERRUPT);
    assert_int_equal(g->cpu->flags, FLAG_IF | FLAG_FIXED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(power_on_state),
        TEST(init_keeps_the_cache_bits),
        cmocka_unit_test(only_the_first_processor_starts_by_itself),
        TEST(mode_follows_the_registers),
        TEST(traps_and_breakpoints_make_single_instructions),
        TEST(view_follows_the_registers),
        TEST(set_if_asks_for_a_look_at_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
