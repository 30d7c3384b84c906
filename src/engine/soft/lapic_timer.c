/*
 * The local APIC's timer: one-shot, periodic, TSC deadline.
 *
 * It counts a bus of 25 MHz, made of the host's monotonic clock, divided as the divide register
 * says. Nothing ticks here; deadlines are computed and the run loop arms a host timer. Source:
 * Intel SDM vol. 3A § 10.5.4. Live code: see cpu.h, rule 2.
 */
#include "base/clock.h"
#include "engine/soft/lapic_registers.h"
#include "engine/soft/partition.h"

/* No host timer is armed further ahead; the deadline is then looked at again. */
enum { MAX_AHEAD_SECONDS = 3600 };

/* A guest may ask for an interrupt every nanosecond; the host is not woken that often for it. */
enum { SHORTEST_PERIOD_NS = 50000 };

/* Gate: the C library may use vector registers. */
static uint64_t now_ns(struct cpu *cpu)
{
    fpu_leave(cpu);
    return clock_monotonic_ns();
}

static uint32_t timer_mode(const struct lapic *lapic)
{
    return lapic->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

/* Nanoseconds a count. */
static uint64_t divisor(const struct lapic *lapic)
{
    uint32_t code = (lapic->divide & 3) | ((lapic->divide >> 1) & 4);
    return (code == 7 ? 1 : UINT64_C(2) << code) * (NS_PER_SECOND / LAPIC_TIMER_HZ);
}

static uint64_t period_ns(const struct lapic *lapic)
{
    return lapic->initial_count * divisor(lapic);
}

static bool is_counting(const struct lapic *lapic)
{
    return lapic->timer_start_ns != 0;
}

/* The run loop must arm or disarm the host's timer. */
static void changed(struct cpu *cpu)
{
    (void)atomic_fetch_or(&cpu->pending, PENDING_TIMER);
}

void lapic_timer_reset(struct cpu *cpu)
{
    struct lapic *lapic = &cpu->lapic;
    lapic->divide = 0;
    lapic->initial_count = 0;
    lapic->timer_start_ns = 0;
    lapic->tsc_deadline = 0;
    changed(cpu);
}

/* Changing between the deadline and the counting modes disarms. */
void lapic_timer_write_lvt(struct cpu *cpu, uint32_t value)
{
    struct lapic *lapic = &cpu->lapic;
    lapic_timer_poll(cpu); /* what came due before is the old entry's: lost, if that was masked */
    bool was_deadline = timer_mode(lapic) == LVT_TSC_DEADLINE;
    lapic->lvt[LVT_TIMER] = value;
    if (was_deadline != (timer_mode(lapic) == LVT_TSC_DEADLINE)) {
        lapic->tsc_deadline = 0;
        lapic->timer_start_ns = 0;
        lapic->initial_count = 0;
    }
    changed(cpu);
}

void lapic_timer_write_initial(struct cpu *cpu, uint32_t value)
{
    struct lapic *lapic = &cpu->lapic;
    if (timer_mode(lapic) == LVT_TSC_DEADLINE)
        return;
    lapic->initial_count = value;
    lapic->timer_start_ns = value != 0 ? now_ns(cpu) : 0;
    changed(cpu);
}

/* The current count goes on from where it is, at the new rate. */
void lapic_timer_write_divide(struct cpu *cpu, uint32_t value)
{
    struct lapic *lapic = &cpu->lapic;
    uint32_t current = lapic_timer_current(cpu);
    lapic->divide = value & 0xb;
    if (!is_counting(lapic))
        return;
    uint64_t elapsed = (lapic->initial_count - current) * divisor(lapic);
    uint64_t now = now_ns(cpu);
    lapic->timer_start_ns = now > elapsed ? now - elapsed : 1;
    changed(cpu);
}

uint32_t lapic_timer_current(struct cpu *cpu)
{
    const struct lapic *lapic = &cpu->lapic;
    if (!is_counting(lapic))
        return 0;
    uint64_t counts = (now_ns(cpu) - lapic->timer_start_ns) / divisor(lapic);
    if (timer_mode(lapic) == LVT_PERIODIC)
        counts %= lapic->initial_count;
    return counts >= lapic->initial_count ? 0 : lapic->initial_count - (uint32_t)counts;
}

void lapic_timer_write_deadline(struct cpu *cpu, uint64_t value)
{
    if (timer_mode(&cpu->lapic) != LVT_TSC_DEADLINE)
        return;
    cpu->lapic.tsc_deadline = value;
    changed(cpu);
}

static uint64_t deadline_from_tsc(const struct cpu *cpu)
{
    uint64_t hz = cpu->partition->tsc_hz;
    uint64_t tsc = guest_tsc(cpu);
    uint64_t now = clock_monotonic_ns();
    if (cpu->lapic.tsc_deadline <= tsc)
        return now;
    uint64_t ticks = cpu->lapic.tsc_deadline - tsc;
    if (ticks / hz >= MAX_AHEAD_SECONDS)
        return now + (uint64_t)MAX_AHEAD_SECONDS * NS_PER_SECOND;
    /* Rounded up: a timer that comes too early would have to be armed again. */
    return now + ticks / hz * NS_PER_SECOND + (ticks % hz * NS_PER_SECOND + hz - 1) / hz;
}

uint64_t lapic_timer_deadline_ns(const struct cpu *cpu)
{
    const struct lapic *lapic = &cpu->lapic;
    if (timer_mode(lapic) == LVT_TSC_DEADLINE)
        return lapic->tsc_deadline != 0 ? deadline_from_tsc(cpu) : 0;
    if (!is_counting(lapic) || (lapic->lvt[LVT_TIMER] & LVT_MASKED))
        return 0;
    uint64_t ahead = period_ns(lapic);
    if (timer_mode(lapic) == LVT_PERIODIC && ahead < SHORTEST_PERIOD_NS)
        ahead *= (SHORTEST_PERIOD_NS + ahead - 1) / ahead;
    return lapic->timer_start_ns + ahead;
}

/* Periods missed while the host was elsewhere are one interrupt, as IRR holds only one anyway. */
static void poll_counting(struct cpu *cpu)
{
    struct lapic *lapic = &cpu->lapic;
    uint64_t period = period_ns(lapic);
    if (!is_counting(lapic))
        return;
    uint64_t elapsed = now_ns(cpu) - lapic->timer_start_ns;
    if (elapsed < period)
        return;
    if (timer_mode(lapic) == LVT_PERIODIC)
        lapic->timer_start_ns += elapsed / period * period;
    else
        lapic->timer_start_ns = 0;
    lapic_raise_local(cpu, LVT_TIMER);
}

void lapic_timer_poll(struct cpu *cpu)
{
    struct lapic *lapic = &cpu->lapic;
    if (timer_mode(lapic) != LVT_TSC_DEADLINE) {
        poll_counting(cpu);
        return;
    }
    if (lapic->tsc_deadline == 0 || guest_tsc(cpu) < lapic->tsc_deadline)
        return;
    lapic->tsc_deadline = 0;
    lapic_raise_local(cpu, LVT_TIMER);
}
