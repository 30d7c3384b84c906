/*
 * Native thunks: an instruction that only computes is not emulated but run on the host's own units.
 *
 * The decoder gives the instruction to thunk_make, which re-encodes it with its memory operand at a
 * host register and surrounds it with loads and stores of the guest registers it names. Thunks live
 * in a memory that is written through one mapping and executed through another.
 */
#ifndef SOFT_THUNK_H
#define SOFT_THUNK_H

#include <Zydis/Zydis.h>

#include "engine/soft/op.h"

struct thunk_pool;

int thunk_pool_create(struct thunk_pool **ret);
void thunk_pool_destroy(struct thunk_pool *pool);

/*
 * Make (or find, by the re-encoded bytes) the thunk of a decoded instruction and fill in op->run,
 * op->thunk, op->size and, if there is a memory operand, nothing else (the decoder fills
 * addressing). 0; -ENOTSUP when the instruction is not on the allow-list (the decoder then makes it
 * #UD); -ENOSPC when the pool is full. Gate: not with live vector state. Under the code lock.
 */
int thunk_make(struct thunk_pool *pool, const ZydisDecodedInstruction *instruction,
               const ZydisDecodedOperand *operands, struct op *op);
/* Forget all thunks; no vCPU may be running one. */
void thunk_pool_reset(struct thunk_pool *pool);

/* Install the process-wide handlers that turn SIGFPE, SIGSEGV, SIGILL and SIGBUS inside a thunk
 * into guest faults; others go to the previous handler. Any number of times: whoever replaced the
 * handlers meanwhile becomes the previous one. */
int thunk_install_signals(void);

#endif
