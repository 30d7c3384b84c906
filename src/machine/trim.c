/*
 * While the guest rests, what the engine has made of its code goes back to the host: most of it was
 * for the boot, or for a job that is done. What is needed again is made again.
 */
#include "base/clock.h"
#include "machine/machine_private.h"

#define PERIOD_NS (UINT64_C(5) * NS_PER_SECOND)
enum {
    REST_PERCENT = 5,  /* of one processor, all that the process does */
    ENOUGH = 32 << 20, /* bytes: a guest at rest never comes to so much, so it is left alone */
};

static void look(void *owner)
{
    struct machine *machine = owner;
    uint64_t used = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

    if (used - machine->trim_used_ns < PERIOD_NS / 100 * REST_PERCENT)
        machine->config.engine->trim(machine->partition, ENOUGH);
    machine->trim_used_ns = used;
    loop_timer_set(machine->trim_timer, clock_monotonic_ns() + PERIOD_NS);
}

int machine_create_trim(struct machine *machine, struct reason *reason)
{
    if (machine->config.engine->trim == NULL)
        return 0;
    int error = loop_timer_create(machine->config.loop, look, machine, &machine->trim_timer);
    if (error < 0)
        return reason_set(reason, error, "the host has no timer for memory");
    loop_timer_set(machine->trim_timer, clock_monotonic_ns() + PERIOD_NS);
    return 0;
}

void machine_destroy_trim(struct machine *machine)
{
    if (machine->trim_timer != NULL)
        loop_timer_destroy(machine->trim_timer);
    machine->trim_timer = NULL;
}
