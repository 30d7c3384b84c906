/*
 * Interrupt messages: who a destination names, and handing them over. What is called here may run
 * on any thread; of other vCPUs it only touches atomic fields.
 *
 * Source: Intel SDM vol. 3A §§ 10.6, 10.12.10. Live code: see cpu.h, rule 2.
 */
#include "engine/engine.h"
#include "engine/soft/lapic_registers.h"
#include "engine/soft/partition.h"

struct message {
    uint32_t destination;
    uint32_t broadcast; /* the destination that means everybody */
    bool logical;
    enum lapic_trigger trigger;
    uint8_t mode; /* enum delivery_mode */
    uint8_t vector;
};

static void set_bit(_Atomic uint32_t *word, uint32_t bit, bool to)
{
    if (to)
        (void)atomic_fetch_or(word, bit);
    else
        (void)atomic_fetch_and(word, ~bit);
}

void lapic_request(struct cpu *target, uint8_t vector, enum lapic_trigger trigger)
{
    struct lapic *lapic = &target->lapic;
    unsigned word = vector / 32u;
    uint32_t bit = 1u << (vector % 32u);
    /* The mode first: whoever sees the request must find it. */
    set_bit(&lapic->tmr[word], bit, trigger == LAPIC_LEVEL);
    set_bit(&lapic->auto_eoi[word], bit, trigger == LAPIC_AUTO_EOI);
    (void)atomic_fetch_or(&lapic->irr[word], bit);
    cpu_notify(target, PENDING_INTERRUPT);
}

/* ---- destinations ---- */

/* Logical destination of 8 bits, flat or cluster model. */
static bool matches_xapic_logical(const struct lapic *lapic, uint32_t destination)
{
    uint32_t ldr = atomic_load(&lapic->ldr) >> 24;
    bool flat = atomic_load(&lapic->dfr) >> 28 == 0xf;
    if (flat)
        return (ldr & destination & 0xff) != 0;
    uint32_t cluster = (destination >> 4) & 0xf;
    return (cluster == 0xf || cluster == ldr >> 4) && (ldr & destination & 0xf) != 0;
}

static bool matches(const struct cpu *target, const struct message *message)
{
    const struct lapic *lapic = &target->lapic;
    uint32_t destination = message->destination;
    if (destination == BROADCAST_X2APIC || (!message->logical && destination == message->broadcast))
        return true;
    if (!message->logical)
        return destination == target->index;
    if (!lapic_is_x2apic(lapic))
        return matches_xapic_logical(lapic, destination);
    uint32_t ldr = lapic_x2apic_ldr(target);
    return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff) != 0;
}

static bool takes(const struct cpu *target, const struct message *message)
{
    const struct lapic *lapic = &target->lapic;
    if ((atomic_load(&lapic->base) & APIC_BASE_EN) == 0)
        return false;
    bool maskable = message->mode == DELIVERY_FIXED || message->mode == DELIVERY_LOWEST;
    /* Software-disabled: only NMI, INIT, SMI, SIPI (Intel SDM vol. 3A § 10.4.7.2). */
    return !maskable || (atomic_load(&lapic->svr) & SVR_ENABLED) != 0;
}

/* ---- delivery ---- */

/* False when this kind of message means nothing to a processor here. */
static bool hand_over(struct cpu *target, const struct message *message)
{
    switch (message->mode) {
    case DELIVERY_FIXED:
    case DELIVERY_LOWEST:
        if (message->vector < 16)
            return false;
        lapic_request(target, message->vector, message->trigger);
        return true;
    case DELIVERY_NMI:
        cpu_notify_nmi(target);
        return true;
    case DELIVERY_INIT:
        cpu_notify(target, PENDING_INIT);
        return true;
    case DELIVERY_SIPI:
        atomic_store(&target->lapic.sipi_vector, message->vector);
        cpu_notify(target, PENDING_SIPI);
        return true;
    case DELIVERY_SMI: /* there is no system management mode to enter */
        return true;
    default: /* ExtINT comes over the 8259's line, not as a message */
        return false;
    }
}

/* Of those named, the one with the lowest task priority; the first among equals. */
static struct cpu *lowest_priority(struct soft_partition *partition, const struct message *message)
{
    struct cpu *best = NULL;
    uint32_t best_priority = UINT32_MAX;
    for (unsigned i = 0; i < ENGINE_MAX_VCPUS; i++) {
        struct cpu *target = partition->cpu[i];
        if (target == NULL || !takes(target, message) || !matches(target, message))
            continue;
        uint32_t priority = __atomic_load_n(&target->lapic.tpr, __ATOMIC_RELAXED) & 0xf0;
        if (priority < best_priority) {
            best = target;
            best_priority = priority;
        }
    }
    return best;
}

static bool deliver(struct soft_partition *partition, const struct message *message,
                    const struct cpu *except)
{
    bool taken = false;
    if (message->mode == DELIVERY_LOWEST) {
        struct cpu *target = lowest_priority(partition, message);
        return target != NULL && hand_over(target, message);
    }
    for (unsigned i = 0; i < ENGINE_MAX_VCPUS; i++) {
        struct cpu *target = partition->cpu[i];
        if (target != NULL && target != except && takes(target, message) &&
            matches(target, message))
            taken |= hand_over(target, message);
    }
    return taken;
}

bool lapic_deliver(struct soft_partition *partition, const struct engine_interrupt *message)
{
    const enum lapic_trigger trigger = message->level      ? LAPIC_LEVEL
                                       : message->auto_eoi ? LAPIC_AUTO_EOI
                                                           : LAPIC_EDGE;
    const struct message internal = {.destination = message->destination,
                                     .broadcast = BROADCAST_XAPIC,
                                     .logical = message->logical,
                                     .trigger = trigger,
                                     .mode = message->delivery_mode,
                                     .vector = message->vector};
    return deliver(partition, &internal, NULL);
}

/* ---- ICR ---- */

enum {
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
};
enum shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

static bool is_init_deassert(uint64_t icr)
{
    return ((icr >> 8) & 7) == DELIVERY_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT);
}

void lapic_send(struct cpu *cpu, uint64_t icr)
{
    bool x2apic = lapic_is_x2apic(&cpu->lapic);
    struct message message = {
        .destination = (uint32_t)(icr >> (x2apic ? 32 : 56)),
        .broadcast = x2apic ? BROADCAST_X2APIC : BROADCAST_XAPIC,
        .logical = (icr & ICR_LOGICAL) != 0,
        .mode = (icr >> 8) & 7,
        .vector = (uint8_t)icr,
    };
    bool maskable = message.mode == DELIVERY_FIXED || message.mode == DELIVERY_LOWEST;
    if (is_init_deassert(icr))
        return; /* only old buses resynchronised their arbitration by it */
    if (maskable && message.vector < 16) {
        lapic_error(cpu, ESR_SEND_ILLEGAL_VECTOR);
        return;
    }
    enum shorthand shorthand = (enum shorthand)((icr >> 18) & 3);
    if (shorthand == SHORTHAND_SELF) {
        if (takes(cpu, &message))
            (void)hand_over(cpu, &message);
        return;
    }
    if (shorthand != SHORTHAND_NONE) {
        message.destination = BROADCAST_X2APIC;
        message.logical = false;
    }
    (void)deliver(cpu->partition, &message, shorthand == SHORTHAND_OTHERS ? cpu : NULL);
}
