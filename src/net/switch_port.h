/*
 * A port of a switch that another process is, from a card's side. When that process goes, the cable
 * is out; the port knocks until there is one again.
 */
#ifndef NET_SWITCH_PORT_H
#define NET_SWITCH_PORT_H

#include "base/loop.h"
#include "net/hello.h"
#include "net/port.h"

/*
 * Connect to the socket `path`, and wait for the welcome. The address that the card has is left in
 * `hello`, whose copy is the port's.
 */
int switch_port_create(struct loop *loop, const char *path, struct net_hello *hello,
                       struct net_port **ret, struct reason *reason);

#endif
