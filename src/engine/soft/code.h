/*
 * Decoded blocks of guest code, shared by the vCPUs of a partition.
 *
 * 1. A block is a run of instructions inside one guest-physical page (or one instruction that
 * leaves its page). Its key is physical address, RIP and mode; of user code that floats
 * (code_floats) only the offset in the page counts of RIP, so that all mappings of a library share
 * its blocks.
 * 2. A page with blocks is marked; from then on no TLB of any vCPU holds a write tag for it, so
 * that every write comes to code_written, which invalidates the blocks whose bytes changed.
 * 3. Marking a page moves partition.epoch on. Until each vCPU has seen the new epoch (it drops its
 * write tags then) somebody may still write through an old tag; so long the block is run only after
 * its bytes were compared with memory.
 * 4. An invalid block stays allocated until every vCPU has passed a block end; its remaining
 * handlers are replaced by one that leaves the block, so that the instruction after the store is
 * fetched anew.
 * 5. The mutex guards all but look-ups: hash chains are read without it, nodes are published with
 *    release stores and never moved.
 */
#ifndef SOFT_CODE_H
#define SOFT_CODE_H

#include "engine/soft/op.h"
#include "engine/soft/thunk.h"

struct code_cache;
struct translation;

struct block {
    uint64_t rip; /* of the first byte; of a floating block less cpu->page */
    uint64_t gpa; /* … */
    uint32_t mode;
    uint16_t length;     /* bytes of code in all */
    uint16_t count;      /* instructions, without the final leave */
    uint16_t behind_sti; /* index of the one right behind op_sti_within, 0 = none */
    bool floats;
    _Atomic bool valid;
    _Atomic uint64_t
        verify_epoch; /* compare bytes before running until all vCPUs saw this epoch; 0 = not */
    struct block *_Atomic hash_next;
    uint64_t second_gpa; /* of the page that a crossing instruction goes on in, or UINT64_MAX */
    uint8_t *bytes;      /* what was decoded */
    struct translation *_Atomic translation; /* NULL while it is interpreted */
    unsigned heat; /* runs by the interpreter, roughly, or TRANSLATION_REFUSED */
    struct op op[];
};

int code_create(struct soft_partition *partition, struct code_cache **ret);
void code_destroy(struct code_cache *code);

/* Any thread, no lock: does the page hold translated code? */
bool code_is_marked(const struct code_cache *code, uint64_t gpa);
/* [gpa, gpa + length) of RAM was written. Any thread. Not with live vector state. */
void code_written(struct soft_partition *partition, uint64_t gpa, uint64_t length);

/*
 * The block at cpu->rip for `mode` (cpu->mode, perhaps with MODE_SINGLE); 0, or STEP_FAULT when the
 * fetch faulted. Its bytes were just verified; keep it for later runs only when verify_epoch is 0.
 */
int code_find(struct cpu *cpu, uint32_t mode, struct block **ret);

/* Called by a vCPU at a safe point with PENDING_EPOCH: see invariant 3. */
void code_pass_epoch(struct cpu *cpu);

/*
 * When blocks and translations take more than `enough` bytes, forget them and give their memory
 * back to the host. Any thread but those of vCPUs; it waits until all of them are between blocks.
 */
void code_trim(struct soft_partition *partition, size_t enough);

#endif
