/*
 * Packets. Reading: the guest's index, then the descriptor, then ranges and payload are each copied
 * out of the ring once and checked; only then our index moves. Writing: room is looked at first,
 * the packet is complete before the index that shows it.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "vmbus/vmbus_private.h"

struct descriptor {
    uint16_t type, flags;
    uint32_t offset, length; /* bytes */
    uint64_t transaction;
};

/* ---- reading ---- */

static int decode_descriptor(struct vmbus_channel *channel, uint32_t available,
                             struct descriptor *ret)
{
    uint8_t bytes[PACKET_DESCRIPTOR];

    if (available < PACKET_DESCRIPTOR + PACKET_TRAILER)
        return -EPROTO;
    ring_copy_out(&channel->in, channel->in.index, bytes, sizeof(bytes));
    ret->type = get_le16(bytes + PACKET_TYPE);
    ret->offset = get_le16(bytes + PACKET_OFFSET) * 8u;
    ret->length = get_le16(bytes + PACKET_LENGTH) * 8u;
    ret->flags = get_le16(bytes + PACKET_FLAGS);
    ret->transaction = get_le64(bytes + PACKET_TRANSACTION);
    bool valid = ret->offset >= PACKET_DESCRIPTOR && ret->length >= ret->offset &&
                 ret->length + PACKET_TRAILER <= available;
    return valid ? 0 : -EPROTO;
}

static int add_segment(struct vmbus_packet *packet, struct vmbus_segment segment)
{
    unsigned count = packet->segment_count;

    if (count > 0 &&
        packet->segment[count - 1].gpa + packet->segment[count - 1].length == segment.gpa) {
        packet->segment[count - 1].length += segment.length;
        return 0;
    }
    if (count == VMBUS_MAX_SEGMENTS)
        return -EMSGSIZE;
    packet->segment[packet->segment_count++] = segment;
    return 0;
}

/* One range: {bytes, offset, page numbers}. `*at` moves behind it. */
static int decode_range(const struct vmbus_channel *channel, const uint8_t *bytes, size_t length,
                        size_t *at, struct vmbus_packet *packet)
{
    if (length - *at < RANGE_PFNS)
        return -EPROTO;
    uint64_t left = get_le32(bytes + *at + RANGE_BYTE_COUNT);
    uint64_t offset = get_le32(bytes + *at + RANGE_BYTE_OFFSET);
    *at += RANGE_PFNS;
    if (offset >= MEM_PAGE_SIZE)
        return -EPROTO;
    while (left > 0) {
        if (length - *at < 8)
            return -EPROTO;
        uint64_t room = MEM_PAGE_SIZE - offset;
        struct vmbus_segment segment = {.gpa = get_le64(bytes + *at) * MEM_PAGE_SIZE + offset,
                                        .length = left < room ? left : room};
        if (!mem_is_ram(channel->vmbus->config.mem, segment.gpa, segment.length))
            return -EPROTO;
        int error = add_segment(packet, segment);
        if (error < 0)
            return error;
        left -= segment.length;
        offset = 0;
        *at += 8;
    }
    return 0;
}

static int decode_ranges(struct vmbus_channel *channel, const struct descriptor *descriptor,
                         struct vmbus_packet *packet)
{
    uint8_t *bytes = channel->vmbus->scratch;
    size_t length = descriptor->offset - PACKET_DESCRIPTOR;

    if (length < PACKET_RANGES)
        return -EPROTO;
    if (length > VMBUS_SCRATCH)
        return -EMSGSIZE;
    ring_copy_out(&channel->in, ring_add(&channel->in, channel->in.index, PACKET_DESCRIPTOR), bytes,
                  (uint32_t)length);
    uint32_t count = get_le32(bytes + PACKET_RANGE_COUNT);
    size_t at = PACKET_RANGES;
    int error = 0;
    /* Each range takes bytes: what is longer than the packet ends there. */
    for (uint32_t i = 0; error == 0 && i < count; i++)
        error = decode_range(channel, bytes, length, &at, packet);
    return error;
}

static int take_payload(struct vmbus_channel *channel, const struct descriptor *descriptor,
                        struct vmbus_packet *packet)
{
    uint32_t length = descriptor->length - descriptor->offset;

    if (length > packet->payload_room)
        return -EMSGSIZE;
    ring_copy_out(&channel->in, ring_add(&channel->in, channel->in.index, descriptor->offset),
                  packet->payload, length);
    packet->payload_length = length;
    return 0;
}

/*
 * Show the guest what was read; it waits for room when what is free now passes what it asked for.
 * What it has written meanwhile counts: it may have found no room after our look at its index.
 */
static void advance(struct vmbus_channel *channel, uint32_t packet_length)
{
    struct ring *ring = &channel->in;
    uint32_t write_index;

    ring->index = ring_add(ring, ring->index, packet_length);
    ring_store(ring, RING_READ_INDEX, ring->index);
    uint32_t pending = ring_load(ring, RING_PENDING_SIZE);
    if (pending == 0 || ring_other_index(ring, RING_WRITE_INDEX, &write_index) < 0)
        return; /* an index that leaves the ring is told of by the next read */
    uint32_t free_now = ring->size - ring_distance(ring, ring->index, write_index);
    uint32_t free_before = free_now < packet_length ? 0 : free_now - packet_length;
    if (free_before <= pending && free_now > pending)
        channel_signal_guest(channel);
}

/* Nothing to read: signals are wanted again, and one that came meanwhile is not missed. */
static int rest(struct vmbus_channel *channel)
{
    uint32_t write_index;

    ring_store(&channel->in, RING_INTERRUPT_MASK, 0);
    if (ring_other_index(&channel->in, RING_WRITE_INDEX, &write_index) < 0)
        return channel_broken(channel, "the write index leaves the ring");
    if (write_index == channel->in.index)
        return -EAGAIN;
    ring_store(&channel->in, RING_INTERRUPT_MASK, 1);
    return 0;
}

/* Others have their turn first. */
static int yield_turn(struct vmbus_channel *channel)
{
    if (!atomic_exchange(&channel->signalled, true))
        server_wake(channel->vmbus);
    return -EAGAIN;
}

static int read_packet(struct vmbus_channel *channel, uint32_t available,
                       struct vmbus_packet *packet)
{
    struct descriptor descriptor;

    if (decode_descriptor(channel, available, &descriptor) < 0)
        return channel_broken(channel, "a packet leaves the ring");
    packet->type = (enum vmbus_packet_type)descriptor.type;
    packet->wants_completion = (descriptor.flags & PACKET_WANTS_COMPLETION) != 0;
    packet->transaction_id = descriptor.transaction;
    packet->segment_count = 0;
    packet->payload_length = 0;
    int error = 0;
    if (descriptor.type == VMBUS_PACKET_DATA_GPA_DIRECT)
        error = decode_ranges(channel, &descriptor, packet);
    if (error == -EPROTO)
        return channel_broken(channel, "a packet's ranges make no sense");
    if (error == 0)
        error = take_payload(channel, &descriptor, packet);
    channel->report.packets_in++;
    channel->report.bytes_in += descriptor.length;
    advance(channel, descriptor.length + PACKET_TRAILER);
    return error;
}

int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
    uint32_t write_index;

    if (!channel->open)
        return -ENOTCONN;
    if (channel->batch == 0)
        return yield_turn(channel);
    if (ring_other_index(&channel->in, RING_WRITE_INDEX, &write_index) < 0)
        return channel_broken(channel, "the write index leaves the ring");
    if (write_index == channel->in.index) {
        int error = rest(channel);
        if (error < 0)
            return error;
        if (ring_other_index(&channel->in, RING_WRITE_INDEX, &write_index) < 0)
            return channel_broken(channel, "the write index leaves the ring");
        if (write_index == channel->in.index)
            return yield_turn(channel);
    }
    channel->batch--;
    return read_packet(channel, ring_distance(&channel->in, channel->in.index, write_index),
                       packet);
}

/* ---- writing ---- */

struct parts {
    enum vmbus_packet_type type;
    uint16_t flags;
    uint64_t transaction;
    const uint8_t *extra; /* between descriptor and payload: a multiple of 8 bytes */
    size_t extra_length;
    const void *payload;
    size_t length;
};

static size_t padded(size_t length)
{
    return (length + 7) & ~(size_t)7;
}

/* Room for `needed` bytes, never to equality: a full ring would look empty. */
static int look_for_room(struct vmbus_channel *channel, uint32_t needed, uint32_t *ret_read_index)
{
    struct ring *ring = &channel->out;

    for (int tries = 0; tries < 2; tries++) {
        if (ring_other_index(ring, RING_READ_INDEX, ret_read_index) < 0)
            return channel_broken(channel, "the read index leaves the ring");
        if (ring->size - ring_distance(ring, *ret_read_index, ring->index) > needed) {
            ring_store(ring, RING_PENDING_SIZE, 0);
            return 0;
        }
        /* Ask to be told, then look once more: the guest may have read meanwhile. */
        ring_store(ring, RING_PENDING_SIZE, needed);
    }
    channel->wants_room = true;
    return -EAGAIN;
}

static void put_packet(struct vmbus_channel *channel, const struct parts *parts, uint32_t total)
{
    static const uint8_t zeroes[8];
    struct ring *ring = &channel->out;
    uint8_t bytes[PACKET_DESCRIPTOR];
    uint8_t trailer[PACKET_TRAILER];
    uint32_t offset = PACKET_DESCRIPTOR + (uint32_t)parts->extra_length;
    uint32_t at = ring->index;

    put_le16(bytes + PACKET_TYPE, (uint16_t)parts->type);
    put_le16(bytes + PACKET_OFFSET, (uint16_t)(offset / 8));
    put_le16(bytes + PACKET_LENGTH, (uint16_t)((total - PACKET_TRAILER) / 8));
    put_le16(bytes + PACKET_FLAGS, parts->flags);
    put_le64(bytes + PACKET_TRANSACTION, parts->transaction);
    put_le64(trailer, (uint64_t)ring->index << 32);
    ring_copy_in(ring, at, bytes, sizeof(bytes));
    ring_copy_in(ring, ring_add(ring, at, PACKET_DESCRIPTOR), parts->extra,
                 (uint32_t)parts->extra_length);
    at = ring_add(ring, at, offset);
    ring_copy_in(ring, at, parts->payload, (uint32_t)parts->length);
    at = ring_add(ring, at, (uint32_t)parts->length);
    ring_copy_in(ring, at, zeroes, (uint32_t)(padded(parts->length) - parts->length));
    at = ring_add(ring, at, (uint32_t)(padded(parts->length) - parts->length));
    ring_copy_in(ring, at, trailer, sizeof(trailer));
}

/* The guest is signalled when it may have gone to sleep: the ring was empty and it does not mask.
 */
static void publish(struct vmbus_channel *channel, uint32_t total)
{
    struct ring *ring = &channel->out;
    uint32_t before = ring->index;

    ring->index = ring_add(ring, ring->index, total);
    ring_store(ring, RING_WRITE_INDEX, ring->index);
    if (ring_load(ring, RING_INTERRUPT_MASK) == 0 && ring_load(ring, RING_READ_INDEX) == before)
        channel_signal_guest(channel);
}

static int send_parts(struct vmbus_channel *channel, const struct parts *parts)
{
    size_t total = PACKET_DESCRIPTOR + parts->extra_length + padded(parts->length) + PACKET_TRAILER;
    uint32_t read_index;

    if (!channel->open)
        return -ENOTCONN;
    if (parts->length > UINT16_MAX || total >= channel->out.size || total / 8 > UINT16_MAX)
        return -EMSGSIZE;
    int error = look_for_room(channel, (uint32_t)total, &read_index);
    if (error < 0)
        return error;
    put_packet(channel, parts, (uint32_t)total);
    publish(channel, (uint32_t)total);
    channel->report.packets_out++;
    channel->report.bytes_out += total;
    return 0;
}

int vmbus_send(struct vmbus_channel *channel, const void *payload, size_t length,
               uint64_t transaction_id, bool wants_completion)
{
    const struct parts parts = {.type = VMBUS_PACKET_DATA_INBAND,
                                .flags = wants_completion ? PACKET_WANTS_COMPLETION : 0,
                                .transaction = transaction_id,
                                .payload = payload,
                                .length = length};
    return send_parts(channel, &parts);
}

int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
                   size_t length)
{
    const struct parts parts = {.type = VMBUS_PACKET_COMPLETION,
                                .transaction = transaction_id,
                                .payload = payload,
                                .length = length};
    return send_parts(channel, &parts);
}

int vmbus_send_transfer(struct vmbus_channel *channel, const struct vmbus_transfer *transfer,
                        uint64_t transaction_id, const void *payload, size_t length)
{
    unsigned range_count = transfer->range_count;
    uint8_t extra[TRANSFER_RANGES + VMBUS_MAX_TRANSFER_RANGES * 8] = {0};

    if (range_count > VMBUS_MAX_TRANSFER_RANGES)
        return -EMSGSIZE;
    put_le16(extra, transfer->set_id);
    put_le32(extra + TRANSFER_COUNT, range_count);
    for (unsigned i = 0; i < range_count; i++) {
        put_le32(extra + TRANSFER_RANGES + (size_t)i * 8, transfer->ranges[i].length);
        put_le32(extra + TRANSFER_RANGES + (size_t)i * 8 + 4, transfer->ranges[i].offset);
    }
    const struct parts parts = {.type = VMBUS_PACKET_DATA_TRANSFER_PAGES,
                                .flags = PACKET_WANTS_COMPLETION,
                                .transaction = transaction_id,
                                .extra = extra,
                                .extra_length = TRANSFER_RANGES + (size_t)range_count * 8,
                                .payload = payload,
                                .length = length};
    return send_parts(channel, &parts);
}

void packet_check_room(struct vmbus_channel *channel)
{
    if (!channel->wants_room)
        return;
    channel->wants_room = false;
    channel->ops->writable(channel->owner, channel);
}
