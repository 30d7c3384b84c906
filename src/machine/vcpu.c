/* A thread a vCPU, and the one switch on why it came out of the engine. */
#include <errno.h>

#include "base/cleanup.h"
#include "machine/machine_private.h"

static void read_port(struct machine *machine, struct engine_exit *exit)
{
    struct bus *bus = chipset_bus(machine_enter_chipset(machine));
    exit->port.value = bus_port_read(bus, exit->port.port, exit->port.size);
    machine_leave_chipset(machine, true);
}

static void write_port(struct machine *machine, const struct engine_exit *exit)
{
    struct bus *bus = chipset_bus(machine_enter_chipset(machine));
    bus_port_write(bus, exit->port.port, exit->port.size, exit->port.value);
    machine_leave_chipset(machine, true);
}

static void read_mmio(struct machine *machine, struct engine_exit *exit)
{
    struct bus *bus = chipset_bus(machine_enter_chipset(machine));
    exit->mmio.value = bus_mmio_read(bus, exit->mmio.gpa, exit->mmio.size);
    machine_leave_chipset(machine, true);
}

static void write_mmio(struct machine *machine, const struct engine_exit *exit)
{
    struct bus *bus = chipset_bus(machine_enter_chipset(machine));
    bus_mmio_write(bus, exit->mmio.gpa, exit->mmio.size, exit->mmio.value);
    machine_leave_chipset(machine, true);
}

static void end_of_interrupt(struct machine *machine, uint8_t vector)
{
    chipset_end_of_interrupt(machine_enter_chipset(machine), vector);
    machine_leave_chipset(machine, true);
}

static void acknowledge_extint(struct machine_vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    struct engine_event event = {.kind = ENGINE_EVENT_EXTINT_VECTOR};

    event.vector = chipset_acknowledge_extint(machine_enter_chipset(machine));
    int error = machine->config.engine->raise(vcpu->engine, &event);
    machine_leave_chipset(machine, true);
    if (error < 0) {
        struct reason reason;
        (void)reason_set(&reason, error, "vCPU %u refuses the vector of the 8259", vcpu->index);
        machine_fail(machine, &reason);
    }
}

static void handle_exit(struct machine_vcpu *vcpu, struct engine_exit *exit)
{
    struct machine *machine = vcpu->machine;

    switch (exit->kind) {
    case ENGINE_EXIT_NONE:
    case ENGINE_EXIT_KICKED:
        break;
    case ENGINE_EXIT_PORT_READ:
        read_port(machine, exit);
        break;
    case ENGINE_EXIT_PORT_WRITE:
        write_port(machine, exit);
        break;
    case ENGINE_EXIT_MMIO_READ:
        read_mmio(machine, exit);
        break;
    case ENGINE_EXIT_MMIO_WRITE:
        write_mmio(machine, exit);
        break;
    case ENGINE_EXIT_MSR_READ:
        machine_read_msr(vcpu, exit);
        break;
    case ENGINE_EXIT_MSR_WRITE:
        machine_write_msr(vcpu, exit);
        break;
    case ENGINE_EXIT_HYPERCALL:
        machine_hypercall(vcpu, exit);
        break;
    case ENGINE_EXIT_EOI:
        end_of_interrupt(machine, exit->eoi.vector);
        break;
    case ENGINE_EXIT_EXTINT:
        acknowledge_extint(vcpu);
        break;
    case ENGINE_EXIT_SHUTDOWN:
        machine_end(machine,
                    &(struct machine_end){.kind = MACHINE_END_TRIPLE_FAULT, .vcpu = vcpu->index});
        break;
    case ENGINE_EXIT_FAILED:
        machine_fail(machine, &exit->failed.reason);
        break;
    }
}

/* vCPU 0 begins with what the boot image asks for; the others wait for their SIPI. */
static int set_first_registers(struct machine_vcpu *vcpu)
{
    const struct engine_ops *ops = vcpu->machine->config.engine;
    auto_free struct engine_registers *registers =
        aligned_alloc(_Alignof(struct engine_registers), sizeof(struct engine_registers));

    if (vcpu->index != 0)
        return 0;
    if (registers == NULL)
        return -ENOMEM;
    int error = ops->get(vcpu->engine, registers);
    if (error < 0)
        return error;
    registers_after_reset(registers);
    registers_for_boot(registers, &vcpu->machine->boot);
    return ops->set(vcpu->engine, registers);
}

static void run_until_phase_changes(struct machine_vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    struct engine_exit exit = {.kind = ENGINE_EXIT_NONE};
    struct reason reason;

    int error = set_first_registers(vcpu);
    if (error < 0)
        (void)reason_set(&reason, error, "the first registers are refused");
    while (error == 0 && atomic_load(&machine->phase) == MACHINE_RUNNING) {
        error = machine->config.engine->run(vcpu->engine, &exit);
        if (error == 0)
            handle_exit(vcpu, &exit);
        else
            (void)reason_set(&reason, error, "vCPU %u does not run: error %d", vcpu->index, -error);
    }
    if (error < 0)
        machine_fail(machine, &reason);
}

void *machine_vcpu_thread(void *argument)
{
    struct machine_vcpu *vcpu = argument;

    do {
        run_until_phase_changes(vcpu);
    } while (machine_meet(vcpu));
    return NULL;
}
