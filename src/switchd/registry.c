#include "switchd/registry.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "switchd/uplink.h"

enum { MEND_SECONDS = 2 };

struct hub *registry_find(const struct registry *registry, const char *name)
{
    for (struct hub *hub = registry->hubs; hub != NULL; hub = hub->next) {
        if (strcmp(hub->config.name, name) == 0)
            return hub;
    }
    return NULL;
}

/* ---- uplinks ---- */

static void mend_later(struct registry *registry)
{
    loop_timer_set(registry->mender, clock_monotonic_ns() + (uint64_t)MEND_SECONDS * NS_PER_SECOND);
}

static void uplink_ended(void *owner, struct hub *hub)
{
    (void)hub;
    mend_later(owner);
}

static void mend(void *owner)
{
    struct registry *registry = owner;

    for (struct hub *hub = registry->hubs; hub != NULL; hub = hub->next) {
        if (uplink_is_lost(hub))
            hub_unplug(&hub->ports[HUB_UPLINK]);
        bool failed = hub->ports[HUB_UPLINK].line == NULL && uplink_open(hub, NULL) < 0;
        if (failed || hub->bridge_port[0] != '\0')
            mend_later(registry);
    }
}

/* ---- switches ---- */

static void insert(struct registry *registry, struct hub *hub)
{
    struct hub **at = &registry->hubs;

    while (*at != NULL && strcmp((*at)->config.name, hub->config.name) < 0)
        at = &(*at)->next;
    hub->next = *at;
    *at = hub;
    registry->count++;
}

int registry_add(struct registry *registry, const struct hub_config *config, struct hub **ret,
                 struct reason *reason)
{
    struct hub *hub = NULL;

    if (registry_find(registry, config->name) != NULL)
        return reason_set(reason, -EEXIST, "there is a switch %s already", config->name);
    if (registry->count == REGISTRY_MOST_HUBS)
        return reason_set(reason, -ENOSPC, "there are %d switches already", REGISTRY_MOST_HUBS);
    int error = hub_create(registry->loop, config, uplink_ended, registry, &hub);
    if (error < 0)
        return reason_set(reason, error, "%s", strerrordesc_np(-error));
    error = uplink_open(hub, reason);
    /* One that was there before stays: its uplink may come. */
    if (error < 0 && ret != NULL) {
        hub_destroy(hub);
        return error;
    }
    if (error < 0 || hub->bridge_port[0] != '\0')
        mend_later(registry);
    insert(registry, hub);
    if (ret != NULL)
        *ret = hub;
    return 0;
}

static void take_out(struct registry *registry, struct hub *hub)
{
    struct hub **at = &registry->hubs;

    while (*at != hub)
        at = &(*at)->next;
    *at = hub->next;
    registry->count--;
}

static void forget(struct hub *hub)
{
    hub_unplug(&hub->ports[HUB_UPLINK]);
    uplink_forget(hub);
    hub_destroy(hub);
}

int registry_store_new(struct registry *registry, struct hub *hub, struct reason *reason)
{
    int error = store_save(registry, reason);

    if (error < 0) {
        take_out(registry, hub);
        if (hub->found_device)
            hub_destroy(hub); /* what somebody made before is not taken away */
        else
            forget(hub);
    }
    return error;
}

int registry_remove(struct registry *registry, struct hub *hub, struct reason *reason)
{
    take_out(registry, hub);
    int error = store_save(registry, reason);

    if (error < 0)
        insert(registry, hub);
    else
        forget(hub);
    return error;
}

int registry_create(struct loop *loop, struct registry *ret, struct reason *reason)
{
    *ret = (struct registry){.loop = loop};
    int error = loop_timer_create(loop, mend, ret, &ret->mender);
    if (error < 0)
        return reason_set(reason, error, "no timer: %s", strerrordesc_np(-error));
    error = store_find(ret->path, reason);
    return error < 0 ? error : store_load(ret, reason);
}

void registry_destroy(struct registry *registry)
{
    while (registry->hubs != NULL) {
        struct hub *hub = registry->hubs;
        take_out(registry, hub);
        hub_destroy(hub);
    }
    loop_timer_destroy(registry->mender);
    registry->mender = NULL;
}

/* ---- ports ---- */

/* Hyper-V's prefix and three bytes of what the port is called; others when those are taken. */
static void choose_mac(const struct hub *hub, const char *partition, unsigned card, unsigned turn,
                       uint8_t ret[FRAME_MAC_SIZE])
{
    uint8_t numbers[] = {(uint8_t)card, (uint8_t)turn};
    uint32_t sum = crc32c(0, hub->config.name, strlen(hub->config.name) + 1);

    sum = crc32c(sum, partition, strlen(partition));
    sum = crc32c(sum, numbers, sizeof(numbers));
    ret[0] = 0x00;
    ret[1] = 0x15;
    ret[2] = 0x5d;
    ret[3] = (uint8_t)(sum >> 16);
    put_be16(ret + 4, (uint16_t)sum);
}

int registry_take_port(struct hub *hub, const char *partition, unsigned card, struct hub_port **ret,
                       struct reason *reason)
{
    struct port_settings settings;
    int error = -EEXIST;

    *ret = hub_find_port(hub, partition, card);
    if (*ret != NULL)
        return 0;
    hub_default_settings(&settings);
    for (unsigned turn = 0; error == -EEXIST && turn <= UINT8_MAX; turn++) {
        choose_mac(hub, partition, card, turn, settings.core.mac);
        error = hub_add_port(hub, partition, card, &settings, ret);
    }
    if (error == -ENOSPC)
        return reason_set(reason, error, "switch %s has no free port", hub->config.name);
    return error < 0 ? reason_set(reason, error, "%s", strerrordesc_np(-error)) : 0;
}
