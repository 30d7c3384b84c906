/* The parts of a machine, made and made again. */
#include <errno.h>
#include <string.h>

#include "firmware/acpi.h"
#include "firmware/smbios.h"
#include "machine/machine_private.h"

enum { RESET_PORT_VALUE = 6 };

static void timer_expired(void *owner)
{
    struct machine_timer *timer = owner;
    struct chipset *chipset = machine_enter_chipset(timer->machine);
    chipset_timer_expired(chipset, timer->index);
    machine_leave_chipset(timer->machine, false);
}

static int create_timers(struct machine *machine, struct reason *reason)
{
    for (unsigned i = 0; i < CHIPSET_TIMER_COUNT; i++) {
        struct machine_timer *timer = &machine->timers[i];
        timer->machine = machine;
        timer->index = i;
        int error =
            loop_timer_create(machine->config.loop, timer_expired, timer, &timer->loop_timer);
        if (error < 0)
            return reason_set(reason, error, "the host has no timer for the chipset");
    }
    return 0;
}

int machine_create_chipset(struct machine *machine, struct reason *reason)
{
    const struct chipset_config config = {
        .host = machine_chipset_host(machine),
        .mem = machine->mem,
        .cpu_count = machine->config.vcpu_count,
        .video_memory = machine_video_memory(&machine->config),
        .debug_exit = machine->config.debug_exit,
        .test_devices = machine->config.test_devices,
    };

    int error = create_timers(machine, reason);
    if (error < 0)
        return error;
    (void)pthread_mutex_lock(&machine->chipset_lock);
    error = chipset_create(&config, &machine->chipset);
    (void)pthread_mutex_unlock(&machine->chipset_lock);
    return error < 0 ? reason_set(reason, error, "the chipset cannot be made: error %d", -error)
                     : 0;
}

int machine_create_processors(struct machine *machine, struct reason *reason)
{
    const struct engine_ops *ops = machine->config.engine;
    struct engine_config config = {
        .mem = machine->mem,
        .vcpu_count = machine->config.vcpu_count,
        .cpu_level = machine->config.cpu_level,
        .translate = machine->config.translate,
        .lockstep_seed = machine->config.lockstep_seed,
        .code_trace = machine->config.code_trace,
        .code_watch = machine->config.code_watch,
        .code_memory = machine->config.code_memory,
        .statistics = machine->config.statistics,
        .tsc_offset = machine->tsc_offset,
    };

    if (machine->hv != NULL) {
        config.hypervisor_leaves = hv_cpuid(machine->hv, &config.hypervisor_leaf_count);
        config.exit_msr_first = HV_MSR_FIRST;
        config.exit_msr_last = HV_MSR_LAST;
    }
    int error = ops->partition_create(&config, &machine->partition, reason);
    for (unsigned i = 0; error == 0 && i < config.vcpu_count; i++) {
        machine->vcpus[i].machine = machine;
        machine->vcpus[i].index = i;
        error = ops->vcpu_create(machine->partition, i, &machine->vcpus[i].engine, reason);
    }
    if (error < 0)
        machine_destroy_processors(machine);
    return error;
}

void machine_destroy_processors(struct machine *machine)
{
    const struct engine_ops *ops = machine->config.engine;

    for (unsigned i = 0; i < machine->config.vcpu_count; i++) {
        if (machine->vcpus[i].engine != NULL)
            ops->vcpu_destroy(machine->vcpus[i].engine);
        machine->vcpus[i].engine = NULL;
    }
    if (machine->partition != NULL)
        ops->partition_destroy(machine->partition);
    machine->partition = NULL;
}

static int build_tables(struct machine *machine, uint64_t *ret_rsdp_gpa, struct reason *reason)
{
    const struct acpi_config acpi = {
        .cpu_count = machine->config.vcpu_count,
        .ioapic_gpa = CHIPSET_IOAPIC_GPA,
        .pm1_event_port = CHIPSET_PM1_EVENT_PORT,
        .pm1_control_port = CHIPSET_PM1_CONTROL_PORT,
        .pm_timer_port = CHIPSET_PM_TIMER_PORT,
        .reset_port = CHIPSET_RESET_PORT,
        .reset_value = RESET_PORT_VALUE,
        .sci_gsi = CHIPSET_SCI_GSI,
        .vmbus = machine->hv != NULL,
        .pci = machine_video_memory(&machine->config) != 0,
    };
    struct smbios_config smbios = {
        .cpu_count = machine->config.vcpu_count,
        .version = PARTITA_VERSION,
    };
    memcpy(smbios.uuid, machine->uuid, sizeof(smbios.uuid));

    int error = acpi_build(machine->mem, &acpi, ret_rsdp_gpa, reason);
    return error < 0 ? error : smbios_build(machine->mem, &smbios, reason);
}

int machine_load_images(struct machine *machine, struct reason *reason)
{
    struct boot_config boot = machine->config.boot;

    int error = build_tables(machine, &boot.rsdp_gpa, reason);
    if (error == 0)
        error = boot_load(machine->mem, &boot, &machine->boot, reason);
    return error < 0 ? -ENOEXEC : 0;
}

void machine_prepare_chipset(struct machine *machine, struct chipset *chipset)
{
    if (machine->boot.as_bios)
        chipset_set_up_as_bios(chipset);
}

/*
 * The devices keep what a reset keeps (CMOS, the clock); processors are made anew, which is the
 * same state as at power-on on every engine.
 */
int machine_reset(struct machine *machine, struct reason *reason)
{
    struct chipset *chipset = machine_enter_chipset(machine);
    chipset_reset(chipset);
    machine_destroy_processors(machine);
    machine->tsc_offset = -(int64_t)engine_host_tsc();
    machine_reset_hyperv(machine);
    int error = machine_reset_memory(machine, reason);
    if (error == 0)
        error = machine_load_images(machine, reason);
    if (error == 0)
        error = machine_create_processors(machine, reason);
    if (error == 0)
        machine_prepare_chipset(machine, chipset);
    machine_leave_chipset(machine, true);
    return error;
}
