/*
 * Running each block twice, interpreted and translated, and stopping at the first difference.
 *
 * For finding faults in the translator: one vCPU, and slow. A device that writes what the block
 * reads, between the two, would look like a difference; so a block that differs is run again.
 */
#ifndef SOFT_LOCKSTEP_H
#define SOFT_LOCKSTEP_H

#include "engine/soft/translation.h"

struct lockstep;

/* A seed: chains of blocks are compared, and left where that leads; 0: blocks one by one. */
int lockstep_create(uint64_t seed, struct lockstep **ret);
void lockstep_destroy(struct lockstep *lockstep);

/* In place of translated_run; live. A step, with cpu->rip exact. */
int lockstep_run(struct cpu *cpu, struct translation *translation);

/* ---- of translated code that calls: live ---- */

/* Blocks may follow each other. */
bool lockstep_goes_on(const struct cpu *cpu);
/* C runs at full speed, and translated code one instruction at a time again. */
void lockstep_pause(const struct cpu *cpu);
void lockstep_resume(const struct cpu *cpu);
/* One more instruction of the guest has begun; translated code calls at that, `index` of the
 * block; the interpreter has run it. */
void lockstep_begun(const struct cpu *cpu);
void lockstep_called(struct cpu *cpu, const struct block *block, unsigned index);
void lockstep_completed(const struct cpu *cpu);

/* Gate: say how the two differ, and end the process. */
_Noreturn void lockstep_fail(struct cpu *cpu, const struct lockstep *lockstep,
                             const struct block *block);

#endif
