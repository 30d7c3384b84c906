#include "worker/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "balance/balance.h"
#include "control/words.h"
#include "vsp/balloon.h"

#define MIB UINT64_C(0x100000)

struct settings {
    uint64_t minimum, maximum;
    uint64_t target; /* 0: by the guest's demand */
    bool balanced;   /* that target is a share of a budget */
    unsigned buffer, weight;
};

struct memory {
    struct machine *machine;
    struct balloon *balloon; /* NULL: memory is fixed */
    uint64_t fixed;          /* bytes, then */
    struct settings settings;
};

/* ---- how much it is to have ---- */

static uint64_t within(const struct settings *settings, uint64_t bytes)
{
    bytes = bytes < settings->maximum ? bytes : settings->maximum;
    return bytes > settings->minimum ? bytes : settings->minimum;
}

/* The host's budget is what the partition may have at most: nobody else is served here. */
static uint64_t find_target(const struct memory *memory, const struct balloon_report *report)
{
    const struct settings *settings = &memory->settings;
    const struct balance_partition partition = {
        .minimum = settings->minimum,
        .maximum = settings->maximum,
        .current = report->assigned,
        .reported = report->reported,
        .demand = report->demand,
        .buffer = settings->buffer,
        .weight = settings->weight,
    };
    uint64_t target = report->assigned;

    if (settings->target != 0)
        return within(settings, settings->target);
    (void)balance(settings->maximum, &partition, 1, &target);
    return target;
}

static void reported(void *owner)
{
    struct memory *memory = owner;
    struct balloon_report report;

    balloon_describe(memory->balloon, &report);
    balloon_set_target(memory->balloon, find_target(memory, &report));
}

/* ---- settings ---- */

static int check_settings(const struct memory *memory, const struct settings *settings,
                          struct reason *reason)
{
    struct balloon_report report;

    balloon_describe(memory->balloon, &report);
    if (settings->maximum > report.maximum)
        return reason_set(reason, -EINVAL,
                          "it was started for at most %" PRIu64 " MiB: that is the most",
                          report.maximum / MIB);
    if (settings->minimum > settings->maximum)
        return reason_set(reason, -EINVAL, "the minimum is above the maximum");
    if (settings->buffer < BALANCE_LEAST_BUFFER || settings->buffer > BALANCE_MOST_BUFFER)
        return reason_set(reason, -EINVAL, "a buffer is %d to %d percent", BALANCE_LEAST_BUFFER,
                          BALANCE_MOST_BUFFER);
    if (settings->weight > BALANCE_MOST_WEIGHT)
        return reason_set(reason, -EINVAL, "a weight is 1 to %d", BALANCE_MOST_WEIGHT);
    if (settings->target != 0 && settings->target != within(settings, settings->target))
        return reason_set(reason, -EINVAL, "the target is not within minimum and maximum");
    return 0;
}

static void take_bytes(unsigned mib, uint64_t *to)
{
    if (mib != 0)
        *to = mib * MIB;
}

static void take_number(unsigned number, unsigned *to)
{
    if (number != 0)
        *to = number;
}

int memory_set(struct memory *memory, const struct control_request *request, struct reason *reason)
{
    struct settings settings = memory->settings;

    if (memory->balloon == NULL)
        return reason_set(reason, -EOPNOTSUPP,
                          "its memory is fixed: start it with --memory-min or --memory-max");
    /* Who shares a budget looked a while ago: a person may have set a target since. */
    if (request->balanced && settings.target != 0 && !settings.balanced)
        return reason_set(reason, -EBUSY, "its target was set by someone else");
    take_bytes(request->minimum_mib, &settings.minimum);
    take_bytes(request->maximum_mib, &settings.maximum);
    take_bytes(request->target_mib, &settings.target);
    take_number(request->buffer, &settings.buffer);
    take_number(request->weight, &settings.weight);
    if (request->automatic)
        settings.target = 0;
    if (request->automatic || request->target_mib != 0)
        settings.balanced = request->balanced && !request->automatic;
    int error = check_settings(memory, &settings, reason);
    if (error < 0)
        return error;
    memory->settings = settings;
    reported(memory);
    return 0;
}

/* ---- what is seen of it ---- */

static json_t *known(bool is_known, uint64_t number)
{
    return is_known ? json_integer((json_int_t)number) : json_null();
}

static json_t *version_text(uint32_t version)
{
    return version != 0 ? json_sprintf("%u.%u", version >> 16, version & 0xffff) : json_null();
}

static uint64_t pressure_of(const struct balloon_report *report)
{
    return report->assigned != 0 ? report->demand / (report->assigned / 100 + 1) : 0;
}

uint64_t memory_assigned(const struct memory *memory)
{
    struct balloon_report report;

    if (memory->balloon == NULL)
        return memory->fixed;
    balloon_describe(memory->balloon, &report);
    return report.assigned;
}

static json_t *fixed_object(const struct memory *memory)
{
    return json_pack("{s:b, s:I, s:I}", "dynamic", 0, "assigned", (json_int_t)memory->fixed,
                     "resident", (json_int_t)machine_resident_memory(memory->machine));
}

json_t *memory_describe(const struct memory *memory)
{
    const struct settings *settings = &memory->settings;
    struct balloon_report report;

    if (memory->balloon == NULL)
        return fixed_object(memory);
    balloon_describe(memory->balloon, &report);
    return json_pack("{s:b, s:s, s:o, s:b, s:b, s:I, s:I, s:I, s:i, s:i, s:I, s:I, s:b, s:b, s:I, "
                     "s:I, s:I, s:o, s:o, "
                     "s:o, s:o, s:I, s:I}",
                     "dynamic", 1, "state", balloon_state_name(report.state), "version",
                     version_text(report.version), "can_balloon", (int)report.can_balloon,
                     "can_add", (int)report.can_add, "startup", (json_int_t)report.startup,
                     "minimum", (json_int_t)settings->minimum, "maximum",
                     (json_int_t)settings->maximum, "buffer", (int)settings->buffer, "weight",
                     (int)settings->weight, "assigned", (json_int_t)report.assigned, "target",
                     (json_int_t)report.target, "automatic", (int)(settings->target == 0),
                     "balanced", (int)settings->balanced, "added", (json_int_t)report.added,
                     "balloon", (json_int_t)report.balloon, "resident",
                     (json_int_t)machine_resident_memory(memory->machine), "demand",
                     known(report.reported, report.demand), "available",
                     known(report.reported, report.available), "pressure",
                     known(report.reported, pressure_of(&report)), "contact_ns",
                     known(report.reported, report.contact_ns), "reports",
                     (json_int_t)report.reports, "oddities", (json_int_t)report.oddities);
}

/* ---- life ---- */

int memory_create(const struct worker_config *config, struct machine *machine, struct memory **ret)
{
    struct memory *memory = calloc(1, sizeof(*memory));
    struct balloon_report report;

    if (memory == NULL)
        return -ENOMEM;
    memory->machine = machine;
    memory->balloon = machine_balloon(machine);
    memory->fixed = config->machine.memory_size;
    *ret = memory;
    if (memory->balloon == NULL)
        return 0;
    balloon_describe(memory->balloon, &report);
    memory->settings = (struct settings){
        .minimum = config->memory.minimum,
        .maximum = report.maximum, /* whole steps */
        .buffer = config->memory.buffer,
        .weight = config->memory.weight,
    };
    balloon_listen(memory->balloon, reported, memory);
    return 0;
}

void memory_destroy(struct memory *memory)
{
    if (memory != NULL && memory->balloon != NULL)
        balloon_listen(memory->balloon, NULL, NULL);
    free(memory);
}
