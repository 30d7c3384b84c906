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

int lockstep_create(struct lockstep **ret);
void lockstep_destroy(struct lockstep *lockstep);

/* In place of translated_run; live. A step, with cpu->rip exact. */
int lockstep_run(struct cpu *cpu, struct translation *translation);

/* Gate: say how the two differ, and end the process. */
_Noreturn void lockstep_fail(struct cpu *cpu, const struct lockstep *lockstep,
                             const struct block *block);

#endif
