/* The local APIC by its registers, two or three vCPUs without code to run. */
#include "engine/soft/lapic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/soft/lapic_registers.h"
#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"
#include "state/state.h"

enum { CPUS = 3, MSR_BASE = 0x1b, MSR_DEADLINE = 0x6e0, X2 = 0x800 };

struct fixture {
    struct soft_partition partition;
    struct cpu *cpu[CPUS];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->partition.physical_bits = 40;
    f->partition.tsc_hz = engine_tsc_hz();
    for (unsigned i = 0; i < CPUS; i++) {
        struct cpu *cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~(size_t)63);
        assert_non_null(cpu);
        memset(cpu, 0, sizeof(*cpu));
        cpu->partition = &f->partition;
        cpu->index = i;
        f->cpu[i] = cpu;
        f->partition.cpu[i] = cpu;
        assert_int_equal(tlb_create(cpu), 0);
        lapic_reset(cpu, false);
        lapic_mmio_write(cpu, LAPIC_SVR, 0x1ff);
        atomic_store(&cpu->pending, 0);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < CPUS; i++) {
        tlb_destroy(f->cpu[i]);
        free(f->cpu[i]);
    }
    free(f);
    return 0;
}

static struct cpu *first(void **state)
{
    return ((struct fixture *)*state)->cpu[0];
}

static void to_x2apic(struct cpu *cpu)
{
    uint64_t base;
    assert_true(lapic_msr_read(cpu, MSR_BASE, &base));
    assert_true(lapic_msr_write(cpu, MSR_BASE, base | APIC_BASE_EXTD));
}

static bool requested(const struct cpu *cpu, unsigned vector)
{
    return (atomic_load(&cpu->lapic.irr[vector / 32]) >> (vector % 32)) & 1;
}

static void reset_values(void **state)
{
    struct fixture *f = *state;
    lapic_reset(f->cpu[1], false);
    struct cpu *cpu = f->cpu[1];
    assert_int_equal(lapic_page(cpu), 0xfee00000);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ID), 1 << 24);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_VERSION), 0x60014);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_SVR), 0xff);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_DFR), 0xffffffff);
    assert_int_equal(lapic_mmio_read(cpu, 0x350), 0x10000);
    assert_false(lapic_takes_extint(cpu));
}

static void virtual_wire_after_reset(void **state)
{
    struct cpu *cpu = first(state);
    lapic_reset(cpu, false);
    assert_true(lapic_takes_extint(cpu));
    lapic_mmio_write(cpu, LAPIC_SVR, 0x1ff);
    assert_true(lapic_takes_extint(cpu));
    lapic_mmio_write(cpu, 0x350, LVT_MASKED | 0x700);
    assert_false(lapic_takes_extint(cpu));
    assert_true(lapic_msr_write(cpu, MSR_BASE, 0xfee00100));
    assert_true(lapic_takes_extint(cpu));
    assert_int_equal(lapic_page(cpu), UINT64_MAX);
}

static void software_disable_masks_local_vectors(void **state)
{
    struct cpu *cpu = first(state);
    lapic_mmio_write(cpu, 0x360, 0x45);
    assert_int_equal(lapic_mmio_read(cpu, 0x360), 0x45);
    lapic_mmio_write(cpu, LAPIC_SVR, 0xff);
    assert_int_equal(lapic_mmio_read(cpu, 0x360), 0x10045);
    lapic_mmio_write(cpu, 0x360, 0x46);
    assert_int_equal(lapic_mmio_read(cpu, 0x360), 0x10046);
    const struct engine_interrupt message = {.destination = 0, .vector = 0x50};
    assert_false(lapic_deliver(cpu->partition, &message));
}

static void priorities_hold_back_what_is_not_above(void **state)
{
    struct cpu *cpu = first(state);
    lapic_request(cpu, 0x51, LAPIC_EDGE);
    lapic_request(cpu, 0x62, LAPIC_EDGE);
    assert_true(atomic_load(&cpu->pending) & PENDING_INTERRUPT);
    assert_int_equal(lapic_pending_vector(cpu), 0x62);
    lapic_accept(cpu, 0x62);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_PPR), 0x60);
    assert_int_equal(lapic_pending_vector(cpu), -1);
    lapic_request(cpu, 0x6f, LAPIC_EDGE);
    assert_int_equal(lapic_pending_vector(cpu), -1); /* same class */
    lapic_request(cpu, 0x70, LAPIC_EDGE);
    assert_int_equal(lapic_pending_vector(cpu), 0x70);
    lapic_write_cr8(cpu, 7);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_TPR), 0x70);
    assert_int_equal(lapic_pending_vector(cpu), -1);
    atomic_store(&cpu->pending, 0);
    lapic_write_cr8(cpu, 0);
    assert_true(atomic_load(&cpu->pending) & PENDING_INTERRUPT);
    lapic_accept(cpu, 0x70);
    lapic_mmio_write(cpu, LAPIC_EOI, 0);
    lapic_mmio_write(cpu, LAPIC_EOI, 0);
    assert_int_equal(lapic_pending_vector(cpu), 0x6f);
    assert_false(atomic_load(&cpu->pending) & PENDING_EOI);
}

static void the_end_of_a_level_interrupt_is_told(void **state)
{
    struct cpu *cpu = first(state);
    const struct engine_interrupt message = {.destination = 0, .level = true, .vector = 0x41};
    assert_true(lapic_deliver(cpu->partition, &message));
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_TMR + 0x20), 2);
    lapic_accept(cpu, 0x41);
    lapic_mmio_write(cpu, LAPIC_EOI, 0);
    assert_true(atomic_load(&cpu->pending) & PENDING_EOI);
    assert_int_equal(cpu->lapic.ended[2], 2);
}

static void physical_and_logical_destinations(void **state)
{
    struct fixture *f = *state;
    struct engine_interrupt message = {.destination = 2, .vector = 0x40};
    assert_true(lapic_deliver(&f->partition, &message));
    assert_true(requested(f->cpu[2], 0x40) && !requested(f->cpu[0], 0x40));
    message = (struct engine_interrupt){.destination = 0xff, .vector = 0x41};
    assert_true(lapic_deliver(&f->partition, &message));
    for (unsigned i = 0; i < CPUS; i++) {
        assert_true(requested(f->cpu[i], 0x41));
        lapic_mmio_write(f->cpu[i], LAPIC_LDR, 1u << (24 + i));
    }
    message = (struct engine_interrupt){.destination = 6, .logical = true, .vector = 0x42};
    assert_true(lapic_deliver(&f->partition, &message));
    assert_true(!requested(f->cpu[0], 0x42) && requested(f->cpu[1], 0x42));
    assert_true(requested(f->cpu[2], 0x42));
    lapic_mmio_write(f->cpu[1], LAPIC_DFR, 0); /* cluster model */
    lapic_mmio_write(f->cpu[1], LAPIC_LDR, 0x31000000);
    message = (struct engine_interrupt){.destination = 0x31, .logical = true, .vector = 0x43};
    assert_true(lapic_deliver(&f->partition, &message));
    assert_true(requested(f->cpu[1], 0x43));
    message.destination = 0x21;
    message.vector = 0x44;
    assert_true(lapic_deliver(&f->partition, &message)); /* flat cpu 0 */
    assert_false(requested(f->cpu[1], 0x44));
    message.destination = 0x80;
    assert_false(lapic_deliver(&f->partition, &message));
}

static void lowest_priority_goes_to_one(void **state)
{
    struct fixture *f = *state;
    lapic_mmio_write(f->cpu[0], LAPIC_TPR, 0x20);
    lapic_mmio_write(f->cpu[1], LAPIC_TPR, 0x30);
    lapic_mmio_write(f->cpu[2], LAPIC_TPR, 0x10);
    const struct engine_interrupt message = {
        .destination = 0xff, .delivery_mode = DELIVERY_LOWEST, .vector = 0x77};
    assert_true(lapic_deliver(&f->partition, &message));
    assert_true(requested(f->cpu[2], 0x77));
    assert_false(requested(f->cpu[0], 0x77) || requested(f->cpu[1], 0x77));
}

static void startup_messages(void **state)
{
    struct fixture *f = *state;
    lapic_mmio_write(f->cpu[0], LAPIC_ICR_HIGH, 1 << 24);
    lapic_mmio_write(f->cpu[0], LAPIC_ICR, 0x0000c500); /* INIT, level assert */
    assert_true(atomic_load(&f->cpu[1]->pending) & PENDING_INIT);
    atomic_store(&f->cpu[1]->pending, 0);
    lapic_mmio_write(f->cpu[0], LAPIC_ICR, 0x00008500); /* INIT, de-assert */
    assert_int_equal(atomic_load(&f->cpu[1]->pending), 0);
    lapic_mmio_write(f->cpu[0], LAPIC_ICR, 0x0000069a); /* SIPI */
    assert_true(atomic_load(&f->cpu[1]->pending) & PENDING_SIPI);
    assert_int_equal(atomic_load(&f->cpu[1]->lapic.sipi_vector), 0x9a);
    lapic_mmio_write(f->cpu[0], LAPIC_ICR, 0x000c0400); /* NMI to all others */
    assert_false(atomic_load(&f->cpu[0]->pending) & PENDING_NMI);
    assert_true(atomic_load(&f->cpu[2]->pending) & PENDING_NMI);
}

static void illegal_vectors_and_registers_are_errors(void **state)
{
    struct cpu *cpu = first(state);
    lapic_mmio_write(cpu, LAPIC_LVT_ERROR_REG, 0xe0);
    lapic_mmio_write(cpu, LAPIC_ICR, 0x0004000f); /* self, vector 15 */
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ESR), 0);
    lapic_mmio_write(cpu, LAPIC_ESR, 0);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ESR), ESR_SEND_ILLEGAL_VECTOR);
    assert_true(requested(cpu, 0xe0));
    (void)lapic_mmio_read(cpu, 0x3c0);
    lapic_mmio_write(cpu, LAPIC_ESR, 0);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ESR), ESR_ILLEGAL_REGISTER);
    lapic_mmio_write(cpu, LAPIC_ESR, 0);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ESR), 0);
}

static void x2apic_registers(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu[2];
    uint64_t value;
    assert_false(lapic_msr_read(cpu, X2 + 2, &value)); /* xAPIC mode */
    to_x2apic(cpu);
    assert_int_equal(lapic_page(cpu), UINT64_MAX);
    assert_true(lapic_msr_read(cpu, X2 + 2, &value));
    assert_int_equal(value, 2);
    assert_true(lapic_msr_read(cpu, X2 + 0xd, &value));
    assert_int_equal(value, 4);
    assert_false(lapic_msr_write(cpu, X2 + 2, 0));       /* read-only */
    assert_false(lapic_msr_read(cpu, X2 + 0xb, &value)); /* EOI: write-only */
    assert_false(lapic_msr_write(cpu, X2 + 0xb, 1));
    assert_true(lapic_msr_write(cpu, X2 + 0xb, 0));
    assert_false(lapic_msr_read(cpu, X2 + 0xe, &value));  /* no DFR */
    assert_false(lapic_msr_read(cpu, X2 + 0x31, &value)); /* no second half of ICR */
    assert_false(lapic_msr_write(cpu, X2 + 8, 0x100));
    assert_false(lapic_msr_write(cpu, X2 + 0x28, 1));
    assert_false(lapic_msr_read(cpu, X2 + 0x40, &value));
    assert_true(lapic_msr_write(cpu, X2 + 0x3f, 0x33)); /* self IPI */
    assert_true(requested(cpu, 0x33));
    assert_true(lapic_msr_write(cpu, X2 + 0x30, 0x00000001000000f1)); /* to APIC id 1 */
    assert_true(requested(f->cpu[1], 0xf1));
    assert_true(lapic_msr_write(cpu, X2 + 0x30, 0x00000004000008f2)); /* logical */
    assert_true(requested(cpu, 0xf2));
    assert_true(lapic_msr_write(cpu, X2 + 0x30, UINT64_C(0xffffffff000000f3)));
    assert_true(requested(f->cpu[0], 0xf3) && requested(f->cpu[1], 0xf3) && requested(cpu, 0xf3));
}

/* Intel SDM vol. 3A figure 10-27. */
static void apic_base_transitions(void **state)
{
    struct cpu *cpu = first(state);
    const uint64_t xapic = APIC_BASE_DEFAULT | APIC_BASE_BSP | APIC_BASE_EN;
    const uint64_t disabled = APIC_BASE_DEFAULT | APIC_BASE_BSP;
    assert_false(lapic_msr_write(cpu, MSR_BASE, disabled | APIC_BASE_EXTD));
    assert_false(lapic_msr_write(cpu, MSR_BASE, xapic | 1));
    assert_false(lapic_msr_write(cpu, MSR_BASE, xapic | UINT64_C(1) << 40));
    to_x2apic(cpu);
    assert_false(lapic_msr_write(cpu, MSR_BASE, xapic));
    assert_true(lapic_msr_write(cpu, MSR_BASE, disabled));
    assert_false(lapic_msr_write(cpu, MSR_BASE, xapic | APIC_BASE_EXTD));
    assert_true(lapic_msr_write(cpu, MSR_BASE, xapic));
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_SVR), 0xff);
}

static void sleep_ns(long ns)
{
    const struct timespec pause = {.tv_nsec = ns};
    (void)nanosleep(&pause, NULL);
}

static void one_shot_timer(void **state)
{
    struct cpu *cpu = first(state);
    lapic_mmio_write(cpu, LAPIC_DIVIDE, 0xb); /* by 1 */
    lapic_mmio_write(cpu, LAPIC_LVT_TIMER_REG, 0x30);
    uint64_t before = clock_monotonic_ns();
    lapic_mmio_write(cpu, LAPIC_INITIAL_COUNT, 50000); /* of 40 ns */
    assert_true(atomic_load(&cpu->pending) & PENDING_TIMER);
    uint64_t deadline = lapic_timer_deadline_ns(cpu);
    assert_in_range(deadline, before + 2000000, clock_monotonic_ns() + 2000000);
    lapic_timer_poll(cpu);
    assert_false(requested(cpu, 0x30));
    assert_in_range(lapic_mmio_read(cpu, LAPIC_CURRENT_COUNT), 1, 50000);
    sleep_ns(3000000);
    lapic_timer_poll(cpu);
    assert_true(requested(cpu, 0x30));
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_CURRENT_COUNT), 0);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_INITIAL_COUNT), 50000);
    assert_int_equal(lapic_timer_deadline_ns(cpu), 0);
}

static void periodic_timer(void **state)
{
    struct cpu *cpu = first(state);
    lapic_mmio_write(cpu, LAPIC_DIVIDE, 0); /* by 2 */
    lapic_mmio_write(cpu, LAPIC_LVT_TIMER_REG, 0x30 | LVT_PERIODIC);
    lapic_mmio_write(cpu, LAPIC_INITIAL_COUNT, 12500);
    uint64_t start = lapic_timer_deadline_ns(cpu) - 1000000;
    sleep_ns(2500000);
    lapic_timer_poll(cpu);
    assert_true(requested(cpu, 0x30));
    uint64_t deadline = lapic_timer_deadline_ns(cpu);
    assert_true(deadline >= start + 3000000);
    assert_int_equal((deadline - start) % 1000000, 0);
    lapic_mmio_write(cpu, LAPIC_INITIAL_COUNT, 0);
    assert_int_equal(lapic_timer_deadline_ns(cpu), 0);
}

static void absurdly_short_period_does_not_keep_the_host_busy(void **state)
{
    struct cpu *cpu = first(state);
    enum { LEAST_NS = 10000, COUNT_NS = 40 };
    lapic_mmio_write(cpu, LAPIC_DIVIDE, 0xb); /* by 1 */
    lapic_mmio_write(cpu, LAPIC_LVT_TIMER_REG, 0x30 | LVT_PERIODIC);
    for (uint32_t count = 1; count < LEAST_NS / COUNT_NS; count = count * 3 + 1) {
        lapic_mmio_write(cpu, LAPIC_INITIAL_COUNT, count);
        uint64_t start = cpu->lapic.timer_start_ns;
        uint64_t deadline = lapic_timer_deadline_ns(cpu);
        assert_true(deadline >= start + LEAST_NS && deadline < start + 100 * LEAST_NS);
        assert_int_equal((deadline - start) % ((uint64_t)count * COUNT_NS), 0);
    }
    sleep_ns(1000000);
    lapic_timer_poll(cpu);
    assert_true(requested(cpu, 0x30));
}

static void masked_timer_interrupts_are_lost(void **state)
{
    struct cpu *cpu = first(state);
    lapic_mmio_write(cpu, LAPIC_DIVIDE, 0xb);
    lapic_mmio_write(cpu, LAPIC_LVT_TIMER_REG, 0x30 | LVT_MASKED);
    lapic_mmio_write(cpu, LAPIC_INITIAL_COUNT, 1000);
    sleep_ns(1000000);
    lapic_mmio_write(cpu, LAPIC_LVT_TIMER_REG, 0x30);
    lapic_timer_poll(cpu);
    assert_false(requested(cpu, 0x30));
}

static void tsc_deadline_timer(void **state)
{
    struct cpu *cpu = first(state);
    uint64_t value;
    assert_true(lapic_msr_write(cpu, MSR_DEADLINE, 1)); /* other mode: ignored */
    assert_true(lapic_msr_read(cpu, MSR_DEADLINE, &value));
    assert_int_equal(value, 0);
    lapic_mmio_write(cpu, LAPIC_LVT_TIMER_REG, 0x31 | LVT_TSC_DEADLINE);
    uint64_t hz = cpu->partition->tsc_hz;
    assert_true(lapic_msr_write(cpu, MSR_DEADLINE, guest_tsc(cpu) + hz / 500));
    uint64_t ahead = lapic_timer_deadline_ns(cpu) - clock_monotonic_ns();
    assert_in_range(ahead, 1, 2100000);
    lapic_timer_poll(cpu);
    assert_false(requested(cpu, 0x31));
    sleep_ns(3000000);
    lapic_timer_poll(cpu);
    assert_true(requested(cpu, 0x31));
    assert_true(lapic_msr_read(cpu, MSR_DEADLINE, &value));
    assert_int_equal(value, 0);
    assert_int_equal(lapic_timer_deadline_ns(cpu), 0);
    assert_true(lapic_msr_write(cpu, MSR_DEADLINE, UINT64_MAX));
    assert_in_range(lapic_timer_deadline_ns(cpu), clock_monotonic_ns(),
                    clock_monotonic_ns() + UINT64_C(4000) * NS_PER_SECOND);
    lapic_mmio_write(cpu, LAPIC_LVT_TIMER_REG, 0x31); /* leaving the mode disarms */
    assert_int_equal(lapic_timer_deadline_ns(cpu), 0);
}

static void auto_eoi_ends_with_its_delivery(void **state)
{
    struct cpu *cpu = first(state);
    const struct engine_interrupt message = {.vector = 0x81, .auto_eoi = true};
    const struct engine_interrupt usual = {.vector = 0x81};
    assert_true(lapic_deliver(cpu->partition, &message));
    lapic_request(cpu, 0x71, LAPIC_EDGE);
    assert_int_equal(lapic_pending_vector(cpu), 0x81);
    lapic_accept(cpu, 0x81);
    assert_false(requested(cpu, 0x81));
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ISR + 0x40), 0);
    assert_int_equal(lapic_pending_vector(cpu), 0x71); /* nothing holds it back */
    lapic_accept(cpu, 0x71);
    lapic_mmio_write(cpu, LAPIC_EOI, 0); /* is that of 0x71 */
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ISR + 0x30), 0);
    assert_true(lapic_deliver(cpu->partition, &usual));
    lapic_accept(cpu, 0x81);
    assert_int_equal(lapic_mmio_read(cpu, LAPIC_ISR + 0x40), 2);
}

static void state_comes_back(void **state)
{
    struct fixture *f = *state;
    struct state_visitor *saver;
    struct state_visitor *loader;
    size_t length;
    lapic_request(f->cpu[0], 0x91, LAPIC_LEVEL);
    lapic_request(f->cpu[0], 0x92, LAPIC_AUTO_EOI);
    lapic_mmio_write(f->cpu[0], LAPIC_TPR, 0x20);
    lapic_mmio_write(f->cpu[0], LAPIC_LVT_TIMER_REG, 0x30 | LVT_PERIODIC);
    lapic_mmio_write(f->cpu[0], LAPIC_INITIAL_COUNT, 1000000000);
    uint64_t deadline = lapic_timer_deadline_ns(f->cpu[0]);
    assert_int_equal(state_save_create(&saver), 0);
    assert_int_equal(lapic_visit_state(f->cpu[0], saver), 0);
    const uint8_t *bytes = state_saved(saver, &length);
    lapic_reset(f->cpu[0], false);
    assert_int_equal(state_load_create(bytes, length, &loader), 0);
    assert_int_equal(lapic_visit_state(f->cpu[0], loader), 0);
    assert_true(requested(f->cpu[0], 0x91));
    assert_int_equal(lapic_mmio_read(f->cpu[0], LAPIC_TPR), 0x20);
    assert_int_equal(lapic_mmio_read(f->cpu[0], LAPIC_TMR + 0x40), 1 << 17);
    lapic_accept(f->cpu[0], 0x92);
    assert_int_equal(lapic_mmio_read(f->cpu[0], LAPIC_ISR + 0x40), 0);
    assert_in_range(lapic_timer_deadline_ns(f->cpu[0]), deadline, deadline + 1000000000);
    state_destroy(loader);
    state_destroy(saver);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(reset_values),
        TEST(virtual_wire_after_reset),
        TEST(software_disable_masks_local_vectors),
        TEST(priorities_hold_back_what_is_not_above),
        TEST(the_end_of_a_level_interrupt_is_told),
        TEST(auto_eoi_ends_with_its_delivery),
        TEST(physical_and_logical_destinations),
        TEST(lowest_priority_goes_to_one),
        TEST(startup_messages),
        TEST(illegal_vectors_and_registers_are_errors),
        TEST(x2apic_registers),
        TEST(apic_base_transitions),
        TEST(one_shot_timer),
        TEST(periodic_timer),
        TEST(absurdly_short_period_does_not_keep_the_host_busy),
        TEST(masked_timer_interrupts_are_lost),
        TEST(tsc_deadline_timer),
        TEST(state_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
