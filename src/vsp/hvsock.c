/*
 * 1. A stream lives as long as its channel: it is freed when VMBus has released that.
 * 2. `owner` is NULL once the user has been told of the end, or closed it.
 * 3. A packet is read when what was read before has been consumed, and one waits for room in the
 *    ring at most: nothing is allocated for data.
 */
#include "vsp/hvsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Layout as the guests' drivers have it: Linux net/vmw_vsock/hyperv_transport.c. */
enum {
    OFFER_FLAG_SOCKET = 0x2000,
    USER_FROM_HOST = 4, /* behind the pipe's mode */
    HEADER_TYPE = 0,
    HEADER_LENGTH = 4,
    HEADER = 8,
    TYPE_DATA = 1,
};

/* PPPPPPPP-facb-11e6-bd58-64006a7986d3: the services that are VSOCK ports. */
static const uint8_t port_service[16] = {0,    0,    0,    0,    0xcb, 0xfa, 0xe6, 0x11,
                                         0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3};
/* NNNNNNNN-736f-636b-8f27-506172746974: Partita's own endpoints. */
static const uint8_t own_endpoint[16] = {0,    0,    0,    0,    0x6f, 0x73, 0x6b, 0x63,
                                         0x8f, 0x27, 0x50, 0x61, 0x72, 0x74, 0x69, 0x74};

struct hvsock_stream {
    struct hvsock *hvsock;
    struct vmbus_channel *channel; /* NULL: not offered yet */
    void *owner;
    bool by_guest, open, told_open, rescinded;
    bool ended;               /* the guest sends no more */
    bool finish, finish_sent; /* we send no more */
    size_t in_at, in_end;     /* of `in`: not consumed yet */
    size_t waits;             /* bytes of `out` that wait for room, with their header */
    uint8_t in[HEADER + HVSOCK_CHUNK], out[HEADER + HVSOCK_CHUNK];
};

struct hvsock {
    struct vmbus *vmbus;
    struct hvsock_user user;
    struct hvsock_stream *streams[HVSOCK_MOST_STREAMS];
    unsigned count, count_of_guest;
    uint32_t endpoints; /* that were made */
    bool dying;
    struct vmbus_packet packet;
};

void hvsock_service_of_port(uint32_t port, uint8_t ret[16])
{
    memcpy(ret, port_service, sizeof(port_service));
    put_le32(ret, port);
}

bool hvsock_port_of_service(const uint8_t service[16], uint32_t *ret)
{
    *ret = get_le32(service);
    return memcmp(service + 4, port_service + 4, sizeof(port_service) - 4) == 0;
}

/* ---- life of a stream ---- */

static void rescind(struct hvsock_stream *stream)
{
    if (stream->rescinded)
        return;
    stream->rescinded = true;
    vmbus_rescind(stream->channel);
}

/* The user hears of the end, and the guest too. */
static void end(struct hvsock_stream *stream)
{
    void *owner = stream->owner;

    stream->owner = NULL;
    rescind(stream);
    if (owner != NULL)
        stream->hvsock->user.closed(owner);
}

static int opened(void *owner, struct vmbus_channel *channel)
{
    struct hvsock_stream *stream = owner;

    (void)channel;
    if (stream->rescinded)
        return -ENOTCONN;
    stream->open = true;
    return 0;
}

static void closed(void *owner, struct vmbus_channel *channel)
{
    struct hvsock_stream *stream = owner;

    (void)channel;
    stream->open = false;
    end(stream);
}

static void released(void *owner, struct vmbus_channel *channel)
{
    struct hvsock_stream *stream = owner;
    struct hvsock *hvsock = stream->hvsock;

    (void)channel;
    for (unsigned i = 0; i < HVSOCK_MOST_STREAMS; i++) {
        if (hvsock->streams[i] == stream)
            hvsock->streams[i] = NULL;
    }
    hvsock->count--;
    hvsock->count_of_guest -= stream->by_guest;
    free(stream);
    if (hvsock->dying && hvsock->count == 0)
        free(hvsock);
}

static void readable(void *owner, struct vmbus_channel *channel)
{
    struct hvsock_stream *stream = owner;
    const struct hvsock_user *user = &stream->hvsock->user;

    (void)channel;
    if (stream->owner == NULL)
        return;
    if (stream->told_open) {
        user->readable(stream->owner);
        return;
    }
    stream->told_open = true;
    user->opened(stream->owner);
}

/* ---- sending ---- */

/* 0, -EAGAIN, or -ENOTCONN. */
static int put(struct hvsock_stream *stream, const uint8_t *packet, size_t length)
{
    int error = vmbus_send(stream->channel, packet, length, 0, false);

    if (error == 0 || error == -EAGAIN)
        return error;
    if (stream->owner != NULL) /* a ring that is too small for it */
        end(stream);
    return -ENOTCONN;
}

/* What waits, and then the end. */
static int send_waiting(struct hvsock_stream *stream)
{
    uint8_t fin[HEADER] = {TYPE_DATA};
    int error = 0;

    if (stream->waits > 0)
        error = put(stream, stream->out, stream->waits);
    if (error != 0)
        return error;
    stream->waits = 0;
    if (!stream->finish || stream->finish_sent)
        return 0;
    error = put(stream, fin, sizeof(fin));
    stream->finish_sent = error == 0;
    return error;
}

static void writable(void *owner, struct vmbus_channel *channel)
{
    struct hvsock_stream *stream = owner;

    (void)channel;
    if (stream->owner != NULL && send_waiting(stream) == 0)
        stream->hvsock->user.writable(stream->owner);
}

uint8_t *hvsock_room(struct hvsock_stream *stream)
{
    return stream->open && stream->waits == 0 && !stream->finish ? stream->out + HEADER : NULL;
}

int hvsock_send(struct hvsock_stream *stream, size_t length)
{
    if (!stream->open)
        return -ENOTCONN;
    put_le32(stream->out + HEADER_TYPE, TYPE_DATA);
    put_le32(stream->out + HEADER_LENGTH, (uint32_t)length);
    stream->waits = HEADER + length;
    return send_waiting(stream);
}

int hvsock_finish(struct hvsock_stream *stream)
{
    if (!stream->open)
        return -ENOTCONN;
    stream->finish = true;
    return send_waiting(stream);
}

/* ---- receiving ---- */

/* What is in the packet after its header; an end is a packet without any. */
static int take_packet(struct hvsock_stream *stream, const struct vmbus_packet *packet)
{
    if (packet->type != VMBUS_PACKET_DATA_INBAND || packet->payload_length < HEADER)
        return -EPROTO;
    size_t length = get_le32(stream->in + HEADER_LENGTH);
    if (get_le32(stream->in + HEADER_TYPE) != TYPE_DATA || length > packet->payload_length - HEADER)
        return -EPROTO;
    stream->ended = length == 0;
    stream->in_at = HEADER;
    stream->in_end = HEADER + length;
    return 0;
}

static int read_packet(struct hvsock_stream *stream)
{
    struct vmbus_packet *packet = &stream->hvsock->packet;

    packet->payload = stream->in;
    packet->payload_room = sizeof(stream->in);
    int error = vmbus_read(stream->channel, packet);
    if (error == -EAGAIN)
        return error;
    if (error == 0)
        error = take_packet(stream, packet);
    if (error == 0)
        return 0;
    if (stream->owner != NULL)
        end(stream);
    return -ENOTCONN;
}

int hvsock_peek(struct hvsock_stream *stream, const uint8_t **ret, size_t *ret_length)
{
    int error = 0;

    if (!stream->open)
        return -ENOTCONN;
    if (stream->in_at == stream->in_end && !stream->ended)
        error = read_packet(stream);
    if (error < 0)
        return error;
    *ret = stream->in + stream->in_at;
    *ret_length = stream->in_end - stream->in_at;
    return 0;
}

void hvsock_consume(struct hvsock_stream *stream, size_t length)
{
    stream->in_at += length;
}

/* ---- connections ---- */

static const struct vmbus_channel_ops channel_ops = {
    .opened = opened,
    .closed = closed,
    .readable = readable,
    .writable = writable,
    .released = released,
};

static int new_stream(struct hvsock *hvsock, bool by_guest, struct hvsock_stream **ret)
{
    unsigned place = 0;

    if (hvsock->dying || hvsock->count == HVSOCK_MOST_STREAMS ||
        (by_guest && hvsock->count_of_guest == HVSOCK_MOST_OF_GUEST))
        return -EMFILE;
    struct hvsock_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return -ENOMEM;
    while (hvsock->streams[place] != NULL)
        place++;
    stream->hvsock = hvsock;
    stream->by_guest = by_guest;
    hvsock->streams[place] = stream;
    hvsock->count++;
    hvsock->count_of_guest += by_guest;
    *ret = stream;
    return 0;
}

/* -EEXIST: the guest has not let go of the last connection between the same two. */
static int offer(struct hvsock_stream *stream, const uint8_t service[16],
                 const uint8_t endpoint[16])
{
    struct vmbus_offer offer = {.name = "socket", .flags = OFFER_FLAG_SOCKET};

    memcpy(offer.class_id, service, sizeof(offer.class_id));
    memcpy(offer.instance_id, endpoint, sizeof(offer.instance_id));
    offer.user_defined[USER_FROM_HOST] = !stream->by_guest;
    return vmbus_offer(stream->hvsock->vmbus, &offer, &channel_ops, stream, &stream->channel);
}

int hvsock_connect(struct hvsock *hvsock, const uint8_t service[16], void *stream_owner,
                   struct hvsock_stream **ret)
{
    struct hvsock_stream *stream = NULL;
    uint8_t endpoint[16];

    if (!vmbus_takes_offers(hvsock->vmbus))
        return -ENETDOWN;
    int error = new_stream(hvsock, false, &stream);
    if (error < 0)
        return error;
    memcpy(endpoint, own_endpoint, sizeof(endpoint));
    put_le32(endpoint, ++hvsock->endpoints);
    error = offer(stream, service, endpoint);
    if (error < 0) {
        released(stream, NULL);
        return error;
    }
    stream->owner = stream_owner;
    *ret = stream;
    return 0;
}

/* One offer of the same names may stand, or be about to go: the guest is to know one at a time. */
static bool is_taken(const struct hvsock *hvsock, const uint8_t service[16],
                     const uint8_t endpoint[16])
{
    for (unsigned i = 0; i < HVSOCK_MOST_STREAMS; i++) {
        if (hvsock->streams[i] != NULL &&
            vmbus_channel_is_named(hvsock->streams[i]->channel, service, endpoint))
            return true;
    }
    return false;
}

static int guest_connects(void *owner, const uint8_t service[16], const uint8_t endpoint[16])
{
    struct hvsock *hvsock = owner;
    struct hvsock_stream *stream = NULL;
    void *stream_owner = NULL;

    if (is_taken(hvsock, service, endpoint))
        return -EEXIST;
    int error = new_stream(hvsock, true, &stream);
    if (error < 0)
        return error;
    error = offer(stream, service, endpoint);
    if (error < 0) {
        released(stream, NULL);
        return error;
    }
    error = hvsock->user.connect(hvsock->user.owner, service, stream, &stream_owner);
    if (error < 0)
        rescind(stream); /* which the guest was not told of: it is freed */
    else
        stream->owner = stream_owner;
    return error;
}

void hvsock_close(struct hvsock_stream *stream)
{
    stream->owner = NULL;
    rescind(stream);
}

/* ---- life ---- */

int hvsock_create(struct vmbus *vmbus, const struct hvsock_user *user, struct hvsock **ret)
{
    struct hvsock *hvsock = calloc(1, sizeof(*hvsock));

    if (hvsock == NULL)
        return -ENOMEM;
    hvsock->vmbus = vmbus;
    hvsock->user = *user;
    vmbus_set_sockets(vmbus, guest_connects, hvsock);
    *ret = hvsock;
    return 0;
}

void hvsock_destroy(struct hvsock *hvsock)
{
    if (hvsock == NULL)
        return;
    vmbus_set_sockets(hvsock->vmbus, NULL, NULL);
    hvsock->count++; /* it is not to be freed within */
    hvsock->dying = true;
    for (unsigned i = 0; i < HVSOCK_MOST_STREAMS; i++) {
        if (hvsock->streams[i] != NULL)
            hvsock_close(hvsock->streams[i]);
    }
    if (--hvsock->count == 0)
        free(hvsock);
}
