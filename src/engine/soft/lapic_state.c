/* The local APIC as saved state. Times are saved as what is left, since clocks differ between
 * hosts. */
#include <errno.h>

#include "base/clock.h"
#include "engine/soft/lapic_registers.h"
#include "engine/soft/partition.h"
#include "state/state.h"

static void visit_words(struct state_visitor *visitor, const char *name, _Atomic uint32_t words[8])
{
    uint32_t copy[8];
    for (unsigned i = 0; i < 8; i++)
        copy[i] = atomic_load(&words[i]);
    state_bytes(visitor, name, copy, sizeof(copy));
    for (unsigned i = 0; i < 8; i++)
        atomic_store(&words[i], copy[i]);
}

static void visit_u32(struct state_visitor *visitor, const char *name, _Atomic uint32_t *value)
{
    uint32_t copy = atomic_load(value);
    state_u32(visitor, name, &copy);
    atomic_store(value, copy);
}

static void visit_base(struct state_visitor *visitor, struct lapic *lapic)
{
    uint64_t base = atomic_load(&lapic->base);
    uint8_t sipi = atomic_load(&lapic->sipi_vector);
    state_u64(visitor, "base", &base);
    state_u8(visitor, "sipi-vector", &sipi);
    atomic_store(&lapic->base, base);
    atomic_store(&lapic->sipi_vector, sipi);
}

/* `elapsed`: nanoseconds since the count began, + 1; 0 = not counting. */
static void visit_timer(struct state_visitor *visitor, struct lapic *lapic)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t elapsed = lapic->timer_start_ns != 0 ? now - lapic->timer_start_ns + 1 : 0;
    state_u32(visitor, "divide", &lapic->divide);
    state_u32(visitor, "initial-count", &lapic->initial_count);
    state_u64(visitor, "elapsed", &elapsed);
    state_u64(visitor, "tsc-deadline", &lapic->tsc_deadline);
    if (!state_is_load(visitor))
        return;
    if (elapsed == 0)
        lapic->timer_start_ns = 0;
    else
        lapic->timer_start_ns = elapsed < now ? now - elapsed + 1 : 1;
}

/* What no sequence of register writes could have made. */
static bool is_valid(const struct cpu *cpu)
{
    const struct lapic *lapic = &cpu->lapic;
    uint64_t base = atomic_load(&lapic->base);
    uint64_t address = ((UINT64_C(1) << cpu->partition->physical_bits) - 1) & ~UINT64_C(0xfff);
    bool counting = lapic->timer_start_ns != 0;
    return (base & ~(address | APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN)) == 0 &&
           (base & (APIC_BASE_EXTD | APIC_BASE_EN)) != APIC_BASE_EXTD && lapic->tpr <= 0xff &&
           (lapic->divide & ~0xbu) == 0 && !(counting && lapic->initial_count == 0);
}

int lapic_visit_state(struct cpu *cpu, struct state_visitor *visitor)
{
    struct lapic *lapic = &cpu->lapic;
    static const char name[] = "lapic-";
    char section[sizeof(name) + 2];
    for (unsigned i = 0; i < sizeof(name); i++)
        section[i] = name[i];
    section[sizeof(name) - 1] = (char)('0' + cpu->index / 10);
    section[sizeof(name)] = (char)('0' + cpu->index % 10);
    section[sizeof(name) + 1] = '\0';
    state_begin(visitor, section, 2); /* 2: auto-eoi */
    visit_base(visitor, lapic);
    visit_words(visitor, "irr", lapic->irr);
    visit_words(visitor, "tmr", lapic->tmr);
    visit_words(visitor, "auto-eoi", lapic->auto_eoi);
    state_bytes(visitor, "isr", lapic->isr, sizeof(lapic->isr));
    state_bytes(visitor, "ended", lapic->ended, sizeof(lapic->ended));
    visit_u32(visitor, "ldr", &lapic->ldr);
    visit_u32(visitor, "dfr", &lapic->dfr);
    visit_u32(visitor, "svr", &lapic->svr);
    state_u32(visitor, "tpr", &lapic->tpr);
    state_u32(visitor, "esr", &lapic->esr);
    state_u32(visitor, "esr-pending", &lapic->esr_pending);
    state_u64(visitor, "icr", &lapic->icr);
    state_bytes(visitor, "lvt", lapic->lvt, sizeof(lapic->lvt));
    visit_timer(visitor, lapic);
    if (state_is_load(visitor) && !is_valid(cpu))
        state_fail(visitor, -EINVAL);
    (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT | PENDING_TIMER | PENDING_EOI);
    return state_end(visitor);
}
