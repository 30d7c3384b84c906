/* A network interface of the host as a port: all its frames, by a packet socket. */
#ifndef NET_PACKET_H
#define NET_PACKET_H

#include "base/loop.h"
#include "net/port.h"

/* Takes CAP_NET_RAW. What the host itself sends by the interface is not seen. */
int packet_create(struct loop *loop, const char *interface, struct net_port **ret,
                  struct reason *reason);

#endif
