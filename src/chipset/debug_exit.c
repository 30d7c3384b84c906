#include "chipset/debug_exit.h"

enum { DEBUG_EXIT_PORT = 0xf4, DEBUG_EXIT_PORTS = 4 };

static uint64_t read_exit(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0;
}

static void write_exit(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct chipset_host *host = device;
    (void)size;
    if (offset == 0)
        host->power(host->owner, CHIPSET_POWER_DEBUG_EXIT, (uint32_t)(value << 1 | 1));
}

int debug_exit_attach(struct chipset_host *host, struct bus *bus)
{
    static const struct bus_ops ops = {read_exit, write_exit};
    return bus_attach_ports(bus, DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, &ops, host);
}
