/* Frames for the guest: into sections of its receive buffer (netvsp_private.h). */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "vsp/netvsp_private.h"

enum {
    MOST_INFOS = 3 * RNDIS_INFO_SIZE, /* checksum, VLAN, part of a frame */
    MOST_HEADER = RNDIS_PACKET_HEADER + MOST_INFOS,
    RESUME_AT = 16, /* free sections, so that the port goes on with more than one frame */
};

/* A frame on its way: its headers changed as need be, the rest where the port has it. */
struct incoming {
    struct netvsp_channel *channel;
    uint8_t head[NET_MOST_HEADERS];
    struct iovec iov[NET_MOST_PIECES + 1];
    struct net_frame frame; /* of these */
    struct net_headers headers;
    bool tagged;
    uint16_t tag;
    bool checked; /* its checksum is known to be right */
};

enum verdict { TAKEN, WAITS };

/* ---- transfers ---- */

bool netvsp_receive_flush(struct netvsp_channel *channel)
{
    struct netvsp *netvsp = channel->netvsp;
    struct netvsp_transfer *transfer = &channel->transfer;
    uint8_t message[NVSP_MESSAGE] = {NVSP_RNDIS};

    if (transfer->count == 0)
        return true;
    put_le32(message + NVSP_AT_FIRST, transfer->control ? NVSP_CHANNEL_CONTROL : NVSP_CHANNEL_DATA);
    put_le32(message + NVSP_AT_SECOND, NVSP_NO_SECTION);
    const struct vmbus_transfer ranges = {.set_id = netvsp->receive_buffer.id,
                                          .ranges = transfer->range,
                                          .range_count = transfer->count};
    uint16_t first = transfer->first;
    int error = vmbus_send_transfer(channel->vmbus, &ranges, first, message, sizeof(message));
    if (error == -EAGAIN)
        return false;
    if (error == 0)
        netvsp->told[first] = true;
    else if (channel->open) /* else all sections are free again, or with the next connection */
        netvsp_sections_give_back(netvsp, first);
    transfer->count = 0;
    transfer->control = false;
    return true;
}

void netvsp_receive_completed(struct netvsp *netvsp, uint64_t transaction)
{
    if (transaction >= NETVSP_MOST_SECTIONS || !netvsp->told[transaction])
        return;
    netvsp->told[transaction] = false;
    netvsp_sections_give_back(netvsp, (uint16_t)transaction);
}

/* A section for `length` bytes, as the transfer's next range. The caller has seen to room. */
static uint32_t add_range(struct netvsp_channel *channel, size_t length)
{
    struct netvsp *netvsp = channel->netvsp;
    struct netvsp_transfer *transfer = &channel->transfer;
    uint16_t section = netvsp_section_take(netvsp);
    uint32_t at = section * netvsp->receive_buffer.section_size;

    if (transfer->count > 0)
        netvsp->next[section] = transfer->first;
    transfer->first = section;
    transfer->range[transfer->count++] =
        (struct vmbus_transfer_range){.length = (uint32_t)length, .offset = at};
    return at;
}

/* Room for so many ranges in one transfer. */
static bool make_room(struct netvsp_channel *channel, unsigned ranges)
{
    const struct netvsp_transfer *transfer = &channel->transfer;

    if (channel->netvsp->free_count < ranges)
        return false;
    if (!transfer->control && transfer->count + ranges <= VMBUS_MAX_TRANSFER_RANGES)
        return true;
    return netvsp_receive_flush(channel) && channel->open;
}

bool netvsp_receive_control(struct netvsp *netvsp, const uint8_t *message, size_t length)
{
    struct netvsp_channel *channel = &netvsp->channel[0];

    if (!channel->open || netvsp->free_count == 0 || !netvsp_receive_flush(channel) ||
        !channel->open)
        return false;
    channel->transfer.control = true;
    uint32_t at = add_range(channel, length);
    netvsp_section_write(netvsp, at, message, length);
    (void)netvsp_receive_flush(channel); /* or it waits in the channel */
    return true;
}

/* ---- RNDIS ---- */

static size_t add_info(uint8_t *header, size_t at, uint32_t type, uint32_t value)
{
    put_le32(header + at, RNDIS_INFO_SIZE);
    put_le32(header + at + 4, type);
    put_le32(header + at + 8, RNDIS_INFO_HEADER);
    put_le32(header + at + 12, value);
    return at + RNDIS_INFO_SIZE;
}

static uint32_t checksum_info(const struct net_headers *headers)
{
    uint32_t right = headers->ip_version == 4 ? RNDIS_CHECKSUM_IP_RIGHT : 0;
    return right | (headers->protocol == NET_PROTOCOL_TCP ? RNDIS_CHECKSUM_TCP_RIGHT
                                                          : RNDIS_CHECKSUM_UDP_RIGHT);
}

/* `part`: RNDIS_ID_…, 0 for a frame that is whole. How long the header is. */
static size_t make_header(const struct incoming *in, size_t data, unsigned part, uint8_t *header)
{
    size_t at = RNDIS_PACKET_HEADER;
    uint16_t tag = in->tag;

    memset(header, 0, RNDIS_PACKET_HEADER);
    if (in->tagged)
        at = add_info(header, at, RNDIS_INFO_VLAN,
                      (uint32_t)(tag >> 13 | (tag >> 12 & 1) << 3 | (tag & 0xfff) << 4));
    if (in->checked && in->headers.protocol != 0)
        at = add_info(header, at, RNDIS_INFO_CHECKSUM, checksum_info(&in->headers));
    if (part != 0)
        at = add_info(header, at, RNDIS_INFO_PACKET_ID, 1 | part << 8);
    put_le32(header, RNDIS_PACKET);
    put_le32(header + RNDIS_AT_LENGTH, (uint32_t)(at + data));
    put_le32(header + RNDIS_AT_DATA_OFFSET, (uint32_t)(at - RNDIS_HEADER));
    put_le32(header + RNDIS_AT_DATA_LENGTH, (uint32_t)data);
    if (at > RNDIS_PACKET_HEADER) {
        put_le32(header + RNDIS_AT_INFO_OFFSET, RNDIS_PACKET_HEADER - RNDIS_HEADER);
        put_le32(header + RNDIS_AT_INFO_LENGTH, (uint32_t)(at - RNDIS_PACKET_HEADER));
    }
    return at;
}

/* One range: a header, and the frame's bytes from `skip` on. */
static void put_range(struct incoming *in, size_t skip, size_t length, unsigned part)
{
    struct netvsp *netvsp = in->channel->netvsp;
    uint8_t header[MOST_HEADER];
    struct iovec pieces[NET_MOST_PIECES + 1];
    size_t header_length = make_header(in, length, part, header);
    uint32_t at = add_range(in->channel, header_length + length);

    netvsp_section_write(netvsp, at, header, header_length);
    at += (uint32_t)header_length;
    unsigned count = net_iov_range(in->frame.iov, in->frame.iov_count, skip, length, pieces,
                                   NET_MOST_PIECES + 1);
    for (unsigned i = 0; i < count; i++) {
        netvsp_section_write(netvsp, at, pieces[i].iov_base, pieces[i].iov_len);
        at += (uint32_t)pieces[i].iov_len;
    }
}

/* ---- frames ---- */

static size_t room_of_section(const struct netvsp *netvsp)
{
    return netvsp->receive_buffer.section_size - MOST_HEADER;
}

static enum verdict drop(struct netvsp *netvsp)
{
    netvsp->received.dropped++;
    return TAKEN;
}

static void count(struct netvsp *netvsp, size_t length)
{
    netvsp->received.frames++;
    netvsp->received.bytes += length;
}

static enum verdict put_whole(struct incoming *in)
{
    struct netvsp *netvsp = in->channel->netvsp;

    if (in->frame.length > room_of_section(netvsp))
        return drop(netvsp);
    if (!make_room(in->channel, 1))
        return WAITS;
    put_range(in, 0, in->frame.length, 0);
    count(netvsp, in->frame.length);
    return TAKEN;
}

/* As one frame in parts, all in one transfer. */
static enum verdict put_coalesced(struct incoming *in)
{
    struct netvsp *netvsp = in->channel->netvsp;
    size_t most = room_of_section(netvsp);
    size_t length = in->frame.length;
    unsigned parts = (unsigned)((length + most - 1) / most);

    if (parts > VMBUS_MAX_TRANSFER_RANGES || parts > netvsp->receive_buffer.section_count)
        return drop(netvsp);
    if (!make_room(in->channel, parts))
        return WAITS;
    for (unsigned i = 0; i < parts; i++) {
        size_t skip = i * most;
        unsigned flags =
            RNDIS_ID_PART | (i == 0 ? RNDIS_ID_FIRST : 0) | (i + 1 == parts ? RNDIS_ID_LAST : 0);
        put_range(in, skip, i + 1 == parts ? length - skip : most, flags);
    }
    count(netvsp, length);
    return TAKEN;
}

/* A segment of a large frame, with headers of its own. */
static enum verdict put_segment(struct incoming *in, size_t offset, size_t length, unsigned index)
{
    struct incoming segment = {.channel = in->channel,
                               .headers = in->headers,
                               .tagged = in->tagged,
                               .tag = in->tag,
                               .checked = true};
    size_t payload = in->headers.payload;

    memcpy(segment.head, in->head, payload);
    net_segment_headers(segment.head, &in->headers, offset, length,
                        payload + offset + length == in->frame.length, index);
    segment.iov[0] = (struct iovec){segment.head, payload};
    unsigned pieces = net_iov_range(in->frame.iov, in->frame.iov_count, payload + offset, length,
                                    segment.iov + 1, NET_MOST_PIECES);
    segment.frame =
        (struct net_frame){.iov = segment.iov, .iov_count = pieces + 1, .length = payload + length};
    segment.frame.offload.checksum_start = in->headers.transport;
    segment.frame.offload.checksum_offset = 16;
    if (net_finish_checksum(&segment.frame, segment.head) < 0)
        return drop(in->channel->netvsp);
    return put_whole(&segment);
}

/* The guest takes no large frames: it gets the segments. All or none of them wait. */
static enum verdict put_segments(struct incoming *in)
{
    struct netvsp *netvsp = in->channel->netvsp;
    size_t size = in->frame.offload.segment_size;
    size_t payload = in->headers.payload;

    if (size == 0 || in->headers.protocol != NET_PROTOCOL_TCP || in->frame.length <= payload)
        return drop(netvsp);
    size_t left = in->frame.length - payload;
    size_t segments = (left + size - 1) / size;
    if (segments > netvsp->receive_buffer.section_count)
        return drop(netvsp);
    if (netvsp->free_count < segments || !make_room(in->channel, 1))
        return WAITS;
    for (unsigned i = 0; i < segments; i++) {
        size_t length = left < size ? left : size;
        if (!in->channel->open || put_segment(in, (size_t)i * size, length, i) == WAITS)
            return drop(netvsp); /* of TCP, which sends the rest again */
        left -= length;
    }
    return TAKEN;
}

/* Take the tag out; false: the frame is of another VLAN. */
static bool take_tag(const struct netvsp *netvsp, struct incoming *in, size_t *head_length)
{
    unsigned vlan = netvsp->config.vlan;
    bool tagged = *head_length >= NET_ETHERNET + NET_VLAN_TAG && get_be16(in->head + 12) == 0x8100;

    if (tagged) {
        in->tag = get_be16(in->head + 14);
        *head_length -= NET_VLAN_TAG;
        memmove(in->head + 12, in->head + 12 + NET_VLAN_TAG, *head_length - 12);
    }
    in->tagged = tagged && vlan == NETVSP_NO_VLAN;
    return vlan == NETVSP_NO_VLAN || (tagged && (in->tag & 0xfff) == vlan);
}

/* Headers into our own memory; false: the guest does not get it. */
static bool open_frame(struct netvsp *netvsp, const struct net_frame *frame, struct incoming *in)
{
    size_t copied = net_iov_copy(frame->iov, frame->iov_count, in->head, sizeof(in->head));
    size_t head_length = copied;

    if (frame->length < NET_ETHERNET || frame->length > NET_MOST_FRAME || copied < NET_ETHERNET ||
        frame->iov_count > NET_MOST_PIECES || !netvsp_filter_wants(&netvsp->filter, in->head) ||
        !take_tag(netvsp, in, &head_length))
        return false;
    size_t cut = copied - head_length;
    in->headers = net_headers_parse(in->head, head_length);
    in->iov[0] = (struct iovec){in->head, head_length};
    unsigned rest = net_iov_range(frame->iov, frame->iov_count, copied, frame->length - copied,
                                  in->iov + 1, NET_MOST_PIECES);
    in->frame = (struct net_frame){.iov = in->iov,
                                   .iov_count = rest + 1,
                                   .length = frame->length - cut,
                                   .offload = frame->offload};
    struct net_offload *offload = &in->frame.offload;
    if (offload->wants_checksum && offload->checksum_start < cut)
        return false;
    offload->checksum_start =
        (uint16_t)(offload->checksum_start - (offload->wants_checksum ? cut : 0));
    in->checked = offload->checksum_known || offload->wants_checksum;
    in->channel = netvsp_rss_choose(netvsp, in->head, &in->headers);
    return true;
}

static enum verdict put_frame(struct netvsp *netvsp, struct incoming *in)
{
    const struct net_offload *offload = &in->frame.offload;

    if (offload->segmentation != NET_WHOLE)
        return netvsp->coalesces && in->headers.protocol == NET_PROTOCOL_TCP ? put_coalesced(in)
                                                                             : put_segments(in);
    if (in->frame.length > netvsp->mtu + (size_t)NET_ETHERNET ||
        (offload->wants_checksum && net_finish_checksum(&in->frame, in->head) < 0))
        return drop(netvsp);
    return put_whole(in);
}

static enum verdict take_frame(struct netvsp *netvsp, const struct net_frame *frame)
{
    struct incoming in;

    in.tag = 0;
    if (!open_frame(netvsp, frame, &in))
        return drop(netvsp);
    /* A channel that was closed over it calls for nothing any more. */
    return put_frame(netvsp, &in) == TAKEN ? TAKEN : in.channel->open ? WAITS : drop(netvsp);
}

static bool is_ready(const struct netvsp *netvsp)
{
    return netvsp->channel[0].open && netvsp->receive_buffer.set && netvsp->initialized &&
           netvsp->filter.packets != 0 && netvsp_link(netvsp);
}

unsigned netvsp_receive(void *owner, const struct net_frame *frames, unsigned frame_count)
{
    struct netvsp *netvsp = owner;
    unsigned taken = 0;

    if (!is_ready(netvsp)) {
        netvsp->received.dropped += frame_count;
        return frame_count;
    }
    while (taken < frame_count && is_ready(netvsp) && take_frame(netvsp, &frames[taken]) == TAKEN)
        taken++;
    for (unsigned i = 0; i < netvsp->channel_count; i++) {
        if (netvsp->channel[i].open)
            (void)netvsp_receive_flush(&netvsp->channel[i]);
    }
    if (!is_ready(netvsp)) {
        netvsp->received.dropped += frame_count - taken;
        taken = frame_count;
    }
    netvsp->starved = taken < frame_count;
    return taken;
}

void netvsp_receive_resume(struct netvsp *netvsp)
{
    struct net_port *port = netvsp->config.port;

    if (!netvsp->starved)
        return;
    if (is_ready(netvsp) && netvsp->free_count < RESUME_AT &&
        netvsp->free_count < netvsp->receive_buffer.section_count)
        return;
    netvsp->starved = false;
    port->ops->resume(port);
}
