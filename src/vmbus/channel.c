/* Channels: offer, open, close, rescind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "vmbus/vmbus_private.h"

enum {
    FIRST_CONNECTION = 0x10000, /* a channel's connection id is this plus its relid */
    LEAST_RING_PAGES = 2,
    STATUS_OK = 0,
};

/* ---- telling the guest ---- */

static void tell_offer(const struct vmbus_channel *channel)
{
    const struct vmbus_offer *offer = &channel->offer;
    uint8_t message[OFFER_SIZE] = {0};

    put_le32(message, WIRE_OFFER);
    memcpy(message + OFFER_CLASS, offer->class_id, sizeof(offer->class_id));
    memcpy(message + OFFER_INSTANCE, offer->instance_id, sizeof(offer->instance_id));
    put_le16(message + OFFER_FLAGS, offer->flags);
    put_le16(message + OFFER_MMIO, offer->mmio_megabytes);
    memcpy(message + OFFER_USER_DEFINED, offer->user_defined, sizeof(offer->user_defined));
    put_le16(message + OFFER_SUBCHANNEL, offer->subchannel);
    put_le32(message + OFFER_RELID, channel->relid);
    put_le16(message + OFFER_DEDICATED, 1);
    put_le32(message + OFFER_CONNECTION, FIRST_CONNECTION + channel->relid);
    server_send(channel->vmbus, message, sizeof(message));
}

static void tell_rescind(const struct vmbus_channel *channel)
{
    uint8_t message[RELID_SIZE] = {0};

    put_le32(message, WIRE_RESCIND);
    put_le32(message + RELID, channel->relid);
    server_send(channel->vmbus, message, sizeof(message));
}

static bool announce(struct vmbus_channel *channel)
{
    bool due = channel->rescinded ? !channel->rescind_told : !channel->announced;

    if (!due)
        return true;
    if (!server_has_room(channel->vmbus))
        return false;
    if (channel->rescinded) {
        channel->rescind_told = true;
        tell_rescind(channel);
    } else {
        channel->announced = true;
        tell_offer(channel);
    }
    return true;
}

static bool announce_end(struct vmbus *vmbus)
{
    uint8_t message[WIRE_HEADER] = {0};

    if (vmbus->all_told)
        return true;
    if (!server_has_room(vmbus))
        return false;
    put_le32(message, WIRE_ALL_OFFERS);
    server_send(vmbus, message, sizeof(message));
    vmbus->all_told = true;
    return true;
}

/* ---- life of an offer ---- */

static bool same_offer(const struct vmbus_offer *a, const struct vmbus_offer *b)
{
    return memcmp(a->class_id, b->class_id, sizeof(a->class_id)) == 0 &&
           memcmp(a->instance_id, b->instance_id, sizeof(a->instance_id)) == 0 &&
           a->subchannel == b->subchannel;
}

static int find_relid(const struct vmbus *vmbus, uint32_t *ret)
{
    for (uint32_t relid = 1; relid < VMBUS_MAX_RELID; relid++) {
        if (vmbus->by_relid[relid] == NULL) {
            *ret = relid;
            return 0;
        }
    }
    return -ENOSPC;
}

static int check_offer(const struct vmbus *vmbus, const struct vmbus_offer *offer)
{
    for (const struct vmbus_channel *at = vmbus->channels; at != NULL; at = at->next) {
        if (!at->rescinded && same_offer(&at->offer, offer))
            return -EEXIST;
    }
    return 0;
}

static void append(struct vmbus *vmbus, struct vmbus_channel *channel)
{
    struct vmbus_channel **end = &vmbus->channels;

    while (*end != NULL)
        end = &(*end)->next;
    *end = channel;
    if (channel->relid > vmbus->last_relid)
        vmbus->last_relid = channel->relid;
    vmbus->by_relid[channel->relid] = channel;
}

int vmbus_offer(struct vmbus *vmbus, const struct vmbus_offer *offer,
                const struct vmbus_channel_ops *ops, void *owner, struct vmbus_channel **ret)
{
    uint32_t relid = 0;
    int error = check_offer(vmbus, offer);

    if (error == 0)
        error = find_relid(vmbus, &relid);
    if (error < 0)
        return error;
    struct vmbus_channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return -ENOMEM;
    channel->vmbus = vmbus;
    channel->offer = *offer;
    channel->ops = ops;
    channel->owner = owner;
    channel->relid = relid;
    channel->report.name = offer->name;
    channel->report.relid = relid;
    append(vmbus, channel);
    *ret = channel;
    server_wake(vmbus);
    return 0;
}

static void free_channel(struct vmbus_channel *channel)
{
    struct vmbus *vmbus = channel->vmbus;
    struct vmbus_channel **at = &vmbus->channels;

    while (*at != channel)
        at = &(*at)->next;
    *at = channel->next;
    vmbus->by_relid[channel->relid] = NULL;
    gpadl_forget_channel(vmbus, channel->relid);
    if (channel->ops->released != NULL)
        channel->ops->released(channel->owner, channel);
    free(channel);
}

void vmbus_rescind(struct vmbus_channel *channel)
{
    channel_close(channel);
    channel->rescinded = true;
    if (!channel->announced)
        free_channel(channel);
    else
        server_wake(channel->vmbus);
}

void channel_released(struct vmbus_channel *channel)
{
    if (channel->rescinded && channel->rescind_told)
        free_channel(channel);
}

bool channel_announce_all(struct vmbus *vmbus)
{
    for (struct vmbus_channel *at = vmbus->channels; vmbus->offers_wanted && at != NULL;
         at = at->next) {
        if (!announce(at))
            return false;
    }
    return !vmbus->offers_wanted || announce_end(vmbus);
}

static struct vmbus_channel *find_open(const struct vmbus *vmbus)
{
    struct vmbus_channel *at = vmbus->channels;
    while (at != NULL && !at->open)
        at = at->next;
    return at;
}

/* A device that hears of `closed` may withdraw channels, others too: the list is looked at anew. */
void channel_reset_all(struct vmbus *vmbus)
{
    struct vmbus_channel *next = NULL;

    for (struct vmbus_channel *at = find_open(vmbus); at != NULL; at = find_open(vmbus))
        channel_close(at);
    for (struct vmbus_channel *at = vmbus->channels; at != NULL; at = next) {
        next = at->next;
        at->announced = false;
        if (at->rescinded)
            free_channel(at);
    }
}

/* ---- open and closed ---- */

/* On a VP's thread. */
static enum hv_status guest_signalled(void *owner, uint16_t flag)
{
    struct vmbus_channel *channel = owner;

    if (flag != 0)
        return HV_STATUS_INVALID_PARAMETER;
    if (!atomic_exchange(&channel->signalled, true))
        server_wake(channel->vmbus);
    return HV_STATUS_SUCCESS;
}

/* Both rings over the pages of a GPADL, `downstream` pages into it begins the second. */
static int map_rings(struct vmbus_channel *channel, const struct gpadl *gpadl, uint32_t downstream)
{
    struct mem *mem = channel->vmbus->config.mem;

    if (gpadl->byte_offset != 0 || downstream < LEAST_RING_PAGES || downstream >= gpadl->count)
        return -EINVAL;
    channel->pages = calloc(gpadl->count, sizeof(*channel->pages));
    if (channel->pages == NULL)
        return -ENOMEM;
    int error = ring_init(&channel->in, mem, gpadl->pfns, downstream, channel->pages);
    if (error == 0)
        error = ring_init(&channel->out, mem, gpadl->pfns + downstream, gpadl->count - downstream,
                          channel->pages + downstream);
    if (error == 0)
        error = ring_other_index(&channel->in, RING_READ_INDEX, &channel->in.index);
    if (error == 0)
        error = ring_other_index(&channel->out, RING_WRITE_INDEX, &channel->out.index);
    return error;
}

static void unmap_rings(struct vmbus_channel *channel)
{
    free(channel->pages);
    channel->pages = NULL;
}

static int begin_use(struct vmbus_channel *channel)
{
    const struct hv_port port = {.event = guest_signalled, .owner = channel};

    ring_store(&channel->out, RING_FEATURES, RING_FEATURE_PENDING_SIZE);
    ring_store(&channel->in, RING_FEATURES, RING_FEATURE_PENDING_SIZE);
    channel->open = true;
    channel->wants_room = false;
    signal_reset(channel);
    channel->report.fault = (struct reason){0};
    int error =
        hv_port_connect(channel->vmbus->config.hv, FIRST_CONNECTION + channel->relid, &port);
    if (error == 0)
        error = channel->ops->opened(channel->owner, channel);
    if (error == 0)
        return 0;
    hv_port_disconnect(channel->vmbus->config.hv, FIRST_CONNECTION + channel->relid);
    channel->open = false;
    return error;
}

static int try_open(struct vmbus_channel *channel, const uint8_t *message)
{
    struct vmbus *vmbus = channel->vmbus;
    uint32_t target = get_le32(message + OPEN_TARGET_VP);

    channel->gpadl = get_le32(message + OPEN_GPADL);
    const struct gpadl *gpadl = gpadl_find(vmbus, channel->gpadl, channel->relid);
    if (channel->open || channel->rescinded || gpadl == NULL || target >= vmbus->config.vp_count)
        return -EINVAL;
    channel->target_vp = target;
    int error = map_rings(channel, gpadl, get_le32(message + OPEN_DOWNSTREAM));
    if (error == 0)
        error = begin_use(channel);
    if (error < 0)
        unmap_rings(channel);
    return error;
}

void channel_open(struct vmbus_channel *channel, const uint8_t *message)
{
    uint8_t result[OPEN_RESULT_SIZE] = {0};
    bool was_open = channel->open;
    uint32_t gpadl = channel->gpadl;

    int error = try_open(channel, message);
    if (was_open)
        channel->gpadl = gpadl;
    put_le32(result, WIRE_OPEN_RESULT);
    put_le32(result + RELID, channel->relid);
    put_le32(result + OPEN_ID, get_le32(message + OPEN_ID));
    put_le32(result + OPEN_RESULT_STATUS, error < 0 ? WIRE_STATUS_FAILED : STATUS_OK);
    server_send(channel->vmbus, result, sizeof(result));
    if (error == 0 && !atomic_exchange(&channel->signalled, true))
        server_wake(channel->vmbus);
}

void channel_close(struct vmbus_channel *channel)
{
    if (!channel->open)
        return;
    hv_port_disconnect(channel->vmbus->config.hv, FIRST_CONNECTION + channel->relid);
    channel->open = false;
    atomic_store(&channel->signalled, false);
    channel->ops->closed(channel->owner, channel);
    unmap_rings(channel);
}

void channel_modify(struct vmbus_channel *channel, const uint8_t *message)
{
    struct vmbus *vmbus = channel->vmbus;
    uint8_t response[MODIFY_SIZE] = {0};
    uint32_t target = get_le32(message + MODIFY_TARGET_VP);
    bool valid = target < vmbus->config.vp_count;

    if (valid)
        channel->target_vp = target;
    /* Until 5.3 guests do not wait for an answer, and do not know it. */
    if (vmbus->version < VMBUS_VERSION(5, 3))
        return;
    put_le32(response, WIRE_MODIFY_RESPONSE);
    put_le32(response + RELID, channel->relid);
    put_le32(response + MODIFY_RESPONSE_STATUS, valid ? STATUS_OK : WIRE_STATUS_FAILED);
    server_send(vmbus, response, sizeof(response));
}

int channel_broken(struct vmbus_channel *channel, const char *why)
{
    struct reason reason;

    (void)reason_set(&reason, 0, "%s", why);
    channel_close(channel);
    channel->report.fault = reason;
    return -EPROTO;
}

/* ---- reports ---- */

unsigned vmbus_open_channels(const struct vmbus *vmbus)
{
    unsigned count = 0;

    for (const struct vmbus_channel *at = vmbus->channels; at != NULL; at = at->next)
        count += at->open;
    return count;
}

bool vmbus_channel_is_named(const struct vmbus_channel *channel, const uint8_t class_id[16],
                            const uint8_t instance_id[16])
{
    return memcmp(channel->offer.class_id, class_id, sizeof(channel->offer.class_id)) == 0 &&
           memcmp(channel->offer.instance_id, instance_id, sizeof(channel->offer.instance_id)) == 0;
}

bool vmbus_channel_is_open(const struct vmbus_channel *channel)
{
    return channel->open;
}

void vmbus_channel_describe(const struct vmbus_channel *channel, struct vmbus_channel_report *ret)
{
    *ret = channel->report;
    ret->open = channel->open;
    ret->target_vp = channel->target_vp;
}
