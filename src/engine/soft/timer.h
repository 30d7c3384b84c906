/* The host timer that wakes a vCPU for its APIC timer, and the sleep of a halted vCPU. */
#ifndef SOFT_TIMER_H
#define SOFT_TIMER_H

#include "engine/soft/cpu.h"

/* Once a process: the signal's handler. */
int timer_install(void);
/* On the vCPU's thread, around its running; what fires in between is looked at on the next entry.
 */
int timer_attach(struct cpu *cpu);
void timer_detach(void);
/* Any thread, while the vCPU does not run. */
void timer_destroy(struct cpu *cpu);
/* Arm for lapic_timer_deadline_ns if that changed. Not with live vector state. */
void timer_arm(struct cpu *cpu);
/* Sleep until cpu->pending is no longer `idle`. */
void timer_sleep(struct cpu *cpu, uint32_t idle);

#endif
