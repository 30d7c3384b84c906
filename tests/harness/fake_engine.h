/*
 * A second implementation of the engine seam, for tests: its processors run C functions instead of
 * guest code. It counts what is asked of it and breaks no rule of engine.h by itself.
 */
#ifndef TESTS_HARNESS_FAKE_ENGINE_H
#define TESTS_HARNESS_FAKE_ENGINE_H

#include <stdatomic.h>

#include "engine/engine.h"

struct fake_vcpu {
    unsigned index;
    unsigned life; /* 0 in the first partition made since fake_engine_load, 1 in the second, … */
    unsigned step; /* calls of the program's step before this one */
    const struct engine_registers *registers;
    struct engine_event last_event;
    void *owner; /* of the program */
};

enum fake_action {
    FAKE_EXIT,  /* run() returns with the exit that was filled in */
    FAKE_HALT,  /* wait for an interrupt, then step again */
    FAKE_BREAK, /* run() itself fails with -EIO */
};

struct fake_program {
    /* On the vCPU's thread. `exit` holds the answer to the last exit; fill in the next one. */
    enum fake_action (*step)(struct fake_vcpu *vcpu, struct engine_exit *exit);
    void *owner;
    unsigned refuse_partition; /* the n-th partition_create fails; 0: none does */
};

struct fake_counts {
    atomic_uint partitions, vcpus, alive, sets, interrupts, kicks, extint_lines, extint_vectors,
        flushes;
};

/* What partitions made from now on run. The counts start anew. */
void fake_engine_load(const struct fake_program *program);
const struct fake_counts *fake_engine_counts(void);

extern const struct engine_ops fake_engine;

#endif
