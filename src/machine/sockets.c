/* The sockets between a machine's guest and its host. */
#include <errno.h>

#include "machine/machine_private.h"

int machine_serve_sockets(struct machine *machine, const struct hvsock_user *user,
                          struct hvsock **ret)
{
    if (machine->vmbus == NULL)
        return -ENOTSUP;
    int error = hvsock_create(machine->vmbus, user, &machine->sockets);
    *ret = machine->sockets;
    return error;
}

void machine_end_sockets(struct machine *machine)
{
    hvsock_destroy(machine->sockets);
    machine->sockets = NULL;
}
