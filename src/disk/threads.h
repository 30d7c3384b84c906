/*
 * Helper threads for what takes long: jobs in the order in which they come, as many at a time as
 * there are threads.
 *
 * 1. Threads: the loop's, for all calls here. A job is its owner's again when ->done is called.
 * 2. Starting a job allocates nothing and does not wait.
 */
#ifndef DISK_THREADS_H
#define DISK_THREADS_H

#include "base/loop.h"
#include "disk/pending.h"

struct disk_threads;

int disk_threads_create(struct loop *loop, unsigned count, struct disk_threads **ret);
/* All jobs have ended. NULL is accepted. */
void disk_threads_destroy(struct disk_threads *threads);
void disk_threads_start(struct disk_threads *threads, struct disk_job *job);

/* Without the loop: readable when jobs have ended; and call ->done of those. */
int disk_threads_descriptor(const struct disk_threads *threads);
void disk_threads_reap(struct disk_threads *threads);
/* Wait until `work` of a job has returned; ->done is called later as ever. */
void disk_threads_await(struct disk_threads *threads, const struct disk_job *job);

#endif
