/*
 * 1. Each transfer is handed to the kernel at once; those that come while others are told of their
 *    end go together.
 * 2. No more are in flight than the completion ring holds, so that none is lost; the others wait in
 *    order.
 * 3. The kernel may refuse to take submissions for want of memory: then a timer tries again.
 */
#include "disk/uring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/clock.h"

enum { SUBMISSIONS = 128, COMPLETIONS = 1024, RETRY_NS = NS_PER_SECOND / 1000 };

struct disk_uring {
    struct io_uring ring;
    bool has_ring;
    struct loop_watch *watch;
    struct loop_timer *retry;
    unsigned in_flight;
    bool reaping;
    struct disk_transfer *first_waiting, **end_waiting;
};

static void submit(struct disk_uring *uring)
{
    int error;

    do
        error = io_uring_submit(&uring->ring);
    while (error == -EINTR);
    if (error < 0 || io_uring_sq_ready(&uring->ring) > 0)
        loop_timer_set(uring->retry, clock_monotonic_ns() + RETRY_NS);
}

/* False: there is no room now. */
static bool prepare(struct disk_uring *uring, struct disk_transfer *transfer)
{
    struct io_uring_sqe *entry =
        uring->in_flight < COMPLETIONS ? io_uring_get_sqe(&uring->ring) : NULL;

    if (entry == NULL)
        return false;
    if (transfer->write)
        io_uring_prep_writev(entry, transfer->fd, transfer->iov, transfer->iov_count,
                             transfer->offset);
    else
        io_uring_prep_readv(entry, transfer->fd, transfer->iov, transfer->iov_count,
                            transfer->offset);
    io_uring_sqe_set_data(entry, transfer);
    uring->in_flight++;
    return true;
}

static void append_waiting(struct disk_uring *uring, struct disk_transfer *transfer)
{
    transfer->next = NULL;
    *uring->end_waiting = transfer;
    uring->end_waiting = &transfer->next;
}

static void prepare_waiting(struct disk_uring *uring)
{
    while (uring->first_waiting != NULL && prepare(uring, uring->first_waiting)) {
        uring->first_waiting = uring->first_waiting->next;
        if (uring->first_waiting == NULL)
            uring->end_waiting = &uring->first_waiting;
    }
}

void disk_uring_start(struct disk_uring *uring, struct disk_transfer *transfer)
{
    if (uring->first_waiting != NULL || !prepare(uring, transfer))
        append_waiting(uring, transfer);
    if (!uring->reaping)
        submit(uring);
}

/* Submit all, also those that found the submission ring full. */
static void submit_waiting(struct disk_uring *uring)
{
    do {
        prepare_waiting(uring);
        submit(uring);
    } while (uring->first_waiting != NULL && uring->in_flight < COMPLETIONS &&
             io_uring_sq_space_left(&uring->ring) > 0);
}

void disk_uring_reap(struct disk_uring *uring)
{
    struct io_uring_cqe *completion;

    uring->reaping = true;
    while (io_uring_peek_cqe(&uring->ring, &completion) == 0) {
        struct disk_transfer *transfer = io_uring_cqe_get_data(completion);
        transfer->result = completion->res;
        io_uring_cqe_seen(&uring->ring, completion);
        uring->in_flight--;
        transfer->job.done(&transfer->job);
    }
    uring->reaping = false;
    submit_waiting(uring);
}

static void completions_arrived(void *owner, uint32_t events)
{
    (void)events;
    disk_uring_reap(owner);
}

static void retry(void *owner)
{
    submit_waiting(owner);
}

int disk_uring_descriptor(const struct disk_uring *uring)
{
    return uring->ring.ring_fd;
}

/* ---- life ---- */

void disk_uring_destroy(struct disk_uring *uring)
{
    if (uring == NULL)
        return;
    loop_watch_destroy(uring->watch);
    loop_timer_destroy(uring->retry);
    if (uring->has_ring)
        io_uring_queue_exit(&uring->ring);
    free(uring);
}

/*
 * What is relied on: that no completion is lost (5.5), and that reads of what is in no cache do not
 * each take a thread (5.7).
 */
static int create_ring(struct disk_uring *uring)
{
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL;
    struct io_uring_params parameters = {.flags = IORING_SETUP_CQSIZE, .cq_entries = COMPLETIONS};
    int error = io_uring_queue_init_params(SUBMISSIONS, &uring->ring, &parameters);

    if (error < 0)
        return error;
    uring->has_ring = true;
    return (parameters.features & needed) == needed ? 0 : -ENOTSUP;
}

int disk_uring_create(struct loop *loop, struct disk_uring **ret)
{
    struct disk_uring *uring = calloc(1, sizeof(*uring));

    if (uring == NULL)
        return -ENOMEM;
    uring->end_waiting = &uring->first_waiting;
    int error = create_ring(uring);
    if (error == 0)
        error = loop_timer_create(loop, retry, uring, &uring->retry);
    if (error == 0)
        error = loop_watch_create(loop, uring->ring.ring_fd, EPOLLIN, completions_arrived, uring,
                                  &uring->watch);
    if (error < 0) {
        disk_uring_destroy(uring);
        return error;
    }
    *ret = uring;
    return 0;
}
