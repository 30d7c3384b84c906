/*
 * Phases of a partition: running, resetting, ending.
 *
 * A reset needs every vCPU to stand still: each is kicked and comes to a meeting; when the last one
 * has arrived the loop thread, which serves all devices that are not the chipset's, lets the disks
 * come to rest, for what they still read would land in the memory of the next boot, and builds the
 * machine anew while the vCPUs wait. An end may be wished for at any moment, in the middle of a
 * reset too; it always wins.
 */
#include "machine/machine_private.h"

/* phase_lock held. Without live vCPUs all threads are in the meeting: nobody needs a kick. */
static void kick_all(const struct machine *machine)
{
    if (!machine->vcpus_alive)
        return;
    for (unsigned i = 0; i < machine->config.vcpu_count; i++)
        machine->config.engine->kick(machine->vcpus[i].engine);
}

void machine_end(struct machine *machine, const struct machine_end *end)
{
    (void)pthread_mutex_lock(&machine->phase_lock);
    bool first = !machine->ended;
    if (first) {
        machine->ended = true;
        machine->end = *end;
        machine->phase = MACHINE_ENDING;
        (void)pthread_cond_broadcast(&machine->phase_changed);
        kick_all(machine);
    }
    (void)pthread_mutex_unlock(&machine->phase_lock);
    if (first && end->kind != MACHINE_END_STOPPED && machine->config.stopped != NULL)
        machine->config.stopped(machine->config.owner);
}

void machine_fail(struct machine *machine, const struct reason *reason)
{
    machine_end(machine, &(struct machine_end){.kind = MACHINE_END_FAILED, .reason = *reason});
}

void machine_stop(struct machine *machine)
{
    machine_end(machine, &(struct machine_end){.kind = MACHINE_END_STOPPED});
}

void machine_request_reset(struct machine *machine)
{
    if (machine->config.end_on_reset) {
        machine_end(machine, &(struct machine_end){.kind = MACHINE_END_RESET});
        return;
    }
    (void)pthread_mutex_lock(&machine->phase_lock);
    if (machine->phase == MACHINE_RUNNING) {
        machine->phase = MACHINE_RESETTING;
        kick_all(machine);
    }
    (void)pthread_mutex_unlock(&machine->phase_lock);
}

/* An end may have come first: then the vCPU threads do not wait any more. */
static bool begin_meeting(struct machine *machine)
{
    (void)pthread_mutex_lock(&machine->phase_lock);
    bool begins =
        machine->phase == MACHINE_RESETTING && machine->in_meeting == machine->config.vcpu_count;
    if (begins)
        machine->vcpus_alive = false;
    (void)pthread_mutex_unlock(&machine->phase_lock);
    return begins;
}

/* phase_lock is not held meanwhile: machine_reset takes chipset_lock, which is the outer one. */
void machine_hold_meeting(void *owner)
{
    struct machine *machine = owner;
    struct reason reason = {0};

    if (!begin_meeting(machine) || !machine_pause_storage(machine))
        return;
    int error = machine_reset(machine, &reason);
    if (error < 0)
        machine_fail(machine, &reason);
    machine_resume_storage(machine);
    (void)pthread_mutex_lock(&machine->phase_lock);

    machine->vcpus_alive = error == 0;
    machine->in_meeting = 0;
    machine->resets++;
    if (machine->phase == MACHINE_RESETTING)
        machine->phase = MACHINE_RUNNING;
    (void)pthread_cond_broadcast(&machine->phase_changed);
    (void)pthread_mutex_unlock(&machine->phase_lock);
}

bool machine_meet(struct machine_vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;

    (void)pthread_mutex_lock(&machine->phase_lock);
    if (machine->phase == MACHINE_RESETTING) {
        uint64_t resets = machine->resets;
        machine->in_meeting++;
        if (machine->in_meeting == machine->config.vcpu_count)
            loop_timer_set(machine->reset_timer, 1);
        while (machine->phase != MACHINE_ENDING && machine->resets == resets)
            (void)pthread_cond_wait(&machine->phase_changed, &machine->phase_lock);
    }
    bool run_on = machine->phase != MACHINE_ENDING;
    (void)pthread_mutex_unlock(&machine->phase_lock);
    return run_on;
}
