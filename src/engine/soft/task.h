/* Hardware task switches, Intel SDM vol. 3A ch. 7. Legacy mode only: IA-32e mode refuses them. */
#ifndef SOFT_TASK_H
#define SOFT_TASK_H

#include "engine/soft/descriptor.h"

enum task_cause { TASK_JUMP, TASK_CALL, TASK_RETURN, TASK_EVENT };

struct task_switch {
    enum task_cause cause;
    uint64_t rip;   /* where the old task goes on */
    uint64_t flags; /* of the old task, as saved */
    bool has_code;  /* push `code` on the new task's stack */
    uint32_t code;
    /* Set once the new task is the current one. A fault after that is the new task's: cpu->rip is
     * already its EIP and the caller hands the fault to exception_deliver. */
    bool done;
};

/* To the task whose TSS `selector` names. STEP_JUMP; STEP_FAULT or STEP_EXIT: see `done`. */
int task_switch(struct cpu *cpu, uint16_t selector, struct task_switch *change);

#endif
