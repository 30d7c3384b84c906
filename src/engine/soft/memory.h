/*
 * How instructions reach guest memory: by linear address through the vCPU's TLB, or by segment and
 * offset with the checks of segmentation first.
 *
 * Every function returns STEP_NEXT (0), STEP_FAULT or STEP_EXIT (MMIO: ask, then run the
 * instruction again). A call that does not return 0 has changed nothing in memory.
 */
#ifndef SOFT_MEMORY_H
#define SOFT_MEMORY_H

#include "engine/soft/cpu.h"
#include "engine/soft/op.h"
#include "engine/soft/tlb.h"

enum access {
    ACCESS_READ = 0,
    ACCESS_WRITE = 1,
    ACCESS_FETCH = 2,
    ACCESS_SYSTEM =
        4, /* implicit supervisor access: descriptor tables, TSS; CPL and AC do not matter */
    ACCESS_USER = 8, /* as if from CPL 3 */
    ACCESS_LOCKED = 16,
    ACCESS_FRESH =
        32, /* a write that does not depend on the old bytes: no device is asked for them */
    ACCESS_STACK = 64, /* through SS: a non-canonical address raises #SS instead of #GP */
};

/* Guest words may lie at any address and be of any type. */
struct unaligned {
    union {
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    };
} __attribute__((packed, may_alias));

/* Segment and offset to linear; #GP(0), or #SS(0) for SS. `size` in bytes, `access` as above. */
int segment_linear(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned size,
                   unsigned access, uint64_t *ret);

int linear_read_slow(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                     uint64_t *ret);
int linear_write_slow(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                      uint64_t value);
int operand_linear_slow(struct cpu *cpu, const struct op *op, unsigned size, unsigned access,
                        uint64_t *ret);

/* Loads and stores of guest RAM: one access each, so that aligned ones are atomic. */
static inline uint64_t host_load(const void *host, unsigned size)
{
    switch (size) {
    case 1:
        return *(const volatile uint8_t *)host;
    case 2:
        return ((const struct unaligned *)host)->u16;
    case 4:
        return ((const struct unaligned *)host)->u32;
    default:
        return ((const struct unaligned *)host)->u64;
    }
}

static inline void host_store(void *host, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)host = (uint8_t)value;
        break;
    case 2:
        ((struct unaligned *)host)->u16 = (uint16_t)value;
        break;
    case 4:
        ((struct unaligned *)host)->u32 = (uint32_t)value;
        break;
    default:
        ((struct unaligned *)host)->u64 = value;
        break;
    }
}

/* 1, 2, 4 or 8 bytes, zero-extended. */
static inline int linear_read(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                              uint64_t *ret)
{
    const struct tlb_entry *entry = tlb_entry(cpu->tlb, linear);
    if ((access & ~(unsigned)ACCESS_STACK) == 0 && entry->read == tlb_tag(linear, size)) {
        *ret = host_load((const void *)(linear + entry->delta), size);
        return STEP_NEXT;
    }
    return linear_read_slow(cpu, linear, size, access, ret);
}

static inline int linear_write(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                               uint64_t value)
{
    const struct tlb_entry *entry = tlb_entry(cpu->tlb, linear);
    if ((access & ~(unsigned)(ACCESS_STACK | ACCESS_WRITE)) == 0 &&
        entry->write == tlb_tag(linear, size)) {
        host_store((void *)(linear + entry->delta), size, value);
        return STEP_NEXT;
    }
    return linear_write_slow(cpu, linear, size, access | ACCESS_WRITE, value);
}

/* Instruction fetch: the guest-physical address behind `linear`; #PF, or #GP outside RAM. */
int memory_fetch(struct cpu *cpu, uint64_t linear, uint64_t *ret_gpa);

/* The memory operand of `op`. */
static inline int operand_linear(struct cpu *cpu, const struct op *op, unsigned size,
                                 unsigned access, uint64_t *ret)
{
    if (op->segment != SEGMENT_FLAT)
        return operand_linear_slow(cpu, op, size, access, ret);
    *ret = op_address(cpu, op);
    return STEP_NEXT;
}

static inline int operand_read(struct cpu *cpu, const struct op *op, unsigned size, uint64_t *ret)
{
    uint64_t linear;
    int step = operand_linear(cpu, op, size, ACCESS_READ, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_read(cpu, linear, size, ACCESS_READ | (op->flags & OP_STACK), ret);
}

static inline int operand_write(struct cpu *cpu, const struct op *op, unsigned size, uint64_t value)
{
    uint64_t linear;
    int step = operand_linear(cpu, op, size, ACCESS_WRITE, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_write(cpu, linear, size, ACCESS_WRITE | (op->flags & OP_STACK), value);
}

/*
 * A host pointer to `size` (≤ 4096) bytes at `linear`, with the address's alignment modulo 64;
 * either the guest's memory itself or cpu->bounce, filled. For access with ACCESS_WRITE,
 * memory_commit must follow once the bytes are written and before any register changes: it writes a
 * bounce buffer back and tells the code cache. memory_abandon instead, when the instruction faulted
 * after all.
 */
int memory_begin_slow(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access, void **ret);
int memory_commit_slow(struct cpu *cpu);
void memory_abandon_slow(struct cpu *cpu);

static inline int memory_begin(struct cpu *cpu, uint64_t linear, unsigned size, unsigned access,
                               void **ret)
{
    const struct tlb_entry *entry = tlb_entry(cpu->tlb, linear);
    uint64_t tag = (access & ACCESS_WRITE) ? entry->write : entry->read;
    if ((access & (ACCESS_SYSTEM | ACCESS_USER)) == 0 && tag == tlb_tag(linear, size)) {
        *ret = (void *)(linear + entry->delta);
        return STEP_NEXT;
    }
    return memory_begin_slow(cpu, linear, size, access, ret);
}

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

/* A word at SS:rsp. Changes no register. */
int stack_write_slow(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t value);
int stack_read_slow(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t *ret);

static inline int stack_write(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t value)
{
    if (cpu->mode & MODE_LONG)
        return linear_write(cpu, rsp, size, ACCESS_WRITE | ACCESS_STACK, value);
    return stack_write_slow(cpu, rsp, size, value);
}

static inline int stack_read(struct cpu *cpu, uint64_t rsp, unsigned size, uint64_t *ret)
{
    if (cpu->mode & MODE_LONG)
        return linear_read(cpu, rsp, size, ACCESS_READ | ACCESS_STACK, ret);
    return stack_read_slow(cpu, rsp, size, ret);
}

/* rsp + delta within the width of the stack pointer, other bits kept. */
static inline uint64_t stack_pointer_add(const struct cpu *cpu, uint64_t rsp, int64_t delta)
{
    uint64_t sum = rsp + (uint64_t)delta;
    if (cpu->mode & MODE_LONG)
        return sum;
    if (cpu->mode & MODE_STACK32)
        return (uint32_t)sum;
    return (rsp & ~UINT64_C(0xffff)) | (uint16_t)sum;
}

#endif
