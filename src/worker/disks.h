/*
 * The disks of a partition: opened, given their places, plugged in and taken away while the guest
 * runs, closed. Loop thread, once that runs.
 */
#ifndef WORKER_DISKS_H
#define WORKER_DISKS_H

#include "control/words.h"
#include "worker/worker.h"

struct disks;

enum { DISKS_PATIENCE_MS = 20000 };

/*
 * Open what the configuration names, and find a place for each that has none. The loop serves disks
 * from then on, and outlives them.
 */
int disks_open(const struct worker_config *config, struct loop *loop, struct disks **ret,
               struct reason *reason);
/* For machine_config: those of the configuration, in its order, constant until disks_close. */
const struct machine_disk *disks_places(const struct disks *disks, size_t *ret_count);
/*
 * The machine has them, before the first of the calls below: from now on many of a guest's requests
 * are in flight at a time.
 */
int disks_serve(struct disks *disks, struct machine *machine, struct reason *reason);

/* How long an order waits for the guest's last commands; DISKS_PATIENCE_MS unless it is said. */
void disks_set_patience(struct disks *disks, unsigned ms);

/* What a person is told of each, by place; the status owns what it gets, also after -ENOMEM. */
int disks_describe(const struct disks *disks, struct control_status *ret);

/* How an order ended: 0, or a negative errno with a reason. Called once, perhaps at once. */
struct disks_answer {
    void (*ended)(void *owner, int error, const struct reason *reason);
    void *owner;
};

/*
 * Open one more and plug it in; the strings of `disk` are copied, but for the serial. -EEXIST,
 * -EINVAL, -ENOSPC, or what disk_open said.
 */
int disks_attach(struct disks *disks, const struct worker_disk *disk, unsigned *ret_controller,
                 unsigned *ret_lun, struct reason *reason);
/*
 * Take one away. It has ended when the guest's last command has, and the file is flushed and
 * closed; -EBUSY when patience is at an end, though it goes on. -ENOENT.
 */
void disks_detach(struct disks *disks, unsigned controller, unsigned lun,
                  const struct disks_answer *answer);
/*
 * Another disc into a DVD drive; NULL: take it out. It has ended as above, for the disc that was
 * there. -ENOENT: no drive, or nothing to take out; -ENOTSUP: a disk; or what disk_open said.
 */
void disks_change_disc(struct disks *disks, unsigned controller, unsigned lun, const char *path,
                       const struct disks_answer *answer);

/* Wait until no request is in flight: before the machine is destroyed, when its guest stands. */
void disks_drain(struct disks *disks);
/*
 * After the machine is destroyed, or without one: flush and close all; 0 or the first error. Orders
 * that wait are forgotten. NULL is accepted.
 */
int disks_close(struct disks *disks, struct reason *reason);

#endif
