/*
 * The other processors. "cpus=N" on the command line says how many there are; their APIC ids are
 * their indices. Each waits in HLT for work that the boot CPU gives it, with interrupts on then
 * only; the wake-up is an IPI.
 */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include "types.h"

enum { WAKE_VECTOR = 0xf0 };

unsigned cpu_count(void);
void smp_start(void); /* starts the APIC of this CPU and all other CPUs; bails out if one is mute */
unsigned cpu_index(void);

void cpu_begin(unsigned index, void (*work)(void *), void *argument);
void cpu_wait(unsigned index);

/* Runs `work` on all CPUs, this one included, and waits for all. */
void cpus_run(void (*work)(void *), void *argument);

/* INIT, then two times STARTUP, to one CPU. */
void cpu_restart(unsigned index);

#endif
