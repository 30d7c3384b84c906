/* What far jumps, calls, returns and IRET have in common. Source: Intel SDM vol. 3A § 5.8, vol. 2.
 */
#ifndef SOFT_TRANSFER_H
#define SOFT_TRANSFER_H

#include "engine/soft/descriptor.h"
#include "engine/soft/frame.h"
#include "engine/soft/task.h"

/* Where RET and IRET go back to, checked and ready to be loaded. */
struct way_back {
    struct descriptor code;
    struct engine_segment ss; /* when the stack changes too */
    uint64_t rip;
    uint64_t sp;
    unsigned cpl;
};

/* The m16:16, m16:32 or m16:64 operand of `op`. */
int transfer_read_pointer(struct cpu *cpu, const struct op *op, uint16_t *ret_selector,
                          uint64_t *ret_offset);
/* Pop `count` values of `size` bytes. */
int transfer_pop(struct frame *frame, unsigned size, uint64_t *values, unsigned count);
/* CS of a return: fills way.code and way.cpl. */
int transfer_check_return(struct cpu *cpu, uint16_t selector, struct way_back *way);
/* SS of a return that changes stacks: fills way.ss. */
int transfer_check_return_stack(struct cpu *cpu, uint16_t selector, struct way_back *way);
/* way.rip against the limit, or the canonical hole; then mark CS accessed. */
int transfer_check_return_rip(struct cpu *cpu, struct way_back *way);
/* RSP as a return loads it: only SP when the stack segment is a 16-bit one. */
uint64_t transfer_stack_pointer(const struct cpu *cpu, const struct way_back *way);
/* A task switch by an instruction. */
int transfer_task(struct cpu *cpu, const struct op *op, enum task_cause cause, uint16_t selector);

#endif
