/*
 * The probe's guest: a loop of known length in 64-bit mode, with what kernels do now and then
 * (CPUID, WRMSR, SWAPGS, MOV CR3, LGDT) in it. An engine is worth using when it runs this fast.
 */
#ifndef ENGINE_PROBE_PRIVATE_H
#define ENGINE_PROBE_PRIVATE_H

#include <stdint.h>

#include "base/reason.h"
#include "engine/engine.h"

enum {
    PROBE_GUEST_RAM = 0x10000,
    PROBE_GUEST_PORT = 0x80, /* written at the end of the loop */
    PROBE_GUEST_PML4 = 0x1000,
    PROBE_GUEST_GDT = 0x4000,
    PROBE_GUEST_GDT_LIMIT = 0x1f,
    PROBE_GUEST_CODE = 0x6000,
    PROBE_GUEST_STACK = 0x8000,
    /* A round is this many instructions; the count of rounds is in R8, of inner turns in RDI. */
    PROBE_GUEST_TURNS = 4000,
    PROBE_GUEST_ROUND = 4 * PROBE_GUEST_TURNS + 17,
};

/* Limits of the whole probe: rather call a KVM slow than make every start wait for it. */
enum {
    PROBE_TIME_NS = 300 * 1000 * 1000,
    PROBE_NEEDED_MIPS = 200,
    PROBE_HOPELESS_MIPS = 20, /* seen in the first round: do not go on */
    PROBE_ROUNDS = 64,        /* about a million instructions */
    PROBE_REPEATS = 3,
};

/* Write code, page tables and GDT into PROBE_GUEST_RAM zeroed bytes, which are physical 0 onwards.
 */
void probe_guest_write(uint8_t *ram);
/* Turn `registers`, any valid state, into the loop's start with `rounds` rounds to go. */
void probe_guest_start(struct engine_registers *registers, uint64_t rounds);
/* How many instructions of `rounds` rounds are done when RDI and R8 are these. */
uint64_t probe_guest_done(uint64_t rounds, uint64_t rdi, uint64_t r8);

/* One timed run of `rounds` rounds: 0, or -ETIME at the deadline, or an error with its reason. */
struct probe_run {
    uint64_t instructions;
    uint64_t elapsed_ns;
};
typedef int (*probe_run_fn)(void *engine, uint64_t rounds, struct probe_run *ret,
                            struct reason *reason);

/* First one round, then the best of some long ones; -ETIME still gives the rate that was reached.
 */
int probe_measure(probe_run_fn run, void *engine, double *ret_mips, struct reason *reason);

/* Run the loop on an open /dev/kvm, or on an engine of ours through the seam. */
int probe_kvm_speed(int kvm, double *ret_mips, struct reason *reason);
int probe_engine_speed(const struct engine_ops *ops, double *ret_mips, struct reason *reason);

/* The software engine's report without a run of the loop. */
void probe_soft_abilities(struct engine_report *ret);

#endif
