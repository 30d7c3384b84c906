/*
 * Passes connections on: each that comes to a listening socket gets one of its own behind, and
 * bytes go both ways until an end closes. Nobody waits for another. One thread.
 */
#ifndef CLI_RELAY_H
#define CLI_RELAY_H

#include <stdbool.h>

struct relay;

enum { RELAY_MOST = 16 };

/* Whether one that has come may; it is closed if not. */
typedef bool (*relay_admit_fn)(void *owner, int fd);
/* What is behind: a new connection. -ENOENT ends the relay, other errors only that connection. */
typedef int (*relay_connect_fn)(void *owner, int *ret_fd);

/* Asked now and then: whether what is behind is still there. 0, or what ends the relay. */
typedef int (*relay_look_fn)(void *owner);

/* The listener is the caller's, and non-blocking; `stop_fd` is readable when it is to end. */
struct relay_config {
    int listener_fd, stop_fd;
    relay_admit_fn admit;
    relay_connect_fn connect;
    relay_look_fn look;
    void *owner;
};

/* 0 when it was stopped, or what ended it. */
int relay_run(const struct relay_config *config);

#endif
