/*
 * Who answers a port or an MMIO address. One bus a partition.
 *
 * 1. Devices attach before the partition runs; ranges never overlap (-EEXIST).
 * 2. Every access and every device callback runs with the chipset lock of the machine held: devices
 *    need no lock of their own.
 * 3. An access that no device claims reads all ones and writes nowhere. An access that leaves its
 *    device's range is split to bytes by the bus; a device sees only accesses inside its range.
 */
#ifndef CHIPSET_BUS_H
#define CHIPSET_BUS_H

#include <stdint.h>

struct bus;

/* `offset` is from the start of the attached range; `size` is 1, 2, 4 (or 8 for MMIO). */
struct bus_ops {
    uint64_t (*read)(void *device, uint64_t offset, unsigned size);
    void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

int bus_create(struct bus **ret);
void bus_destroy(struct bus *bus);

int bus_attach_ports(struct bus *bus, uint16_t first, uint16_t count, const struct bus_ops *ops,
                     void *device);
int bus_attach_mmio(struct bus *bus, uint64_t gpa, uint64_t size, const struct bus_ops *ops,
                    void *device);

uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned size);
void bus_port_write(struct bus *bus, uint16_t port, unsigned size, uint32_t value);
uint64_t bus_mmio_read(struct bus *bus, uint64_t gpa, unsigned size);
void bus_mmio_write(struct bus *bus, uint64_t gpa, unsigned size, uint64_t value);

#endif
