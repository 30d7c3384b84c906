/* Frames of the guest: from RNDIS packets through a batch to the port (netvsp_private.h). */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "vsp/netvsp_private.h"

/* How long the guest waits for a port without room; longer than any that is at work takes. */
#define PATIENCE_NS (NS_PER_SECOND / 10)

/* ---- decoding: one RNDIS_PACKET ---- */

struct outgoing_message {
    size_t data, length; /* the frame, from the start of the stream */
    uint32_t checksum;   /* the guest's wish, 0: none */
    uint32_t segment;    /* size; 0: none */
    bool tagged;
    uint16_t tag; /* 802.1Q: priority, CFI, VLAN */
};

/* {priority 3 bits, CFI 1, VLAN 12} from the lowest on. */
static uint16_t tag_of(uint32_t info)
{
    return (uint16_t)((info & 7) << 13 | (info >> 3 & 1) << 12 | (info >> 4 & 0xfff));
}

static void take_info(struct outgoing_message *ret, uint32_t type, uint32_t value)
{
    switch (type) {
    case RNDIS_INFO_CHECKSUM:
        ret->checksum = value & (RNDIS_CHECKSUM_TCP | RNDIS_CHECKSUM_UDP);
        break;
    case RNDIS_INFO_LARGE_SEND:
        ret->segment = value & RNDIS_LARGE_SEND_SEGMENT;
        break;
    case RNDIS_INFO_VLAN:
        ret->tagged = true;
        ret->tag = tag_of(value);
        break;
    default:
        break;
    }
}

/* A list of {size, type, offset, data}; each takes at least its header. */
static bool decode_infos(const uint8_t *bytes, size_t length, struct outgoing_message *ret)
{
    while (length > 0) {
        if (length < RNDIS_INFO_HEADER)
            return false;
        uint32_t size = get_le32(bytes);
        uint32_t offset = get_le32(bytes + 8);
        if (size < RNDIS_INFO_HEADER || size > length)
            return false;
        if (offset >= RNDIS_INFO_HEADER && offset <= size && size - offset >= 4)
            take_info(ret, get_le32(bytes + 4), get_le32(bytes + offset));
        bytes += size;
        length -= size;
    }
    return true;
}

/* A range within a message of `length` bytes, its offset from behind the header. */
static bool is_within(size_t length, uint32_t offset, uint32_t size)
{
    return offset <= length - RNDIS_HEADER && size <= length - RNDIS_HEADER - offset;
}

/* The message of `length` bytes at `at`. */
static bool decode_message(const struct netvsp *netvsp, size_t at, size_t length,
                           struct outgoing_message *ret)
{
    uint8_t header[RNDIS_PACKET_HEADER];
    uint8_t infos[NETVSP_MOST_INFO];

    *ret = (struct outgoing_message){0};
    if (length < sizeof(header) || !netvsp_stream_read(netvsp, at, header, sizeof(header)) ||
        get_le32(header) != RNDIS_PACKET)
        return false;
    uint32_t data = get_le32(header + RNDIS_AT_DATA_OFFSET);
    uint32_t data_length = get_le32(header + RNDIS_AT_DATA_LENGTH);
    uint32_t info = get_le32(header + RNDIS_AT_INFO_OFFSET);
    uint32_t info_length = get_le32(header + RNDIS_AT_INFO_LENGTH);
    if (!is_within(length, data, data_length) || !is_within(length, info, info_length) ||
        info_length > sizeof(infos) || data_length < NET_ETHERNET || data_length > NET_MOST_FRAME)
        return false;
    ret->data = at + RNDIS_HEADER + data;
    ret->length = data_length;
    if (!netvsp_stream_read(netvsp, at + RNDIS_HEADER + info, infos, info_length))
        return false;
    return decode_infos(infos, info_length, ret);
}

/* ---- what the frame becomes ---- */

/* The guest's own tag, or the one that its place in the network has. False: it may not be sent. */
static bool choose_tag(const struct netvsp *netvsp, struct outgoing_message *message)
{
    unsigned vlan = netvsp->config.vlan;

    if (vlan == NETVSP_NO_VLAN)
        return true;
    if (message->tagged && (message->tag & 0xfff) != 0)
        return false;
    message->tag = (uint16_t)((message->tag & 0xe000) | vlan);
    message->tagged = true;
    return true;
}

static size_t insert_tag(uint8_t *head, size_t length, uint16_t tag)
{
    memmove(head + 12 + NET_VLAN_TAG, head + 12, length - 12);
    put_be16(head + 12, 0x8100);
    put_be16(head + 14, tag);
    return length + NET_VLAN_TAG;
}

/* Smaller ones are no TCP's, and would make a frame many times as long on the wire. */
enum { LEAST_SEGMENT = 48 };

/* False: the guest asks for what cannot be done. */
static bool set_offload(struct netvsp_outgoing *out, const struct outgoing_message *message,
                        size_t head_length, struct net_frame *frame)
{
    struct net_offload *offload = &frame->offload;

    if (message->checksum == 0 && message->segment == 0)
        return true;
    struct net_headers headers = net_headers_parse(out->head, head_length);
    if (headers.protocol == 0 || frame->length - headers.ip > UINT16_MAX)
        return false;
    if (message->segment != 0 && frame->length > headers.payload + (size_t)message->segment) {
        if (headers.protocol != NET_PROTOCOL_TCP || message->segment > UINT16_MAX ||
            message->segment < LEAST_SEGMENT)
            return false;
        offload->segmentation = headers.ip_version == 4 ? NET_TCP4 : NET_TCP6;
        offload->segment_size = (uint16_t)message->segment;
        offload->headers_length = headers.payload;
    }
    net_headers_prepare(out->head, &headers, frame->length, offload);
    return true;
}

/* Headers are copied, so that what is checked is what is sent; the rest stays where it is. */
static bool make_frame(struct netvsp *netvsp, struct outgoing_message *message,
                       struct netvsp_outgoing *out, struct net_frame *ret)
{
    size_t copied = NET_MOST_HEADERS - NET_VLAN_TAG;

    if (copied > message->length)
        copied = message->length;
    if (!choose_tag(netvsp, message) ||
        !netvsp_stream_read(netvsp, message->data, out->head, copied))
        return false;
    bool tagged_within = get_be16(out->head + 12) == 0x8100;
    if (netvsp->config.vlan != NETVSP_NO_VLAN && tagged_within)
        return false;
    size_t head_length = message->tagged ? insert_tag(out->head, copied, message->tag) : copied;
    size_t rest = message->length - copied;
    unsigned pieces = netvsp_stream_range(netvsp, message->data + copied, rest, out->iov + 1,
                                          NET_MOST_PIECES - 1);
    if (rest > 0 && pieces == 0)
        return false;
    out->iov[0] = (struct iovec){out->head, head_length};
    *ret =
        (struct net_frame){.iov = out->iov, .iov_count = pieces + 1, .length = head_length + rest};
    return set_offload(out, message, head_length, ret);
}

static void add_message(struct netvsp_channel *channel, size_t at, size_t length)
{
    struct netvsp *netvsp = channel->netvsp;
    struct netvsp_outgoing *out = &netvsp->outgoing[netvsp->frame_count];
    struct net_frame *frame = &netvsp->frames[netvsp->frame_count];
    struct outgoing_message message;

    if (!decode_message(netvsp, at, length, &message) ||
        !make_frame(netvsp, &message, out, frame) || !netvsp_link(netvsp)) {
        netvsp->sent.dropped++;
        return;
    }
    size_t overhead = NET_ETHERNET + NET_VLAN_TAG;
    if (frame->offload.segmentation == NET_WHOLE && frame->length > netvsp->config.mtu + overhead) {
        netvsp->sent.dropped++;
        return;
    }
    out->channel = channel;
    out->last = false;
    netvsp->frame_count++;
}

/* A stream of messages, each as long as it says; the last may end the stream early. */
bool netvsp_send_stream(struct netvsp_channel *channel, const struct vmbus_packet *packet)
{
    struct netvsp *netvsp = channel->netvsp;
    unsigned before = netvsp->frame_count;
    uint8_t header[RNDIS_HEADER];
    size_t at = 0;

    for (unsigned i = 0; i < NETVSP_MOST_MESSAGES; i++) {
        if (!netvsp_stream_read(netvsp, at, header, sizeof(header)))
            break;
        uint32_t length = get_le32(header + RNDIS_AT_LENGTH);
        if (length < RNDIS_HEADER || length > netvsp->stream.length - at)
            break;
        add_message(channel, at, length);
        at += length;
    }
    if (netvsp->frame_count == before)
        return false;
    struct netvsp_outgoing *last = &netvsp->outgoing[netvsp->frame_count - 1];
    last->last = true;
    last->answer = packet->wants_completion;
    last->transaction = packet->transaction_id;
    return true;
}

/* ---- the batch ---- */

/* The port has it, or nobody will: its memory is the guest's again. */
static void end_frame(struct netvsp *netvsp, unsigned index, bool sent)
{
    const struct netvsp_outgoing *out = &netvsp->outgoing[index];

    if (sent) {
        netvsp->sent.frames++;
        netvsp->sent.bytes += netvsp->frames[index].length;
    } else {
        netvsp->sent.dropped++;
    }
    if (out->channel != NULL && out->last && out->answer)
        netvsp_channel_answer_rndis(out->channel, out->transaction, NVSP_SUCCESS);
}

static void end_frames(struct netvsp *netvsp, unsigned count, bool sent)
{
    for (; count > 0 && netvsp->frames_done < netvsp->frame_count; count--)
        end_frame(netvsp, netvsp->frames_done++, sent);
    if (netvsp->frames_done >= netvsp->frame_count)
        netvsp->frames_done = netvsp->frame_count = 0;
}

void netvsp_send_flush(struct netvsp *netvsp)
{
    struct net_port *port = netvsp->config.port;

    while (netvsp->frames_done < netvsp->frame_count && !netvsp->blocked) {
        unsigned count = netvsp->frame_count - netvsp->frames_done;
        if (netvsp->discarding) {
            end_frames(netvsp, count, false);
            return;
        }
        unsigned taken = port->ops->send(port, netvsp->frames + netvsp->frames_done, count);
        if (taken < count) {
            netvsp->blocked = true;
            loop_timer_set(netvsp->patience, clock_monotonic_ns() + PATIENCE_NS);
        }
        end_frames(netvsp, taken, true);
    }
}

static void go_on(struct netvsp *netvsp)
{
    netvsp->blocked = false;
    loop_timer_set(netvsp->patience, 0);
    netvsp_send_flush(netvsp);
    netvsp_channel_read_all(netvsp);
}

void netvsp_send_writable(void *owner)
{
    struct netvsp *netvsp = owner;

    netvsp->discarding = false;
    go_on(netvsp);
}

void netvsp_send_give_up(void *owner)
{
    struct netvsp *netvsp = owner;

    if (!netvsp->blocked)
        return;
    netvsp->discarding = true;
    go_on(netvsp);
}

/* Nobody waits for an answer any more; the frames are sent as they are. */
void netvsp_send_forget(struct netvsp_channel *channel)
{
    struct netvsp *netvsp = channel->netvsp;

    for (unsigned i = netvsp->frames_done; i < netvsp->frame_count; i++) {
        if (netvsp->outgoing[i].channel == channel)
            netvsp->outgoing[i].channel = NULL;
    }
    if (channel->index == 0 &&
        netvsp->blocked) { /* but not after a reset, from memory of another */
        netvsp->sent.dropped += netvsp->frame_count - netvsp->frames_done;
        netvsp->frames_done = netvsp->frame_count = 0;
        netvsp->blocked = false;
        loop_timer_set(netvsp->patience, 0);
    }
}
