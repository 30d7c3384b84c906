/* One call of engine run(). */
#ifndef SOFT_RUN_H
#define SOFT_RUN_H

#include "engine/soft/cpu.h"

int run_vcpu(struct cpu *cpu, struct engine_exit *exit);

#endif
