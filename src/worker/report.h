/* What is known of a vCPU after its guest crashed, for a person to read. */
#ifndef WORKER_REPORT_H
#define WORKER_REPORT_H

#include <stdio.h>

#include "machine/machine.h"
#include "worker/symbols.h"

/* Registers, the instruction at RIP and how it came there. `symbols` may be NULL. */
void report_vcpu(FILE *to, struct machine *machine, unsigned vcpu, struct symbols *symbols);

/* What the guest said of its own crash: its bytes, made printable. */
void report_crash(FILE *to, const struct machine_crash *crash);

#endif
