/* The integration services of a partition (integration.h). */
#include "vsp/integration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[INTEGRATION_COUNT] = {
    [INTEGRATION_HEARTBEAT] = "heartbeat",
    [INTEGRATION_SHUTDOWN] = "shutdown",
    [INTEGRATION_TIMESYNC] = "timesync",
    [INTEGRATION_KVP] = "kvp",
    [INTEGRATION_VSS] = "vss",
    [INTEGRATION_FCOPY] = "fcopy",
};

static int create_all(struct integration *in, const struct ic_host *host,
                      const struct timesync_clocks *clocks)
{
    int error = heartbeat_create(host, &in->heartbeat);
    if (error == 0)
        error = shutdown_create(host, &in->shutdown);
    if (error == 0)
        error = timesync_create(host, clocks, &in->timesync);
    if (error == 0)
        error = kvp_create(host, &in->kvp);
    if (error == 0)
        error = vss_create(host, &in->vss);
    return error == 0 ? fcopy_create(host, &in->fcopy) : error;
}

int integration_create(const struct ic_host *host, const struct timesync_clocks *clocks,
                       unsigned enabled, struct integration **ret)
{
    struct integration *in = calloc(1, sizeof(*in));

    if (in == NULL)
        return -ENOMEM;
    int error = create_all(in, host, clocks);
    if (error < 0) {
        integration_destroy(in);
        return error;
    }
    in->ic[INTEGRATION_HEARTBEAT] = heartbeat_ic(in->heartbeat);
    in->ic[INTEGRATION_SHUTDOWN] = shutdown_ic(in->shutdown);
    in->ic[INTEGRATION_TIMESYNC] = timesync_ic(in->timesync);
    in->ic[INTEGRATION_KVP] = kvp_ic(in->kvp);
    in->ic[INTEGRATION_VSS] = vss_ic(in->vss);
    in->ic[INTEGRATION_FCOPY] = fcopy_ic(in->fcopy);
    for (unsigned i = 0; i < INTEGRATION_COUNT; i++)
        ic_enable(in->ic[i], (enabled >> i & 1) != 0);
    *ret = in;
    return 0;
}

void integration_destroy(struct integration *integration)
{
    if (integration == NULL)
        return;
    heartbeat_destroy(integration->heartbeat);
    shutdown_destroy(integration->shutdown);
    timesync_destroy(integration->timesync);
    kvp_destroy(integration->kvp);
    vss_destroy(integration->vss);
    fcopy_destroy(integration->fcopy);
    free(integration);
}

static bool find(const char *name, size_t length, enum integration_service *ret)
{
    for (unsigned i = 0; i < INTEGRATION_COUNT; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) {
            *ret = (enum integration_service)i;
            return true;
        }
    }
    return false;
}

bool integration_find(const char *name, enum integration_service *ret)
{
    return find(name, strlen(name), ret);
}

bool integration_parse(const char *list, unsigned *ret, struct reason *reason)
{
    unsigned set = 0;

    if (strcmp(list, "all") == 0 || strcmp(list, "none") == 0) {
        *ret = list[0] == 'a' ? INTEGRATION_ALL : 0;
        return true;
    }
    for (const char *at = list;; at++) {
        enum integration_service service = INTEGRATION_COUNT;
        size_t length = strcspn(at, ",");
        if (!find(at, length, &service)) {
            reason_fill(reason, "all, none, or some of heartbeat, shutdown, timesync, kvp, vss "
                                "and fcopy are wanted, with commas between");
            return false;
        }
        set |= 1U << service;
        at += length;
        if (*at == '\0')
            break;
    }
    *ret = set;
    return true;
}

int integration_enable(struct integration *integration, enum integration_service service,
                       bool enabled, struct reason *reason)
{
    if (!enabled && service == INTEGRATION_VSS && vss_is_frozen(integration->vss))
        return reason_set(reason, -EBUSY, "the guest's file systems are frozen: thaw them first");
    if (!enabled && service == INTEGRATION_FCOPY && fcopy_is_busy(integration->fcopy))
        return reason_set(reason, -EBUSY, "a file is being copied");
    ic_enable(integration->ic[service], enabled);
    return 0;
}

int integration_visit_state(struct integration *integration, struct state_visitor *visitor)
{
    int error = 0;

    for (unsigned i = 0; error == 0 && i < INTEGRATION_COUNT; i++)
        error = ic_visit_state(integration->ic[i], visitor);
    return error;
}
