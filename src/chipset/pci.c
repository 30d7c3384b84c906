/* PCI configuration space (pci.h). Registers: PCI Local Bus Specification 3.0 § 6.1, 6.2. */
#include "chipset/pci.h"

#include <errno.h>
#include <stdlib.h>

enum {
    ADDRESS_MASK = 0xfffffc,
    ADDRESS_ENABLE = (int)0x80000000,

    FUNCTION_HOST_BRIDGE = 0,
    FUNCTION_VIDEO = 8 << 3, /* device 8, function 0: as Hyper-V has it */

    /* Of a function, by doubleword. */
    REGISTER_ID = 0x00,
    REGISTER_COMMAND = 0x04,
    REGISTER_CLASS = 0x08,
    REGISTER_BAR0 = 0x10,
    REGISTER_SUBSYSTEM = 0x2c,

    COMMAND_MEMORY = 0x02,
    COMMAND_WRITABLE = 0x07,
    BAR_PREFETCHABLE = 0x08, /* memory, anywhere in 32 bits */
};

#define ID_HOST_BRIDGE    UINT32_C(0x71928086) /* 82443BX without AGP */
#define ID_VIDEO          UINT32_C(0x53531414)
#define CLASS_HOST_BRIDGE UINT32_C(0x06000000)
#define CLASS_VIDEO       UINT32_C(0x03800000) /* a display that is no VGA */

struct pci_state {
    uint32_t address;
    uint32_t bar;
    uint8_t command; /* of the video device */
};

struct pci {
    uint32_t video_gpa, video_size;
    struct pci_state state;
};

static uint32_t read_bridge(unsigned at)
{
    switch (at) {
    case REGISTER_ID:
        return ID_HOST_BRIDGE;
    case REGISTER_CLASS:
        return CLASS_HOST_BRIDGE;
    default:
        return 0;
    }
}

static uint32_t read_video(const struct pci *pci, unsigned at)
{
    switch (at) {
    case REGISTER_ID:
    case REGISTER_SUBSYSTEM:
        return ID_VIDEO;
    case REGISTER_COMMAND:
        return pci->state.command;
    case REGISTER_CLASS:
        return CLASS_VIDEO;
    case REGISTER_BAR0:
        return pci->state.bar | BAR_PREFETCHABLE;
    default:
        return 0;
    }
}

/* The doubleword that the address names; all ones where nobody answers. */
static uint32_t read_register(const struct pci *pci)
{
    uint32_t address = pci->state.address;
    unsigned at = address & 0xfc;

    if ((address & (uint32_t)ADDRESS_ENABLE) == 0)
        return UINT32_MAX;
    switch (address >> 8 & 0xffff) { /* bus, device and function */
    case FUNCTION_HOST_BRIDGE:
        return read_bridge(at);
    case FUNCTION_VIDEO:
        return read_video(pci, at);
    default:
        return UINT32_MAX;
    }
}

/* Only doublewords of the address and parts of the data that lie within it. */
uint64_t pci_port_read(const struct pci *pci, uint64_t offset, unsigned size)
{
    if (offset == 0 && size == 4)
        return pci->state.address;
    if (offset < 4 || offset + size > PCI_PORT_COUNT)
        return UINT64_MAX;
    return read_register(pci) >> 8 * (offset - 4);
}

static void write_video(struct pci *pci, unsigned at, uint32_t value)
{
    if (at == REGISTER_COMMAND)
        pci->state.command = value & COMMAND_WRITABLE;
    else if (at == REGISTER_BAR0)
        pci->state.bar = value & ~(pci->video_size - 1);
}

void pci_port_write(struct pci *pci, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0 && size == 4) {
        pci->state.address = (uint32_t)value & ((uint32_t)ADDRESS_ENABLE | ADDRESS_MASK);
        return;
    }
    uint32_t address = pci->state.address;
    if (offset < 4 || offset + size > PCI_PORT_COUNT || (address & (uint32_t)ADDRESS_ENABLE) == 0 ||
        (address >> 8 & 0xffff) != FUNCTION_VIDEO)
        return;
    unsigned shift = 8 * (unsigned)(offset - 4);
    uint32_t mask = (uint32_t)(UINT64_MAX >> (64 - 8 * size)) << shift;
    uint32_t before = read_register(pci);
    write_video(pci, address & 0xfc, (before & ~mask) | ((uint32_t)(value << shift) & mask));
}

void pci_reset(struct pci *pci)
{
    pci->state = (struct pci_state){.bar = pci->video_gpa, .command = COMMAND_MEMORY};
}

int pci_create(uint64_t video_gpa, uint64_t video_size, struct pci **ret)
{
    struct pci *pci = calloc(1, sizeof(*pci));

    if (pci == NULL)
        return -ENOMEM;
    pci->video_gpa = (uint32_t)video_gpa;
    pci->video_size = (uint32_t)video_size;
    pci_reset(pci);
    *ret = pci;
    return 0;
}

void pci_destroy(struct pci *pci)
{
    free(pci);
}

int pci_visit_state(struct pci *pci, struct state_visitor *v)
{
    struct pci_state s = pci->state;

    state_begin(v, "pci", 1);
    state_u32(v, "address", &s.address);
    state_u32(v, "bar", &s.bar);
    state_u8(v, "command", &s.command);
    if ((s.address & ~((uint32_t)ADDRESS_ENABLE | ADDRESS_MASK)) != 0 ||
        (s.bar & (pci->video_size - 1)) != 0 || (s.command & ~COMMAND_WRITABLE) != 0)
        state_fail(v, -EINVAL);
    int error = state_end(v);
    if (error == 0)
        pci->state = s;
    return error;
}
