/*
 * NAT as a process of its own, without rights: libslirp between a socket to the switch and the
 * sockets of the host. It answers DHCP (10.0.2.15 and on) and DNS (10.0.2.3); the host is 10.0.2.2.
 */
#ifndef SWITCHD_NAT_H
#define SWITCHD_NAT_H

#include "base/loop.h"
#include "net/port.h"

enum { NAT_FD = 3 }; /* the socket, as that process sees it */

/* "tcp:2222:10.0.2.15:22", "udp:127.0.0.1/5353:10.0.2.16:53". */
struct nat_forward {
    bool udp;
    uint8_t host[4], guest[4];
    uint16_t host_port, guest_port;
};
bool nat_parse_forward(const char *text, struct nat_forward *ret);

/* Be that process, on NAT_FD, until the other end closes: an exit code. */
int nat_run(const char *const *forwards, unsigned count);
/* Start that process. Its line ends when it does. */
int nat_create(struct loop *loop, const char *const *forwards, unsigned count,
               struct net_port **ret, struct reason *reason);

#endif
