/* Offsets and bits of the local APIC's registers, Intel SDM vol. 3A table 10-1; and what its files
 * need of each other. */
#ifndef SOFT_LAPIC_REGISTERS_H
#define SOFT_LAPIC_REGISTERS_H

#include "engine/soft/cpu.h"
#include "engine/soft/lapic.h"

enum lapic_register {
    LAPIC_ID = 0x020,
    LAPIC_VERSION = 0x030,
    LAPIC_TPR = 0x080,
    LAPIC_APR = 0x090,
    LAPIC_PPR = 0x0a0,
    LAPIC_EOI = 0x0b0,
    LAPIC_RRD = 0x0c0,
    LAPIC_LDR = 0x0d0,
    LAPIC_DFR = 0x0e0,
    LAPIC_SVR = 0x0f0,
    LAPIC_ISR = 0x100,
    LAPIC_TMR = 0x180,
    LAPIC_IRR = 0x200,
    LAPIC_ESR = 0x280,
    LAPIC_LVT_CMCI = 0x2f0,
    LAPIC_ICR = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER_REG = 0x320,
    LAPIC_LVT_ERROR_REG = 0x370,
    LAPIC_INITIAL_COUNT = 0x380,
    LAPIC_CURRENT_COUNT = 0x390,
    LAPIC_DIVIDE = 0x3e0,
    LAPIC_SELF_IPI = 0x3f0,
};

/* The MSRs of x2APIC mode, each of 16 bytes of the page: Intel SDM vol. 3A § 10.12.1.2. */
enum { LAPIC_X2APIC_MSRS = 0x800, LAPIC_X2APIC_MSRS_END = 0x840 };

/* Index into lapic.lvt. */
enum lapic_lvt { LVT_CMCI, LVT_TIMER, LVT_THERMAL, LVT_PERFMON, LVT_LINT0, LVT_LINT1, LVT_ERROR };
enum { LVT_COUNT = 7 };

enum {
    LVT_VECTOR = 0xff,
    LVT_DELIVERY = 7 << 8,
    LVT_POLARITY = 1 << 13,
    LVT_TRIGGER = 1 << 15,
    LVT_SEND_PENDING = 1 << 12,
    LVT_REMOTE_IRR = 1 << 14,
    LVT_MASKED = 1 << 16,
    LVT_TIMER_MODE = 3 << 17,
    LVT_PERIODIC = 1 << 17,
    LVT_TSC_DEADLINE = 2 << 17,
};

enum { SVR_VECTOR = 0xff, SVR_ENABLED = 1 << 8, SVR_FOCUS = 1 << 9 };

enum delivery_mode {
    DELIVERY_FIXED = 0,
    DELIVERY_LOWEST = 1,
    DELIVERY_SMI = 2,
    DELIVERY_NMI = 4,
    DELIVERY_INIT = 5,
    DELIVERY_SIPI = 6,
    DELIVERY_EXTINT = 7,
};

enum lapic_error {
    ESR_SEND_ILLEGAL_VECTOR = 1 << 5,
    ESR_RECEIVE_ILLEGAL_VECTOR = 1 << 6,
    ESR_ILLEGAL_REGISTER = 1 << 7,
};

enum { APIC_BASE_BSP = 1 << 8, APIC_BASE_EXTD = 1 << 10, APIC_BASE_EN = 1 << 11 };
#define APIC_BASE_DEFAULT UINT64_C(0xfee00000)
/* Physical destination: everybody, in messages with 8 and with 32 bits for it. */
#define BROADCAST_XAPIC  0xffu
#define BROADCAST_X2APIC 0xffffffffu

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
    return (atomic_load(&lapic->base) & APIC_BASE_EXTD) != 0;
}

/* ---- lapic.c ---- */

/* Note an error for ESR and raise the error LVT. */
void lapic_error(struct cpu *cpu, enum lapic_error error);
/* An interrupt of the APIC's own, as its LVT says. */
void lapic_raise_local(struct cpu *cpu, enum lapic_lvt lvt);
/* The logical id in x2APIC mode, Intel SDM vol. 3A § 10.12.10.2. */
uint32_t lapic_x2apic_ldr(const struct cpu *cpu);

/* ---- lapic_send.c ---- */

enum lapic_trigger { LAPIC_EDGE, LAPIC_LEVEL, LAPIC_AUTO_EOI };
/* Any thread: put a vector into a vCPU's IRR and tell it. */
void lapic_request(struct cpu *target, uint8_t vector, enum lapic_trigger trigger);
/* The guest wrote ICR: destination in bits 63:32, whole in x2APIC mode, else in its top byte. */
void lapic_send(struct cpu *cpu, uint64_t icr);

/* ---- lapic_timer.c ---- */

void lapic_timer_reset(struct cpu *cpu);
void lapic_timer_write_lvt(struct cpu *cpu, uint32_t value);
void lapic_timer_write_initial(struct cpu *cpu, uint32_t value);
void lapic_timer_write_divide(struct cpu *cpu, uint32_t value);
void lapic_timer_write_deadline(struct cpu *cpu, uint64_t value);
uint32_t lapic_timer_current(struct cpu *cpu);

#endif
