/* Memory of a machine: at the start, what it may grow to, and what it gives back. */
#include <errno.h>

#include "base/clock.h"
#include "machine/machine_private.h"

static bool is_dynamic(const struct machine *machine)
{
    return machine->config.memory_maximum != 0;
}

int machine_create_memory(struct machine *machine, struct reason *reason)
{
    const struct machine_config *config = &machine->config;
    uint64_t growth = is_dynamic(machine) ? config->memory_maximum - config->memory_size : 0;

    growth -= growth % MEM_GROWTH;
    const struct mem_plan plan = {
        .size = config->memory_size,
        .growth = growth,
        .hole_start = MACHINE_HOLE_START,
        .device = {CHIPSET_VIDEO_GPA, machine_video_memory(config)},
    };
    if (mem_create_planned(&plan, &machine->mem) < 0)
        return reason_set(reason, -ENOMEM, "the host has no %llu MiB of memory to give",
                          (unsigned long long)(config->memory_size + growth) >> 20);
    return 0;
}

int machine_create_balloon(struct machine *machine, struct reason *reason)
{
    const struct ic_host host = {
        .vmbus = machine->vmbus, .loop = machine->config.loop, .now = clock_monotonic_ns};

    if (!is_dynamic(machine))
        return 0;
    int error = balloon_create(&host, machine->mem, &machine->balloon);
    return error < 0 ? reason_set(reason, error, "dynamic memory cannot be made") : 0;
}

void machine_destroy_balloon(struct machine *machine)
{
    balloon_destroy(machine->balloon);
    machine->balloon = NULL;
}

struct balloon *machine_balloon(struct machine *machine)
{
    return machine->balloon;
}

uint64_t machine_resident_memory(const struct machine *machine)
{
    return mem_resident(machine->mem);
}

/* Give the pages back: reads as zero, and a large guest that used little costs little. */
static int zero_range(struct mem *mem, struct mem_range range)
{
    if (mem_discard(mem, range.gpa, range.size) < 0)
        return mem_fill(mem, range.gpa, 0, range.size);
    return 0;
}

int machine_reset_memory(struct machine *machine, struct reason *reason)
{
    if (machine->balloon != NULL)
        balloon_reset(machine->balloon);
    if (mem_ungrow(machine->mem) < 0)
        return reason_set(reason, -ENOMEM, "added memory cannot be taken away for the reset");
    int error =
        mem_device(machine->mem).size == 0 ? 0 : zero_range(machine->mem, mem_device(machine->mem));
    for (size_t i = 0; error == 0 && i < mem_range_count(machine->mem); i++)
        error = zero_range(machine->mem, mem_range_at(machine->mem, i));
    if (error < 0)
        return reason_set(reason, error, "guest memory cannot be cleared for the reset");
    return 0;
}

void machine_discard_memory(void *owner, uint64_t gpa, uint64_t length)
{
    const struct machine *machine = owner;

    /* Whatever keeps the host from it: the guest does not need those bytes, nor their loss. */
    (void)mem_discard(machine->mem, gpa, length);
}
