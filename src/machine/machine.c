/* Life of a machine: create, start, wait, destroy. */
#include "machine/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "machine/machine_private.h"

static int check_config(const struct machine_config *config, struct reason *reason)
{
    enum { MIB = 1 << 20 };

    if (config->vcpu_count < 1 || config->vcpu_count > ENGINE_MAX_VCPUS)
        return reason_set(reason, -EINVAL, "%u processors; 1 to %d are possible",
                          config->vcpu_count, ENGINE_MAX_VCPUS);
    if (config->memory_size == 0 || config->memory_size % MIB != 0)
        return reason_set(reason, -EINVAL, "memory must be a multiple of 1 MiB");
    if (config->memory_maximum != 0 &&
        (!config->hyperv || config->memory_maximum < config->memory_size))
        return reason_set(reason, -EINVAL,
                          "dynamic memory needs Hyper-V, and a maximum that is no"
                          " less than what there is at the start");
    if (config->video_width != 0 &&
        (!config->hyperv || !machine_video_fits(config->video_width, config->video_height)))
        return reason_set(reason, -EINVAL,
                          "a screen needs Hyper-V, and a size that guests can use");
    return 0;
}

/* A random UUID, RFC 4122 § 4.4, in the byte order of SMBIOS: its version nibble is in byte 7. */
static int make_uuid(uint8_t uuid[16], struct reason *reason)
{
    if (getrandom(uuid, 16, 0) != 16)
        return reason_set(reason, -EIO, "the host gives no random bytes for the machine's UUID");
    uuid[7] = (uint8_t)((uuid[7] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return 0;
}

static int create_parts(struct machine *machine, struct reason *reason)
{
    int error = make_uuid(machine->uuid, reason);
    if (error < 0)
        return error;
    error = machine_create_memory(machine, reason);
    if (error < 0)
        return error;
    error = loop_timer_create(machine->config.loop, machine_hold_meeting, machine,
                              &machine->reset_timer);
    if (error < 0)
        return reason_set(reason, error, "the host has no timer for resets");
    machine->tsc_offset = -(int64_t)engine_host_tsc(); /* the guest's TSC starts at 0 */
    error = machine_create_chipset(machine, reason);
    if (error == 0)
        error = machine_create_hyperv(machine, reason);
    if (error == 0)
        error = machine_load_images(machine, reason);
    if (error == 0)
        error = machine_create_processors(machine, reason);
    if (error < 0)
        return error;
    error = machine_create_trim(machine, reason);
    if (error < 0)
        return error;
    machine_prepare_chipset(machine, machine_enter_chipset(machine));
    machine_leave_chipset(machine, false);
    return 0;
}

int machine_create(const struct machine_config *config, struct machine **ret, struct reason *reason)
{
    int error = check_config(config, reason);
    if (error < 0)
        return error;
    struct machine *machine = calloc(1, sizeof(*machine));
    if (machine == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    machine->config = *config;
    (void)pthread_mutex_init(&machine->chipset_lock, NULL);
    (void)pthread_mutex_init(&machine->output_lock, NULL);
    (void)pthread_mutex_init(&machine->phase_lock, NULL);
    (void)pthread_cond_init(&machine->phase_changed, NULL);

    error = create_parts(machine, reason);
    if (error < 0) {
        machine_destroy(machine);
        return error;
    }
    machine->vcpus_alive = true;
    *ret = machine;
    return 0;
}

static void join_threads(struct machine *machine)
{
    for (unsigned i = 0; i < machine->config.vcpu_count; i++) {
        struct machine_vcpu *vcpu = &machine->vcpus[i];
        if (vcpu->thread_started)
            (void)pthread_join(vcpu->thread, NULL);
        vcpu->thread_started = false;
    }
}

int machine_start(struct machine *machine, struct reason *reason)
{
    for (unsigned i = 0; i < machine->config.vcpu_count; i++) {
        struct machine_vcpu *vcpu = &machine->vcpus[i];
        int error = pthread_create(&vcpu->thread, NULL, machine_vcpu_thread, vcpu);
        if (error != 0) {
            machine_stop(machine);
            join_threads(machine);
            return reason_set(reason, -error, "the host has no thread for vCPU %u", i);
        }
        vcpu->thread_started = true;
    }
    return 0;
}

void machine_wait(struct machine *machine, struct machine_end *ret)
{
    join_threads(machine);
    *ret = machine->end;
}

void machine_destroy(struct machine *machine)
{
    if (machine == NULL)
        return;
    machine_stop(machine);
    join_threads(machine);
    machine_destroy_hyperv(machine);
    machine_destroy_trim(machine);
    if (machine->reset_timer != NULL)
        loop_timer_destroy(machine->reset_timer);
    for (unsigned i = 0; i < CHIPSET_TIMER_COUNT; i++) {
        if (machine->timers[i].loop_timer != NULL)
            loop_timer_destroy(machine->timers[i].loop_timer);
    }
    if (machine->chipset != NULL)
        chipset_destroy(machine->chipset);
    machine_destroy_processors(machine);
    mem_destroy(machine->mem);
    (void)pthread_cond_destroy(&machine->phase_changed);
    (void)pthread_mutex_destroy(&machine->phase_lock);
    (void)pthread_mutex_destroy(&machine->output_lock);
    (void)pthread_mutex_destroy(&machine->chipset_lock);
    free(machine);
}
