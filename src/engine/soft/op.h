/*
 * A decoded instruction: a handler and its operands, ready to run many times.
 */
#ifndef SOFT_OP_H
#define SOFT_OP_H

#include "engine/soft/cpu.h"

typedef int (*op_fn)(struct cpu *cpu, const struct op *op);

enum op_flag {
    OP_LOCK = 1 << 0,
    OP_REP = 1 << 1,       /* F3 */
    OP_REPNE = 1 << 2,     /* F2 */
    OP_MEMORY = 1 << 3,    /* the r/m operand is memory */
    OP_IMMEDIATE = 1 << 4, /* the second operand is op->imm */
    OP_REVERSED = 1 << 5,  /* destination is `reg`, source is r/m */
    OP_STACK = 1 << 6,     /* the memory operand is in SS; same bit as ACCESS_STACK */
    OP_RELATIVE = 1 << 7,  /* a near branch of 64-bit code: imm is the distance from the block */
};

struct op {
    op_fn run;
    uint64_t imm;  /* immediate, sign-extended; near branches: target; far pointers: offset */
    uint64_t disp; /* displacement; with GPR_RIP as the base: from the block's first byte */
    struct thunk *thunk;
    uint16_t offset; /* of the instruction from the block's first byte */
    uint16_t extra;  /* far pointers: selector; conditions: code; ENTER: level */
    uint8_t length;
    uint8_t width;         /* operand size: 1, 2, 4, 8 */
    uint8_t address_width; /* 2, 4, 8 */
    uint8_t flags;         /* enum op_flag */
    uint8_t reg;           /* register operand: byte offset into cpu->gpr (AH = 1) */
    uint8_t rm;            /* r/m operand when a register: byte offset into cpu->gpr */
    uint8_t base, index;   /* memory: numbers of gpr[], GPR_ZERO for none */
    uint8_t scale;         /* 0..3 */
    uint8_t segment;       /* enum engine_segment_index or SEGMENT_FLAT */
    uint8_t size;          /* bytes of the memory operand, when not `width` */
};

static inline uint64_t op_rip(const struct cpu *cpu, const struct op *op)
{
    return cpu->rip + op->offset;
}

/* Outside 64-bit code RIP is 32 bits wide; fetching past a code segment's limit faults. */
static inline uint64_t op_next_rip(const struct cpu *cpu, const struct op *op)
{
    uint64_t next = cpu->rip + op->offset + op->length;
    return (cpu->mode & MODE_LONG) ? next : (uint32_t)next;
}

static inline uint64_t op_target(const struct cpu *cpu, const struct op *op)
{
    return (op->flags & OP_RELATIVE) ? cpu->rip + op->imm : op->imm;
}

/* ---- registers by byte offset ---- */

static inline void *gpr_at(struct cpu *cpu, unsigned offset)
{
    return (uint8_t *)cpu->gpr + offset;
}

static inline uint64_t gpr_read(const struct cpu *cpu, unsigned offset, unsigned width)
{
    const uint8_t *p = (const uint8_t *)cpu->gpr + offset;
    switch (width) {
    case 1:
        return *p;
    case 2:
        return *(const uint16_t *)(const void *)p;
    case 4:
        return *(const uint32_t *)(const void *)p;
    default:
        return *(const uint64_t *)(const void *)p;
    }
}

/* 32-bit results clear the upper half, 8- and 16-bit results keep the rest (SDM vol. 1 § 3.4.1.1).
 */
static inline void gpr_write(struct cpu *cpu, unsigned offset, unsigned width, uint64_t value)
{
    uint8_t *p = (uint8_t *)cpu->gpr + offset;
    switch (width) {
    case 1:
        *p = (uint8_t)value;
        break;
    case 2:
        *(uint16_t *)(void *)p = (uint16_t)value;
        break;
    case 4:
        *(uint64_t *)(void *)p = (uint32_t)value;
        break;
    default:
        *(uint64_t *)(void *)p = value;
        break;
    }
}

/* Offset inside the segment. */
static inline uint64_t op_address(const struct cpu *cpu, const struct op *op)
{
    uint64_t ea = cpu->gpr[op->base] + (cpu->gpr[op->index] << op->scale) + op->disp;
    if (op->address_width == 8)
        return ea;
    return op->address_width == 4 ? (uint32_t)ea : (uint16_t)ea;
}

#endif
