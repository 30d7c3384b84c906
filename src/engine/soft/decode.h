/*
 * From instruction bytes to a struct op: Zydis decodes, the rule table names the handler,
 * everything that only computes becomes a native thunk.
 */
#ifndef SOFT_DECODE_H
#define SOFT_DECODE_H

#include <Zydis/Zydis.h>

#include "engine/soft/op.h"

enum decode_result {
    DECODE_GOES_ON,   /* the next instruction may follow in the same block */
    DECODE_ENDS,      /* the handler always leaves the block */
    DECODE_TRUNCATED, /* the bytes end before the instruction does */
    DECODE_FULL,      /* no room for another thunk */
};

struct decoder;

/* Zydis as the guest's CPUID has it: what of F3 0F BC and BD are prefixes that do nothing. */
int decode_set_up(const struct soft_partition *partition, ZydisMachineMode mode,
                  ZydisStackWidth width, ZydisDecoder *ret);

int decoder_create(struct soft_partition *partition, struct decoder **ret);
void decoder_destroy(struct decoder *decoder);

/*
 * Decode one instruction at `bytes` whose address is `rip` in `mode`; of 64-bit code it is counted
 * from the block, which may then lie anywhere. op->offset is the caller's.
 * Instructions that do not exist become handlers that raise #UD. Not with live vector state; under
 * the code lock.
 */
enum decode_result decode(struct decoder *decoder, const uint8_t *bytes, unsigned length,
                          uint64_t rip, uint32_t mode, struct op *ret);
/* After DECODE_FULL: forget all thunks; no block that uses one may be left. */
void decoder_reset(struct decoder *decoder);

#endif
