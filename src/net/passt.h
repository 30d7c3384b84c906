/*
 * NAT as a port: passt(1), a process of its own without rights, on a stream socket. It answers
 * DHCP and DNS, and makes the guest's connections the host's.
 */
#ifndef NET_PASST_H
#define NET_PASST_H

#include "base/loop.h"
#include "net/port.h"

/* A port of the host that leads to one of the guest: "2222:22", perhaps "127.0.0.1/2222:22". */
struct passt_forward {
    bool udp;
    const char *ports;
};
struct passt_config {
    const struct passt_forward *forwards;
    unsigned forward_count;
    unsigned mtu; /* that DHCP tells the guest */
};

bool passt_is_installed(void);
int passt_create(struct loop *loop, const struct passt_config *config, struct net_port **ret,
                 struct reason *reason);
/* After a while: is it still there, and if not, what did it say? */
int passt_check(struct net_port *port, struct reason *reason);

#endif
