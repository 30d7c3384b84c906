#include "engine/soft/cpu.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"

#define DR6_RESET UINT64_C(0xffff0ff0)
enum { DR7_RESET = 0x400, RESET_SELECTOR = 0xf000 };
#define RESET_CS_BASE   UINT64_C(0xffff0000)
#define CPUID_SIGNATURE UINT64_C(0x000906ea)

static uint32_t compute_mode(const struct cpu *cpu)
{
    const struct engine_segment *cs = &cpu->segment[SEGMENT_CS];
    uint32_t mode = 0;
    if ((cpu->cr0 & CR0_PE) == 0)
        mode |= MODE_REAL;
    else if (cpu->flags & FLAG_VM)
        mode |= MODE_V86;
    else if ((cpu->efer & EFER_LMA) != 0 && (cs->attributes & SEGMENT_L) != 0)
        mode |= MODE_LONG;
    if ((mode & MODE_LONG) == 0) {
        if (cs->attributes & SEGMENT_DB)
            mode |= MODE_CODE32;
        if (cpu->segment[SEGMENT_SS].attributes & SEGMENT_DB)
            mode |= MODE_STACK32;
    }
    if (cpu->cpl == 3)
        mode |= MODE_USER;
    if ((cpu->flags & (FLAG_TF | FLAG_RF)) != 0 || (cpu->dr[7] & 0xff) != 0)
        mode |= MODE_SINGLE;
    return mode;
}

void cpu_mode_changed(struct cpu *cpu)
{
    const struct engine_segment *cs = &cpu->segment[SEGMENT_CS];
    cpu->mode = compute_mode(cpu);
    cpu->code = cpu_long(cpu) ? 0 : cs->base << 32 | cs->limit;
    tlb_select(cpu);
}

void cpu_set_flags(struct cpu *cpu, uint64_t flags)
{
    uint64_t changed = cpu->flags ^ flags;
    cpu->flags = flags | FLAG_FIXED;
    if (changed & (FLAG_TF | FLAG_AC | FLAG_RF | FLAG_VM))
        cpu_mode_changed(cpu);
    if ((changed & flags & FLAG_IF) != 0 && lapic_has_request(cpu))
        atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
}

static void wake(struct cpu *cpu)
{
    (void)syscall(SYS_futex, &cpu->pending, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cpu_notify(struct cpu *cpu, uint32_t bits)
{
    uint32_t before = atomic_fetch_or(&cpu->pending, bits);
    if ((before & bits) != bits && atomic_load(&cpu->waiting))
        wake(cpu);
}

void cpu_notify_nmi(struct cpu *cpu)
{
    if ((atomic_fetch_or(&cpu->pending, PENDING_NMI) & PENDING_NMI) != 0)
        cpu_notify(cpu, PENDING_NMI_AGAIN);
    else if (atomic_load(&cpu->waiting))
        wake(cpu);
}

static void reset_segments(struct cpu *cpu)
{
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        cpu->segment[i] =
            (struct engine_segment){.limit = 0xffff, .attributes = SEGMENT_P | SEGMENT_S | 3};
    cpu->segment[SEGMENT_CS] = (struct engine_segment){.base = RESET_CS_BASE,
                                                       .limit = 0xffff,
                                                       .selector = RESET_SELECTOR,
                                                       .attributes = SEGMENT_P | SEGMENT_S | 0xb};
    cpu->segment[SEGMENT_LDTR].attributes = SEGMENT_P | 2;
    cpu->segment[SEGMENT_TR].attributes = SEGMENT_P | 11;
    cpu->segment[SEGMENT_FLAT] = (struct engine_segment){
        .limit = UINT32_MAX, .attributes = SEGMENT_P | SEGMENT_S | 3 | SEGMENT_DB | SEGMENT_G};
}

/* Intel SDM vol. 3A table 9-1. */
static void reset_registers(struct cpu *cpu, bool init)
{
    for (unsigned i = 0; i <= GPR_ZERO; i++)
        cpu->gpr[i] = 0;
    cpu->gpr[GPR_RDX] = CPUID_SIGNATURE;
    cpu->rip = 0xfff0;
    cpu->flags = FLAG_FIXED;
    cpu->cr0 = (init ? cpu->cr0 & (CR0_CD | CR0_NW) : (uint64_t)(CR0_CD | CR0_NW)) | CR0_ET;
    cpu->cr2 = 0;
    cpu->cr3 = 0;
    cpu->cr4 = 0;
    cpu->efer = 0;
    cpu->gdt = (struct engine_table){.limit = 0xffff};
    cpu->idt = (struct engine_table){.limit = 0xffff};
    for (unsigned i = 0; i < 4; i++)
        cpu->dr[i] = 0;
    cpu->dr[6] = DR6_RESET;
    cpu->dr[7] = DR7_RESET;
    cpu->cpl = 0;
    cpu->shadow = SHADOW_NONE;
    cpu->nmi_blocked = false;
    cpu->debug_trap = 0;
    cpu->commit.size = 0;
    exit_forget(cpu);
}

void cpu_reset(struct cpu *cpu, bool init)
{
    reset_registers(cpu, init);
    reset_segments(cpu);
    fpu_reset(cpu, init);
    msr_reset(cpu, init);
    lapic_reset(cpu, init);
    tlb_flush_all(cpu);
    tlb_switch(cpu, 0, false);
    cpu->activity = cpu->index == 0 ? ENGINE_ACTIVITY_RUNNING : ENGINE_ACTIVITY_WAIT_FOR_SIPI;
    cpu_mode_changed(cpu);
}
