/* Registers by the 82093AA datasheet § 3; the EOI register by the ICH9 datasheet § 13.5.5. */
#include "chipset/ioapic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WINDOW_INDEX = 0x00,
    WINDOW_DATA = 0x10,
    WINDOW_EOI = 0x40,

    REGISTER_ID = 0,
    REGISTER_VERSION = 1,
    REGISTER_ARBITRATION = 2,
    REGISTER_TABLE = 0x10,

    VERSION = (IOAPIC_PIN_COUNT - 1) << 16 | 0x20,
    ID_MASK = 0x0f000000,

    DELIVERY_FIXED = 0,
    DELIVERY_LOWEST = 1,
};

#define ENTRY_LOGICAL    (UINT64_C(1) << 11)
#define ENTRY_REMOTE_IRR (UINT64_C(1) << 14)
#define ENTRY_LEVEL      (UINT64_C(1) << 15)
#define ENTRY_MASKED     (UINT64_C(1) << 16)
/* Delivery status (bit 12) and remote IRR are read-only, 17 to 55 are reserved. */
#define ENTRY_WRITABLE UINT64_C(0xff0000000001afff)

struct ioapic_state {
    uint8_t index;
    uint32_t id;
    uint32_t levels; /* a bit a pin */
    uint64_t table[IOAPIC_PIN_COUNT];
};

struct ioapic {
    const struct chipset_host *host;
    struct ioapic_state state;
};

static unsigned delivery_mode(uint64_t entry)
{
    return entry >> 8 & 7;
}

/* SMI, NMI, INIT and ExtINT are edge-triggered whatever the entry says, 82093AA § 3.2.4. */
static bool is_level(uint64_t entry)
{
    return (entry & ENTRY_LEVEL) != 0 &&
           (delivery_mode(entry) == DELIVERY_FIXED || delivery_mode(entry) == DELIVERY_LOWEST);
}

static void send(struct ioapic *ioapic, uint64_t entry)
{
    struct chipset_interrupt message = {
        .destination = (uint32_t)(entry >> 56),
        .logical = (entry & ENTRY_LOGICAL) != 0,
        .level = is_level(entry),
        .delivery_mode = (uint8_t)delivery_mode(entry),
        .vector = (uint8_t)entry,
    };
    ioapic->host->interrupt(ioapic->host->owner, &message);
}

static void serve_level(struct ioapic *ioapic, unsigned pin)
{
    uint64_t *entry = &ioapic->state.table[pin];
    if (!is_level(*entry) || (*entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) != 0)
        return;
    if ((ioapic->state.levels >> pin & 1) == 0)
        return;
    *entry |= ENTRY_REMOTE_IRR;
    send(ioapic, *entry);
}

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level)
{
    if (pin >= IOAPIC_PIN_COUNT)
        return;
    uint32_t bit = UINT32_C(1) << pin;
    bool was = (ioapic->state.levels & bit) != 0;
    ioapic->state.levels = level ? ioapic->state.levels | bit : ioapic->state.levels & ~bit;

    uint64_t entry = ioapic->state.table[pin];
    if (is_level(entry))
        serve_level(ioapic, pin);
    else if (level && !was && (entry & ENTRY_MASKED) == 0) /* a masked edge is lost, § 3.2.4 */
        send(ioapic, entry);
}

void ioapic_end_of_interrupt(struct ioapic *ioapic, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
        uint64_t *entry = &ioapic->state.table[pin];
        if ((uint8_t)*entry != vector || (*entry & ENTRY_REMOTE_IRR) == 0)
            continue;
        *entry &= ~ENTRY_REMOTE_IRR;
        serve_level(ioapic, pin);
    }
}

static void write_entry(struct ioapic *ioapic, unsigned number, uint32_t value)
{
    unsigned pin = number / 2;
    unsigned shift = number % 2 * 32;
    uint64_t lane = ENTRY_WRITABLE & (uint64_t)UINT32_MAX << shift;
    uint64_t *entry = &ioapic->state.table[pin];
    *entry = (*entry & ~lane) | ((uint64_t)value << shift & lane);
    /* An entry turned to edge forgets its remote IRR: Linux ends lost interrupts that way. */
    if (!is_level(*entry))
        *entry &= ~ENTRY_REMOTE_IRR;
    serve_level(ioapic, pin);
}

static uint32_t read_register(const struct ioapic *ioapic)
{
    unsigned index = ioapic->state.index;
    switch (index) {
    case REGISTER_ID:
    case REGISTER_ARBITRATION:
        return ioapic->state.id;
    case REGISTER_VERSION:
        return VERSION;
    default:
        break;
    }
    if (index < REGISTER_TABLE || index >= REGISTER_TABLE + 2 * IOAPIC_PIN_COUNT)
        return 0;
    unsigned number = index - REGISTER_TABLE;
    return (uint32_t)(ioapic->state.table[number / 2] >> number % 2 * 32);
}

static void write_register(struct ioapic *ioapic, uint32_t value)
{
    unsigned index = ioapic->state.index;
    if (index == REGISTER_ID)
        ioapic->state.id = value & ID_MASK;
    else if (index >= REGISTER_TABLE && index < REGISTER_TABLE + 2 * IOAPIC_PIN_COUNT)
        write_entry(ioapic, index - REGISTER_TABLE, value);
}

static uint64_t ioapic_read(void *device, uint64_t offset, unsigned size)
{
    const struct ioapic *ioapic = device;
    (void)size;
    switch (offset) {
    case WINDOW_INDEX:
        return ioapic->state.index;
    case WINDOW_DATA:
        return read_register(ioapic);
    default:
        return 0;
    }
}

static void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *ioapic = device;
    (void)size;
    switch (offset) {
    case WINDOW_INDEX:
        ioapic->state.index = (uint8_t)value;
        break;
    case WINDOW_DATA:
        write_register(ioapic, (uint32_t)value);
        break;
    case WINDOW_EOI:
        ioapic_end_of_interrupt(ioapic, (uint8_t)value);
        break;
    default:
        break;
    }
}

int ioapic_attach(struct ioapic *ioapic, struct bus *bus, uint64_t gpa)
{
    static const struct bus_ops ops = {ioapic_read, ioapic_write};
    return bus_attach_mmio(bus, gpa, IOAPIC_MMIO_SIZE, &ops, ioapic);
}

void ioapic_reset(struct ioapic *ioapic)
{
    ioapic->state = (struct ioapic_state){0};
    for (unsigned pin = 0; pin < IOAPIC_PIN_COUNT; pin++)
        ioapic->state.table[pin] = ENTRY_MASKED;
}

int ioapic_create(const struct chipset_host *host, struct ioapic **ret)
{
    struct ioapic *ioapic = calloc(1, sizeof(*ioapic));
    if (ioapic == NULL)
        return -ENOMEM;
    ioapic->host = host;
    ioapic_reset(ioapic);
    *ret = ioapic;
    return 0;
}

void ioapic_destroy(struct ioapic *ioapic)
{
    free(ioapic);
}

static bool is_valid(const struct ioapic_state *state)
{
    if ((state->id & ~(uint32_t)ID_MASK) != 0 || state->levels >> IOAPIC_PIN_COUNT != 0)
        return false;
    for (unsigned pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
        uint64_t entry = state->table[pin];
        if ((entry & ~(ENTRY_WRITABLE | ENTRY_REMOTE_IRR)) != 0)
            return false;
        if ((entry & ENTRY_REMOTE_IRR) != 0 && !is_level(entry))
            return false;
    }
    return true;
}

int ioapic_visit_state(struct ioapic *ioapic, struct state_visitor *v)
{
    struct ioapic_state state = ioapic->state;
    state_begin(v, "ioapic", 1);
    state_u8(v, "index", &state.index);
    state_u32(v, "id", &state.id);
    state_u32(v, "levels", &state.levels);
    for (unsigned pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
        char field[16];
        (void)snprintf(field, sizeof(field), "entry-%u", pin);
        state_u64(v, field, &state.table[pin]);
    }
    if (!is_valid(&state))
        state_fail(v, -EINVAL);
    int error = state_end(v);
    if (error == 0)
        ioapic->state = state;
    return error;
}
