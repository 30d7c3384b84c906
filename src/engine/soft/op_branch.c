/* Near branches, and the instructions that stop or bound the flow of a block. */
#include "engine/soft/code.h"
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"
#include "engine/soft/partition.h"

/* A target outside the canonical range (64-bit) or the code segment's limit is #GP(0) of the
 * branch. */
static inline int branch_to(struct cpu *cpu, uint64_t target)
{
    if (cpu->mode & MODE_LONG) {
        if (!is_canonical(target))
            return fault_code(cpu, VECTOR_GP, 0);
    } else if (target > cpu->segment[SEGMENT_CS].limit) {
        return fault_code(cpu, VECTOR_GP, 0);
    }
    cpu->rip = target;
    return STEP_JUMP;
}

/* Indirect targets are as wide as the operand. */
static inline uint64_t truncate_target(const struct op *op, uint64_t target)
{
    if (op->width == 8)
        return target;
    return op->width == 4 ? (uint32_t)target : (uint16_t)target;
}

static int read_target(struct cpu *cpu, const struct op *op, uint64_t *ret)
{
    int step = STEP_NEXT;
    if (op->flags & OP_MEMORY)
        step = operand_read(cpu, op, op->width, ret);
    else
        *ret = gpr_read(cpu, op->rm, op->width);
    return step;
}

int op_jmp(struct cpu *cpu, const struct op *op)
{
    return branch_to(cpu, op_target(cpu, op));
}

int op_jmp_indirect(struct cpu *cpu, const struct op *op)
{
    uint64_t target;
    int step = read_target(cpu, op, &target);
    return step == STEP_NEXT ? branch_to(cpu, target) : step;
}

#define JCC(name, code)                                     \
    int op_jcc_##name(struct cpu *cpu, const struct op *op) \
    {                                                       \
        if (!condition_met(cpu->flags, code))               \
            return STEP_NEXT;                               \
        return branch_to(cpu, op_target(cpu, op));          \
    }

JCC(o, 0)
JCC(no, 1)
JCC(b, 2)
JCC(nb, 3)
JCC(z, 4)
JCC(nz, 5)
JCC(be, 6)
JCC(nbe, 7)
JCC(s, 8)
JCC(ns, 9)
JCC(p, 10)
JCC(np, 11)
JCC(l, 12)
JCC(nl, 13)
JCC(le, 14)
JCC(nle, 15)

int op_jcxz(struct cpu *cpu, const struct op *op)
{
    if (gpr_read(cpu, GPR_RCX * 8, op->address_width) != 0)
        return STEP_NEXT;
    return branch_to(cpu, op_target(cpu, op));
}

int op_loop(struct cpu *cpu, const struct op *op)
{
    uint64_t count = gpr_read(cpu, GPR_RCX * 8, op->address_width) - 1;
    if (op->address_width != 8)
        count = op->address_width == 4 ? (uint32_t)count : (uint16_t)count;
    bool zero = (cpu->flags & FLAG_ZF) != 0;
    bool taken = count != 0 && (op->extra == 0 || zero == (op->extra == 1));
    uint64_t old = cpu->gpr[GPR_RCX];
    gpr_write(cpu, GPR_RCX * 8, op->address_width, count);
    if (!taken)
        return STEP_NEXT;
    int step = branch_to(cpu, op_target(cpu, op));
    if (step == STEP_FAULT)
        cpu->gpr[GPR_RCX] = old;
    return step;
}

static inline int call_to(struct cpu *cpu, const struct op *op, uint64_t target)
{
    uint64_t next = op_next_rip(cpu, op);
    uint64_t rsp = stack_pointer_add(cpu, cpu->gpr[GPR_RSP], -(int64_t)op->width);
    if (!is_canonical(target) && (cpu->mode & MODE_LONG) != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    if ((cpu->mode & MODE_LONG) == 0 && target > cpu->segment[SEGMENT_CS].limit)
        return fault_code(cpu, VECTOR_GP, 0);
    int step = stack_write(cpu, rsp, op->width, next);
    if (step != STEP_NEXT)
        return step;
    cpu->gpr[GPR_RSP] = rsp;
    cpu->rip = target;
    return STEP_JUMP;
}

int op_call(struct cpu *cpu, const struct op *op)
{
    return call_to(cpu, op, op_target(cpu, op));
}

int op_call_indirect(struct cpu *cpu, const struct op *op)
{
    uint64_t target;
    int step = read_target(cpu, op, &target);
    return step == STEP_NEXT ? call_to(cpu, op, target) : step;
}

int op_ret(struct cpu *cpu, const struct op *op)
{
    uint64_t target;
    uint64_t rsp = cpu->gpr[GPR_RSP];
    int step = stack_read(cpu, rsp, op->width, &target);
    if (step == STEP_NEXT)
        step = branch_to(cpu, truncate_target(op, target));
    if (step == STEP_JUMP)
        cpu->gpr[GPR_RSP] = stack_pointer_add(cpu, rsp, op->width + (int64_t)(op->imm & 0xffff));
    return step;
}

/* ---- ends of blocks ---- */

/* Behind the last instruction of a block. */
int op_leave_block(struct cpu *cpu, const struct op *op)
{
    cpu->stats.handled--; /* it is no instruction */
    cpu->rip = op_next_rip(cpu, op);
    return STEP_JUMP;
}

/* In place of the instructions of a block that was invalidated while it ran. Behind STI nothing may
 * be delivered yet: the block was to see to that. */
int op_stale(struct cpu *cpu, const struct op *op)
{
    const struct block *block = cpu->block;
    if (block->behind_sti != 0 && op == &block->op[block->behind_sti])
        cpu->shadow = SHADOW_STI;
    cpu->rip = op_rip(cpu, op);
    cpu->stats.handled--;
    return STEP_JUMP;
}

int op_undefined(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return fault(cpu, VECTOR_UD);
}

/* More than 15 bytes: #GP(0), Intel SDM vol. 2 § 2.3.11. */
int op_too_long(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return fault_code(cpu, VECTOR_GP, 0);
}

int op_hlt(struct cpu *cpu, const struct op *op)
{
    if (cpu->cpl != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->rip = op_next_rip(cpu, op);
    cpu->activity = ENGINE_ACTIVITY_HALTED;
    atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
    return STEP_JUMP;
}

/* Intel SDM vol. 2, CLI: IOPL decides outside real mode; no virtual interrupt flag (no VME, no
 * PVI). */
static bool may_change_if(const struct cpu *cpu)
{
    return (cpu->mode & MODE_REAL) != 0 || cpu->cpl <= cpu_iopl(cpu);
}

int op_cli(struct cpu *cpu, const struct op *op)
{
    (void)op;
    if (!may_change_if(cpu))
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->flags &= ~(uint64_t)FLAG_IF;
    return STEP_NEXT;
}

int op_sti_within(struct cpu *cpu, const struct op *op)
{
    (void)op;
    if (!may_change_if(cpu))
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->flags |= FLAG_IF;
    if (lapic_has_request(cpu))
        atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
    return STEP_NEXT;
}

int op_sti(struct cpu *cpu, const struct op *op)
{
    if (!may_change_if(cpu))
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->rip = op_next_rip(cpu, op);
    if ((cpu->flags & FLAG_IF) == 0) {
        cpu->flags |= FLAG_IF;
        cpu->shadow = SHADOW_STI;
        atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
    }
    return STEP_JUMP;
}

/* A guest that spins for another vCPU may be keeping that very vCPU off the host's processor. */
int op_pause(struct cpu *cpu, const struct op *op)
{
    enum { PAUSES_A_YIELD = 32 };
    if (cpu->partition->config.vcpu_count > 1 && ++cpu->pauses >= PAUSES_A_YIELD) {
        cpu->pauses = 0;
        (void)atomic_fetch_or(&cpu->pending, PENDING_YIELD);
    }
    cpu->rip = op_next_rip(cpu, op);
    return STEP_JUMP;
}

int op_bound(struct cpu *cpu, const struct op *op)
{
    uint64_t linear;
    uint64_t bound[2];
    int step = operand_linear(cpu, op, op->width * 2u, ACCESS_READ, &linear);
    for (unsigned i = 0; i < 2 && step == STEP_NEXT; i++)
        step = linear_read(cpu, linear + i * op->width, op->width, ACCESS_READ, &bound[i]);
    if (step != STEP_NEXT)
        return step;
    unsigned shift = 64 - 8u * op->width;
    int64_t index = (int64_t)(gpr_read(cpu, op->reg, op->width) << shift) >> shift;
    bool low = index < (int64_t)(bound[0] << shift) >> shift;
    bool high = index > (int64_t)(bound[1] << shift) >> shift;
    return low || high ? fault(cpu, VECTOR_BR) : STEP_NEXT;
}
