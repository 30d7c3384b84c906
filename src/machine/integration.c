/* The integration services of a machine. */
#include <time.h>

#include "base/clock.h"
#include "machine/machine_private.h"

static uint64_t reference_time(void *owner)
{
    const struct machine *machine = owner;
    return hv_reference_time(machine->hv);
}

static uint64_t real_time(void *owner)
{
    (void)owner;
    return clock_ns(CLOCK_REALTIME);
}

int machine_create_integration(struct machine *machine, struct reason *reason)
{
    const struct ic_host host = {
        .vmbus = machine->vmbus, .loop = machine->config.loop, .now = clock_monotonic_ns};
    const struct timesync_clocks clocks = {
        .owner = machine, .reference = reference_time, .real = real_time};
    int error =
        integration_create(&host, &clocks, machine->config.integration, &machine->integration);

    return error < 0 ? reason_set(reason, error, "the integration services cannot be made") : 0;
}

void machine_destroy_integration(struct machine *machine)
{
    integration_destroy(machine->integration);
    machine->integration = NULL;
}

struct integration *machine_integration(struct machine *machine)
{
    return machine->integration;
}

bool machine_parse_integration(const char *list, unsigned *ret, struct reason *reason)
{
    return integration_parse(list, ret, reason);
}

unsigned machine_default_integration(void)
{
    return INTEGRATION_DEFAULT;
}
