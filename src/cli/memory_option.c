#include "cli/memory_option.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sysinfo.h>

#include "balance/balance.h"
#include "cli/size.h"

enum { MIB = 1 << 20 };
#define MAX_MEMORY (UINT64_C(1) << 40)

/* What the host could give if it swapped hard; beyond it the number is a slip. */
static uint64_t memory_limit(void)
{
    struct sysinfo info;

    if (sysinfo(&info) < 0)
        return MAX_MEMORY;
    uint64_t limit = (uint64_t)info.totalram * info.mem_unit * 8;
    return limit < MAX_MEMORY ? limit : MAX_MEMORY;
}

int memory_option_size(const char *value, uint64_t *ret, struct reason *reason)
{
    uint64_t size = 0;

    int error = size_parse(value, &size);
    if (error == -EINVAL)
        return reason_set(reason, -EINVAL, "a size is wanted, as 512M or 2G");
    if (error == 0 && size > 0 && size < MIB)
        return reason_set(reason, -EINVAL, "too small, 1M is the least; mind the unit, as in 512M");
    if (error == 0 && (size == 0 || size % MIB != 0))
        return reason_set(reason, -EINVAL, "a multiple of 1M is wanted");
    if (error < 0 || size > memory_limit())
        return reason_set(reason, -ERANGE, "more than this host could give, %llu GiB",
                          (unsigned long long)(memory_limit() >> 30));
    *ret = size;
    return 0;
}

static bool is_number(const char *value, unsigned least, unsigned most, unsigned *ret)
{
    char *end = NULL;
    unsigned long number = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || number < least || number > most)
        return false;
    *ret = (unsigned)number;
    return true;
}

int memory_option_buffer(const char *value, unsigned *ret, struct reason *reason)
{
    if (is_number(value, BALANCE_LEAST_BUFFER, BALANCE_MOST_BUFFER, ret))
        return 0;
    return reason_set(reason, -EINVAL, "a percentage from %d to %d is wanted", BALANCE_LEAST_BUFFER,
                      BALANCE_MOST_BUFFER);
}

int memory_option_weight(const char *value, unsigned *ret, struct reason *reason)
{
    if (is_number(value, 1, BALANCE_MOST_WEIGHT, ret))
        return 0;
    return reason_set(reason, -EINVAL, "a number from 1 to %d is wanted", BALANCE_MOST_WEIGHT);
}

static int check_bounds(const struct worker_config *config, struct reason *reason)
{
    const struct machine_config *machine = &config->machine;

    if (!machine->hyperv)
        return reason_set(reason, -EINVAL, "memory of a guest without Hyper-V is fixed");
    if (config->memory.minimum > machine->memory_size ||
        machine->memory_size > machine->memory_maximum)
        return reason_set(reason, -EINVAL,
                          "--memory-min, --memory and --memory-max are to rise in this order");
    return 0;
}

int memory_option_complete(struct worker_config *config, struct reason *reason)
{
    struct worker_memory *memory = &config->memory;
    struct machine_config *machine = &config->machine;
    bool dynamic = memory->minimum != 0 || machine->memory_maximum != 0;

    if (!dynamic && (memory->buffer != 0 || memory->weight != 0))
        return reason_set(reason, -EINVAL,
                          "--memory-buffer and --memory-weight are for memory with"
                          " --memory-min or --memory-max");
    if (memory->buffer == 0)
        memory->buffer = WORKER_USUAL_BUFFER;
    if (memory->weight == 0)
        memory->weight = WORKER_USUAL_WEIGHT;
    if (!dynamic)
        return 0;
    if (memory->minimum == 0)
        memory->minimum = machine->memory_size;
    if (machine->memory_maximum == 0)
        machine->memory_maximum = machine->memory_size;
    return check_bounds(config, reason);
}
