/* One call of engine run(). */
#ifndef SOFT_RUN_H
#define SOFT_RUN_H

#include "engine/soft/cpu.h"

/* The block at cpu->rip for cpu->mode: 0, or STEP_FAULT when the fetch faulted. */
int run_find_block(struct cpu *cpu, struct block **ret);

struct translation;
/* A settled block's translation; it is made when the block has run often enough. NULL: none. */
struct translation *run_translation(struct cpu *cpu, struct block *block);

int run_vcpu(struct cpu *cpu, struct engine_exit *exit);

#endif
