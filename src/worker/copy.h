/*
 * A file of the host on its way into the guest: a thread reads it ahead, so that a slow disk holds
 * up nothing else, and the guest's file copy service takes it. All calls are for the loop thread.
 */
#ifndef WORKER_COPY_H
#define WORKER_COPY_H

#include "base/loop.h"
#include "vsp/fcopy.h"

struct copy;

struct copy_config {
    const char *path;        /* on the host: a regular file */
    const char *destination; /* in the guest */
    bool overwrite, make_folders;
};

int copy_start(struct loop *loop, struct fcopy *fcopy, const struct copy_config *config,
               struct copy **ret, struct reason *reason);
void copy_cancel(struct copy *copy);
/*
 * Whether it is under way, and how far; `*ret_error` is what it ended with, 0: the guest has
 * confirmed all of it, and the file did not change meanwhile.
 */
bool copy_is_running(const struct copy *copy, uint64_t *ret_done, uint64_t *ret_size);
int copy_result(const struct copy *copy, struct reason *reason);
/* After it has ended, or after the service. NULL is accepted. */
void copy_destroy(struct copy *copy);

#endif
