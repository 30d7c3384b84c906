/* What the disk keeps within a request while it has it: so that nothing is allocated for one. */
#ifndef DISK_PENDING_H
#define DISK_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct disk_io;
struct disk_queue;
struct disk_request;
struct file;

/* Something that takes long: `work` on a helper thread, then `done` on the loop's. */
struct disk_job {
    struct disk_job *next;
    void (*work)(struct disk_job *job);
    void (*done)(struct disk_job *job);
    bool worked; /* the helper threads' own */
};

/* Bytes between memory and a file: what one system call moves, or a part of it. */
struct disk_transfer {
    struct disk_job job; /* first: when a helper thread has to move them */
    struct disk_transfer *next;
    struct disk_io *io;
    struct file *file;
    const struct iovec *iov;
    unsigned iov_count; /* at most IOV_MAX */
    int fd;             /* -1: the file has none */
    uint64_t offset;    /* in the file */
    int64_t result;     /* bytes, 0 at the end of the file, or a negative errno */
    void (*ended)(struct disk_transfer *transfer);
    bool write;
};

struct disk_pending {
    struct disk_transfer transfer; /* first */
    struct disk_queue *queue;
    struct disk_request *next; /* in one of the queue's lists */
    uint64_t done;             /* bytes */
    /* The extent that is being moved; nothing is left and its length is 0: there is none. */
    struct file *file; /* NULL: zeroes */
    uint64_t file_offset, left, extent_length;
    /* In the request's pieces: where the next byte goes. */
    unsigned piece;
    size_t within;
    struct iovec part; /* of a piece that an extent does not cover in whole */
};

#endif
