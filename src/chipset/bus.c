/*
 * Two tables of ranges, one for ports and one for MMIO, each sorted by its first address. Look-ups
 * are binary searches; the tables do not change while the partition runs.
 */
#include "chipset/bus.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct range {
    uint64_t first, last; /* both inside, so that a range may end at the very top */
    const struct bus_ops *ops;
    void *device;
};

struct space {
    struct range *ranges;
    size_t count;
    uint64_t top; /* the last address there is */
};

struct bus {
    struct space ports, mmio;
};

int bus_create(struct bus **ret)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    if (bus == NULL)
        return -ENOMEM;
    bus->ports.top = UINT16_MAX;
    bus->mmio.top = UINT64_MAX;
    *ret = bus;
    return 0;
}

void bus_destroy(struct bus *bus)
{
    if (bus == NULL)
        return;
    free(bus->ports.ranges);
    free(bus->mmio.ranges);
    free(bus);
}

/* How many ranges begin at or below `address`; the last of them is the only one that can hold it.
 */
static size_t ranges_from(const struct space *space, uint64_t address)
{
    size_t low = 0;
    size_t high = space->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (space->ranges[middle].first <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct range *find(const struct space *space, uint64_t address)
{
    size_t position = ranges_from(space, address);
    if (position == 0 || space->ranges[position - 1].last < address)
        return NULL;
    return &space->ranges[position - 1];
}

static int attach(struct space *space, const struct range *range)
{
    size_t position = ranges_from(space, range->last);
    if (position > 0 && space->ranges[position - 1].last >= range->first)
        return -EEXIST;
    struct range *ranges = reallocarray(space->ranges, space->count + 1, sizeof(*ranges));
    if (ranges == NULL)
        return -ENOMEM;
    space->ranges = ranges;
    memmove(&ranges[position + 1], &ranges[position], (space->count - position) * sizeof(*ranges));
    ranges[position] = *range;
    space->count++;
    return 0;
}

int bus_attach_ports(struct bus *bus, uint16_t first, uint16_t count, const struct bus_ops *ops,
                     void *device)
{
    if (count == 0 || count - 1 > UINT16_MAX - first)
        return -EINVAL;
    struct range range = {first, (uint64_t)first + count - 1, ops, device};
    return attach(&bus->ports, &range);
}

int bus_attach_mmio(struct bus *bus, uint64_t gpa, uint64_t size, const struct bus_ops *ops,
                    void *device)
{
    if (size == 0 || size - 1 > UINT64_MAX - gpa)
        return -EINVAL;
    struct range range = {gpa, gpa + (size - 1), ops, device};
    return attach(&bus->mmio, &range);
}

/* The range that holds the whole access, or NULL. */
static const struct range *find_whole(const struct space *space, uint64_t address, unsigned size)
{
    const struct range *range = find(space, address);
    return range != NULL && size - 1 <= range->last - address ? range : NULL;
}

static bool is_access_size(unsigned size, unsigned largest)
{
    return size != 0 && size <= largest && (size & (size - 1)) == 0;
}

static uint64_t size_mask(unsigned size)
{
    return UINT64_MAX >> (64 - 8 * size);
}

static uint64_t read_byte(const struct space *space, uint64_t address)
{
    const struct range *range = find(space, address);
    return range != NULL ? range->ops->read(range->device, address - range->first, 1) & 0xff : 0xff;
}

static uint64_t space_read(const struct space *space, uint64_t address, unsigned size)
{
    const struct range *range = find_whole(space, address, size);
    if (range != NULL)
        return range->ops->read(range->device, address - range->first, size) & size_mask(size);
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        bool past_top = i > space->top - address;
        value |= (past_top ? 0xff : read_byte(space, address + i)) << (8 * i);
    }
    return value;
}

static void space_write(const struct space *space, uint64_t address, unsigned size, uint64_t value)
{
    const struct range *range = find_whole(space, address, size);
    if (range != NULL) {
        range->ops->write(range->device, address - range->first, size, value & size_mask(size));
        return;
    }
    for (unsigned i = 0; i < size && i <= space->top - address; i++) {
        range = find(space, address + i);
        if (range != NULL)
            range->ops->write(range->device, address + i - range->first, 1,
                              value >> (8 * i) & 0xff);
    }
}

uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned size)
{
    return is_access_size(size, 4) ? (uint32_t)space_read(&bus->ports, port, size) : UINT32_MAX;
}

void bus_port_write(struct bus *bus, uint16_t port, unsigned size, uint32_t value)
{
    if (is_access_size(size, 4))
        space_write(&bus->ports, port, size, value);
}

uint64_t bus_mmio_read(struct bus *bus, uint64_t gpa, unsigned size)
{
    return is_access_size(size, 8) ? space_read(&bus->mmio, gpa, size) : UINT64_MAX;
}

void bus_mmio_write(struct bus *bus, uint64_t gpa, unsigned size, uint64_t value)
{
    if (is_access_size(size, 8))
        space_write(&bus->mmio, gpa, size, value);
}
