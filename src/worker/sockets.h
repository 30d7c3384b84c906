/*
 * Sockets of the guest on the host: Unix sockets in the partition's folder, the same way round as
 * other hypervisors have it.
 *
 *   vsock          programs of the host connect here and write "CONNECT PORT\n", or the GUID of a
 *                  service in place of the port; "OK NUMBER\n" comes back, then the guest's bytes.
 *                  What cannot be is answered by "ERROR why\n", and the connection is closed.
 *   vsock_PORT     a program of the host listens here for the guest's connections to this port;
 *                  vsock_GUID for services that are no ports
 */
#ifndef WORKER_SOCKETS_H
#define WORKER_SOCKETS_H

#include "base/loop.h"
#include "machine/machine.h"

struct sockets;

/* Before the machine starts. A machine without Hyper-V has none: -ENOTSUP. */
int sockets_create(const char *name, struct loop *loop, struct machine *machine,
                   struct sockets **ret, struct reason *reason);
/* Before the machine goes. NULL is accepted. */
void sockets_destroy(struct sockets *sockets);

#endif
