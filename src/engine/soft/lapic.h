/*
 * The local APIC of one vCPU: xAPIC registers in a 4 KiB page and x2APIC MSRs.
 * Source: Intel SDM vol. 3A ch. 10.
 *
 * Its owner's thread runs everything here, except what is marked "any thread"; other threads only
 * set bits in irr (a) and cpu.pending.
 */
#ifndef SOFT_LAPIC_H
#define SOFT_LAPIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct engine_interrupt;
struct soft_partition;
struct state_visitor;

/* What the timer counts, and CPUID leaf 0x15 tells as the crystal's frequency; divides 1 GHz. */
enum { LAPIC_TIMER_HZ = 25000000 };

struct lapic {
    _Atomic uint64_t base;        /* (a) IA32_APIC_BASE */
    _Atomic uint32_t irr[8];      /* (a) */
    _Atomic uint32_t tmr[8];      /* (a) set: level-triggered */
    _Atomic uint32_t auto_eoi[8]; /* (a) set: not in service once it is accepted (TLFS, SINTs) */
    uint32_t isr[8];
    uint32_t ended[8]; /* level-triggered vectors ended, to be told by ENGINE_EXIT_EOI */
    _Atomic uint32_t ldr, dfr, svr; /* (a) read by senders */
    _Atomic uint8_t sipi_vector;    /* (a) */
    uint32_t tpr, esr, esr_pending;
    uint64_t icr;
    uint32_t lvt[7]; /* CMCI, timer, thermal, perfmon, LINT0, LINT1, error */
    uint32_t divide, initial_count;
    uint64_t timer_start_ns; /* monotonic, when initial_count was written */
    uint64_t tsc_deadline;   /* guest TSC */
    _Atomic uint8_t extint_vector_ready;
};

void lapic_reset(struct cpu *cpu, bool init);

/* Registers by their xAPIC offset (0x000–0x3f0), 32-bit accesses on 16-byte steps. */
uint32_t lapic_mmio_read(struct cpu *cpu, uint32_t offset);
void lapic_mmio_write(struct cpu *cpu, uint32_t offset, uint32_t value);
/* x2APIC MSRs 0x800–0x83f, IA32_APIC_BASE and IA32_TSC_DEADLINE: false = #GP. */
bool lapic_msr_read(struct cpu *cpu, uint32_t index, uint64_t *ret);
bool lapic_msr_write(struct cpu *cpu, uint32_t index, uint64_t value);
/* Guest-physical address of the xAPIC page, or UINT64_MAX when disabled or in x2APIC mode. */
uint64_t lapic_page(const struct cpu *cpu);

uint64_t lapic_read_cr8(const struct cpu *cpu);
void lapic_write_cr8(struct cpu *cpu, uint64_t value);

/* The vector that would be delivered now (above PPR), or -1. */
int lapic_pending_vector(struct cpu *cpu);
/* Something waits to be delivered once IF is set: maybe, for what the priorities say of it. */
bool lapic_has_request(const struct cpu *cpu);
/* Deliver it: IRR → ISR, unless it ends by itself. */
void lapic_accept(struct cpu *cpu, int vector);
/* LINT0 passes the 8259's INTR: APIC disabled, or LINT0 unmasked in ExtINT mode. */
bool lapic_takes_extint(const struct cpu *cpu);

/* Deliver a message to every vCPU it names. Any thread. False when nobody took it. */
bool lapic_deliver(struct soft_partition *partition, const struct engine_interrupt *message);

/* Host time at which the timer must be looked at next, 0 = never; monotonic ns. */
uint64_t lapic_timer_deadline_ns(const struct cpu *cpu);
/* Raise the timer's vector if it is due, and arm the next period. */
void lapic_timer_poll(struct cpu *cpu);

int lapic_visit_state(struct cpu *cpu, struct state_visitor *visitor);

#endif
