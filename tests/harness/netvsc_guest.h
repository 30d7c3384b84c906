/*
 * For tests: a guest of one network card, doing what Linux's netvsc does, and what is behind the
 * card. Rings are fake (fake_vmbus.h), memory is real.
 */
#ifndef TESTS_HARNESS_NETVSC_GUEST_H
#define TESTS_HARNESS_NETVSC_GUEST_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/harness/fake_vmbus.h"
#include "vsp/netvsp_private.h"

enum {
    NG_MEMORY = 32 << 20,
    NG_RECEIVE_GPADL = 1,
    NG_SEND_GPADL = 2,
    NG_RECEIVE_AT = 0x400000, /* pages of the buffers lie at every other page from here on */
    NG_SEND_AT = 0x1000000,
    NG_RECEIVE_PAGES = 512, /* 2 MiB */
    NG_SEND_PAGES = 256,
    NG_MESSAGE_AT = 0x200000, /* where requests are built */
    NG_BUFFER_ID = 0xcafe,
    NG_MOST_SENT = 16,
    NG_CHANNELS = 3,
};

/* What the port was given. */
struct ng_sent {
    size_t length;
    struct net_offload offload;
    uint8_t bytes[NET_MOST_FRAME];
};

struct netvsc_guest {
    struct net_port port; /* first */
    struct net_port_user user;
    struct loop *loop;
    struct mem *mem;
    struct vmbus *vmbus;
    struct netvsp *netvsp;
    unsigned room;    /* frames that the port takes */
    unsigned resumed; /* calls */
    bool coalesce;    /* as set_offload said */
    struct net_filter filter;
    struct ng_sent *sent;
    unsigned sent_count;
    struct fake_answer answer; /* the last that was taken */
    uint32_t request;          /* the id of the last request */
};

static inline void ng_require(bool holds)
{
    if (!holds)
        abort();
}

/* ---- the port ---- */

static inline unsigned ng_port_send(struct net_port *port, const struct net_frame *frames,
                                    unsigned count)
{
    struct netvsc_guest *g = (struct netvsc_guest *)port;
    unsigned i = 0;

    for (; i < count && g->room > 0; i++, g->room--) {
        struct ng_sent *sent = &g->sent[g->sent_count % NG_MOST_SENT];
        g->sent_count++;
        ng_require(frames[i].iov_count <= NET_MOST_PIECES && frames[i].length <= NET_MOST_FRAME);
        sent->length = frames[i].length;
        sent->offload = frames[i].offload;
        ng_require(net_iov_copy(frames[i].iov, frames[i].iov_count, sent->bytes,
                                sizeof(sent->bytes)) == frames[i].length);
    }
    return i;
}

static inline void ng_port_start(struct net_port *port, const struct net_port_user *user)
{
    struct netvsc_guest *g = (struct netvsc_guest *)port;
    g->user = *user;
    user->link(user->owner, true);
}

static inline void ng_port_stop(struct net_port *port)
{
    (void)port;
}

static inline void ng_port_resume(struct net_port *port)
{
    ((struct netvsc_guest *)port)->resumed++;
}

static inline void ng_port_set_filter(struct net_port *port, const struct net_filter *filter)
{
    ((struct netvsc_guest *)port)->filter = *filter;
}

static inline void ng_port_set_offload(struct net_port *port, bool checksum, bool segmentation)
{
    (void)checksum;
    ((struct netvsc_guest *)port)->coalesce = segmentation;
}

static const struct net_port_ops ng_port_ops = {
    .name = "test",
    .send = ng_port_send,
    .start = ng_port_start,
    .stop = ng_port_stop,
    .resume = ng_port_resume,
    .set_filter = ng_port_set_filter,
    .set_offload = ng_port_set_offload,
};

/* ---- life ---- */

static const uint8_t ng_mac[NET_MAC_SIZE] = {0x00, 0x15, 0x5d, 1, 2, 3};

static inline struct netvsc_guest *ng_create(const struct netvsp_config *more)
{
    struct netvsc_guest *g = calloc(1, sizeof(*g));
    ng_require(g != NULL);
    g->sent = calloc(NG_MOST_SENT, sizeof(g->sent[0]));
    ng_require(g->sent != NULL && loop_create(&g->loop) == 0 &&
               mem_create(NG_MEMORY, UINT64_C(3) << 30, &g->mem) == 0);
    g->vmbus = fake_vmbus_create();
    fake_vmbus_set_gpadl(g->vmbus, NG_RECEIVE_GPADL, NG_RECEIVE_AT, NG_RECEIVE_PAGES);
    fake_vmbus_set_gpadl(g->vmbus, NG_SEND_GPADL, NG_SEND_AT, NG_SEND_PAGES);
    g->port = (struct net_port){.ops = &ng_port_ops, .takes_offload = true, .mtu = 1500};
    g->room = UINT32_MAX;
    struct netvsp_config config = more != NULL ? *more : (struct netvsp_config){0};
    config.vmbus = g->vmbus;
    config.mem = g->mem;
    config.loop = g->loop;
    config.port = &g->port;
    config.mtu = config.mtu != 0 ? config.mtu : 1500;
    config.max_subchannels = NG_CHANNELS - 1;
    memcpy(config.mac, ng_mac, sizeof(ng_mac));
    ng_require(netvsp_create(&config, &g->netvsp, NULL) == 0);
    return g;
}

static inline void ng_destroy(struct netvsc_guest *g)
{
    netvsp_destroy(g->netvsp);
    fake_vmbus_destroy(g->vmbus);
    mem_destroy(g->mem);
    loop_destroy(g->loop);
    free(g->sent);
    free(g);
}

static inline struct vmbus_channel *ng_channel(struct netvsc_guest *g, unsigned index)
{
    return fake_vmbus_find(g->vmbus, 0, (uint16_t)index);
}

static inline bool ng_take(struct netvsc_guest *g, unsigned index)
{
    struct vmbus_channel *channel = ng_channel(g, index);
    return channel != NULL && fake_guest_take(channel, &g->answer);
}

/* Where a byte of the send or receive buffer is in memory. */
static inline uint64_t ng_gpa(uint64_t buffer, uint32_t at)
{
    return buffer + (uint64_t)(at / 4096) * 8192 + at % 4096;
}

static inline void ng_read(struct netvsc_guest *g, uint32_t at, void *ret, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ng_require(
            mem_read(g->mem, ng_gpa(NG_RECEIVE_AT, at + (uint32_t)i), (uint8_t *)ret + i, 1) == 0);
}

/* ---- NVSP ---- */

static inline void ng_put_message(struct netvsc_guest *g, const uint8_t *message, bool answer)
{
    struct fake_packet packet = {.type = VMBUS_PACKET_DATA_INBAND,
                                 .no_completion = !answer,
                                 .transaction_id = 77,
                                 .length = NVSP_MESSAGE};
    memcpy(packet.payload, message, NVSP_MESSAGE);
    ng_require(fake_guest_put(ng_channel(g, 0), &packet));
    fake_guest_signal(ng_channel(g, 0));
}

/* A message of up to three words; whether the answer came, in g->answer. */
static inline bool ng_ask(struct netvsc_guest *g, uint32_t type, uint32_t a, uint32_t b)
{
    uint8_t message[NVSP_MESSAGE] = {0};
    put_le32(message, type);
    put_le32(message + NVSP_AT_FIRST, a);
    put_le32(message + NVSP_AT_SECOND, b);
    ng_put_message(g, message, true);
    return ng_take(g, 0) && g->answer.completion && g->answer.transaction_id == 77 &&
           g->answer.length == NVSP_MESSAGE;
}

static inline void ng_configure(struct netvsc_guest *g, unsigned mtu)
{
    uint8_t message[NVSP_MESSAGE] = {NVSP_NDIS_CONFIG};
    put_le32(message + NVSP_AT_FIRST, mtu + NET_ETHERNET);
    put_le64(message + NVSP_AT_CAPABILITIES, NVSP_CAPABILITY_VLAN | NVSP_CAPABILITY_RSC);
    ng_put_message(g, message, false);
}

/* ---- RNDIS ---- */

static inline void ng_put_rndis(struct netvsc_guest *g, unsigned index, const void *message,
                                size_t length, bool data)
{
    ng_require(mem_write(g->mem, NG_MESSAGE_AT, message, length) == 0);
    const struct vmbus_segment segment = {NG_MESSAGE_AT, length};
    struct fake_packet packet = {.type = VMBUS_PACKET_DATA_GPA_DIRECT,
                                 .transaction_id = 78,
                                 .length = NVSP_MESSAGE,
                                 .segment_count = 1,
                                 .segment = &segment};
    put_le32(packet.payload, NVSP_RNDIS);
    put_le32(packet.payload + NVSP_AT_FIRST, data ? NVSP_CHANNEL_DATA : NVSP_CHANNEL_CONTROL);
    put_le32(packet.payload + NVSP_AT_SECOND, NVSP_NO_SECTION);
    ng_require(fake_guest_put(ng_channel(g, index), &packet));
    fake_guest_signal(ng_channel(g, index));
}

/* Tell the host that the transfer in g->answer is done with. */
static inline void ng_complete(struct netvsc_guest *g, unsigned index)
{
    struct fake_packet packet = {.type = VMBUS_PACKET_COMPLETION,
                                 .no_completion = true,
                                 .transaction_id = g->answer.transaction_id,
                                 .length = NVSP_MESSAGE};
    put_le32(packet.payload, NVSP_RNDIS_COMPLETE);
    put_le32(packet.payload + NVSP_AT_FIRST, NVSP_SUCCESS);
    ng_require(fake_guest_put(ng_channel(g, index), &packet));
    fake_guest_signal(ng_channel(g, index));
}

/* The next transfer on the channel; its first range in `ret`. False: there is none. */
static inline bool ng_take_transfer(struct netvsc_guest *g, unsigned index, void *ret, size_t room)
{
    if (!ng_take(g, index) || g->answer.range_count == 0)
        return false;
    size_t length = g->answer.range[0].length;
    ng_read(g, g->answer.range[0].offset, ret, length < room ? length : room);
    return true;
}

/* A request, and its answer's bytes in `ret`; false: it was not taken. */
static inline bool ng_request(struct netvsc_guest *g, const uint8_t *message, size_t length,
                              uint8_t *ret, size_t room)
{
    ng_put_rndis(g, 0, message, length, false);
    ng_require(ng_take(g, 0) && g->answer.completion && g->answer.transaction_id == 78);
    if (get_le32(g->answer.payload + NVSP_AT_FIRST) != NVSP_SUCCESS)
        return false;
    if (!ng_take_transfer(g, 0, ret, room))
        return false;
    ng_complete(g, 0);
    return true;
}

static inline bool ng_rndis_initialize(struct netvsc_guest *g)
{
    uint8_t message[RNDIS_INITIALIZE_LENGTH] = {RNDIS_INITIALIZE};
    uint8_t answer[NETVSP_CONTROL_ANSWER] = {0};
    put_le32(message + RNDIS_AT_LENGTH, sizeof(message));
    put_le32(message + RNDIS_AT_REQUEST, ++g->request);
    return ng_request(g, message, sizeof(message), answer, sizeof(answer)) &&
           get_le32(answer) == (RNDIS_INITIALIZE | RNDIS_COMPLETE) &&
           get_le32(answer + RNDIS_AT_REQUEST) == g->request &&
           get_le32(answer + RNDIS_AT_STATUS) == RNDIS_SUCCESS;
}

/* The status of a SET. */
static inline uint32_t ng_set(struct netvsc_guest *g, uint32_t oid, const void *bytes,
                              size_t length)
{
    uint8_t message[NETVSP_MOST_CONTROL] = {RNDIS_SET};
    uint8_t answer[NETVSP_CONTROL_ANSWER] = {0};
    put_le32(message + RNDIS_AT_LENGTH, (uint32_t)(RNDIS_REQUEST_LENGTH + length));
    put_le32(message + RNDIS_AT_REQUEST, ++g->request);
    put_le32(message + RNDIS_AT_OID, oid);
    put_le32(message + RNDIS_AT_BUFFER_LENGTH, (uint32_t)length);
    put_le32(message + RNDIS_AT_BUFFER_OFFSET, RNDIS_REQUEST_LENGTH - RNDIS_HEADER);
    memcpy(message + RNDIS_REQUEST_LENGTH, bytes, length);
    ng_require(ng_request(g, message, RNDIS_REQUEST_LENGTH + length, answer, sizeof(answer)) &&
               get_le32(answer) == (RNDIS_SET | RNDIS_COMPLETE) &&
               get_le32(answer + RNDIS_AT_REQUEST) == g->request);
    return get_le32(answer + RNDIS_AT_STATUS);
}

/* The status of a QUERY, what it gave, and how much. */
static inline uint32_t ng_query(struct netvsc_guest *g, uint32_t oid, uint8_t *ret,
                                uint32_t *ret_length)
{
    uint8_t message[RNDIS_REQUEST_LENGTH] = {RNDIS_QUERY};
    uint8_t answer[NETVSP_CONTROL_ANSWER] = {0};
    put_le32(message + RNDIS_AT_LENGTH, sizeof(message));
    put_le32(message + RNDIS_AT_REQUEST, ++g->request);
    put_le32(message + RNDIS_AT_OID, oid);
    put_le32(message + RNDIS_AT_BUFFER_OFFSET, RNDIS_REQUEST_LENGTH - RNDIS_HEADER);
    ng_require(ng_request(g, message, sizeof(message), answer, sizeof(answer)) &&
               get_le32(answer) == (RNDIS_QUERY | RNDIS_COMPLETE));
    *ret_length = get_le32(answer + RNDIS_AT_ANSWER_LENGTH);
    memcpy(ret, answer + RNDIS_HEADER + get_le32(answer + RNDIS_AT_ANSWER_OFFSET), *ret_length);
    return get_le32(answer + RNDIS_AT_STATUS);
}

static inline uint32_t ng_set_filter(struct netvsc_guest *g, uint32_t packets)
{
    uint8_t bytes[4];
    put_le32(bytes, packets);
    return ng_set(g, OID_PACKET_FILTER, bytes, sizeof(bytes));
}

/* Up to a working interface, as Linux does it. */
static inline void ng_connect(struct netvsc_guest *g, uint32_t version)
{
    ng_require(fake_guest_open(ng_channel(g, 0)) == 0);
    ng_require(ng_ask(g, NVSP_INIT, version, version) &&
               get_le32(g->answer.payload + NVSP_AT_THIRD) == NVSP_SUCCESS);
    ng_configure(g, 1500);
    ng_require(ng_ask(g, NVSP_SEND_RECEIVE_BUFFER, NG_RECEIVE_GPADL, NG_BUFFER_ID) &&
               get_le32(g->answer.payload + NVSP_AT_FIRST) == NVSP_SUCCESS);
    ng_require(ng_ask(g, NVSP_SEND_SEND_BUFFER, NG_SEND_GPADL, 0) &&
               get_le32(g->answer.payload + NVSP_AT_FIRST) == NVSP_SUCCESS);
    ng_require(ng_rndis_initialize(g));
    ng_require(ng_set_filter(g, NDIS_FILTER_DIRECTED | NDIS_FILTER_BROADCAST) == RNDIS_SUCCESS);
}

/* With sub-channels, open. */
static inline void ng_add_channels(struct netvsc_guest *g)
{
    ng_require(ng_ask(g, NVSP_SUBCHANNEL, 1, NG_CHANNELS - 1) || g->answer.range_count == 0);
    for (unsigned i = 1; i < NG_CHANNELS; i++)
        ng_require(fake_guest_open(ng_channel(g, i)) == 0);
    while (ng_take(g, 0))
        ;
}

/* ---- frames ---- */

/* TCP over IPv4 to the guest, or from it: `length` bytes of payload; how long it is. */
static inline size_t ng_make_tcp(uint8_t *frame, const uint8_t *to, size_t length)
{
    memset(frame, 0, 54);
    memcpy(frame, to, NET_MAC_SIZE);
    memcpy(frame + 6, "\x02\x00\x00\x00\x00\x01\x08\x00\x45", 9);
    put_be16(frame + 16, (uint16_t)(40 + length));
    frame[22] = 64;
    frame[23] = NET_PROTOCOL_TCP;
    memcpy(frame + 26, "\x0a\x09\x00\x01\x0a\x09\x00\x02", 8);
    put_be16(frame + 34, 1000);
    put_be16(frame + 36, 80);
    frame[46] = 5 << 4;
    frame[47] = 0x18;
    for (size_t i = 0; i < length; i++)
        frame[54 + i] = (uint8_t)(i * 7 + i / 256);
    return 54 + length;
}

static inline unsigned ng_deliver(struct netvsc_guest *g, const uint8_t *bytes, size_t length,
                                  const struct net_offload *offload)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, length};
    struct net_frame frame = {.iov = &iov, .iov_count = 1, .length = length};
    if (offload != NULL)
        frame.offload = *offload;
    return g->user.receive(g->user.owner, &frame, 1);
}

/* An RNDIS packet around a frame, with per-packet information; its length. */
static inline size_t ng_make_packet(uint8_t *ret, const uint8_t *frame, size_t length,
                                    const uint32_t (*infos)[2], unsigned info_count)
{
    size_t at = RNDIS_PACKET_HEADER;
    memset(ret, 0, RNDIS_PACKET_HEADER);
    for (unsigned i = 0; i < info_count; i++) {
        put_le32(ret + at, RNDIS_INFO_SIZE);
        put_le32(ret + at + 4, infos[i][0]);
        put_le32(ret + at + 8, RNDIS_INFO_HEADER);
        put_le32(ret + at + 12, infos[i][1]);
        at += RNDIS_INFO_SIZE;
    }
    put_le32(ret, RNDIS_PACKET);
    put_le32(ret + RNDIS_AT_LENGTH, (uint32_t)(at + length));
    put_le32(ret + RNDIS_AT_DATA_OFFSET, (uint32_t)(at - RNDIS_HEADER));
    put_le32(ret + RNDIS_AT_DATA_LENGTH, (uint32_t)length);
    put_le32(ret + RNDIS_AT_INFO_OFFSET, info_count > 0 ? RNDIS_PACKET_HEADER - RNDIS_HEADER : 0);
    put_le32(ret + RNDIS_AT_INFO_LENGTH, info_count * RNDIS_INFO_SIZE);
    memcpy(ret + at, frame, length);
    return at + length;
}

static inline bool ng_was_answered(struct netvsc_guest *g, unsigned index, uint32_t status)
{
    return ng_take(g, index) && g->answer.completion && g->answer.transaction_id == 78 &&
           get_le32(g->answer.payload) == NVSP_RNDIS_COMPLETE &&
           get_le32(g->answer.payload + NVSP_AT_FIRST) == status;
}

#endif
