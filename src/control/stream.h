/* A connection into the guest of a running partition, through its "vsock" socket. */
#ifndef CONTROL_STREAM_H
#define CONTROL_STREAM_H

#include "base/reason.h"

/*
 * To a VSOCK port where a program of the guest listens. -ENOENT: no partition of this name runs;
 * -ECONNREFUSED: the partition says why not, as far as it knows; -ENOTSUP: it has no such sockets;
 * -ETIMEDOUT.
 */
int control_connect_stream(const char *name, unsigned port, int timeout_ms, int *ret_fd,
                           struct reason *reason);

#endif
