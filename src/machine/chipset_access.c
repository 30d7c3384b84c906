/* The way in and out of the chipset, and what it asks of the machine. */
#include <string.h>

#include "base/clock.h"
#include "machine/machine_private.h"

struct chipset *machine_enter_chipset(struct machine *machine)
{
    (void)pthread_mutex_lock(&machine->chipset_lock);
    return machine->chipset;
}

/* output_lock held. */
static bool deliver_batch(struct machine *machine)
{
    uint8_t batch[MACHINE_OUTPUT_BATCH];

    (void)pthread_mutex_lock(&machine->chipset_lock);
    size_t length = machine->output_length;
    memcpy(batch, machine->output, length);
    machine->output_length = 0;
    (void)pthread_mutex_unlock(&machine->chipset_lock);
    if (length > 0)
        machine->config.serial_output(machine->config.owner, batch, length);
    return length > 0;
}

static bool output_waits(struct machine *machine)
{
    (void)pthread_mutex_lock(&machine->chipset_lock);
    bool waits = machine->output_length > 0;
    (void)pthread_mutex_unlock(&machine->chipset_lock);
    return waits;
}

/*
 * Who finds another thread at it may leave its bytes to that one, because after unlocking each
 * looks again: between the two looks no byte is forgotten.
 */
static void deliver_output(struct machine *machine, bool wait)
{
    do {
        if (wait)
            (void)pthread_mutex_lock(&machine->output_lock);
        else if (pthread_mutex_trylock(&machine->output_lock) != 0)
            return;
        while (deliver_batch(machine))
            continue;
        (void)pthread_mutex_unlock(&machine->output_lock);
    } while (output_waits(machine));
}

void machine_leave_chipset(struct machine *machine, bool wait)
{
    bool output = machine->output_length > 0;
    bool ready = machine->input_refused && chipset_serial_room(machine->chipset) > 0;
    if (ready)
        machine->input_refused = false;
    (void)pthread_mutex_unlock(&machine->chipset_lock);
    if (output)
        deliver_output(machine, wait);
    if (ready && machine->config.serial_ready != NULL)
        machine->config.serial_ready(machine->config.owner);
}

size_t machine_serial_input(struct machine *machine, const uint8_t *bytes, size_t length)
{
    struct chipset *chipset = machine_enter_chipset(machine);
    size_t taken = chipset_serial_input(chipset, bytes, length);
    machine->input_refused = taken < length;
    machine_leave_chipset(machine, false);
    return taken;
}

bool machine_press_power_button(struct machine *machine)
{
    bool heard = chipset_press_power_button(machine_enter_chipset(machine));
    machine_leave_chipset(machine, false);
    return heard;
}

/* ---- chipset_host: all with chipset_lock held ---- */

static void send_interrupt(void *owner, const struct chipset_interrupt *message)
{
    const struct machine *machine = owner;
    const struct engine_interrupt interrupt = {
        .destination = message->destination,
        .logical = message->logical,
        .level = message->level,
        .delivery_mode = message->delivery_mode,
        .vector = message->vector,
    };
    /* A message that no processor takes is lost, as on the bus of a PC. */
    if (machine->partition != NULL)
        (void)machine->config.engine->interrupt(machine->partition, &interrupt);
}

static void set_extint(void *owner, bool asserted)
{
    const struct machine *machine = owner;
    const struct engine_event event = {.kind = ENGINE_EVENT_EXTINT_LINE, .asserted = asserted};

    if (machine->vcpus[0].engine != NULL)
        (void)machine->config.engine->raise(machine->vcpus[0].engine, &event);
}

static void change_power(void *owner, enum chipset_power kind, uint32_t code)
{
    struct machine *machine = owner;

    switch (kind) {
    case CHIPSET_POWER_OFF:
        machine_end(machine, &(struct machine_end){.kind = MACHINE_END_POWER_OFF});
        break;
    case CHIPSET_POWER_RESET:
        machine_request_reset(machine);
        break;
    case CHIPSET_POWER_DEBUG_EXIT:
        machine_end(machine, &(struct machine_end){.kind = MACHINE_END_DEBUG_EXIT, .code = code});
        break;
    }
}

static void collect_output(void *owner, const uint8_t *bytes, size_t length)
{
    struct machine *machine = owner;
    size_t room = sizeof(machine->output) - machine->output_length;

    if (length > room)
        length = room;
    memcpy(machine->output + machine->output_length, bytes, length);
    machine->output_length += length;
}

static void set_timer(void *owner, unsigned timer, uint64_t deadline_ns)
{
    const struct machine *machine = owner;

    if (timer < CHIPSET_TIMER_COUNT)
        loop_timer_set(machine->timers[timer].loop_timer, deadline_ns);
}

static uint64_t monotonic_ns(void *owner)
{
    (void)owner;
    return clock_monotonic_ns();
}

static uint64_t wall_clock_s(void *owner)
{
    (void)owner;
    return clock_ns(CLOCK_REALTIME) / NS_PER_SECOND;
}

struct chipset_host machine_chipset_host(struct machine *machine)
{
    return (struct chipset_host){
        .owner = machine,
        .interrupt = send_interrupt,
        .extint = set_extint,
        .power = change_power,
        .serial_output = collect_output,
        .set_timer = set_timer,
        .now_ns = monotonic_ns,
        .wall_clock_s = wall_clock_s,
    };
}
