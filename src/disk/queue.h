/*
 * Requests of a disk that is in use by a guest: many in flight, none that makes the loop wait.
 *
 * 1. disk_submit() returns at once; ->done is called on the loop's thread, perhaps before it
 *    returns. Requests that overlap have no order unless one was submitted after the other's
 * ->done.
 * 2. An unmap waits until what came before has ended, and what comes later waits for it. Flushes
 *    that come while one is carried out are carried out together.
 * 3. Threads: the loop's, for the queue and for all other calls of the disk. disk_write(),
 *    disk_unmap() and disk_flush() wait until all that was submitted has ended, and are like
 *    disk_close() not for within a ->done.
 */
#ifndef DISK_QUEUE_H
#define DISK_QUEUE_H

#include "disk/disk.h"
#include "disk/io.h"

/* From now on requests are served by `io`, of the loop that the caller's thread serves; -ENOMEM. */
int disk_queue_start(struct disk *disk, struct disk_io *io);
/* Wait until nothing is in flight; ->done is called from within. Without a queue: at once. */
void disk_queue_drain(struct disk *disk);
/* The same, and requests are served at once again. disk_close() calls it. */
void disk_queue_stop(struct disk *disk);

#endif
