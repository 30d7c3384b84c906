/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS as Intel's processors do them. Source: Intel SDM
 * vol. 2.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/op.h"
#include "engine/soft/ops.h"

enum { FLAGS_SYSRET = 0x3c7fd7, DR6_SINGLE_STEP = 1 << 14 };

static int enter_fixed(struct cpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, bool is_long)
{
    cpu->segment[SEGMENT_CS] = segment_fixed_code(cs, cpl, is_long);
    cpu->segment[SEGMENT_SS] = segment_fixed_stack(ss, cpl);
    cpu->cpl = (uint8_t)cpl;
    cpu_mode_changed(cpu);
    return STEP_JUMP;
}

static bool syscall_enabled(const struct cpu *cpu)
{
    return cpu_long(cpu) && (cpu->efer & EFER_SCE) != 0;
}

int op_syscall(struct cpu *cpu, const struct op *op)
{
    if (!syscall_enabled(cpu))
        return fault(cpu, VECTOR_UD);
    cpu->gpr[GPR_RCX] = op_next_rip(cpu, op);
    cpu->gpr[GPR_R11] = cpu->flags & ~(uint64_t)FLAG_RF;
    cpu->rip = cpu->lstar;
    uint16_t selector = (uint16_t)((cpu->star >> 32) & 0xfffc);
    cpu_set_flags(cpu, cpu->flags & ~(cpu->sfmask | FLAG_RF));
    /* TF counts as SYSCALL leaves it: IA32_FMASK can keep a stepped program's trap from the kernel.
     */
    cpu->entered = (cpu->flags & FLAG_TF) == 0;
    return enter_fixed(cpu, selector, (uint16_t)(selector + 8), 0, true);
}

/* TF as SYSRET loads it traps at once, as if SYSCALL had just completed. */
static int trap_if_stepped(struct cpu *cpu)
{
    cpu->entered = true;
    if ((cpu->flags & FLAG_TF) == 0)
        return STEP_JUMP;
    (void)fault(cpu, VECTOR_DB);
    cpu->fault.dr6 = DR6_SINGLE_STEP;
    return exception_deliver(cpu);
}

int op_sysret(struct cpu *cpu, const struct op *op)
{
    bool is_long = op->width == 8;
    uint16_t selector = (uint16_t)(cpu->star >> 48);
    uint64_t target = cpu->gpr[GPR_RCX];
    if (!syscall_enabled(cpu))
        return fault(cpu, VECTOR_UD);
    if (cpu->cpl != 0 || (is_long && !is_canonical(target)))
        return fault_code(cpu, VECTOR_GP, 0);
    uint16_t cs = (uint16_t)((is_long ? selector + 16 : selector) | 3);
    cpu->rip = is_long ? target : (uint32_t)target;
    cpu_set_flags(cpu, cpu->gpr[GPR_R11] & FLAGS_SYSRET);
    (void)enter_fixed(cpu, cs, (uint16_t)((selector + 8) | 3), 3, is_long);
    return trap_if_stepped(cpu);
}

int op_sysenter(struct cpu *cpu, const struct op *op)
{
    uint16_t selector = (uint16_t)(cpu->sysenter_cs & 0xfffc);
    bool is_long = cpu_ia32e(cpu);
    (void)op;
    if ((cpu->mode & MODE_REAL) || selector == 0)
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->rip = is_long ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
    cpu->gpr[GPR_RSP] = is_long ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    cpu_set_flags(cpu, cpu->flags & ~(uint64_t)(FLAG_VM | FLAG_IF | FLAG_RF));
    return enter_fixed(cpu, selector, (uint16_t)(selector + 8), 0, is_long);
}

int op_sysexit(struct cpu *cpu, const struct op *op)
{
    uint16_t selector = (uint16_t)(cpu->sysenter_cs & 0xfffc);
    uint64_t rip = cpu->gpr[GPR_RDX];
    uint64_t rsp = cpu->gpr[GPR_RCX];
    bool is_long = op->width == 8;
    if ((cpu->mode & MODE_REAL) || selector == 0 || cpu->cpl != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    if (is_long && !(is_canonical(rip) && is_canonical(rsp)))
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->rip = is_long ? rip : (uint32_t)rip;
    cpu->gpr[GPR_RSP] = is_long ? rsp : (uint32_t)rsp;
    uint16_t cs = (uint16_t)((selector + (is_long ? 32 : 16)) | 3);
    return enter_fixed(cpu, cs, (uint16_t)(cs + 8), 3, is_long);
}

int op_swapgs(struct cpu *cpu, const struct op *op)
{
    (void)op;
    if (!cpu_long(cpu))
        return fault(cpu, VECTOR_UD);
    if (cpu->cpl != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t base = cpu->segment[SEGMENT_GS].base;
    cpu->segment[SEGMENT_GS].base = cpu->kernel_gs_base;
    cpu->kernel_gs_base = base;
    return STEP_NEXT;
}
