/* See apic.h. */
#include "apic.h"

#include "cpu.h"

bool apic_is_x2(void)
{
    return read_msr(MSR_APIC_BASE) & APIC_BASE_X2;
}

static volatile uint32_t *register_at(word base, unsigned offset)
{
    return (volatile uint32_t *)(base + offset);
}

uint32_t apic_read(unsigned offset)
{
    if (apic_is_x2())
        return (uint32_t)read_msr(MSR_X2APIC + offset / 16);
    return *register_at(APIC_MMIO, offset);
}

void apic_write(unsigned offset, uint32_t value)
{
    if (apic_is_x2())
        write_msr(MSR_X2APIC + offset / 16, value);
    else
        *register_at(APIC_MMIO, offset) = value;
}

bool apic_bit(unsigned first_register, unsigned vector)
{
    return apic_read(first_register + vector / 32 * 16) >> (vector % 32) & 1;
}

void apic_start(void)
{
    apic_write(APIC_SVR, SVR_ENABLE | SPURIOUS);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_TPR, 0);
}

uint32_t apic_id(void)
{
    uint32_t id = apic_read(APIC_ID);
    return apic_is_x2() ? id : id >> 24;
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

void apic_send(uint32_t destination, uint32_t low)
{
    if (apic_is_x2()) {
        /* WRMSR to the ICR does not order earlier stores (SDM vol. 3A § 10.12.3) */
        asm volatile("mfence; lfence" : : : "memory");
        write_msr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)destination << 32 | low);
        return;
    }
    *register_at(APIC_MMIO, APIC_ICR_HIGH) = destination << 24;
    *register_at(APIC_MMIO, APIC_ICR) = low;
    while (*register_at(APIC_MMIO, APIC_ICR) & ICR_PENDING)
        relax();
}

uint32_t ioapic_read(unsigned index)
{
    *register_at(IOAPIC_MMIO, 0) = index;
    return *register_at(IOAPIC_MMIO, 0x10);
}

void ioapic_write(unsigned index, uint32_t value)
{
    *register_at(IOAPIC_MMIO, 0) = index;
    *register_at(IOAPIC_MMIO, 0x10) = value;
}

uint64_t ioapic_entry(unsigned pin)
{
    return (uint64_t)ioapic_read(0x11 + pin * 2) << 32 | ioapic_read(0x10 + pin * 2);
}

void ioapic_entry_set(unsigned pin, uint64_t entry)
{
    ioapic_write(0x10 + pin * 2, LVT_MASKED);
    ioapic_write(0x11 + pin * 2, (uint32_t)(entry >> 32));
    ioapic_write(0x10 + pin * 2, (uint32_t)entry);
}
