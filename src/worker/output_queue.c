#include "worker/output_queue.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    QUEUE_SIZE = 64 * 1024,
    /* Kept for threads that must not wait. */
    QUEUE_RESERVE = 4 * 1024,
    WRITE_SIZE = 4096, /* PIPE_BUF: a pipe that polls writable takes that much at once */
    READER_PATIENCE_MS = 200,
    READER_PATIENCE_AGAIN_NS = 1000 * 1000 * 1000, /* who did not read just now is not waited for */
};

struct output_queue {
    struct output_queue_config config;
    pthread_t thread;
    uint64_t impatient_until_ns; /* the writer's */
    pthread_mutex_t lock;        /* guards all below */
    pthread_cond_t filled, drained;
    uint8_t bytes[QUEUE_SIZE];
    size_t start, length;
    bool no_wait, finishing, finished;
    bool abandoned; /* finish gave up: the thread releases the queue */
};

/* Copy the oldest bytes, which stay in the queue until written; 0 when the thread shall end. */
static size_t take_batch(struct output_queue *queue, uint8_t *batch, size_t size)
{
    (void)pthread_mutex_lock(&queue->lock);
    while (queue->length == 0 && !queue->finishing)
        (void)pthread_cond_wait(&queue->filled, &queue->lock);
    size_t length = queue->length < size ? queue->length : size;
    size_t first = QUEUE_SIZE - queue->start;
    first = first < length ? first : length;
    memcpy(batch, queue->bytes + queue->start, first);
    memcpy(batch + first, queue->bytes, length - first);
    (void)pthread_mutex_unlock(&queue->lock);
    return length;
}

static void drop_batch(struct output_queue *queue, size_t length)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->start = (queue->start + length) % QUEUE_SIZE;
    queue->length -= length;
    (void)pthread_cond_broadcast(&queue->drained);
    (void)pthread_mutex_unlock(&queue->lock);
}

static void wait_writable(struct output_queue *queue)
{
    struct pollfd poll_fd = {.fd = queue->config.fd, .events = POLLOUT};

    if (queue->config.discard_fd < 0) {
        (void)poll(&poll_fd, 1, -1);
        return;
    }
    bool patient = clock_monotonic_ns() >= queue->impatient_until_ns;
    if (poll(&poll_fd, 1, patient ? READER_PATIENCE_MS : 0) == 0) {
        (void)tcflush(queue->config.discard_fd, TCIFLUSH);
        queue->impatient_until_ns = clock_monotonic_ns() + READER_PATIENCE_AGAIN_NS;
    }
}

static int write_batch(struct output_queue *queue, const uint8_t *batch, size_t length)
{
    while (length > 0) {
        wait_writable(queue);
        ssize_t done = write(queue->config.fd, batch, length);
        if (done < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (done > 0) {
            batch += done;
            length -= (size_t)done;
        }
    }
    return 0;
}

static void release(struct output_queue *queue)
{
    (void)pthread_cond_destroy(&queue->filled);
    (void)pthread_cond_destroy(&queue->drained);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}

static bool is_finishing(struct output_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    bool finishing = queue->finishing;
    (void)pthread_mutex_unlock(&queue->lock);
    return finishing;
}

static void *write_thread(void *argument)
{
    struct output_queue *queue = argument;
    uint8_t batch[WRITE_SIZE];
    size_t length = 0;
    bool broken = false;

    while ((length = take_batch(queue, batch, sizeof(batch))) > 0) {
        /* After a failed write everything is dropped, so that nobody waits for ever. */
        int error = broken ? 0 : write_batch(queue, batch, length);
        if (error < 0) {
            broken = true;
            if (!is_finishing(queue)) /* else nobody is there any more to be told */
                queue->config.failed(queue->config.owner, error);
        }
        drop_batch(queue, length);
    }
    (void)pthread_mutex_lock(&queue->lock);
    queue->finished = true;
    (void)pthread_cond_broadcast(&queue->drained);
    bool abandoned = queue->abandoned;
    (void)pthread_mutex_unlock(&queue->lock);
    if (abandoned)
        release(queue);
    return NULL;
}

int output_queue_create(const struct output_queue_config *config, struct output_queue **ret)
{
    struct output_queue *queue = calloc(1, sizeof(*queue));
    if (queue == NULL)
        return -ENOMEM;
    queue->config = *config;
    (void)pthread_mutex_init(&queue->lock, NULL);
    (void)pthread_cond_init(&queue->filled, NULL);
    (void)pthread_cond_init(&queue->drained, NULL);
    int error = pthread_create(&queue->thread, NULL, write_thread, queue);
    if (error != 0) {
        release(queue);
        return -error;
    }
    *ret = queue;
    return 0;
}

/* Lock held. How many bytes may be added now by one who waits, or by one who does not. */
static size_t room(const struct output_queue *queue, bool wait)
{
    size_t limit = wait ? QUEUE_SIZE - QUEUE_RESERVE : QUEUE_SIZE;
    return queue->length < limit ? limit - queue->length : 0;
}

static size_t append(struct output_queue *queue, const uint8_t *bytes, size_t length)
{
    size_t at = (queue->start + queue->length) % QUEUE_SIZE;
    size_t first = QUEUE_SIZE - at;

    first = first < length ? first : length;
    memcpy(queue->bytes + at, bytes, first);
    memcpy(queue->bytes, bytes + first, length - first);
    queue->length += length;
    (void)pthread_cond_signal(&queue->filled);
    return length;
}

void output_queue_put(struct output_queue *queue, const uint8_t *bytes, size_t length, bool wait)
{
    (void)pthread_mutex_lock(&queue->lock);
    while (length > 0) {
        bool may_wait = wait && !queue->no_wait;
        size_t part = room(queue, may_wait);
        part = part < length ? part : length;
        if (part == 0 && !may_wait)
            break;
        if (part == 0) {
            (void)pthread_cond_wait(&queue->drained, &queue->lock);
            continue;
        }
        bytes += append(queue, bytes, part);
        length -= part;
    }
    (void)pthread_mutex_unlock(&queue->lock);
}

void output_queue_stop_waiting(struct output_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->no_wait = true;
    (void)pthread_cond_broadcast(&queue->drained);
    (void)pthread_mutex_unlock(&queue->lock);
}

/* Lock held. */
static void wait_finished(struct output_queue *queue, uint64_t limit_ns)
{
    uint64_t deadline = clock_monotonic_ns() + limit_ns;
    const struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_SECOND),
                                   .tv_nsec = (long)(deadline % NS_PER_SECOND)};
    int error = 0;

    while (!queue->finished && error == 0) {
        if (limit_ns == UINT64_MAX)
            error = pthread_cond_wait(&queue->drained, &queue->lock);
        else
            error = pthread_cond_clockwait(&queue->drained, &queue->lock, CLOCK_MONOTONIC, &until);
    }
}

bool output_queue_finish(struct output_queue *queue, uint64_t limit_ns)
{
    const pthread_t thread = queue->thread;

    (void)pthread_mutex_lock(&queue->lock);
    queue->finishing = true;
    queue->no_wait = true;
    (void)pthread_cond_broadcast(&queue->filled);
    (void)pthread_cond_broadcast(&queue->drained);
    wait_finished(queue, limit_ns);
    bool finished = queue->finished;
    queue->abandoned = !finished;
    (void)pthread_mutex_unlock(&queue->lock);

    if (!finished) {
        (void)pthread_detach(thread);
        return false;
    }
    (void)pthread_join(thread, NULL);
    release(queue);
    return true;
}
