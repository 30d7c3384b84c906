/*
 * Where managers come in: a line with an order, then its answer, then the end. A client that is
 * slow or hostile holds nobody up: it has one place, and the newest has the oldest's.
 */
#ifndef SWITCHD_DESK_H
#define SWITCHD_DESK_H

#include "control/socket.h"
#include "switchd/registry.h"

struct desk;
enum { DESK_MOST_ORDER = 32 << 10 }; /* bytes of a line */

/* `idle` is called when the last client has gone. The listener is the desk's on success. */
int desk_create(struct registry *registry, const struct control_listener *listener,
                void (*idle)(void *owner), void *owner, struct desk **ret);
void desk_destroy(struct desk *desk); /* NULL is accepted */

#endif
