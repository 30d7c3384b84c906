/* A TAP device of the host as a port. */
#ifndef NET_TAP_H
#define NET_TAP_H

#include "base/loop.h"
#include "net/port.h"

/*
 * By name: it is attached to when it is there and made otherwise, which takes CAP_NET_ADMIN; `fd`
 * >= 0: one that is open already, and becomes the port's. The reason tells what to mend.
 */
int tap_create(struct loop *loop, const char *name, int fd, struct net_port **ret,
               struct reason *reason);

#endif
