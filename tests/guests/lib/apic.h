/*
 * The local APIC, in either mode (the mode is read from the CPU at each access), and the I/O APIC.
 * Registers are named by their offset in xAPIC mode. Source: Intel SDM vol. 3A chapter 10,
 * 82093AA I/O APIC datasheet.
 */
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include "types.h"

#define APIC_MMIO   0xfee00000ul
#define IOAPIC_MMIO 0xfec00000ul

enum apic_register {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
    APIC_SELF_IPI = 0x3f0, /* x2APIC mode only */
};

enum {
    LVT_MASKED = 1 << 16,
    LVT_PERIODIC = 1 << 17,
    LVT_DEADLINE = 2 << 17,
    ICR_NMI = 4 << 8,
    ICR_INIT = 5 << 8,
    ICR_STARTUP = 6 << 8,
    ICR_LOGICAL = 1 << 11,
    ICR_PENDING = 1 << 12,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_SELF = 1 << 18,
    ICR_ALL = 2 << 18,
    ICR_OTHERS = 3 << 18,
    SVR_ENABLE = 1 << 8,
    SPURIOUS = 0xff,
    APIC_BASE_BSP = 1 << 8,
    APIC_BASE_X2 = 1 << 10,
    APIC_BASE_ENABLE = 1 << 11,
};

uint32_t apic_read(unsigned offset);
void apic_write(unsigned offset, uint32_t value);
bool apic_bit(unsigned first_register, unsigned vector); /* of APIC_ISR, APIC_TMR or APIC_IRR */

/* Software-enables the APIC of this CPU; no interrupt source is open after it. */
void apic_start(void);
bool apic_is_x2(void);
uint32_t apic_id(void);
void apic_eoi(void);

/* Sends what `low` says (delivery mode, vector, shorthand) to `destination`. */
void apic_send(uint32_t destination, uint32_t low);

uint32_t ioapic_read(unsigned index);
void ioapic_write(unsigned index, uint32_t value);
uint64_t ioapic_entry(unsigned pin);
void ioapic_entry_set(unsigned pin, uint64_t entry);

#endif
