/*
 * A connected unix socket that keeps messages apart as a port: each is a struct virtio_net_hdr of
 * 12 bytes and a frame. The switch is at its other end, or another card.
 */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "base/loop.h"
#include "net/port.h"

/* Connect to a SOCK_SEQPACKET socket by path; or `fd` >= 0, SEQPACKET or DGRAM, which becomes the
 * port's. */
int net_socket_create(struct loop *loop, const char *path, int fd, struct net_port **ret,
                      struct reason *reason);

#endif
