/*
 * Transfers by the kernel's io_uring. Threads: the loop's.
 *
 * A transfer, its pieces and its bytes are the ring's until job.done is called, which never
 * happens from within disk_uring_start().
 */
#ifndef DISK_URING_H
#define DISK_URING_H

#include "base/loop.h"
#include "disk/pending.h"

struct disk_uring;

/* What the kernel says: -ENOSYS, -EPERM; -ENOTSUP: it is too old. */
int disk_uring_create(struct loop *loop, struct disk_uring **ret);
/* All transfers have ended. NULL is accepted. */
void disk_uring_destroy(struct disk_uring *uring);
void disk_uring_start(struct disk_uring *uring, struct disk_transfer *transfer);

/* Without the loop: readable when transfers have ended; and call ->ended of those. */
int disk_uring_descriptor(const struct disk_uring *uring);
void disk_uring_reap(struct disk_uring *uring);

#endif
