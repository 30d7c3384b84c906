/* What is done to images before the power is cut. */
#ifndef TESTS_POWERCUT_WORKLOAD_H
#define TESTS_POWERCUT_WORKLOAD_H

#include "model.h"

struct run {
    struct cut_host host;
    struct model_history history;
    struct disk *disk;
    uint64_t seed, capacity;
};

struct workload {
    const char *name;
    void (*perform)(struct run *run); /* from nothing to a closed image */
    const char *top;                  /* the image that is looked at after the cut */
    const char *merged;               /* it was merged into that one; NULL: not */
    unsigned levels;
    bool creates; /* before MARK_START: what is left may be no image */
};

extern const struct workload workloads[];
extern const unsigned workload_count;

/* A random write, unmap or flush on the open disk, noted in the log. */
void run_step(struct run *run);

#endif
