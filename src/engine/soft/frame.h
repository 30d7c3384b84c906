/*
 * A stack to push to or pop from that is not, or not yet, the processor's own: interrupts, gates
 * and far returns change SS:RSP only after everything on it has been written or read.
 */
#ifndef SOFT_FRAME_H
#define SOFT_FRAME_H

#include "engine/soft/cpu.h"

struct frame {
    struct cpu *cpu;
    struct engine_segment ss;
    uint64_t sp;     /* the whole register; pushes and pops move its low `width` bytes */
    unsigned width;  /* 2, 4, 8; at 8 the segment does not matter */
    unsigned access; /* 0, or ACCESS_SYSTEM: accesses by a level that is not yet the current one */
    uint32_t code;   /* error code of a stack fault */
};

/* The processor's own stack. */
void frame_current(struct cpu *cpu, struct frame *ret);
/* The stack of an inner level from a legacy TSS, checked: #TS, #SS, #NP (SDM vol. 2, INT n). */
int frame_open_inner(struct cpu *cpu, unsigned cpl, struct frame *ret);
/* IA-32e mode: the stack pointer at `offset` of the TSS. #TS when outside. */
int frame_open_long(struct cpu *cpu, unsigned cpl, unsigned offset, struct frame *ret);
/* Offset of RSPn in a 64-bit TSS, and of ISTn (1–7): Intel SDM vol. 3A § 7.7. */
static inline unsigned frame_rsp_offset(unsigned cpl)
{
    return 4 + 8 * cpl;
}

static inline unsigned frame_ist_offset(unsigned ist)
{
    return 28 + 8 * ist;
}

int frame_push(struct frame *frame, unsigned size, uint64_t value);
/* As MOV of a selector does: move the pointer by `size` but write 2 bytes (SDM vol. 2, PUSH). */
int frame_push_selector(struct frame *frame, unsigned size, uint16_t selector);
int frame_pop(struct frame *frame, unsigned size, uint64_t *ret);
/* Read `size` bytes `offset` above the pointer, which stays. */
int frame_peek(struct frame *frame, unsigned offset, unsigned size, uint64_t *ret);
/* Move the pointer up, as RET n does. */
void frame_skip(struct frame *frame, uint64_t bytes);

#endif
