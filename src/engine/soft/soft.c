/*
 * The software engine behind the seam of engine.h.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/soft/code.h"
#include "engine/soft/cpu.h"
#include "engine/soft/lapic_registers.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/paging.h"
#include "engine/soft/partition.h"
#include "engine/soft/run.h"
#include "engine/soft/thunk.h"
#include "engine/soft/timer.h"
#include "engine/soft/tlb.h"
#include "state/state.h"

struct engine_partition {
    struct soft_partition soft;
};

struct engine_vcpu {
    struct cpu cpu;
};

/* ---- partitions ---- */

static void partition_destroy(struct engine_partition *partition)
{
    if (partition == NULL)
        return;
    mem_set_observer(partition->soft.mem, NULL, NULL);
    if (partition->soft.config.statistics != NULL && partition->soft.code != NULL)
        stats_print(&partition->soft, partition->soft.config.statistics);
    code_destroy(partition->soft.code);
    lockstep_destroy(partition->soft.lockstep);
    free(partition->soft.dirty);
    (void)pthread_mutex_destroy(&partition->soft.split_lock);
    free(partition);
}

static void memory_written(void *owner, uint64_t gpa, uint64_t length)
{
    struct soft_partition *soft = owner;
    code_written(soft, gpa, length);
    if (soft->dirty == NULL)
        return;
    for (uint64_t page = gpa >> 12; page <= (gpa + length - 1) >> 12; page++)
        (void)__atomic_fetch_or(&soft->dirty[page / 64], UINT64_C(1) << (page % 64),
                                __ATOMIC_RELAXED);
}

static void set_up(struct soft_partition *soft, const struct engine_config *config)
{
    soft->config = *config;
    soft->mem = config->mem;
    soft->ram = mem_base(config->mem);
    soft->ram_end = mem_limit(config->mem);
    soft->tsc_hz = engine_tsc_hz();
    (void)pthread_mutex_init(&soft->split_lock, NULL);
    atomic_store(&soft->epoch, 1);
}

static int start_lockstep(struct soft_partition *soft, struct reason *reason)
{
    if (soft->config.vcpu_count != 1)
        return reason_set(reason, -EINVAL, "lockstep compares one processor, not %u",
                          soft->config.vcpu_count);
    int error = lockstep_create(soft->config.lockstep_seed, &soft->lockstep);
    return error < 0 ? reason_set(reason, error, "no memory for lockstep") : 0;
}

static int partition_create(const struct engine_config *config, struct engine_partition **ret,
                            struct reason *reason)
{
    if (config->vcpu_count < 1 || config->vcpu_count > ENGINE_MAX_VCPUS)
        return reason_set(reason, -EINVAL, "%u virtual processors: 1 to %d are possible",
                          config->vcpu_count, ENGINE_MAX_VCPUS);
    struct engine_partition *partition = calloc(1, sizeof(*partition));
    if (partition == NULL)
        return reason_set(reason, -ENOMEM, "no memory for the partition");
    set_up(&partition->soft, config);
    int error = cpuid_build(&partition->soft, reason);
    if (error == 0) {
        error = code_create(&partition->soft, &partition->soft.code);
        if (error != 0)
            (void)reason_set(reason, error, "no memory for translated code");
    }
    if (error == 0 && config->translate == ENGINE_TRANSLATE_LOCKSTEP)
        error = start_lockstep(&partition->soft, reason);
    if (error == 0 && (thunk_install_signals() != 0 || timer_install() != 0))
        error = reason_set(reason, -EAGAIN, "signal handlers cannot be installed");
    if (error != 0) {
        partition_destroy(partition);
        return error;
    }
    mem_set_observer(config->mem, memory_written, &partition->soft);
    *ret = partition;
    return 0;
}

static void flush_all_vcpus(struct soft_partition *soft)
{
    for (unsigned i = 0; i < soft->config.vcpu_count; i++) {
        if (soft->cpu[i] != NULL)
            tlb_flush_all(soft->cpu[i]);
    }
}

/* The verb's signature is the seam's: what `writable` allows is written through `host` later. */
/* NOLINTNEXTLINE(readability-non-const-parameter) */
static int map(struct engine_partition *partition, uint64_t gpa, uint64_t size, uint8_t *host,
               bool writable)
{
    struct soft_partition *soft = &partition->soft;
    if (((gpa | size) & ~PAGE_MASK) != 0 || size == 0 || gpa + size < gpa)
        return -EINVAL;
    if (soft->mapping_count == SOFT_MAX_MAPPINGS)
        return -ENOSPC;
    soft->mapping[soft->mapping_count++] = (struct soft_mapping){gpa, size, host, writable};
    flush_all_vcpus(soft);
    return 0;
}

static int unmap(struct engine_partition *partition, uint64_t gpa, uint64_t size)
{
    struct soft_partition *soft = &partition->soft;
    for (size_t i = 0; i < soft->mapping_count; i++) {
        if (soft->mapping[i].gpa != gpa || soft->mapping[i].size != size)
            continue;
        soft->mapping[i] = soft->mapping[--soft->mapping_count];
        flush_all_vcpus(soft);
        return 0;
    }
    return -ENOENT;
}

static int take_dirty(struct engine_partition *partition, uint64_t gpa, uint64_t pages,
                      uint64_t *bitmap)
{
    struct soft_partition *soft = &partition->soft;
    uint64_t total = soft->ram_end >> 12;
    if (((gpa & ~PAGE_MASK) != 0) || (gpa >> 12) > total || pages > total - (gpa >> 12))
        return -EINVAL;
    if (soft->dirty == NULL) {
        soft->dirty = calloc((total + 63) / 64, sizeof(uint64_t));
        if (soft->dirty == NULL)
            return -ENOMEM;
    }
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t page = (gpa >> 12) + i;
        uint64_t bit = UINT64_C(1) << (page % 64);
        /* Devices may be writing meanwhile. */
        uint64_t word = __atomic_fetch_and(&soft->dirty[page / 64], ~bit, __ATOMIC_RELAXED);
        if (word & bit)
            bitmap[i / 64] |= UINT64_C(1) << (i % 64);
    }
    for (unsigned i = 0; i < soft->config.vcpu_count; i++) {
        if (soft->cpu[i] != NULL)
            tlb_drop_writes(soft->cpu[i]);
    }
    return 0;
}

static int interrupt(struct engine_partition *partition, const struct engine_interrupt *message)
{
    return lapic_deliver(&partition->soft, message) ? 0 : -EHOSTUNREACH;
}

/* ---- virtual processors ---- */

static void vcpu_destroy(struct engine_vcpu *vcpu)
{
    if (vcpu == NULL)
        return;
    struct cpu *cpu = &vcpu->cpu;
    if (cpu->partition != NULL) {
        cpu->partition->cpu[cpu->index] = NULL;
        stats_sum(&cpu->partition->stats, &cpu->stats);
    }
    timer_destroy(cpu);
    tlb_destroy(cpu);
    (void)munmap(vcpu, sizeof(*vcpu));
}

static int vcpu_create(struct engine_partition *partition, unsigned index, struct engine_vcpu **ret,
                       struct reason *reason)
{
    struct soft_partition *soft = &partition->soft;
    if (index >= soft->config.vcpu_count || soft->cpu[index] != NULL)
        return reason_set(reason, -EINVAL, "virtual processor %u cannot be made", index);
    struct engine_vcpu *vcpu =
        mmap(NULL, sizeof(*vcpu), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vcpu == MAP_FAILED)
        return reason_set(reason, -ENOMEM, "no memory for virtual processor %u", index);
    struct cpu *cpu = &vcpu->cpu;
    cpu->index = index;
    cpu->partition = soft;
    atomic_store(&cpu->outside, true);
    if (tlb_create(cpu) != 0) {
        vcpu_destroy(vcpu);
        return reason_set(reason, -ENOMEM, "no memory for the TLB of virtual processor %u", index);
    }
    cpu_reset(cpu, false);
    cpu->stats.timed = soft->config.statistics != NULL;
    soft->cpu[index] = cpu;
    *ret = vcpu;
    return 0;
}

static int run(struct engine_vcpu *vcpu, struct engine_exit *exit)
{
    int error = timer_attach(&vcpu->cpu);
    if (error != 0)
        return error;
    error = run_vcpu(&vcpu->cpu, exit);
    timer_detach();
    return error;
}

static void kick(struct engine_vcpu *vcpu)
{
    cpu_notify(&vcpu->cpu, PENDING_KICK);
}

static int raise_event(struct engine_vcpu *vcpu, const struct engine_event *event)
{
    struct cpu *cpu = &vcpu->cpu;
    switch (event->kind) {
    case ENGINE_EVENT_NMI:
        cpu_notify_nmi(cpu);
        return 0;
    case ENGINE_EVENT_EXTINT_LINE:
        atomic_store(&cpu->extint_line, event->asserted);
        if (event->asserted)
            cpu_notify(cpu, PENDING_INTERRUPT);
        return 0;
    case ENGINE_EVENT_EXTINT_VECTOR:
        cpu->extint_vector = event->vector;
        cpu->extint_ready = true;
        (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
        return 0;
    }
    return -EINVAL;
}

/* ---- registers ---- */

static int get(struct engine_vcpu *vcpu, struct engine_registers *ret)
{
    const struct cpu *cpu = &vcpu->cpu;
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->gpr, cpu->gpr, sizeof(ret->gpr));
    memcpy(ret->segment, cpu->segment, sizeof(ret->segment));
    memcpy(ret->dr, cpu->dr, sizeof(ret->dr));
    memcpy(ret->xsave, cpu->xsave, sizeof(ret->xsave));
    ret->rip = cpu->rip;
    ret->rflags = cpu->flags;
    ret->gdt = cpu->gdt;
    ret->idt = cpu->idt;
    ret->cr0 = cpu->cr0;
    ret->cr2 = cpu->cr2;
    ret->cr3 = cpu->cr3;
    ret->cr4 = cpu->cr4;
    ret->cr8 = lapic_read_cr8(cpu);
    ret->efer = cpu->efer;
    ret->xcr0 = cpu->xcr0;
    ret->star = cpu->star;
    ret->lstar = cpu->lstar;
    ret->cstar = cpu->cstar;
    ret->sfmask = cpu->sfmask;
    ret->kernel_gs_base = cpu->kernel_gs_base;
    ret->sysenter_cs = cpu->sysenter_cs;
    ret->sysenter_esp = cpu->sysenter_esp;
    ret->sysenter_eip = cpu->sysenter_eip;
    ret->pat = cpu->pat;
    ret->tsc = guest_tsc(cpu);
    ret->tsc_aux = cpu->tsc_aux;
    ret->tsc_deadline = cpu->lapic.tsc_deadline;
    ret->apic_base = atomic_load(&cpu->lapic.base);
    ret->activity = cpu->activity;
    ret->interrupt_shadow = cpu->shadow != SHADOW_NONE;
    ret->nmi_blocked = cpu->nmi_blocked;
    return 0;
}

static uint8_t privilege_of(const struct engine_registers *registers)
{
    if ((registers->cr0 & CR0_PE) == 0)
        return 0;
    if (registers->rflags & FLAG_VM)
        return 3;
    return registers->segment[SEGMENT_CS].selector & 3;
}

/*
 * Registers that were read a moment ago are put back a moment later: within a second it is the same
 * clock still, and must stay the same on all virtual processors.
 */
static void set_tsc(struct cpu *cpu, uint64_t tsc)
{
    int64_t difference = (int64_t)(tsc - guest_tsc(cpu));
    int64_t second = (int64_t)cpu->partition->tsc_hz;
    if (difference > second || difference < -second)
        cpu->tsc_shift += difference;
}

static void set_system(struct cpu *cpu, const struct engine_registers *registers)
{
    cpu->gdt = registers->gdt;
    cpu->idt = registers->idt;
    cpu->cr0 = registers->cr0;
    cpu->cr2 = registers->cr2;
    cpu->cr3 = registers->cr3;
    cpu->cr4 = registers->cr4;
    cpu->efer = registers->efer;
    cpu->xcr0 = registers->xcr0 == 0 ? 1 : registers->xcr0;
    cpu->star = registers->star;
    cpu->lstar = registers->lstar;
    cpu->cstar = registers->cstar;
    cpu->sfmask = registers->sfmask;
    cpu->kernel_gs_base = registers->kernel_gs_base;
    cpu->sysenter_cs = registers->sysenter_cs;
    cpu->sysenter_esp = registers->sysenter_esp;
    cpu->sysenter_eip = registers->sysenter_eip;
    cpu->pat = registers->pat;
    cpu->tsc_aux = registers->tsc_aux;
    set_tsc(cpu, registers->tsc);
    cpu->activity = registers->activity;
    cpu->shadow = registers->interrupt_shadow ? SHADOW_STI : SHADOW_NONE;
    cpu->nmi_blocked = registers->nmi_blocked;
}

/* PAE paging: the entries are part of the processor's state, but of none of its registers. */
static void load_pdptes(struct cpu *cpu)
{
    bool pae = (cpu->cr0 & CR0_PG) != 0 && (cpu->cr4 & CR4_PAE) != 0 && !cpu_ia32e(cpu);
    if (pae && paging_load_pdptes(cpu, cpu->cr3) != STEP_NEXT) {
        for (unsigned i = 0; i < 4; i++)
            cpu->pae_pdpte[i] = 0;
    }
}

static int set(struct engine_vcpu *vcpu, const struct engine_registers *registers)
{
    struct cpu *cpu = &vcpu->cpu;
    memcpy(cpu->gpr, registers->gpr, sizeof(registers->gpr));
    memcpy(cpu->segment, registers->segment, sizeof(registers->segment));
    memcpy(cpu->dr, registers->dr, sizeof(registers->dr));
    memcpy(cpu->xsave, registers->xsave, sizeof(cpu->xsave));
    cpu->rip = registers->rip;
    cpu->flags = registers->rflags | FLAG_FIXED;
    cpu->cpl = privilege_of(registers);
    set_system(cpu, registers);
    load_pdptes(cpu);
    exit_forget(cpu);
    cpu->asked = false;
    cpu->called = false;
    cpu->halt_next = false;
    tlb_flush_all(cpu);
    tlb_switch(cpu, (cpu->cr4 & CR4_PCIDE) ? (uint16_t)(cpu->cr3 & 0xfff) : 0, false);
    cpu_mode_changed(cpu);
    lapic_write_cr8(cpu, registers->cr8);
    (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT | PENDING_TIMER);
    return 0;
}

static int visit_state(struct engine_vcpu *vcpu, struct state_visitor *visitor)
{
    return lapic_visit_state(&vcpu->cpu, visitor);
}

/* ---- what a hypervisor interface offers ---- */

static bool access_x2apic(struct cpu *cpu, enum engine_apic_register which, bool write,
                          uint64_t *value)
{
    static const uint32_t offsets[] = {
        [ENGINE_APIC_EOI] = LAPIC_EOI,
        [ENGINE_APIC_ICR] = LAPIC_ICR,
        [ENGINE_APIC_TPR] = LAPIC_TPR,
    };
    uint32_t index = LAPIC_X2APIC_MSRS + (offsets[which] >> 4);
    return write ? lapic_msr_write(cpu, index, *value) : lapic_msr_read(cpu, index, value);
}

static void write_xapic(struct cpu *cpu, enum engine_apic_register which, uint64_t value)
{
    switch (which) {
    case ENGINE_APIC_EOI:
        lapic_mmio_write(cpu, LAPIC_EOI, 0);
        break;
    case ENGINE_APIC_ICR:
        lapic_mmio_write(cpu, LAPIC_ICR_HIGH, (uint32_t)(value >> 32));
        lapic_mmio_write(cpu, LAPIC_ICR, (uint32_t)value);
        break;
    case ENGINE_APIC_TPR:
        lapic_mmio_write(cpu, LAPIC_TPR, (uint32_t)value);
        break;
    }
}

static uint64_t read_xapic(struct cpu *cpu, enum engine_apic_register which)
{
    if (which == ENGINE_APIC_TPR)
        return lapic_mmio_read(cpu, LAPIC_TPR);
    return (uint64_t)lapic_mmio_read(cpu, LAPIC_ICR_HIGH) << 32 | lapic_mmio_read(cpu, LAPIC_ICR);
}

static int apic(struct engine_vcpu *vcpu, enum engine_apic_register which, bool write,
                uint64_t *value)
{
    struct cpu *cpu = &vcpu->cpu;
    if (which == ENGINE_APIC_EOI && !write)
        return -EINVAL;
    if (lapic_is_x2apic(&cpu->lapic))
        return access_x2apic(cpu, which, write, value) ? 0 : -EINVAL;
    if (lapic_page(cpu) == UINT64_MAX)
        return -EINVAL;
    if (write)
        write_xapic(cpu, which, *value);
    else
        *value = read_xapic(cpu, which);
    return 0;
}

/*
 * A vCPU that is outside sees its bit before it touches memory again: it says that it is inside
 * first and looks at its bits then, here it is the other way round.
 */
static void flush_tlb(struct engine_partition *partition, uint64_t vcpu_set)
{
    struct soft_partition *soft = &partition->soft;
    for (unsigned i = 0; i < soft->config.vcpu_count; i++) {
        if ((vcpu_set >> i & 1) != 0 && soft->cpu[i] != NULL)
            (void)atomic_fetch_or(&soft->cpu[i]->pending, PENDING_FLUSH);
    }
    for (unsigned i = 0; i < soft->config.vcpu_count; i++) {
        const struct cpu *cpu = soft->cpu[i];
        if ((vcpu_set >> i & 1) == 0 || cpu == NULL)
            continue;
        while (!atomic_load(&cpu->outside) && (atomic_load(&cpu->pending) & PENDING_FLUSH) != 0)
            (void)sched_yield();
    }
}

static void trim(struct engine_partition *partition, size_t enough)
{
    code_trim(&partition->soft, enough);
}

const struct engine_ops soft_engine = {
    .name = "soft",
    .partition_create = partition_create,
    .partition_destroy = partition_destroy,
    .map = map,
    .unmap = unmap,
    .take_dirty = take_dirty,
    .interrupt = interrupt,
    .vcpu_create = vcpu_create,
    .vcpu_destroy = vcpu_destroy,
    .run = run,
    .kick = kick,
    .get = get,
    .set = set,
    .raise = raise_event,
    .visit_state = visit_state,
    .apic = apic,
    .flush_tlb = flush_tlb,
    .trim = trim,
};
