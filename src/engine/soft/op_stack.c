/* The stack. RSP changes only once the memory access has succeeded. */
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"

static inline int push(struct cpu *cpu, unsigned width, uint64_t value)
{
    uint64_t rsp = stack_pointer_add(cpu, cpu->gpr[GPR_RSP], -(int64_t)width);
    int step = stack_write(cpu, rsp, width, value);
    if (step == STEP_NEXT)
        cpu->gpr[GPR_RSP] = rsp;
    return step;
}

int op_push64(struct cpu *cpu, const struct op *op)
{
    uint64_t rsp = cpu->gpr[GPR_RSP] - 8;
    int step =
        linear_write(cpu, rsp, 8, ACCESS_WRITE | ACCESS_STACK, *(uint64_t *)gpr_at(cpu, op->rm));
    if (step == STEP_NEXT)
        cpu->gpr[GPR_RSP] = rsp;
    return step;
}

int op_pop64(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    int step = linear_read(cpu, cpu->gpr[GPR_RSP], 8, ACCESS_READ | ACCESS_STACK, &value);
    if (step != STEP_NEXT)
        return step;
    cpu->gpr[GPR_RSP] += 8;
    *(uint64_t *)gpr_at(cpu, op->rm) = value; /* after RSP: POP RSP gets the value */
    return STEP_NEXT;
}

int op_push(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    int step = STEP_NEXT;
    if (op->flags & OP_MEMORY)
        step = operand_read(cpu, op, op->width, &value);
    else
        value = gpr_read(cpu, op->rm, op->width);
    return step == STEP_NEXT ? push(cpu, op->width, value) : step;
}

int op_push_imm(struct cpu *cpu, const struct op *op)
{
    return push(cpu, op->width, op->imm);
}

/* POP to memory computes its address with RSP already incremented (Intel SDM vol. 2, POP). */
static int pop_to_memory(struct cpu *cpu, const struct op *op, uint64_t value, uint64_t rsp)
{
    uint64_t old = cpu->gpr[GPR_RSP];
    cpu->gpr[GPR_RSP] = rsp;
    int step = operand_write(cpu, op, op->width, value);
    if (step != STEP_NEXT)
        cpu->gpr[GPR_RSP] = old;
    return step;
}

int op_pop(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    uint64_t rsp = stack_pointer_add(cpu, cpu->gpr[GPR_RSP], op->width);
    int step = stack_read(cpu, cpu->gpr[GPR_RSP], op->width, &value);
    if (step != STEP_NEXT)
        return step;
    if (op->flags & OP_MEMORY)
        return pop_to_memory(cpu, op, value, rsp);
    cpu->gpr[GPR_RSP] = rsp;
    gpr_write(cpu, op->rm, op->width, value);
    return STEP_NEXT;
}

/* All eight words are written, the lowest first so that a fault leaves the registers alone. */
int op_pusha(struct cpu *cpu, const struct op *op)
{
    uint64_t rsp = cpu->gpr[GPR_RSP];
    for (unsigned i = 8; i-- > 0;) {
        uint64_t at = stack_pointer_add(cpu, rsp, -(int64_t)op->width * (i + 1));
        int step = stack_write(cpu, at, op->width, gpr_read(cpu, i * 8, op->width));
        if (step != STEP_NEXT)
            return step;
    }
    cpu->gpr[GPR_RSP] = stack_pointer_add(cpu, rsp, -8 * (int64_t)op->width);
    return STEP_NEXT;
}

int op_popa(struct cpu *cpu, const struct op *op)
{
    uint64_t value[8];
    uint64_t rsp = cpu->gpr[GPR_RSP];
    for (unsigned i = 0; i < 8; i++) {
        uint64_t at = stack_pointer_add(cpu, rsp, (int64_t)op->width * (7 - i));
        int step = stack_read(cpu, at, op->width, &value[i]);
        if (step != STEP_NEXT)
            return step;
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i != GPR_RSP)
            gpr_write(cpu, i * 8, op->width, value[i]);
    }
    cpu->gpr[GPR_RSP] = stack_pointer_add(cpu, rsp, 8 * (int64_t)op->width);
    return STEP_NEXT;
}

/* In virtual-8086 mode with IOPL < 3 these are the monitor's business. */
static bool is_denied_to_v86(const struct cpu *cpu)
{
    return (cpu->mode & MODE_V86) != 0 && cpu_iopl(cpu) < 3;
}

int op_pushf(struct cpu *cpu, const struct op *op)
{
    if (is_denied_to_v86(cpu))
        return fault_code(cpu, VECTOR_GP, 0);
    return push(cpu, op->width, cpu->flags & ~(uint64_t)(FLAG_RF | FLAG_VM));
}

/* Which flags POPF may change: Intel SDM vol. 2, POPF, table 4-16. */
static uint64_t popf_mask(const struct cpu *cpu, unsigned width)
{
    uint64_t mask = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
    if (cpu->cpl == 0 || (cpu->mode & MODE_REAL))
        mask |= FLAG_IOPL;
    if ((cpu->mode & MODE_REAL) != 0 || cpu->cpl <= cpu_iopl(cpu))
        mask |= FLAG_IF;
    return width == 2 ? mask & 0xffff : mask;
}

int op_popf(struct cpu *cpu, const struct op *op)
{
    if (is_denied_to_v86(cpu))
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t value;
    int step = stack_read(cpu, cpu->gpr[GPR_RSP], op->width, &value);
    if (step != STEP_NEXT)
        return step;
    uint64_t mask = popf_mask(cpu, op->width);
    if (cpu->mode & MODE_V86)
        mask &= ~(uint64_t)FLAG_IOPL;
    cpu->gpr[GPR_RSP] = stack_pointer_add(cpu, cpu->gpr[GPR_RSP], op->width);
    cpu->rip = op_next_rip(cpu, op);
    cpu_set_flags(cpu, (cpu->flags & ~mask & ~(uint64_t)FLAG_RF) | (value & mask));
    return STEP_JUMP;
}

/* Copy the frame pointers of the `level - 1` enclosing procedures. */
static int copy_frame_pointers(struct cpu *cpu, const struct op *op, unsigned level, uint64_t *rsp)
{
    uint64_t rbp = cpu->gpr[GPR_RBP];
    for (unsigned i = 1; i < level; i++) {
        uint64_t value;
        rbp = stack_pointer_add(cpu, rbp, -(int64_t)op->width);
        *rsp = stack_pointer_add(cpu, *rsp, -(int64_t)op->width);
        int step = stack_read(cpu, rbp, op->width, &value);
        if (step == STEP_NEXT)
            step = stack_write(cpu, *rsp, op->width, value);
        if (step != STEP_NEXT)
            return step;
    }
    return STEP_NEXT;
}

static int check_writable(struct cpu *cpu, uint64_t rsp, unsigned width)
{
    uint64_t linear;
    void *ignored;
    if ((cpu->mode & MODE_LONG) == 0)
        rsp = (cpu->mode & MODE_STACK32) ? (uint32_t)rsp : (uint16_t)rsp;
    int step = segment_linear(cpu, SEGMENT_SS, rsp, width, ACCESS_WRITE, &linear);
    if (step == STEP_NEXT)
        step = memory_begin(cpu, linear, width, ACCESS_WRITE | ACCESS_STACK, &ignored);
    if (step == STEP_NEXT)
        memory_abandon(cpu);
    return step;
}

/* Intel SDM vol. 2, ENTER. */
int op_enter(struct cpu *cpu, const struct op *op)
{
    unsigned level = op->extra & 31;
    uint64_t rsp = stack_pointer_add(cpu, cpu->gpr[GPR_RSP], -(int64_t)op->width);
    uint64_t frame = rsp;
    int step = stack_write(cpu, rsp, op->width, gpr_read(cpu, GPR_RBP * 8, op->width));
    if (step == STEP_NEXT && level > 0)
        step = copy_frame_pointers(cpu, op, level, &rsp);
    if (step == STEP_NEXT && level > 0) {
        rsp = stack_pointer_add(cpu, rsp, -(int64_t)op->width);
        step = stack_write(cpu, rsp, op->width, frame);
    }
    if (step != STEP_NEXT)
        return step;
    rsp = stack_pointer_add(cpu, rsp, -(int64_t)(op->imm & 0xffff));
    /* The new top must be writable, else #SS/#PF belongs to this instruction. */
    step = check_writable(cpu, rsp, op->width);
    if (step != STEP_NEXT)
        return step;
    gpr_write(cpu, GPR_RBP * 8, op->width, frame);
    cpu->gpr[GPR_RSP] = rsp;
    return STEP_NEXT;
}

int op_leave(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    uint64_t rsp = cpu->gpr[GPR_RBP];
    if ((cpu->mode & MODE_LONG) == 0)
        rsp = stack_pointer_add(cpu, (cpu->gpr[GPR_RSP] & ~UINT64_C(0xffff)) | (uint16_t)rsp, 0);
    if ((cpu->mode & (MODE_LONG | MODE_STACK32)) == MODE_STACK32)
        rsp = (uint32_t)cpu->gpr[GPR_RBP];
    int step = stack_read(cpu, rsp, op->width, &value);
    if (step != STEP_NEXT)
        return step;
    cpu->gpr[GPR_RSP] = stack_pointer_add(cpu, rsp, op->width);
    gpr_write(cpu, GPR_RBP * 8, op->width, value);
    return STEP_NEXT;
}
