/* Shutdown: the guest is asked to power off, reboot or hibernate, as it would itself. Loop thread.
 */
#ifndef VSP_SHUTDOWN_H
#define VSP_SHUTDOWN_H

#include "vsp/ic.h"

struct shutdown;

enum shutdown_way { SHUTDOWN_POWER_OFF, SHUTDOWN_REBOOT, SHUTDOWN_HIBERNATE };

int shutdown_create(const struct ic_host *host, struct shutdown **ret);
/* A request that was not answered is forgotten. NULL is accepted. */
void shutdown_destroy(struct shutdown *shutdown);
struct ic *shutdown_ic(struct shutdown *shutdown);
/*
 * 0: `answered` will be called, with 0 when the guest has begun to, else an error and why.
 * -ENOTCONN when the service is not at work, -EOPNOTSUPP when the guest's version cannot be asked
 * so, -EBUSY.
 */
int shutdown_request(struct shutdown *shutdown, enum shutdown_way way,
                     void (*answered)(void *owner, int error, const struct reason *reason),
                     void *owner, struct reason *reason);

#endif
