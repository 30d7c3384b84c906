/* The disks of a partition: opened, given their places, closed. */
#ifndef WORKER_DISKS_H
#define WORKER_DISKS_H

#include "control/words.h"
#include "worker/worker.h"

struct disks;

/* Open what the configuration names, and find a place for each that has none. */
int disks_open(const struct worker_config *config, struct disks **ret, struct reason *reason);
/* For machine_config: the disks' own, constant until disks_close. */
const struct machine_disk *disks_places(const struct disks *disks, size_t *ret_count);
/* What a person is told of each; the status owns what it gets, also after -ENOMEM. */
int disks_describe(const struct disks *disks, struct control_status *ret);
/* After the machine is destroyed: flush and close all; 0 or the first error. NULL is accepted. */
int disks_close(struct disks *disks, struct reason *reason);

#endif
