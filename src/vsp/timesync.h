/*
 * Time synchronisation: the guest is told the host's time every five seconds, and made to take it
 * over when its clock may have gone wrong: at its start, and after this process or the host stood
 * still, or the host's clock was set. Loop thread.
 */
#ifndef VSP_TIMESYNC_H
#define VSP_TIMESYNC_H

#include "vsp/ic.h"

struct timesync;

struct timesync_clocks {
    void *owner;
    uint64_t (*reference)(void *owner); /* of the hypervisor interface, 100 ns */
    uint64_t (*real)(void *owner);      /* the host's, ns since 1970 */
};

int timesync_create(const struct ic_host *host, const struct timesync_clocks *clocks,
                    struct timesync **ret);
void timesync_destroy(struct timesync *timesync);
struct ic *timesync_ic(struct timesync *timesync);
/* The guest is to take over the host's time, now or once it can be told: on resume and restore. */
void timesync_force(struct timesync *timesync);

#endif
