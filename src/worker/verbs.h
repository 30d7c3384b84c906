/* What a partition does when its manager asks: the verbs of the control socket. */
#ifndef WORKER_VERBS_H
#define WORKER_VERBS_H

#include "machine/machine.h"
#include "worker/cards.h"
#include "worker/disks.h"
#include "worker/serve.h"

/* The `owner` of the verbs, which lives as long as their server. Loop thread. */
struct verbs {
    struct machine *machine;
    struct disks *disks;
    const struct cards *cards;
    const struct machine_config *config;
    uint64_t started_ns;        /* on CLOCK_MONOTONIC */
    void (*stop)(void *worker); /* end the partition at once */
    void *worker;
};

extern const struct serve_verbs worker_verbs;

#endif
