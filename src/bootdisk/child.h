/*
 * Work on hostile bytes in a child process that may only read what is open and write to a pipe.
 *
 * 1. The child has limits of memory, time, processes and core files, a seccomp filter that leaves
 *    it reading, memory and the pipe, and it dies with its parent.
 * 2. What it sends are messages of a kind, a length and bytes. Each kind may come once, in any
 *    order, and has its own limit; the parent believes nothing else.
 */
#ifndef BOOTDISK_CHILD_H
#define BOOTDISK_CHILD_H

#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

enum { CHILD_MOST_KINDS = 8 };

struct child_message {
    uint8_t *bytes; /* NULL: not sent; else from mmap */
    size_t length;
};

/* In the child: begin a message, then send exactly as many bytes; 0 or a negative errno. */
struct child_pipe;
int child_begin(struct child_pipe *pipe, unsigned kind, uint64_t length);
int child_send(struct child_pipe *pipe, const void *bytes, size_t length);

struct child_work {
    /* 0 or a negative errno, for the parent; a reason is carried over. */
    int (*run)(void *owner, struct child_pipe *pipe, struct reason *reason);
    void *owner;
    const uint64_t *limits; /* most bytes of each kind, `kinds` of them */
    unsigned kinds;
    uint64_t timeout_ns;
};

/*
 * Run `work` and collect its messages in ret[0..kinds). The child's error, -ETIMEDOUT, -EPROTO when
 * it broke off or sent rubbish, -ENOMEM, or why it could not be started. For before threads are
 * made.
 */
int child_run(const struct child_work *work, struct child_message *ret, struct reason *reason);
void child_release(struct child_message *messages, unsigned kinds);

/* The parent's side of the pipe, for tests: until the end of `fd`, or `deadline_ns`. */
int child_receive(const struct child_work *work, int fd, uint64_t deadline_ns,
                  struct child_message *ret, struct reason *reason);

#endif
