/*
 * Guest file copy: a file of the host is written into the guest by its hv_fcopy_daemon, in pieces
 * of 6 KiB, each of which is confirmed. One copy at a time. Loop thread.
 */
#ifndef VSP_FCOPY_H
#define VSP_FCOPY_H

#include <sys/types.h>

#include "vsp/ic.h"

struct fcopy;

enum { FCOPY_PIECE = 6144, FCOPY_MOST_NAME = 259 /* UTF-16 units of a folder, and of a name */ };

struct fcopy_job {
    const char *path; /* in the guest, absolute; used during the call only */
    uint64_t size;
    bool overwrite, make_folders;
    void *owner;
    /* Exactly `size` bytes at `offset`: 0, -EAGAIN when fcopy_continue() will follow, or an error.
     */
    int (*read)(void *owner, uint64_t offset, uint8_t *to, size_t size);
    /* All bytes are sent and confirmed: whether they were the right ones. 0 or an error. */
    int (*check)(void *owner, struct reason *reason);
    /* Called once, not from within fcopy_start(); 0: the guest has confirmed all of the file. */
    void (*ended)(void *owner, int error, const struct reason *reason);
};

int fcopy_create(const struct ic_host *host, struct fcopy **ret);
/* A copy that is under way is forgotten. NULL is accepted. */
void fcopy_destroy(struct fcopy *fcopy);
struct ic *fcopy_ic(struct fcopy *fcopy);
int fcopy_start(struct fcopy *fcopy, const struct fcopy_job *job, struct reason *reason);
void fcopy_continue(struct fcopy *fcopy);
/* The guest is told to remove what it has of the file; then `ended` is called with -ECANCELED. */
void fcopy_cancel(struct fcopy *fcopy);
bool fcopy_is_busy(const struct fcopy *fcopy);
uint64_t fcopy_done(const struct fcopy *fcopy); /* bytes that the guest has confirmed */

#endif
