/*
 * Bytes on their way to a descriptor that may be slow: a bounded queue and a thread that writes.
 * output_queue_put may be called by any thread; the rest by the owner.
 */
#ifndef WORKER_OUTPUT_QUEUE_H
#define WORKER_OUTPUT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct output_queue;

struct output_queue_config {
    int fd; /* stays the caller's; must outlive the queue */
    /*
     * When >= 0: nobody may be reading. After a short wait this descriptor's unread input is thrown
     * away, so that a late reader sees the newest output and the writer never waits for long.
     */
    int discard_fd;
    void *owner;
    void (*failed)(void *owner, int error); /* the writer's thread, once */
};

int output_queue_create(const struct output_queue_config *config, struct output_queue **ret);
/* When full: wait for room if `wait`, else drop. */
void output_queue_put(struct output_queue *queue, const uint8_t *bytes, size_t length, bool wait);
void output_queue_stop_waiting(struct output_queue *queue);
/*
 * Write what is left and end the thread. False when `limit_ns` passed before: the queue then goes
 * on to belong to its stuck thread, and its descriptors must not be closed.
 */
bool output_queue_finish(struct output_queue *queue, uint64_t limit_ns);

#endif
