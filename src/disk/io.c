#include "disk/io.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "disk/file.h"
#include "disk/threads.h"
#include "disk/uring.h"

enum {
    MOVERS = 4,  /* threads that transfer where there is no io_uring */
    HELPERS = 4, /* for commits, unmaps, and files without a descriptor */

    SLOW_WRITE_NS = NS_PER_SECOND / 1000,
    PAUSE_NS = NS_PER_SECOND / 5,
};

struct disk_io {
    struct disk_uring *uring;    /* NULL: threads */
    struct disk_threads *movers; /* NULL: io_uring */
    struct disk_threads *helpers;
    bool later; /* nothing is moved at once */
};

/* ---- a transfer, by a system call ---- */

static int64_t move(const struct disk_transfer *transfer, int flags)
{
    const struct iovec *iov = transfer->iov;
    int count = (int)transfer->iov_count;
    off_t offset = (off_t)transfer->offset;
    ssize_t moved;

    do
        moved = transfer->write ? pwritev2(transfer->fd, iov, count, offset, flags)
                                : preadv2(transfer->fd, iov, count, offset, flags);
    while (moved < 0 && errno == EINTR);
    return moved < 0 ? -errno : moved;
}

static int64_t move_pieces(const struct disk_transfer *transfer)
{
    uint64_t offset = transfer->offset;
    int error = 0;

    for (unsigned i = 0; error == 0 && i < transfer->iov_count; i++) {
        const struct iovec *piece = &transfer->iov[i];
        error = transfer->write
                    ? file_write(transfer->file, piece->iov_base, piece->iov_len, offset)
                    : file_read(transfer->file, piece->iov_base, piece->iov_len, offset);
        offset += piece->iov_len;
    }
    return error < 0 ? error : (int64_t)(offset - transfer->offset);
}

static struct disk_transfer *transfer_of(struct disk_job *job)
{
    return (struct disk_transfer *)(void *)job; /* its first member */
}

static void transfer_work(struct disk_job *job)
{
    struct disk_transfer *transfer = transfer_of(job);

    transfer->result = transfer->fd >= 0 ? move(transfer, 0) : move_pieces(transfer);
}

static void transfer_done(struct disk_job *job)
{
    struct disk_transfer *transfer = transfer_of(job);

    transfer->ended(transfer);
}

static void start_on(struct disk_threads *threads, struct disk_transfer *transfer)
{
    transfer->job.work = transfer_work;
    transfer->job.done = transfer_done;
    disk_threads_start(threads, &transfer->job);
}

/* The kernel may say so of files that it cannot serve without waiting: a thread waits for them. */
static void uring_done(struct disk_job *job)
{
    struct disk_transfer *transfer = transfer_of(job);

    if (transfer->result == -EAGAIN || transfer->result == -EINTR)
        start_on(transfer->io->helpers, transfer);
    else
        transfer->ended(transfer);
}

/* ---- at once ---- */

/* -EAGAIN: it would wait, or nobody knows. */
static int64_t move_without_waiting(const struct disk_transfer *transfer, bool *waits)
{
    int64_t result = *waits ? -EAGAIN : move(transfer, RWF_NOWAIT);

    if (result == -EOPNOTSUPP)
        *waits = true;
    return result == -EOPNOTSUPP ? -EAGAIN : result;
}

/*
 * A write to the page cache is a copy, much cheaper than asking another thread for it, until the
 * kernel throttles the writer.
 */
static int64_t write_and_see(const struct disk_transfer *transfer, struct disk_pace *pace)
{
    uint64_t start = clock_monotonic_ns();

    if (start < pace->others_until)
        return -EAGAIN;
    int64_t result = move(transfer, 0);
    uint64_t end = clock_monotonic_ns();
    if (end - start > SLOW_WRITE_NS)
        pace->others_until = end + PAUSE_NS;
    return result;
}

static bool try_now(struct disk_transfer *transfer, struct disk_pace *pace)
{
    int64_t result =
        move_without_waiting(transfer, transfer->write ? &pace->writes_wait : &pace->reads_wait);

    if (result == -EAGAIN && transfer->write && pace->writes_wait)
        result = write_and_see(transfer, pace);
    transfer->result = result;
    return result != -EAGAIN;
}

/* ---- for queues ---- */

int disk_io_descriptor(struct file *file)
{
    return file_descriptor(file);
}

bool disk_io_start(struct disk_io *io, struct disk_transfer *transfer, struct disk_pace *pace)
{
    transfer->io = io;
    if (transfer->fd < 0) {
        start_on(io->helpers, transfer);
        return false;
    }
    if (!io->later && try_now(transfer, pace))
        return true;
    if (io->uring == NULL) {
        start_on(io->movers, transfer);
        return false;
    }
    transfer->job.done = uring_done;
    disk_uring_start(io->uring, transfer);
    return false;
}

void disk_io_help(struct disk_io *io, struct disk_job *job)
{
    disk_threads_start(io->helpers, job);
}

void disk_io_await(struct disk_io *io, const struct disk_job *job)
{
    disk_threads_await(io->helpers, job);
}

void disk_io_turn(struct disk_io *io)
{
    enum { RETRY_MS = 50 }; /* what the kernel has refused to take is tried again */
    struct pollfd descriptors[] = {
        {.fd = disk_threads_descriptor(io->helpers), .events = POLLIN},
        {.fd = io->uring != NULL ? disk_uring_descriptor(io->uring)
                                 : disk_threads_descriptor(io->movers),
         .events = POLLIN},
    };

    (void)poll(descriptors, sizeof(descriptors) / sizeof(descriptors[0]), RETRY_MS);
    disk_threads_reap(io->helpers);
    if (io->uring != NULL)
        disk_uring_reap(io->uring);
    else
        disk_threads_reap(io->movers);
}

/* ---- life ---- */

enum disk_io_kind disk_io_kind(const struct disk_io *io)
{
    return io->uring != NULL ? DISK_IO_URING : DISK_IO_THREADS;
}

void disk_io_move_later(struct disk_io *io)
{
    io->later = true;
}

void disk_io_destroy(struct disk_io *io)
{
    if (io == NULL)
        return;
    disk_uring_destroy(io->uring);
    disk_threads_destroy(io->movers);
    disk_threads_destroy(io->helpers);
    free(io);
}

int disk_io_create(struct loop *loop, enum disk_io_kind kind, struct disk_io **ret)
{
    struct disk_io *io = calloc(1, sizeof(*io));

    if (io == NULL)
        return -ENOMEM;
    int error = disk_threads_create(loop, HELPERS, &io->helpers);
    if (error == 0 && kind != DISK_IO_THREADS) {
        error = disk_uring_create(loop, &io->uring);
        if (error < 0 && kind == DISK_IO_BEST)
            kind = DISK_IO_THREADS;
    }
    if (kind == DISK_IO_THREADS && io->helpers != NULL)
        error = disk_threads_create(loop, MOVERS, &io->movers);
    if (error < 0) {
        disk_io_destroy(io);
        return error;
    }
    *ret = io;
    return 0;
}
