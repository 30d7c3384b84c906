/*
 * The local APIC's registers: xAPIC page, x2APIC MSRs, IA32_APIC_BASE; priorities, EOI, local
 * vector table, errors. Sending is in lapic_send.c, the timer in lapic_timer.c.
 *
 * Live code: see cpu.h, rule 2.
 */
#include "engine/soft/lapic.h"

#include "engine/soft/lapic_registers.h"
#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"

enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0 };
/* Version 0x14, seven LVT entries. */
enum { VERSION = 0x14 | (LVT_COUNT - 1) << 16 };

/* Bits that software may set in each LVT entry. */
static const uint32_t lvt_writable[LVT_COUNT] = {
    [LVT_CMCI] = LVT_VECTOR | LVT_DELIVERY | LVT_MASKED,
    [LVT_TIMER] = LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
    [LVT_THERMAL] = LVT_VECTOR | LVT_DELIVERY | LVT_MASKED,
    [LVT_PERFMON] = LVT_VECTOR | LVT_DELIVERY | LVT_MASKED,
    [LVT_LINT0] = LVT_VECTOR | LVT_DELIVERY | LVT_POLARITY | LVT_TRIGGER | LVT_MASKED,
    [LVT_LINT1] = LVT_VECTOR | LVT_DELIVERY | LVT_POLARITY | LVT_TRIGGER | LVT_MASKED,
    [LVT_ERROR] = LVT_VECTOR | LVT_MASKED,
};

/* ---- state ---- */

static bool is_enabled(const struct lapic *lapic)
{
    return (atomic_load(&lapic->base) & APIC_BASE_EN) != 0;
}

uint32_t lapic_x2apic_ldr(const struct cpu *cpu)
{
    return (cpu->index >> 4) << 16 | 1u << (cpu->index & 15);
}

/* Everything but IA32_APIC_BASE. As firmware leaves it, the boot processor's LINT0 passes the 8259
 * through and its LINT1 is NMI (virtual wire mode, MultiProcessor Specification 1.4 § 3.6.2.2). */
static void reset_registers(struct cpu *cpu)
{
    struct lapic *lapic = &cpu->lapic;
    for (unsigned i = 0; i < 8; i++) {
        atomic_store(&lapic->irr[i], 0);
        atomic_store(&lapic->tmr[i], 0);
        atomic_store(&lapic->auto_eoi[i], 0);
        lapic->isr[i] = 0;
        lapic->ended[i] = 0;
    }
    atomic_store(&lapic->ldr, 0);
    atomic_store(&lapic->dfr, UINT32_MAX);
    atomic_store(&lapic->svr, SVR_VECTOR);
    __atomic_store_n(&lapic->tpr, 0, __ATOMIC_RELAXED);
    lapic->esr = 0;
    lapic->esr_pending = 0;
    lapic->icr = 0;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        lapic->lvt[i] = LVT_MASKED;
    if (atomic_load(&lapic->base) & APIC_BASE_BSP) {
        lapic->lvt[LVT_LINT0] = DELIVERY_EXTINT << 8;
        lapic->lvt[LVT_LINT1] = DELIVERY_NMI << 8;
    }
    lapic_timer_reset(cpu);
}

void lapic_reset(struct cpu *cpu, bool init)
{
    if (!init) {
        uint64_t bsp = cpu->index == 0 ? APIC_BASE_BSP : 0;
        atomic_store(&cpu->lapic.base, APIC_BASE_DEFAULT | APIC_BASE_EN | bsp);
        atomic_store(&cpu->lapic.sipi_vector, 0);
    }
    reset_registers(cpu);
}

uint64_t lapic_page(const struct cpu *cpu)
{
    uint64_t base = atomic_load_explicit(&cpu->lapic.base, memory_order_relaxed);
    if ((base & (APIC_BASE_EN | APIC_BASE_EXTD)) != APIC_BASE_EN)
        return UINT64_MAX;
    return base & ~UINT64_C(0xfff);
}

bool lapic_takes_extint(const struct cpu *cpu)
{
    uint32_t lint0 = cpu->lapic.lvt[LVT_LINT0];
    if (!is_enabled(&cpu->lapic))
        return true;
    return (lint0 & LVT_MASKED) == 0 && (lint0 & LVT_DELIVERY) == DELIVERY_EXTINT << 8;
}

/* ---- priorities ---- */

static int highest_bit(const uint32_t words[8])
{
    for (int i = 7; i >= 0; i--) {
        if (words[i] != 0)
            return i * 32 + 31 - __builtin_clz(words[i]);
    }
    return -1;
}

static int highest_requested(const struct lapic *lapic)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t word = atomic_load_explicit(&lapic->irr[i], memory_order_acquire);
        if (word != 0)
            return i * 32 + 31 - __builtin_clz(word);
    }
    return -1;
}

/* Intel SDM vol. 3A § 10.8.3.1. */
static uint32_t processor_priority(const struct lapic *lapic)
{
    int in_service = highest_bit(lapic->isr);
    uint32_t service = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;
    return (lapic->tpr & 0xf0) >= service ? lapic->tpr : service;
}

bool lapic_has_request(const struct cpu *cpu)
{
    uint32_t any = 0;
    for (unsigned i = 0; i < 8; i++)
        any |= atomic_load_explicit(&cpu->lapic.irr[i], memory_order_relaxed);
    return any != 0 || atomic_load_explicit(&cpu->extint_line, memory_order_relaxed) ||
           cpu->extint_ready;
}

int lapic_pending_vector(struct cpu *cpu)
{
    int vector = highest_requested(&cpu->lapic);
    if (vector < 0 || !is_enabled(&cpu->lapic))
        return -1;
    return ((uint32_t)vector & 0xf0) > (processor_priority(&cpu->lapic) & 0xf0) ? vector : -1;
}

void lapic_accept(struct cpu *cpu, int vector)
{
    unsigned word = (unsigned)vector / 32;
    uint32_t bit = 1u << ((unsigned)vector % 32);
    bool ends = (atomic_load(&cpu->lapic.auto_eoi[word]) & bit) != 0;
    (void)atomic_fetch_and(&cpu->lapic.irr[word], ~bit);
    if (!ends)
        cpu->lapic.isr[word] |= bit;
}

/* After a change that may let something through. */
static void look_again(struct cpu *cpu)
{
    if (lapic_pending_vector(cpu) >= 0)
        (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
}

static void write_tpr(struct cpu *cpu, uint32_t value)
{
    __atomic_store_n(&cpu->lapic.tpr, value & 0xff, __ATOMIC_RELAXED);
    look_again(cpu);
}

uint64_t lapic_read_cr8(const struct cpu *cpu)
{
    return cpu->lapic.tpr >> 4;
}

void lapic_write_cr8(struct cpu *cpu, uint64_t value)
{
    write_tpr(cpu, (uint32_t)(value & 0xf) << 4);
}

/* The end of a level-triggered interrupt is told to the IOAPIC, which sends it again if it is still
 * asserted (Intel SDM vol. 3A § 10.8.5). */
static void end_of_interrupt(struct cpu *cpu)
{
    struct lapic *lapic = &cpu->lapic;
    int vector = highest_bit(lapic->isr);
    if (vector < 0)
        return;
    unsigned word = (unsigned)vector / 32;
    uint32_t bit = 1u << ((unsigned)vector % 32);
    lapic->isr[word] &= ~bit;
    if (atomic_load(&lapic->tmr[word]) & bit) {
        lapic->ended[word] |= bit;
        (void)atomic_fetch_or(&cpu->pending, PENDING_EOI);
    }
    look_again(cpu);
}

/* ---- local interrupts ---- */

void lapic_raise_local(struct cpu *cpu, enum lapic_lvt lvt)
{
    uint32_t entry = cpu->lapic.lvt[lvt];
    if (entry & LVT_MASKED)
        return;
    bool has_mode = (lvt_writable[lvt] & LVT_DELIVERY) != 0;
    if (has_mode && (entry & LVT_DELIVERY) == DELIVERY_NMI << 8)
        cpu_notify_nmi(cpu);
    else if ((entry & LVT_VECTOR) >= 16)
        lapic_request(cpu, (uint8_t)(entry & LVT_VECTOR), LAPIC_EDGE);
    else if (lvt != LVT_ERROR)
        lapic_error(cpu, ESR_RECEIVE_ILLEGAL_VECTOR);
    else
        cpu->lapic.esr_pending |= ESR_RECEIVE_ILLEGAL_VECTOR;
}

void lapic_error(struct cpu *cpu, enum lapic_error error)
{
    cpu->lapic.esr_pending |= (uint32_t)error;
    lapic_raise_local(cpu, LVT_ERROR);
}

/* ---- registers ---- */

/* Index of the LVT entry at an offset, or -1. */
static int lvt_at(uint32_t offset)
{
    if (offset == LAPIC_LVT_CMCI)
        return LVT_CMCI;
    if (offset >= LAPIC_LVT_TIMER_REG && offset <= LAPIC_LVT_ERROR_REG)
        return LVT_TIMER + (int)((offset - LAPIC_LVT_TIMER_REG) >> 4);
    return -1;
}

static void write_lvt(struct cpu *cpu, unsigned lvt, uint32_t value)
{
    value &= lvt_writable[lvt];
    if ((atomic_load(&cpu->lapic.svr) & SVR_ENABLED) == 0)
        value |= LVT_MASKED;
    if (lvt == LVT_TIMER)
        lapic_timer_write_lvt(cpu, value);
    else
        cpu->lapic.lvt[lvt] = value;
    /* The 8259 may have asked while LINT0 was masked, and asks only once. */
    if (lvt == LVT_LINT0)
        (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
}

/* Software disable masks every local interrupt, Intel SDM vol. 3A § 10.4.7.2. */
static void write_svr(struct cpu *cpu, uint32_t value)
{
    atomic_store(&cpu->lapic.svr, value & (SVR_VECTOR | SVR_ENABLED | SVR_FOCUS));
    if (value & SVR_ENABLED)
        return;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        cpu->lapic.lvt[i] |= LVT_MASKED;
}

static void write_esr(struct cpu *cpu)
{
    cpu->lapic.esr = cpu->lapic.esr_pending;
    cpu->lapic.esr_pending = 0;
}

/* One of the 256-bit registers. */
static bool read_vector_register(const struct lapic *lapic, uint32_t offset, uint32_t *ret)
{
    uint32_t word = (offset >> 4) & 7;
    switch (offset & 0xf80) {
    case LAPIC_ISR:
        *ret = lapic->isr[word];
        return true;
    case LAPIC_TMR:
        *ret = atomic_load(&lapic->tmr[word]);
        return true;
    case LAPIC_IRR:
        *ret = atomic_load(&lapic->irr[word]);
        return true;
    default:
        return false;
    }
}

/* Registers that both modes have in the same form. */
static bool read_register(struct cpu *cpu, uint32_t offset, uint32_t *ret)
{
    struct lapic *lapic = &cpu->lapic;
    int lvt = lvt_at(offset);
    if (read_vector_register(lapic, offset, ret))
        return true;
    if (lvt >= 0) {
        *ret = lapic->lvt[lvt];
        return true;
    }
    switch (offset) {
    case LAPIC_VERSION:
        *ret = VERSION;
        return true;
    case LAPIC_TPR:
        *ret = lapic->tpr;
        return true;
    case LAPIC_PPR:
        *ret = processor_priority(lapic);
        return true;
    case LAPIC_SVR:
        *ret = atomic_load(&lapic->svr);
        return true;
    case LAPIC_ESR:
        *ret = lapic->esr;
        return true;
    case LAPIC_INITIAL_COUNT:
        *ret = lapic->initial_count;
        return true;
    case LAPIC_CURRENT_COUNT:
        *ret = lapic_timer_current(cpu);
        return true;
    case LAPIC_DIVIDE:
        *ret = lapic->divide;
        return true;
    default:
        return false;
    }
}

static bool write_register(struct cpu *cpu, uint32_t offset, uint32_t value)
{
    int lvt = lvt_at(offset);
    if (lvt >= 0) {
        write_lvt(cpu, (unsigned)lvt, value);
        return true;
    }
    switch (offset) {
    case LAPIC_TPR:
        write_tpr(cpu, value);
        return true;
    case LAPIC_EOI:
        end_of_interrupt(cpu);
        return true;
    case LAPIC_SVR:
        write_svr(cpu, value);
        return true;
    case LAPIC_ESR:
        write_esr(cpu);
        return true;
    case LAPIC_INITIAL_COUNT:
        lapic_timer_write_initial(cpu, value);
        return true;
    case LAPIC_DIVIDE:
        lapic_timer_write_divide(cpu, value);
        return true;
    default:
        return false;
    }
}

/* ---- the xAPIC page ---- */

uint32_t lapic_mmio_read(struct cpu *cpu, uint32_t offset)
{
    struct lapic *lapic = &cpu->lapic;
    uint32_t value = 0;
    if ((offset & 0xf) != 0)
        return 0;
    switch (offset) {
    case LAPIC_ID:
        return (uint32_t)cpu->index << 24;
    case LAPIC_APR:
    case LAPIC_EOI:
    case LAPIC_RRD:
        return 0;
    case LAPIC_LDR:
        return atomic_load(&lapic->ldr);
    case LAPIC_DFR:
        return atomic_load(&lapic->dfr);
    case LAPIC_ICR:
        return (uint32_t)lapic->icr;
    case LAPIC_ICR_HIGH:
        return (uint32_t)(lapic->icr >> 32);
    default:
        break;
    }
    if (!read_register(cpu, offset, &value))
        lapic_error(cpu, ESR_ILLEGAL_REGISTER);
    return value;
}

void lapic_mmio_write(struct cpu *cpu, uint32_t offset, uint32_t value)
{
    struct lapic *lapic = &cpu->lapic;
    if ((offset & 0xf) != 0)
        return;
    switch (offset) {
    case LAPIC_ID: /* read-only, as on current processors */
        return;
    case LAPIC_LDR:
        atomic_store(&lapic->ldr, value & 0xff000000u);
        return;
    case LAPIC_DFR:
        atomic_store(&lapic->dfr, value | 0x0fffffffu);
        return;
    case LAPIC_ICR:
        lapic->icr = (lapic->icr & ~UINT64_C(0xffffffff)) | (value & 0x000ccfffu);
        lapic_send(cpu, lapic->icr);
        return;
    case LAPIC_ICR_HIGH:
        lapic->icr = (uint32_t)lapic->icr | (uint64_t)(value & 0xff000000u) << 32;
        return;
    default:
        break;
    }
    if (!write_register(cpu, offset, value))
        lapic_error(cpu, ESR_ILLEGAL_REGISTER);
}

/* ---- x2APIC MSRs ---- */

static bool x2apic_read(struct cpu *cpu, uint32_t offset, uint64_t *ret)
{
    uint32_t value = 0;
    switch (offset) {
    case LAPIC_ID:
        *ret = cpu->index;
        return true;
    case LAPIC_LDR:
        *ret = lapic_x2apic_ldr(cpu);
        return true;
    case LAPIC_ICR:
        *ret = cpu->lapic.icr;
        return true;
    default:
        break;
    }
    if (!read_register(cpu, offset, &value))
        return false;
    *ret = value;
    return true;
}

/* Bits that may be written as 1; 0 in all for what cannot be written. Intel SDM vol. 3A
 * § 10.12.1.2. */
static uint64_t x2apic_writable(uint32_t offset)
{
    int lvt = lvt_at(offset);
    if (lvt >= 0) /* bits that can only be read may be written as anything */
        return lvt_writable[lvt] | LVT_SEND_PENDING | LVT_REMOTE_IRR;
    switch (offset) {
    case LAPIC_TPR:
    case LAPIC_SELF_IPI:
        return 0xff;
    case LAPIC_SVR:
        return SVR_VECTOR | SVR_ENABLED | SVR_FOCUS;
    case LAPIC_ICR:
        return UINT64_C(0xffffffff000ccfff);
    case LAPIC_INITIAL_COUNT:
        return UINT32_MAX;
    case LAPIC_DIVIDE:
        return 0xb;
    default:
        return 0; /* EOI and ESR: only 0 */
    }
}

static bool x2apic_write(struct cpu *cpu, uint32_t offset, uint64_t value)
{
    if (value & ~x2apic_writable(offset))
        return false;
    switch (offset) {
    case LAPIC_ICR:
        cpu->lapic.icr = value;
        lapic_send(cpu, value);
        return true;
    case LAPIC_SELF_IPI:
        if (value < 16)
            lapic_error(cpu, ESR_SEND_ILLEGAL_VECTOR);
        else
            lapic_request(cpu, (uint8_t)value, LAPIC_EDGE);
        return true;
    default:
        return write_register(cpu, offset, (uint32_t)value);
    }
}

/* ---- IA32_APIC_BASE ---- */

/* Intel SDM vol. 3A figure 10-27: x2APIC is entered from xAPIC and left only by disabling. */
static bool is_transition_allowed(uint64_t from, uint64_t to)
{
    enum { MODES = APIC_BASE_EN | APIC_BASE_EXTD };
    from &= MODES;
    to &= MODES;
    if (to == APIC_BASE_EXTD)
        return false;
    if (to == MODES)
        return from != 0;
    return !(from == MODES && to == APIC_BASE_EN);
}

static bool write_base(struct cpu *cpu, uint64_t value)
{
    uint64_t old = atomic_load(&cpu->lapic.base);
    uint64_t address = ((UINT64_C(1) << cpu->partition->physical_bits) - 1) & ~UINT64_C(0xfff);
    if (value & ~(address | APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN))
        return false;
    if (!is_transition_allowed(old, value))
        return false;
    atomic_store(&cpu->lapic.base, value);
    if ((old & APIC_BASE_EN) != 0 && (value & APIC_BASE_EN) == 0)
        reset_registers(cpu);
    tlb_flush_all(cpu); /* RAM may lie where the page was, or is now */
    (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT); /* the 8259's way may be open now */
    return true;
}

bool lapic_msr_read(struct cpu *cpu, uint32_t index, uint64_t *ret)
{
    if (index == MSR_APIC_BASE) {
        *ret = atomic_load(&cpu->lapic.base);
        return true;
    }
    if (index == MSR_TSC_DEADLINE) {
        *ret = cpu->lapic.tsc_deadline;
        return true;
    }
    if (index < LAPIC_X2APIC_MSRS || index >= LAPIC_X2APIC_MSRS_END ||
        !lapic_is_x2apic(&cpu->lapic))
        return false;
    return x2apic_read(cpu, (index - LAPIC_X2APIC_MSRS) << 4, ret);
}

bool lapic_msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
    if (index == MSR_APIC_BASE)
        return write_base(cpu, value);
    if (index == MSR_TSC_DEADLINE) {
        lapic_timer_write_deadline(cpu, value);
        return true;
    }
    if (index < LAPIC_X2APIC_MSRS || index >= LAPIC_X2APIC_MSRS_END ||
        !lapic_is_x2apic(&cpu->lapic))
        return false;
    return x2apic_write(cpu, (index - LAPIC_X2APIC_MSRS) << 4, value);
}
