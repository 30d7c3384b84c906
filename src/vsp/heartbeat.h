/* Heartbeat: the guest counts up a number every two seconds, so its kernel lives. Loop thread. */
#ifndef VSP_HEARTBEAT_H
#define VSP_HEARTBEAT_H

#include "vsp/ic.h"

struct heartbeat;

int heartbeat_create(const struct ic_host *host, struct heartbeat **ret);
void heartbeat_destroy(struct heartbeat *heartbeat);
struct ic *heartbeat_ic(struct heartbeat *heartbeat);

#endif
