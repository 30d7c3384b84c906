/* The run loop: interrupts, NMI, INIT and SIPI, halts, kicks, traps of single instructions. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/soft/lapic_registers.h"
#include "tests/harness/soft_fixture.h"

enum { VECTOR = 0x40, MS = 1000 };

static void enable_apic(struct cpu *cpu)
{
    atomic_store(&cpu->lapic.svr, SVR_ENABLED | SVR_VECTOR);
}

static void interrupt(struct guest *g, unsigned vector)
{
    struct engine_interrupt message = {.vector = (uint8_t)vector};
    enable_apic(g->cpu);
    assert_int_equal(soft_engine.interrupt(g->partition, &message), 0);
}

static void raise_nmi(struct guest *g)
{
    struct engine_event event = {.kind = ENGINE_EVENT_NMI};
    assert_int_equal(soft_engine.raise(g->vcpu, &event), 0);
}

/* ---- interrupts ---- */

static void interrupt_waits_for_if(void **state)
{
    struct guest *g = *state;
    interrupt(g, VECTOR);
    assert_int_equal(TRY(g, "\x90"), PORT_DONE);
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IF);
    assert_int_equal(TRY(g, "\x90"), VECTOR);
    assert_int_equal(guest_frame(g, 0), CODE_AT);
    assert_int_equal(g->cpu->flags & FLAG_IF, 0);
}

static void sti_holds_interrupts_back_for_one_instruction(void **state)
{
    struct guest *g = *state;
    interrupt(g, VECTOR);
    assert_int_equal(TRY(g, "\xfb\x90\x90"), VECTOR); /* sti; nop; nop */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void sti_with_if_set_holds_nothing_back(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x8a\x03\xfb\x90"); /* mov al, [rbx]; sti; nop */
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IF);
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    interrupt(g, VECTOR);
    assert_int_equal(guest_run_to_port(g), VECTOR);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
}

static void popf_opens_for_interrupts_at_once(void **state)
{
    struct guest *g = *state;
    interrupt(g, VECTOR);
    guest_write64(g, STACK_TOP - 8, FLAG_IF | FLAG_FIXED);
    g->cpu->gpr[GPR_RSP] = STACK_TOP - 8;
    assert_int_equal(TRY(g, "\x9d\x90"), VECTOR); /* popfq; nop */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 1);
}

static void load_of_ss_holds_events_back_for_one_instruction(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x8e\x13\x90\x90"); /* mov ss, [rbx]; nop; nop */
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    g->exit.mmio.value = DATA_SELECTOR;
    raise_nmi(g);
    assert_int_equal(guest_run_to_port(g), VECTOR_NMI);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 3);
}

static void nmi_blocks_the_next_until_iret(void **state)
{
    struct guest *g = *state;
    raise_nmi(g);
    assert_int_equal(TRY(g, "\x90"), VECTOR_NMI);
    raise_nmi(g);
    assert_true(g->cpu->nmi_blocked);
    assert_int_equal(g->cpu->gpr[GPR_RSP], STACK_TOP - 40);
    assert_int_equal(guest_run_to_port(g), VECTOR_NMI);
    /* Not nested: the first has returned. */
    assert_int_equal(g->cpu->gpr[GPR_RSP], STACK_TOP - 40);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_false(g->cpu->nmi_blocked);
}

static void two_nmis_at_once_are_two(void **state)
{
    struct guest *g = *state;
    for (unsigned i = 0; i < 3; i++)
        raise_nmi(g);
    assert_int_equal(TRY(g, "\x90"), VECTOR_NMI);
    assert_int_equal(guest_run_to_port(g), VECTOR_NMI);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void two_nmis_while_they_are_blocked_are_one(void **state)
{
    struct guest *g = *state;
    raise_nmi(g);
    assert_int_equal(TRY(g, "\x90"), VECTOR_NMI);
    raise_nmi(g);
    raise_nmi(g);
    assert_int_equal(guest_run_to_port(g), VECTOR_NMI);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void nmi_goes_before_interrupts(void **state)
{
    struct guest *g = *state;
    interrupt(g, VECTOR);
    raise_nmi(g);
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IF);
    assert_int_equal(TRY(g, "\x90"), VECTOR_NMI);
    assert_int_equal(guest_run_to_port(g), VECTOR);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

/* ---- the 8259 ---- */

static void set_line(struct guest *g, bool asserted)
{
    struct engine_event line = {.kind = ENGINE_EVENT_EXTINT_LINE, .asserted = asserted};
    assert_int_equal(soft_engine.raise(g->vcpu, &line), 0);
}

static void extint_is_acknowledged_when_it_can_be_taken(void **state)
{
    struct guest *g = *state;
    enable_apic(g->cpu);
    g->cpu->lapic.lvt[LVT_LINT0] = DELIVERY_EXTINT << 8;
    set_line(g, true);
    assert_int_equal(TRY(g, "\x90"), PORT_DONE); /* IF = 0 */
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IF);
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_EXTINT);
    assert_int_equal(g->cpu->rip, CODE_AT);
    struct engine_event vector = {.kind = ENGINE_EVENT_EXTINT_VECTOR, .vector = 0x31};
    assert_int_equal(soft_engine.raise(g->vcpu, &vector), 0);
    set_line(g, false);
    assert_int_equal(guest_run_to_port(g), 0x31);
    assert_int_equal(guest_frame(g, 0), CODE_AT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void extint_line_that_fell_is_forgotten(void **state)
{
    struct guest *g = *state;
    g->cpu->lapic.lvt[LVT_LINT0] = DELIVERY_EXTINT << 8;
    set_line(g, true);
    set_line(g, false);
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IF);
    assert_int_equal(TRY(g, "\x90"), PORT_DONE);
}

/* The line says only once that it rose. */
static void extint_comes_when_lint0_is_unmasked_later(void **state)
{
    struct guest *g = *state;
    enable_apic(g->cpu);
    g->cpu->lapic.lvt[LVT_LINT0] = LVT_MASKED;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IF);
    set_line(g, true);
    assert_int_equal(TRY(g, "\x90"), PORT_DONE);
    lapic_mmio_write(g->cpu, LAPIC_LVT_TIMER_REG + 0x30, DELIVERY_EXTINT << 8);
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_EXTINT);
}

static void extint_wakes_a_halted_processor(void **state)
{
    struct guest *g = *state;
    g->cpu->lapic.lvt[LVT_LINT0] = DELIVERY_EXTINT << 8;
    set_line(g, true);
    PLACE(g, CODE_AT, "\xfb\xf4"); /* sti; hlt */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_EXTINT);
    struct engine_event vector = {.kind = ENGINE_EVENT_EXTINT_VECTOR, .vector = 0x31};
    assert_int_equal(soft_engine.raise(g->vcpu, &vector), 0);
    set_line(g, false);
    assert_int_equal(guest_run_to_port(g), 0x31);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

/* ---- other threads ---- */

struct later {
    struct guest *guest;
    void (*act)(struct guest *guest);
};

static void *act_later(void *argument)
{
    const struct later *later = argument;
    (void)usleep(20 * MS);
    later->act(later->guest);
    return NULL;
}

static enum engine_exit_kind run_while(struct guest *g, void (*act)(struct guest *guest))
{
    struct later later = {g, act};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, act_later, &later), 0);
    enum engine_exit_kind kind = guest_run(g);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return kind;
}

static void kick(struct guest *g)
{
    soft_engine.kick(g->vcpu);
}

static void send_interrupt(struct guest *g)
{
    struct engine_interrupt message = {.vector = VECTOR};
    (void)soft_engine.interrupt(g->partition, &message);
}

static void send_nmi(struct guest *g)
{
    struct engine_interrupt message = {.delivery_mode = DELIVERY_NMI};
    (void)soft_engine.interrupt(g->partition, &message);
}

static void kick_before_run_counts(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xeb\xfe"); /* jmp . */
    guest_start(g, CODE_AT);
    kick(g);
    assert_int_equal(guest_run(g), ENGINE_EXIT_KICKED);
    assert_int_equal(g->cpu->rip, CODE_AT);
}

static void kick_reaches_a_spinning_processor(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xeb\xfe"); /* jmp . */
    guest_start(g, CODE_AT);
    assert_int_equal(run_while(g, kick), ENGINE_EXIT_KICKED);
    assert_int_equal(g->cpu->rip, CODE_AT);
}

static void kick_reaches_a_halted_processor(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xf4"); /* hlt */
    guest_start(g, CODE_AT);
    assert_int_equal(run_while(g, kick), ENGINE_EXIT_KICKED);
    assert_int_equal(g->cpu->activity, ENGINE_ACTIVITY_HALTED);
    assert_int_equal(run_while(g, kick), ENGINE_EXIT_KICKED);
    assert_int_equal(g->cpu->rip, CODE_AT + 1);
}

static void interrupt_wakes_a_halted_processor(void **state)
{
    struct guest *g = *state;
    enable_apic(g->cpu);
    PLACE(g, CODE_AT, "\xfb\xf4"); /* sti; hlt */
    guest_start(g, CODE_AT);
    assert_int_equal(run_while(g, send_interrupt), ENGINE_EXIT_PORT_WRITE);
    assert_int_equal(g->exit.port.port, VECTOR);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
    assert_int_equal(g->cpu->activity, ENGINE_ACTIVITY_RUNNING);
}

static void only_an_nmi_wakes_a_halt_with_if_clear(void **state)
{
    struct guest *g = *state;
    interrupt(g, VECTOR);
    PLACE(g, CODE_AT, "\xf4"); /* hlt */
    guest_start(g, CODE_AT);
    assert_int_equal(run_while(g, send_nmi), ENGINE_EXIT_PORT_WRITE);
    assert_int_equal(g->exit.port.port, VECTOR_NMI);
}

/* In 80 ms of sleep a thread that waits uses next to no processor time. */
static void assert_sleeps(struct guest *g)
{
    struct timespec before;
    struct timespec after;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(run_while(g, kick), ENGINE_EXIT_KICKED);
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after), 0);
    int64_t spent = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    assert_true(spent < INT64_C(40) * 1000 * 1000);
}

static void halt_with_events_that_cannot_wake_it_sleeps(void **state)
{
    struct guest *g = *state;
    interrupt(g, VECTOR);
    raise_nmi(g);
    raise_nmi(g);
    g->cpu->nmi_blocked = true;
    PLACE(g, CODE_AT, "\xf4"); /* hlt */
    guest_start(g, CODE_AT);
    assert_sleeps(g);
}

static void wait_for_sipi_with_pending_events_sleeps(void **state)
{
    struct guest *g = *state;
    interrupt(g, VECTOR);
    raise_nmi(g);
    raise_nmi(g);
    guest_start(g, CODE_AT);
    g->cpu->activity = ENGINE_ACTIVITY_WAIT_FOR_SIPI;
    assert_sleeps(g);
    assert_int_equal(g->cpu->activity, ENGINE_ACTIVITY_WAIT_FOR_SIPI);
}

static void rep_string_stops_for_a_kick(void **state)
{
    struct guest *g = *state;
    enum { LENGTH = 0x100000 };
    g->cpu->gpr[GPR_RBX] = LARGE_AT;
    /* 1: mov rdi, rbx; mov ecx, LENGTH; rep stosb; jmp 1b */
    PLACE(g, CODE_AT, "\x48\x89\xdf\xb9\x00\x00\x10\x00\xf3\xaa\xeb\xf4");
    guest_start(g, CODE_AT);
    unsigned inside = 0;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(run_while(g, kick), ENGINE_EXIT_KICKED);
        if (g->cpu->rip != CODE_AT + 8)
            continue;
        assert_int_equal(g->cpu->gpr[GPR_RDI] - LARGE_AT + g->cpu->gpr[GPR_RCX], LENGTH);
        inside++;
    }
    assert_true(inside > 0);
}

/* ---- INIT and SIPI ---- */

static void init_and_sipi_start_a_processor_in_real_mode(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    enum { BSP_AT = CODE_AT + 0x1000, APIC_LINEAR = DATA_AT };
    guest_map(g, APIC_LINEAR, UINT64_C(0xfee00000) | PAGE_P | PAGE_W | PAGE_U);
    PLACE(g, CODE_AT, "\xb0\x05"); /* mov al, 5, by the processor started */
    g->cpu->gpr[GPR_RBX] = APIC_LINEAR;
    g->cpu->gpr[GPR_RCX] = 1 << 24;
    /* mov [rbx+0x310], ecx; mov [rbx+0x300], 0x4500 (INIT); mov [rbx+0x300], 0x4620 (SIPI 0x20) */
    PLACE(g, BSP_AT,
          "\x89\x8b\x10\x03\x00\x00\xc7\x83\x00\x03\x00\x00\x00\x45\x00\x00\xc7\x83\x00\x03\x00\x00"
          "\x20\x46\x00\x00");
    g->cpus[1]->activity = ENGINE_ACTIVITY_HALTED;
    guest_begin(g, 1);
    guest_start(g, BSP_AT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(guest_end(g, 1), PORT_DONE);
    assert_int_equal(g->exits[1].port.value, 5);
    assert_int_equal(g->cpus[1]->segment[SEGMENT_CS].selector, CODE_AT >> 4);
    assert_int_equal(g->cpus[1]->segment[SEGMENT_CS].base, CODE_AT);
    assert_int_equal(g->cpus[1]->mode, MODE_REAL);
    guest_destroy(g);
}

static void sipi_means_nothing_to_a_running_processor(void **state)
{
    struct guest *g = *state;
    struct engine_interrupt sipi = {.delivery_mode = DELIVERY_SIPI, .vector = 0x99};
    assert_int_equal(soft_engine.interrupt(g->partition, &sipi), 0);
    assert_int_equal(TRY(g, "\x90"), PORT_DONE);
}

static void triple_fault_shuts_down_until_init(void **state)
{
    struct guest *g = *state;
    g->cpu->idt.limit = 0;
    assert_int_equal(TRY(g, "\x90\x0f\x0b"), -1); /* nop; ud2 */
    assert_int_equal(g->exit.kind, ENGINE_EXIT_SHUTDOWN);
    assert_int_equal(g->cpu->rip, CODE_AT + 1);
    assert_int_equal(g->cpu->activity, ENGINE_ACTIVITY_SHUTDOWN);
    kick(g);
    assert_int_equal(guest_run(g), ENGINE_EXIT_KICKED);
    struct engine_interrupt init = {.delivery_mode = DELIVERY_INIT};
    assert_int_equal(soft_engine.interrupt(g->partition, &init), 0);
    /* There is no RAM at the reset vector: #GP, and all vectors of the real-mode table are 0:0. */
    PLACE(g, 0, "");
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->rip, 0);
    assert_int_equal(g->cpu->mode, MODE_REAL);
}

/* ---- traps ---- */

static void trap_flag_traps_behind_each_instruction(void **state)
{
    struct guest *g = *state;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_TF);
    assert_int_equal(TRY(g, "\x90\x48\xff\xc0"), VECTOR_DB); /* nop; inc rax */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 1);
    assert_int_equal(guest_frame(g, 2) & FLAG_TF, FLAG_TF);
    assert_int_equal(g->cpu->flags & FLAG_TF, 0);
    assert_int_equal(g->cpu->dr[6] & (1 << 14), 1 << 14);
    assert_int_equal(guest_run_to_port(g), VECTOR_DB);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 4);
    guest_write64(g, g->cpu->gpr[GPR_RSP] + 16, FLAG_FIXED);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static void popf_that_sets_tf_does_not_trap_itself(void **state)
{
    struct guest *g = *state;
    /* pushfq; or dword [rsp], 0x100; popfq; nop; nop */
    assert_int_equal(TRY(g, "\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d\x90\x90"), VECTOR_DB);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 10);
}

static void sti_does_not_hold_a_trap_back(void **state)
{
    struct guest *g = *state;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_TF);
    assert_int_equal(TRY(g, "\xfb\x90\x90"), VECTOR_DB); /* sti; nop; nop */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 1);
}

static void load_of_ss_holds_a_trap_back(void **state)
{
    struct guest *g = *state;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_TF);
    g->cpu->gpr[GPR_RAX] = DATA_SELECTOR;
    assert_int_equal(TRY(g, "\x8e\xd0\x90\x90"), VECTOR_DB); /* mov ss, ax; nop; nop */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 3);
}

static void repeated_string_traps_behind_each_element(void **state)
{
    struct guest *g = *state;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_TF);
    g->cpu->gpr[GPR_RCX] = 3;
    g->cpu->gpr[GPR_RDI] = DATA_AT;
    assert_int_equal(TRY(g, "\xf3\xaa\x90"), VECTOR_DB); /* rep stosb; nop */
    assert_int_equal(guest_frame(g, 0), CODE_AT);
    assert_int_equal(g->cpu->gpr[GPR_RCX], 2);
    assert_int_equal(guest_run_to_port(g), VECTOR_DB);
    assert_int_equal(guest_frame(g, 0), CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_DB);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
    assert_int_equal(g->cpu->gpr[GPR_RCX], 0);
}

static void trap_behind_hlt_ends_the_halt(void **state)
{
    struct guest *g = *state;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_TF);
    assert_int_equal(TRY(g, "\xf4\x90"), VECTOR_DB); /* hlt; nop */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 1);
    assert_int_equal(g->cpu->activity, ENGINE_ACTIVITY_RUNNING);
}

static void software_interrupt_does_not_trap(void **state)
{
    struct guest *g = *state;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_TF);
    assert_int_equal(TRY(g, "\xcd\x41\x90"), 0x41); /* int 0x41; nop */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
    /* IRET sets TF again: the first instruction behind it traps. */
    assert_int_equal(guest_run_to_port(g), VECTOR_DB);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 3);
}

static void resume_flag_passes_an_instruction_breakpoint_once(void **state)
{
    struct guest *g = *state;
    assert_int_equal(debug_write(g->cpu, 0, CODE_AT + 1), STEP_NEXT);
    assert_int_equal(debug_write(g->cpu, 7, 0x402), STEP_NEXT);
    assert_int_equal(TRY(g, "\x90\x90\xeb\xfd"), VECTOR_DB); /* nop; 1: nop; jmp 1b */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 1);
    assert_int_equal(guest_frame(g, 2) & FLAG_RF, 0);
    assert_int_equal(g->cpu->dr[6] & 0xf, 1);
    uint64_t rsp = g->cpu->gpr[GPR_RSP];
    guest_write64(g, rsp + 16, FLAG_FIXED | FLAG_RF);
    g->cpu->gpr[GPR_RAX] = 0;
    /* Past it with RF, round the loop, and there it is again. */
    assert_int_equal(guest_run_to_port(g), VECTOR_DB);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 1);
    assert_int_equal(g->cpu->gpr[GPR_RSP], rsp);
}

/* ---- blocks ---- */

static void same_offset_in_two_code_segments_is_other_code(void **state)
{
    struct guest *g = *state;
    guest_use_real(g, 0);
    PLACE(g, CODE_AT + 0x10000, "\x43"); /* inc bx */
    /* inc ax; cmp ax, 3; je end; jmp 0x3000:0 */
    assert_int_equal(TRY(g, "\x40\x83\xf8\x03\x74\x05\xea\x00\x00\x00\x30"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 1);
    assert_int_equal(g->cpu->gpr[GPR_RBX], 1);
}

static void limit_of_the_code_segment_counts_at_each_run(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    for (unsigned i = 0; i < 3; i++) {
        guest_start(g, CODE_AT);
        assert_int_equal(TRY(g, "\x90\x90\x90"), PORT_DONE);
    }
    g->cpu->segment[SEGMENT_CS].limit = CODE_AT + 1;
    cpu_mode_changed(g->cpu);
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_GP);
    assert_int_equal(guest_read32(g, g->cpu->gpr[GPR_RSP] + 4), CODE_AT + 2);
}

/* What the fuzzer takes for the number of instructions. */
static void interpreted_instructions_that_complete_are_counted(void **state)
{
    (void)state;
    struct guest *g = guest_create_with(1, ENGINE_TRANSLATE_NEVER);
    const uint64_t *handled = &g->cpu->stats.handled;
    PLACE(g, CODE_AT, "\x90\xff\xc0\xeb\x00\x90\x0f\x0b"); /* nop; inc; jmp +0; nop; ud2 */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_UD);
    assert_int_equal(*handled, 4);                          /* not UD2, nor the handler's OUT */
    assert_int_equal(guest_run(g), ENGINE_EXIT_PORT_WRITE); /* again, behind OUT and IRET */
    assert_int_equal(*handled, 6);
    guest_destroy(g);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interpreted_instructions_that_complete_are_counted),
        TEST(interrupt_waits_for_if),
        TEST(sti_holds_interrupts_back_for_one_instruction),
        TEST(sti_with_if_set_holds_nothing_back),
        TEST(popf_opens_for_interrupts_at_once),
        TEST(load_of_ss_holds_events_back_for_one_instruction),
        TEST(nmi_blocks_the_next_until_iret),
        TEST(two_nmis_at_once_are_two),
        TEST(two_nmis_while_they_are_blocked_are_one),
        TEST(nmi_goes_before_interrupts),
        TEST(extint_is_acknowledged_when_it_can_be_taken),
        TEST(extint_line_that_fell_is_forgotten),
        TEST(extint_comes_when_lint0_is_unmasked_later),
        TEST(extint_wakes_a_halted_processor),
        TEST(kick_before_run_counts),
        TEST(kick_reaches_a_spinning_processor),
        TEST(kick_reaches_a_halted_processor),
        TEST(interrupt_wakes_a_halted_processor),
        TEST(only_an_nmi_wakes_a_halt_with_if_clear),
        TEST(halt_with_events_that_cannot_wake_it_sleeps),
        TEST(wait_for_sipi_with_pending_events_sleeps),
        TEST(rep_string_stops_for_a_kick),
        cmocka_unit_test(init_and_sipi_start_a_processor_in_real_mode),
        TEST(sipi_means_nothing_to_a_running_processor),
        TEST(triple_fault_shuts_down_until_init),
        TEST(trap_flag_traps_behind_each_instruction),
        TEST(popf_that_sets_tf_does_not_trap_itself),
        TEST(sti_does_not_hold_a_trap_back),
        TEST(load_of_ss_holds_a_trap_back),
        TEST(repeated_string_traps_behind_each_element),
        TEST(trap_behind_hlt_ends_the_halt),
        TEST(software_interrupt_does_not_trap),
        TEST(resume_flag_passes_an_instruction_breakpoint_once),
        TEST(same_offset_in_two_code_segments_is_other_code),
        TEST(limit_of_the_code_segment_counts_at_each_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
