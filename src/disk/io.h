/*
 * What moves the bytes of a loop's disks: many transfers at a time, by an io_uring or by threads.
 *
 * 1. Threads: the loop's. One of these serves any number of disks, and outlives their queues.
 * 2. What is in the host's page cache is moved at once, as long as that does not make the loop
 * wait.
 */
#ifndef DISK_IO_H
#define DISK_IO_H

#include "base/loop.h"
#include "disk/pending.h"

struct disk_io;

/* Best: an io_uring where the kernel gives one, else threads. */
enum disk_io_kind { DISK_IO_BEST, DISK_IO_URING, DISK_IO_THREADS };

/* -ENOMEM, -EAGAIN; of an io_uring that must be one what the kernel says: -ENOSYS, -EPERM. */
int disk_io_create(struct loop *loop, enum disk_io_kind kind, struct disk_io **ret);
/* Nothing is in flight. NULL is accepted. */
void disk_io_destroy(struct disk_io *io);
/* Which one it is: not BEST. */
enum disk_io_kind disk_io_kind(const struct disk_io *io);
/* For tests: nothing is moved at once any more. */
void disk_io_move_later(struct disk_io *io);

/* ---- for queues ---- */

/* What was learnt of a disk's files. */
struct disk_pace {
    bool reads_wait, writes_wait; /* the file system does not say whether they would */
    uint64_t others_until;        /* CLOCK_MONOTONIC: a write made the loop wait a while ago */
};

/* The descriptor of a file for ->fd, or -1. */
int disk_io_descriptor(struct file *file);
/*
 * True: it has ended, its result is set and ->ended is not called. Else it is under way.
 * Files without a descriptor are read and written by several threads at a time.
 */
bool disk_io_start(struct disk_io *io, struct disk_transfer *transfer, struct disk_pace *pace);
void disk_io_help(struct disk_io *io, struct disk_job *job);
/* Wait until `work` of a job has returned; ->done is called later as ever. */
void disk_io_await(struct disk_io *io, const struct disk_job *job);
/* Without the loop: wait until something has ended, and tell of all that has. */
void disk_io_turn(struct disk_io *io);

#endif
