/*
 * How instructions reach guest memory: by linear address through the vCPU's TLB, or by segment and
 * offset with the checks of segmentation first.
 *
 * Every function returns STEP_NEXT (0), STEP_FAULT or STEP_EXIT (MMIO: ask, then run the instruction
 * again). A call that does not return 0 has changed nothing in memory.
 */
#ifndef SOFT_MEMORY_H
#define SOFT_MEMORY_H

#include "engine/soft/cpu.h"
#include "engine/soft/op.h"

enum access {
    ACCESS_READ = 0,
    ACCESS_WRITE = 1,
    ACCESS_FETCH = 2,
    ACCESS_SYSTEM = 4, /* implicit supervisor access: descriptor tables, TSS; CPL and AC do not matter */
    ACCESS_USER = 8,   /* as if from CPL 3 */
    ACCESS_LOCKED = 16,
};

/* Segment and offset to linear; #GP(0), or #SS(0) for SS. `size` in bytes, `access` as above. */
int segment_linear(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned size,
                   unsigned access, uint64_t *ret);

/* 1, 2, 4 or 8 bytes, zero-extended. */
int linear_read(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access, uint64_t *ret);
int linear_write(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access, uint64_t value);

/* The memory operand of `op`. */
int operand_linear(struct cpu *cpu, const struct op *op, unsigned size, unsigned access,
                   uint64_t *ret);
int operand_read(struct cpu *cpu, const struct op *op, unsigned size, uint64_t *ret);
int operand_write(struct cpu *cpu, const struct op *op, unsigned size, uint64_t value);

/*
 * A host pointer to `size` (≤ 4096) bytes at `linear`, with the address's alignment modulo 64; either
 * the guest's memory itself or cpu->bounce, filled. For access with ACCESS_WRITE, memory_commit must
 * follow once the bytes are written and before any register changes: it writes a bounce buffer back
 * and tells the code cache. memory_abandon instead, when the instruction faulted after all.
 */
int memory_begin(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access, void **ret);
int memory_commit_slow(struct cpu *cpu);
void memory_abandon_slow(struct cpu *cpu);

static inline int memory_commit(struct cpu *cpu)
{
    return cpu->commit.size == 0 ? STEP_NEXT : memory_commit_slow(cpu);
}

static inline void memory_abandon(struct cpu *cpu)
{
    if (cpu->commit.size != 0)
        memory_abandon_slow(cpu);
}

/* ---- the stack ---- */

/* Width of the stack pointer in bytes: 8 in 64-bit code, else by SS.B. */
static inline unsigned stack_width(const struct cpu *cpu)
{
    if (cpu->mode & MODE_LONG)
        return 8;
    return (cpu->mode & MODE_STACK32) ? 4 : 2;
}

/* Write `value` at rsp + `below` - size … : see stack_push. Changes no register. */
int stack_write(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t value);
int stack_read(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t *ret);
/* rsp + delta within the width of the stack pointer, other bits kept. */
uint64_t stack_pointer_add(const struct cpu *cpu, uint64_t rsp, int64_t delta);

#endif
