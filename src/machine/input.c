/* Keyboard and mouse of a machine. */
#include "base/clock.h"
#include "machine/machine_private.h"

int machine_create_input(struct machine *machine, struct reason *reason)
{
    const struct ic_host host = {
        .vmbus = machine->vmbus, .loop = machine->config.loop, .now = clock_monotonic_ns};

    if (!machine->config.input)
        return 0;
    int error = keyboard_create(&host, &machine->keyboard);
    if (error == 0)
        error = mouse_create(&host, &machine->mouse);
    return error < 0 ? reason_set(reason, error, "keyboard and mouse cannot be made") : 0;
}

void machine_destroy_input(struct machine *machine)
{
    keyboard_destroy(machine->keyboard);
    mouse_destroy(machine->mouse);
    machine->keyboard = NULL;
    machine->mouse = NULL;
}

struct keyboard *machine_keyboard(struct machine *machine)
{
    return machine->keyboard;
}

struct mouse *machine_mouse(struct machine *machine)
{
    return machine->mouse;
}
