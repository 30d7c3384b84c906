#include "tests/harness/fake_vmbus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CHANNELS = 512 };

struct inbound {
    struct fake_packet packet;
    struct vmbus_segment segment[]; /* as many as vmbus_read can take */
};

struct vmbus_channel {
    struct vmbus *vmbus;
    struct vmbus_offer offer;
    const struct vmbus_channel_ops *ops;
    void *owner;
    bool open, withdrawn, broken;
    bool wants_room; /* a send found the ring full */
    struct inbound **in;
    unsigned in_first, in_count;
    struct fake_answer *out;
    unsigned out_first, out_count, room;
};

struct vmbus {
    struct vmbus_channel *channel[MOST_CHANNELS];
    unsigned count;
    bool keep_withdrawn;
    int refuse;
    struct fake_gpadl {
        uint64_t gpa;
        unsigned pages;
    } gpadl[FAKE_GPADLS];
};

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort();
    return memory;
}

struct vmbus *fake_vmbus_create(void)
{
    return allocate(1, sizeof(struct vmbus));
}

static void drop_packets(struct vmbus_channel *channel)
{
    for (; channel->in_count > 0; channel->in_count--) {
        free(channel->in[channel->in_first]);
        channel->in_first = (channel->in_first + 1) % FAKE_RING;
    }
    channel->out_count = 0;
}

void fake_vmbus_destroy(struct vmbus *vmbus)
{
    for (unsigned i = 0; i < vmbus->count; i++) {
        struct vmbus_channel *channel = vmbus->channel[i];
        if (!channel->withdrawn)
            abort();
        drop_packets(channel);
        free(channel->in);
        free(channel->out);
        free(channel);
    }
    free(vmbus);
}

static bool same_offer(const struct vmbus_offer *a, const struct vmbus_offer *b)
{
    return memcmp(a->class_id, b->class_id, 16) == 0 &&
           memcmp(a->instance_id, b->instance_id, 16) == 0 && a->subchannel == b->subchannel;
}

struct vmbus_channel *fake_vmbus_find(struct vmbus *vmbus, uint8_t instance, uint16_t subchannel)
{
    for (unsigned i = 0; i < vmbus->count; i++) {
        struct vmbus_channel *channel = vmbus->channel[i];
        if (!channel->withdrawn && channel->offer.instance_id[15] == instance &&
            channel->offer.subchannel == subchannel)
            return channel;
    }
    return NULL;
}

unsigned fake_vmbus_offers(const struct vmbus *vmbus)
{
    unsigned count = 0;
    for (unsigned i = 0; i < vmbus->count; i++)
        count += !vmbus->channel[i]->withdrawn;
    return count;
}

void fake_vmbus_keep_withdrawn(struct vmbus *vmbus, bool keep)
{
    vmbus->keep_withdrawn = keep;
}

void fake_vmbus_refuse_offer(struct vmbus *vmbus, int error)
{
    vmbus->refuse = error;
}

void fake_vmbus_set_gpadl(struct vmbus *vmbus, uint32_t id, uint64_t gpa, unsigned pages)
{
    vmbus->gpadl[id] = (struct fake_gpadl){gpa, pages};
}

/* ---- the guest ---- */

int fake_guest_open(struct vmbus_channel *channel)
{
    if (channel->open || channel->withdrawn)
        abort();
    channel->open = true;
    channel->broken = false;
    channel->wants_room = false;
    int error = channel->ops->opened(channel->owner, channel);
    if (error != 0)
        channel->open = false;
    else
        channel->ops->readable(channel->owner, channel);
    return error;
}

static void close_channel(struct vmbus_channel *channel)
{
    if (!channel->open)
        return;
    channel->open = false;
    drop_packets(channel);
    channel->ops->closed(channel->owner, channel);
}

void fake_guest_close(struct vmbus_channel *channel)
{
    close_channel(channel);
}

bool fake_guest_put(struct vmbus_channel *channel, const struct fake_packet *packet)
{
    if (!channel->open || channel->in_count == FAKE_RING)
        return false;
    size_t count = packet->segment_count <= VMBUS_MAX_SEGMENTS ? packet->segment_count : 0;
    size_t size = count * sizeof(struct vmbus_segment);
    struct inbound *inbound = allocate(1, sizeof(*inbound) + size);
    inbound->packet = *packet;
    inbound->packet.segment = NULL;
    if (size > 0)
        memcpy(inbound->segment, packet->segment, size);
    channel->in[(channel->in_first + channel->in_count++) % FAKE_RING] = inbound;
    return true;
}

void fake_guest_signal(struct vmbus_channel *channel)
{
    if (channel->open)
        channel->ops->readable(channel->owner, channel);
}

bool fake_guest_take(struct vmbus_channel *channel, struct fake_answer *ret)
{
    if (!channel->open || channel->out_count == 0)
        return false;
    *ret = channel->out[channel->out_first];
    channel->out_first = (channel->out_first + 1) % FAKE_RING;
    channel->out_count--;
    if (channel->wants_room) {
        channel->wants_room = false;
        channel->ops->writable(channel->owner, channel);
    }
    return true;
}

void fake_guest_set_room(struct vmbus_channel *channel, unsigned room)
{
    channel->room = room;
}

void fake_guest_break(struct vmbus_channel *channel)
{
    channel->broken = true;
}

unsigned fake_guest_left(const struct vmbus_channel *channel)
{
    return channel->in_count;
}

/* ---- vmbus.h ---- */

static bool is_taken(const struct vmbus *vmbus, const struct vmbus_offer *offer)
{
    for (unsigned i = 0; i < vmbus->count; i++) {
        const struct vmbus_channel *channel = vmbus->channel[i];
        if (same_offer(&channel->offer, offer) && (!channel->withdrawn || vmbus->keep_withdrawn))
            return true;
    }
    return false;
}

/* A channel that was withdrawn is used again, so that long runs take no more memory. */
static struct vmbus_channel *new_channel(struct vmbus *vmbus)
{
    for (unsigned i = 0; !vmbus->keep_withdrawn && i < vmbus->count; i++) {
        if (vmbus->channel[i]->withdrawn)
            return vmbus->channel[i];
    }
    if (vmbus->count == MOST_CHANNELS)
        return NULL;
    struct vmbus_channel *channel = allocate(1, sizeof(*channel));
    channel->in = allocate(FAKE_RING, sizeof(struct inbound *));
    channel->out = allocate(FAKE_RING, sizeof(struct fake_answer));
    vmbus->channel[vmbus->count++] = channel;
    return channel;
}

int vmbus_offer(struct vmbus *vmbus, const struct vmbus_offer *offer,
                const struct vmbus_channel_ops *ops, void *owner, struct vmbus_channel **ret)
{
    int refuse = vmbus->refuse;

    vmbus->refuse = 0;
    if (refuse != 0)
        return refuse;
    if (is_taken(vmbus, offer))
        return -EEXIST;
    struct vmbus_channel *channel = new_channel(vmbus);
    if (channel == NULL)
        return -ENOMEM;
    *channel = (struct vmbus_channel){.vmbus = vmbus,
                                      .offer = *offer,
                                      .ops = ops,
                                      .owner = owner,
                                      .room = FAKE_RING,
                                      .in = channel->in,
                                      .out = channel->out};
    channel->offer.name = NULL;
    *ret = channel;
    return 0;
}

void vmbus_rescind(struct vmbus_channel *channel)
{
    if (channel->withdrawn)
        abort();
    close_channel(channel);
    channel->withdrawn = true;
}

void vmbus_reset(struct vmbus *vmbus)
{
    for (unsigned i = 0; i < vmbus->count; i++)
        close_channel(vmbus->channel[i]);
}

bool vmbus_channel_is_open(const struct vmbus_channel *channel)
{
    return channel->open;
}

/* 0, or why the ring cannot be used. */
static int check_use(struct vmbus_channel *channel)
{
    if (channel->withdrawn)
        abort();
    if (!channel->open)
        return -ENOTCONN;
    if (!channel->broken)
        return 0;
    close_channel(channel);
    return -EPROTO;
}

int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
    int error = check_use(channel);

    if (error != 0)
        return error;
    if (channel->in_count == 0)
        return -EAGAIN;
    struct inbound *inbound = channel->in[channel->in_first];
    const struct fake_packet *from = &inbound->packet;
    channel->in_first = (channel->in_first + 1) % FAKE_RING;
    channel->in_count--;
    packet->type = from->type;
    packet->wants_completion = !from->no_completion;
    packet->transaction_id = from->transaction_id;
    if (from->length > packet->payload_room || from->segment_count > VMBUS_MAX_SEGMENTS) {
        error = -EMSGSIZE;
    } else {
        packet->payload_length = from->length;
        memcpy(packet->payload, from->payload, from->length);
        packet->segment_count = from->segment_count;
        memcpy(packet->segment, inbound->segment,
               from->segment_count * sizeof(inbound->segment[0]));
    }
    free(inbound);
    return error;
}

static int put_answer(struct vmbus_channel *channel, const void *payload, size_t length,
                      const struct fake_answer *rest)
{
    int error = check_use(channel);

    if (error != 0)
        return error;
    if (length > FAKE_PAYLOAD)
        return -EMSGSIZE;
    if (channel->out_count >= channel->room) {
        channel->wants_room = true;
        return -EAGAIN;
    }
    struct fake_answer *answer =
        &channel->out[(channel->out_first + channel->out_count++) % FAKE_RING];
    *answer = *rest;
    answer->length = length;
    memcpy(answer->payload, payload, length);
    return 0;
}

int vmbus_send(struct vmbus_channel *channel, const void *payload, size_t length,
               uint64_t transaction_id, bool wants_completion)
{
    (void)wants_completion;
    const struct fake_answer answer = {.transaction_id = transaction_id};
    return put_answer(channel, payload, length, &answer);
}

int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
                   size_t length)
{
    const struct fake_answer answer = {.completion = true, .transaction_id = transaction_id};
    return put_answer(channel, payload, length, &answer);
}

int vmbus_send_transfer(struct vmbus_channel *channel, const struct vmbus_transfer *transfer,
                        uint64_t transaction_id, const void *payload, size_t length)
{
    struct fake_answer answer = {.transaction_id = transaction_id,
                                 .set_id = transfer->set_id,
                                 .range_count = transfer->range_count};

    if (transfer->range_count == 0 || transfer->range_count > VMBUS_MAX_TRANSFER_RANGES)
        abort();
    memcpy(answer.range, transfer->ranges, transfer->range_count * sizeof(answer.range[0]));
    return put_answer(channel, payload, length, &answer);
}

int vmbus_gpadl_segments(struct vmbus_channel *channel, uint32_t id, struct vmbus_segment *ret,
                         size_t room, size_t *ret_count)
{
    if (id >= FAKE_GPADLS || channel->vmbus->gpadl[id].pages == 0)
        return -ENOENT;
    const struct fake_gpadl *gpadl = &channel->vmbus->gpadl[id];
    if (gpadl->pages > room)
        return -ENOSPC;
    for (unsigned i = 0; i < gpadl->pages; i++)
        ret[i] = (struct vmbus_segment){gpadl->gpa + (uint64_t)i * 8192, 4096};
    *ret_count = gpadl->pages;
    return 0;
}
