/* Moves, exchanges, extensions, conditional moves, and the flag instructions of one byte. */
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"

/* ---- MOV ---- */

#define MOV_WIDTH(W, T, R)                                            \
    static int mov_rr_##W(struct cpu *cpu, const struct op *op)       \
    {                                                                 \
        *(R *)gpr_at(cpu, op->rm) = *(T *)gpr_at(cpu, op->reg);       \
        return STEP_NEXT;                                             \
    }                                                                 \
    static int mov_ri_##W(struct cpu *cpu, const struct op *op)       \
    {                                                                 \
        *(R *)gpr_at(cpu, op->rm) = (T)op->imm;                       \
        return STEP_NEXT;                                             \
    }                                                                 \
    static int mov_mr_##W(struct cpu *cpu, const struct op *op)       \
    {                                                                 \
        return operand_write(cpu, op, W, *(T *)gpr_at(cpu, op->reg)); \
    }                                                                 \
    static int mov_mi_##W(struct cpu *cpu, const struct op *op)       \
    {                                                                 \
        return operand_write(cpu, op, W, op->imm);                    \
    }                                                                 \
    static int mov_rm_##W(struct cpu *cpu, const struct op *op)       \
    {                                                                 \
        uint64_t value;                                               \
        int step = operand_read(cpu, op, W, &value);                  \
        if (step == STEP_NEXT)                                        \
            *(R *)gpr_at(cpu, op->reg) = (T)value;                    \
        return step;                                                  \
    }

MOV_WIDTH(1, uint8_t, uint8_t)
MOV_WIDTH(2, uint16_t, uint16_t)
MOV_WIDTH(4, uint32_t, uint64_t)
MOV_WIDTH(8, uint64_t, uint64_t)

#define ROW(name)                              \
    {                                          \
        name##_1, name##_2, name##_4, name##_8 \
    }

form_table op_mov = {
    [FORM_RR] = ROW(mov_rr), [FORM_RI] = ROW(mov_ri), [FORM_MR] = ROW(mov_mr),
    [FORM_MI] = ROW(mov_mi), [FORM_RM] = ROW(mov_rm),
};

/* ---- XCHG: with memory always locked (Intel SDM vol. 2, XCHG) ---- */

static int xchg_registers(struct cpu *cpu, const struct op *op)
{
    uint64_t a = gpr_read(cpu, op->rm, op->width);
    uint64_t b = gpr_read(cpu, op->reg, op->width);
    gpr_write(cpu, op->rm, op->width, b);
    gpr_write(cpu, op->reg, op->width, a);
    return STEP_NEXT;
}

static uint64_t exchange(void *p, unsigned width, uint64_t value)
{
    switch (width) {
    case 1:
        __asm__ volatile("xchgb %b0, %1" : "+q"(value), "+m"(*(struct unaligned *)p) : : "memory");
        break;
    case 2:
        __asm__ volatile("xchgw %w0, %1" : "+r"(value), "+m"(*(struct unaligned *)p) : : "memory");
        break;
    case 4:
        __asm__ volatile("xchgl %k0, %1" : "+r"(value), "+m"(*(struct unaligned *)p) : : "memory");
        break;
    default:
        __asm__ volatile("xchgq %q0, %1" : "+r"(value), "+m"(*(struct unaligned *)p) : : "memory");
        break;
    }
    return value;
}

static int xchg_memory(struct cpu *cpu, const struct op *op)
{
    unsigned access = ACCESS_WRITE | ACCESS_LOCKED | (op->flags & OP_STACK);
    uint64_t linear;
    void *p;
    int step = operand_linear(cpu, op, op->width, access, &linear);
    if (step == STEP_NEXT)
        step = memory_begin(cpu, linear, op->width, access, &p);
    if (step != STEP_NEXT)
        return step;
    uint64_t old = exchange(p, op->width, gpr_read(cpu, op->reg, op->width));
    step = memory_commit(cpu);
    if (step == STEP_NEXT)
        gpr_write(cpu, op->reg, op->width, old);
    return step;
}

#define SAME(handler)                      \
    {                                      \
        handler, handler, handler, handler \
    }

form_table op_xchg = {
    [FORM_RR] = SAME(xchg_registers),
    [FORM_MR] = SAME(xchg_memory),
    [FORM_RM] = SAME(xchg_memory),
};

/* ---- addresses and extensions ---- */

int op_lea(struct cpu *cpu, const struct op *op)
{
    gpr_write(cpu, op->reg, op->width, op_address(cpu, op));
    return STEP_NEXT;
}

/* The narrower source: `size` bytes of memory, or of a register whose width the decoder put there.
 */
static int read_source(struct cpu *cpu, const struct op *op, uint64_t *ret)
{
    if (op->flags & OP_MEMORY)
        return operand_read(cpu, op, op->size, ret);
    *ret = gpr_read(cpu, op->reg, op->size);
    return STEP_NEXT;
}

static unsigned destination(const struct op *op)
{
    return (op->flags & OP_MEMORY) ? op->reg : op->rm;
}

static uint64_t sign_extend(uint64_t value, unsigned size)
{
    unsigned shift = 64 - 8 * size;
    return (uint64_t)((int64_t)(value << shift) >> shift);
}

int op_movzx(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    int step = read_source(cpu, op, &value);
    if (step == STEP_NEXT)
        gpr_write(cpu, destination(op), op->width, value);
    return step;
}

int op_movsx(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    int step = read_source(cpu, op, &value);
    if (step == STEP_NEXT)
        gpr_write(cpu, destination(op), op->width, sign_extend(value, op->size));
    return step;
}

/* A 32-bit destination is zero-extended even when the condition is not met, and the source is read.
 */
int op_cmov(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    int step = STEP_NEXT;
    if (op->flags & OP_MEMORY)
        step = operand_read(cpu, op, op->width, &value);
    else
        value = gpr_read(cpu, op->reg, op->width);
    if (step != STEP_NEXT)
        return step;
    unsigned target = destination(op);
    if (!condition_met(cpu->flags, op->extra))
        value = gpr_read(cpu, target, op->width);
    gpr_write(cpu, target, op->width, value);
    return STEP_NEXT;
}

int op_setcc(struct cpu *cpu, const struct op *op)
{
    uint8_t value = condition_met(cpu->flags, op->extra);
    if (op->flags & OP_MEMORY)
        return operand_write(cpu, op, 1, value);
    gpr_write(cpu, op->rm, 1, value);
    return STEP_NEXT;
}

int op_cbw(struct cpu *cpu, const struct op *op)
{
    unsigned half = op->width / 2;
    gpr_write(cpu, GPR_RAX * 8, op->width, sign_extend(gpr_read(cpu, GPR_RAX * 8, half), half));
    return STEP_NEXT;
}

int op_cwd(struct cpu *cpu, const struct op *op)
{
    uint64_t value = sign_extend(gpr_read(cpu, GPR_RAX * 8, op->width), op->width);
    gpr_write(cpu, GPR_RDX * 8, op->width, (uint64_t)((int64_t)value >> 63));
    return STEP_NEXT;
}

int op_xlat(struct cpu *cpu, const struct op *op)
{
    uint64_t offset = cpu->gpr[GPR_RBX] + (uint8_t)cpu->gpr[GPR_RAX];
    if (op->address_width != 8)
        offset = op->address_width == 4 ? (uint32_t)offset : (uint16_t)offset;
    uint64_t linear = offset;
    uint64_t value;
    int step = STEP_NEXT;
    if (op->segment != SEGMENT_FLAT)
        step = segment_linear(cpu, op->segment, offset, 1, ACCESS_READ, &linear);
    if (step == STEP_NEXT)
        step = linear_read(cpu, linear, 1, ACCESS_READ, &value);
    if (step == STEP_NEXT)
        gpr_write(cpu, 0, 1, value);
    return step;
}

/* ---- flags ---- */

enum { AH_FLAGS = FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF };

int op_lahf(struct cpu *cpu, const struct op *op)
{
    (void)op;
    gpr_write(cpu, 1, 1, (cpu->flags & AH_FLAGS) | FLAG_FIXED);
    return STEP_NEXT;
}

int op_sahf(struct cpu *cpu, const struct op *op)
{
    (void)op;
    cpu->flags = (cpu->flags & ~(uint64_t)AH_FLAGS) | (gpr_read(cpu, 1, 1) & AH_FLAGS);
    return STEP_NEXT;
}

int op_clc(struct cpu *cpu, const struct op *op)
{
    (void)op;
    cpu->flags &= ~(uint64_t)FLAG_CF;
    return STEP_NEXT;
}

int op_stc(struct cpu *cpu, const struct op *op)
{
    (void)op;
    cpu->flags |= FLAG_CF;
    return STEP_NEXT;
}

int op_cmc(struct cpu *cpu, const struct op *op)
{
    (void)op;
    cpu->flags ^= FLAG_CF;
    return STEP_NEXT;
}

int op_cld(struct cpu *cpu, const struct op *op)
{
    (void)op;
    cpu->flags &= ~(uint64_t)FLAG_DF;
    return STEP_NEXT;
}

int op_std(struct cpu *cpu, const struct op *op)
{
    (void)op;
    cpu->flags |= FLAG_DF;
    return STEP_NEXT;
}

int op_nop(struct cpu *cpu, const struct op *op)
{
    (void)cpu;
    (void)op;
    return STEP_NEXT;
}
