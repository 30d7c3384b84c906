/*
 * The Hyper-V side of a machine: the hypervisor interface, VMBus, and what they ask of processors.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "machine/machine_private.h"

/* ---- hv_host ---- */

static void send_interrupt(void *owner, unsigned vp, uint8_t vector, bool auto_eoi)
{
    const struct machine *machine = owner;
    const struct engine_interrupt message = {
        .destination = vp, .vector = vector, .auto_eoi = auto_eoi};

    /* A processor whose APIC is off takes none. */
    (void)machine->config.engine->interrupt(machine->partition, &message);
}

static void set_vp_timer(void *owner, unsigned vp, uint64_t deadline_ns)
{
    const struct machine *machine = owner;
    loop_timer_set(machine->vp_timers[vp].loop_timer, deadline_ns);
}

static bool access_apic(void *owner, unsigned vp, enum engine_apic_register which, bool write,
                        uint64_t *value)
{
    const struct machine *machine = owner;
    return machine->config.engine->apic(machine->vcpus[vp].engine, which, write, value) == 0;
}

static void flush_tlb(void *owner, uint64_t vp_set)
{
    const struct machine *machine = owner;
    machine->config.engine->flush_tlb(machine->partition, vp_set);
}

static void tell_crash(void *owner, unsigned vp, const struct hv_crash *crash)
{
    const struct machine *machine = owner;
    struct machine_crash told = {
        .vcpu = vp, .text = crash->text, .text_length = crash->text_length};

    memcpy(told.parameter, crash->parameter, sizeof(told.parameter));
    if (machine->config.crashed != NULL)
        machine->config.crashed(machine->config.owner, &told);
}

static void reset(void *owner)
{
    machine_request_reset(owner);
}

static struct hv_host hv_host_of(struct machine *machine)
{
    return (struct hv_host){
        .owner = machine,
        .interrupt = send_interrupt,
        .set_timer = set_vp_timer,
        .apic = access_apic,
        .flush_tlb = flush_tlb,
        .crash = tell_crash,
        .reset = reset,
        .discard = machine->config.memory_maximum != 0 ? machine_discard_memory : NULL,
    };
}

/* ---- exits ---- */

void machine_read_msr(struct machine_vcpu *vcpu, struct engine_exit *exit)
{
    exit->msr.refused =
        vcpu->machine->hv == NULL || !hv_read_msr(vcpu->machine->hv, vcpu->index, exit->msr.index,
                                                  &exit->msr.value, &exit->msr.halt);
}

void machine_write_msr(struct machine_vcpu *vcpu, struct engine_exit *exit)
{
    exit->msr.refused =
        vcpu->machine->hv == NULL ||
        !hv_write_msr(vcpu->machine->hv, vcpu->index, exit->msr.index, exit->msr.value);
}

/* XMM0–5 in the legacy region of the XSAVE area: Intel SDM vol. 1 § 10.5.1, table 10-2. */
enum { XSAVE_XMM0 = 160 };

/* 0, or the engine's error: the call is not made then. */
static int call_with_xmm(struct machine_vcpu *vcpu, struct hv_call *call)
{
    const struct engine_ops *ops = vcpu->machine->config.engine;
    auto_free struct engine_registers *registers =
        aligned_alloc(_Alignof(struct engine_registers), sizeof(struct engine_registers));

    if (registers == NULL)
        return -ENOMEM;
    int error = ops->get(vcpu->engine, registers);
    if (error < 0)
        return error;
    memcpy(call->xmm, registers->xsave + XSAVE_XMM0, sizeof(call->xmm));
    hv_hypercall(vcpu->machine->hv, vcpu->index, call);
    return 0;
}

void machine_hypercall(struct machine_vcpu *vcpu, struct engine_exit *exit)
{
    struct hv *hv = vcpu->machine->hv;
    struct hv_call call = {
        .long_mode = exit->hypercall.long_mode,
        .rax = exit->hypercall.rax,
        .rbx = exit->hypercall.rbx,
        .rcx = exit->hypercall.rcx,
        .rdx = exit->hypercall.rdx,
        .rsi = exit->hypercall.rsi,
        .rdi = exit->hypercall.rdi,
        .r8 = exit->hypercall.r8,
    };

    if (hv == NULL)
        return;
    if (!hv_call_uses_xmm(hv, &call)) {
        hv_hypercall(hv, vcpu->index, &call);
    } else if (call_with_xmm(vcpu, &call) < 0) {
        struct reason reason;
        (void)reason_set(&reason, 0, "the registers of vCPU %u cannot be read", vcpu->index);
        machine_fail(vcpu->machine, &reason);
    }
    exit->hypercall.rax = call.rax;
    exit->hypercall.rdx = call.rdx;
}

/* ---- life ---- */

static void vp_timer_expired(void *owner)
{
    const struct machine_vp_timer *timer = owner;
    hv_timer_expired(timer->machine->hv, timer->vp);
}

static int create_vp_timers(struct machine *machine, struct reason *reason)
{
    for (unsigned i = 0; i < machine->config.vcpu_count; i++) {
        struct machine_vp_timer *timer = &machine->vp_timers[i];
        timer->machine = machine;
        timer->vp = i;
        int error =
            loop_timer_create(machine->config.loop, vp_timer_expired, timer, &timer->loop_timer);
        if (error < 0)
            return reason_set(reason, error, "the host has no timer for vCPU %u", i);
    }
    return 0;
}

static int create_hv(struct machine *machine, struct reason *reason)
{
    const struct hv_config config = {
        .host = hv_host_of(machine),
        .mem = machine->mem,
        .vp_count = machine->config.vcpu_count,
        .tsc_hz = engine_tsc_hz(),
        .tsc_offset = machine->tsc_offset,
        .apic_hz = engine_apic_hz(),
    };
    return hv_create(&config, &machine->hv, reason);
}

/* A software processor takes about so long for three small requests. */
#define PATIENCE_NS (UINT64_C(300) * NS_PER_SECOND / 1000000)

static int create_vmbus(struct machine *machine, struct reason *reason)
{
    const struct vmbus_config config = {
        .hv = machine->hv,
        .mem = machine->mem,
        .loop = machine->config.loop,
        .vp_count = machine->config.vcpu_count,
        .patience_ns = PATIENCE_NS,
    };
    return vmbus_create(&config, &machine->vmbus, reason);
}

int machine_create_hyperv(struct machine *machine, struct reason *reason)
{
    if (!machine->config.hyperv)
        return 0;
    int error = create_vp_timers(machine, reason);
    if (error == 0)
        error = create_hv(machine, reason);
    if (error == 0)
        error = create_vmbus(machine, reason);
    if (error == 0)
        error = machine_create_storage(machine, reason);
    if (error == 0)
        error = machine_create_network(machine, reason);
    if (error == 0)
        error = machine_create_integration(machine, reason);
    if (error == 0)
        error = machine_create_balloon(machine, reason);
    if (error == 0)
        error = machine_create_input(machine, reason);
    if (error == 0)
        error = machine_create_video(machine, reason);
    return error == 0 ? machine_create_test_ports(machine, reason) : error;
}

void machine_destroy_hyperv(struct machine *machine)
{
    machine_destroy_test_ports(machine);
    machine_destroy_video(machine);
    machine_destroy_input(machine);
    machine_destroy_balloon(machine);
    machine_destroy_integration(machine);
    machine_destroy_network(machine);
    machine_end_sockets(machine);
    machine_destroy_storage(machine);
    vmbus_destroy(machine->vmbus);
    hv_destroy(machine->hv);
    machine->vmbus = NULL;
    machine->hv = NULL;
    for (unsigned i = 0; i < machine->config.vcpu_count; i++) {
        if (machine->vp_timers[i].loop_timer != NULL)
            loop_timer_destroy(machine->vp_timers[i].loop_timer);
        machine->vp_timers[i].loop_timer = NULL;
    }
}

void machine_describe_bus(const struct machine *machine, struct machine_bus *ret)
{
    *ret = (struct machine_bus){0};
    if (machine->vmbus == NULL)
        return;
    ret->major = vmbus_version(machine->vmbus) >> 16;
    ret->minor = vmbus_version(machine->vmbus) & 0xffff;
    ret->open_channels = vmbus_open_channels(machine->vmbus);
}

void machine_reset_hyperv(struct machine *machine)
{
    if (machine->hv == NULL)
        return;
    machine_reset_test_ports(machine);
    vmbus_reset(machine->vmbus);
    hv_reset(machine->hv, machine->tsc_offset);
}
