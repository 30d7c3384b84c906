/*
 * The tester's side of the native child: start it, hand it batches, survive its death.
 */
#ifndef DIFFERENTIAL_NATIVE_H
#define DIFFERENTIAL_NATIVE_H

#include <sys/types.h>

#include "base/reason.h"
#include "layout.h"

struct native {
    struct diff_ring *ring;
    int ring_fd;
    pid_t child;
    char program[4096];
    uint64_t restarts;
};

/*
 * Start the child, a program beside this one. 0, -ENOTSUP when this host cannot run it (the reason
 * says why), or another negative errno.
 */
int native_start(struct native *ret, struct reason *reason);
void native_stop(struct native *native);

/*
 * Run ring->count cases: ring->results are filled for those whose outcome was DIFF_NOT_RUN. A case
 * that kills or hangs the child gets DIFF_DIED or DIFF_STUCK and the rest go on in a new child.
 * 0 or a negative errno when no child can be had.
 */
int native_run_batch(struct native *native, struct reason *reason);

#endif
