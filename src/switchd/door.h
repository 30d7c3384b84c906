/*
 * Where cards come in: a connection says hello, and becomes the line of its port. One that says
 * something else, or nothing, has no more than its place here; the newest has the oldest's.
 */
#ifndef SWITCHD_DOOR_H
#define SWITCHD_DOOR_H

#include "control/socket.h"
#include "switchd/registry.h"

struct door;

/* The listener is the door's on success. */
int door_create(struct registry *registry, const struct control_listener *listener,
                struct door **ret);
void door_destroy(struct door *door); /* NULL is accepted */

#endif
