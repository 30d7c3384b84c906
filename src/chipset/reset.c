/*
 * Reset control register: 82371AB datasheet § 4.2.7; port 0x92: § 4.2.6. The 8042 by the IBM PC/AT
 * Technical Reference, "Keyboard controller". A20 is always open: its switches only read back.
 */
#include "chipset/reset.h"

#include <errno.h>
#include <stdlib.h>

enum {
    CONTROL_RESET_CPU = 0x04,
    CONTROL_WRITABLE = 0x0e,

    FAST_RESET = 0x01,
    FAST_A20 = 0x02,

    STATUS_OUTPUT_FULL = 0x01,
    STATUS_SELF_TESTED = 0x04,
    STATUS_COMMAND = 0x08, /* the last byte written was a command */
    STATUS_UNLOCKED = 0x10,

    COMMAND_SELF_TEST = 0xaa,
    COMMAND_READ_OUTPUT = 0xd0,
    COMMAND_WRITE_OUTPUT = 0xd1,
    COMMAND_PULSE = 0xf0, /* to 0xff: bits 0 to 3 that are 0 pulse that output line */
    SELF_TEST_PASSED = 0x55,
    OUTPUT_NOT_RESET = 0x01,
    OUTPUT_IDLE = 0x03, /* not reset, A20 open */
};

_Static_assert(CHIPSET_RESET_PORT == PCI_ADDRESS_PORT + 1, "the reset register is inside");

struct reset_state {
    uint8_t control;       /* 0xcf9 */
    uint8_t fast;          /* 0x92 */
    uint8_t status;        /* 0x64 */
    uint8_t data;          /* 0x60 */
    bool output_port_next; /* the next byte at 0x60 is for the output port */
};

struct reset {
    const struct chipset_host *host;
    struct pci *pci; /* NULL: there is none */
    struct reset_state state;
};

static void restart(const struct reset *reset)
{
    reset->host->power(reset->host->owner, CHIPSET_POWER_RESET, 0);
}

/* The byte amid the ports of PCI configuration; no other size is its own. */
static uint64_t pci_read(void *device, uint64_t offset, unsigned size)
{
    const struct reset *reset = device;
    if (offset == 1 && size == 1)
        return reset->state.control;
    return reset->pci != NULL ? pci_port_read(reset->pci, offset, size) : UINT64_MAX;
}

static void write_control(struct reset *reset, uint64_t value)
{
    uint8_t before = reset->state.control;
    reset->state.control = value & CONTROL_WRITABLE;
    if ((value & CONTROL_RESET_CPU) != 0 && (before & CONTROL_RESET_CPU) == 0)
        restart(reset);
}

static void pci_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct reset *reset = device;
    if (offset == 1 && size == 1)
        write_control(reset, value);
    else if (reset->pci != NULL)
        pci_port_write(reset->pci, offset, size, value);
}

static uint64_t fast_read(void *device, uint64_t offset, unsigned size)
{
    const struct reset *reset = device;
    (void)offset;
    (void)size;
    return reset->state.fast;
}

static void fast_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct reset *reset = device;
    (void)offset;
    (void)size;
    uint8_t before = reset->state.fast;
    reset->state.fast = value & (FAST_RESET | FAST_A20);
    if ((value & FAST_RESET) != 0 && (before & FAST_RESET) == 0)
        restart(reset);
}

static void answer(struct reset_state *s, uint8_t data)
{
    s->data = data;
    s->status |= STATUS_OUTPUT_FULL;
}

static void keyboard_command(struct reset *reset, uint8_t command)
{
    struct reset_state *s = &reset->state;
    s->status |= STATUS_COMMAND;
    s->output_port_next = command == COMMAND_WRITE_OUTPUT;
    if (command == COMMAND_SELF_TEST) {
        s->status |= STATUS_SELF_TESTED;
        answer(s, SELF_TEST_PASSED);
    } else if (command == COMMAND_READ_OUTPUT) {
        answer(s, OUTPUT_IDLE);
    } else if (command >= COMMAND_PULSE && (command & OUTPUT_NOT_RESET) == 0) {
        restart(reset);
    }
}

static uint64_t keyboard_data_read(void *device, uint64_t offset, unsigned size)
{
    struct reset *reset = device;
    (void)offset;
    (void)size;
    reset->state.status &= (uint8_t)~STATUS_OUTPUT_FULL;
    return reset->state.data;
}

static void keyboard_data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct reset *reset = device;
    struct reset_state *s = &reset->state;
    (void)offset;
    (void)size;
    bool output_port = s->output_port_next;
    s->status &= (uint8_t)~STATUS_COMMAND;
    s->output_port_next = false;
    if (output_port && (value & OUTPUT_NOT_RESET) == 0)
        restart(reset);
}

static uint64_t keyboard_status_read(void *device, uint64_t offset, unsigned size)
{
    const struct reset *reset = device;
    (void)offset;
    (void)size;
    return reset->state.status;
}

static void keyboard_command_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)offset;
    (void)size;
    keyboard_command(device, (uint8_t)value);
}

int reset_attach(struct reset *reset, struct bus *bus)
{
    static const struct bus_ops pci = {pci_read, pci_write};
    static const struct bus_ops fast = {fast_read, fast_write};
    static const struct bus_ops data = {keyboard_data_read, keyboard_data_write};
    static const struct bus_ops command = {keyboard_status_read, keyboard_command_write};
    static const struct {
        uint16_t port, count;
        const struct bus_ops *ops;
    } ranges[] = {
        {PCI_ADDRESS_PORT, PCI_PORT_COUNT, &pci},
        {0x92, 1, &fast},
        {0x60, 1, &data},
        {0x64, 1, &command},
    };
    int error = 0;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]) && error == 0; i++)
        error = bus_attach_ports(bus, ranges[i].port, ranges[i].count, ranges[i].ops, reset);
    return error;
}

void reset_reset(struct reset *reset)
{
    reset->state = (struct reset_state){.fast = FAST_A20, .status = STATUS_UNLOCKED};
}

int reset_create(const struct chipset_host *host, struct pci *pci, struct reset **ret)
{
    struct reset *reset = calloc(1, sizeof(*reset));
    if (reset == NULL)
        return -ENOMEM;
    reset->host = host;
    reset->pci = pci;
    reset_reset(reset);
    *ret = reset;
    return 0;
}

void reset_destroy(struct reset *reset)
{
    free(reset);
}

int reset_visit_state(struct reset *reset, struct state_visitor *v)
{
    struct reset_state s = reset->state;
    state_begin(v, "reset", 1);
    state_u8(v, "control", &s.control);
    state_u8(v, "fast", &s.fast);
    state_u8(v, "keyboard-status", &s.status);
    state_u8(v, "keyboard-data", &s.data);
    state_bool(v, "output-port-next", &s.output_port_next);
    int error = state_end(v);
    if (error == 0)
        reset->state = s;
    return error;
}
