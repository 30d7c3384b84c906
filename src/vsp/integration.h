/* The integration services of a partition, together. Loop thread. */
#ifndef VSP_INTEGRATION_H
#define VSP_INTEGRATION_H

#include "vsp/fcopy.h"
#include "vsp/heartbeat.h"
#include "vsp/kvp.h"
#include "vsp/shutdown.h"
#include "vsp/timesync.h"
#include "vsp/vss.h"

enum integration_service {
    INTEGRATION_HEARTBEAT,
    INTEGRATION_SHUTDOWN,
    INTEGRATION_TIMESYNC,
    INTEGRATION_KVP,
    INTEGRATION_VSS,
    INTEGRATION_FCOPY,
    INTEGRATION_COUNT,
};

enum {
    INTEGRATION_ALL = (1 << INTEGRATION_COUNT) - 1,
    /* A host that may write files into a guest is to be wanted. */
    INTEGRATION_DEFAULT = INTEGRATION_ALL & ~(1 << INTEGRATION_FCOPY),
};

struct integration {
    struct heartbeat *heartbeat;
    struct shutdown *shutdown;
    struct timesync *timesync;
    struct kvp *kvp;
    struct vss *vss;
    struct fcopy *fcopy;
    struct ic *ic[INTEGRATION_COUNT];
};

/* `enabled` has a bit for each service. */
int integration_create(const struct ic_host *host, const struct timesync_clocks *clocks,
                       unsigned enabled, struct integration **ret);
void integration_destroy(struct integration *integration);

/* One service by its name. */
bool integration_find(const char *name, enum integration_service *ret);
/* "all", "none", or names with commas between; false, and a reason. */
bool integration_parse(const char *list, unsigned *ret, struct reason *reason);
/* -EBUSY: it is at something that the guest must not be left with. */
int integration_enable(struct integration *integration, enum integration_service service,
                       bool enabled, struct reason *reason);
/* As ic_visit_state(), of all; what is loaded makes the guest take over the time anew. */
int integration_visit_state(struct integration *integration, struct state_visitor *visitor);

#endif
