/*
 * Invariant: whatever packets a guest sends, opens and closes, and whatever the port gives and
 * takes, each packet that asks for an answer gets one on its channel, unless that was closed; every
 * section of the receive buffer is free, waiting, or at the guest; what is told lies within it; and
 * frames that reach the port are as long as they say.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "vsp/netvsp.h"

#include "tests/harness/fuzz_input.h"
#include "tests/harness/netvsc_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { PACKETS = 64, PAGES = 64 /* of each buffer */ };

struct fuzz {
    struct netvsc_guest *g;
    struct fuzz_input *in;
    unsigned asked[NG_CHANNELS]; /* packets without an answer yet, since the channel was opened */
};

static struct fuzz fuzz;

static void forget_closed(void)
{
    for (unsigned i = 0; i < NG_CHANNELS; i++) {
        const struct vmbus_channel *channel = ng_channel(fuzz.g, i);
        if (channel == NULL || !vmbus_channel_is_open(channel))
            fuzz.asked[i] = 0;
    }
}

static void put(unsigned index, const struct fake_packet *packet)
{
    struct vmbus_channel *channel = ng_channel(fuzz.g, index);
    bool wants = !packet->no_completion &&
                 (packet->type != VMBUS_PACKET_COMPLETION || packet->length > NETVSP_PAYLOAD);

    if (channel != NULL && fuzz.asked[index] < PACKETS && fake_guest_put(channel, packet))
        fuzz.asked[index] += wants;
}

/* ---- packets ---- */

static void put_any(unsigned index)
{
    static const enum vmbus_packet_type types[] = {
        VMBUS_PACKET_DATA_INBAND, VMBUS_PACKET_DATA_GPA_DIRECT, VMBUS_PACKET_COMPLETION,
        VMBUS_PACKET_DATA_TRANSFER_PAGES};
    struct fake_packet packet = {.type = types[fuzz_take(fuzz.in, 1) % 4]};
    uint8_t length = (uint8_t)fuzz_take(fuzz.in, 1);

    packet.no_completion = (length & 0x80) != 0;
    packet.length = length & 0x7f;
    packet.transaction_id = fuzz_take(fuzz.in, 1);
    put_le32(packet.payload, (uint32_t)fuzz_take(fuzz.in, 1));
    fuzz_take_bytes(fuzz.in, packet.payload + 4, 12);
    put(index, &packet);
}

/* A message of NVSP with small words. */
static void put_nvsp(unsigned index)
{
    static const uint32_t types[] = {NVSP_INIT,
                                     NVSP_NDIS_VERSION,
                                     NVSP_NDIS_CONFIG,
                                     NVSP_SEND_RECEIVE_BUFFER,
                                     NVSP_REVOKE_RECEIVE_BUFFER,
                                     NVSP_SEND_SEND_BUFFER,
                                     NVSP_REVOKE_SEND_BUFFER,
                                     NVSP_SUBCHANNEL};
    static const uint32_t versions[] = {NVSP_VERSION_6_1, NVSP_VERSION_5, NVSP_VERSION_2,
                                        NVSP_VERSION_1};
    struct fake_packet packet = {.type = VMBUS_PACKET_DATA_INBAND, .length = NVSP_MESSAGE};
    uint32_t type = types[fuzz_take(fuzz.in, 1) % 8];
    uint32_t word = (uint32_t)fuzz_take(fuzz.in, 1);

    put_le32(packet.payload, type);
    put_le32(packet.payload + 4, type == NVSP_INIT ? versions[word % 4] : word);
    put_le32(packet.payload + 8, type == NVSP_INIT ? versions[word % 4] : word >> 4);
    put_le64(packet.payload + 12, fuzz_take(fuzz.in, 1));
    if (type == NVSP_NDIS_CONFIG)
        put_le32(packet.payload + 4, word * 64);
    put(index, &packet);
}

/* `length` bytes of an RNDIS message: in memory, in a section, or in both. */
static void put_rndis(unsigned index, const uint8_t *message, size_t length)
{
    uint8_t shape = (uint8_t)fuzz_take(fuzz.in, 1);
    size_t within = (shape & 1) != 0 ? length / 2 : 0;
    struct vmbus_segment segments[3];
    struct fake_packet packet = {.type = VMBUS_PACKET_DATA_GPA_DIRECT,
                                 .transaction_id = shape,
                                 .length = NVSP_MESSAGE,
                                 .segment = segments};

    put_le32(packet.payload, NVSP_RNDIS);
    put_le32(packet.payload + NVSP_AT_FIRST, shape >> 1 & 1);
    put_le32(packet.payload + NVSP_AT_SECOND, (shape & 1) != 0 ? shape >> 2 : NVSP_NO_SECTION);
    put_le32(packet.payload + NVSP_AT_THIRD,
             (shape & 0x80) != 0 ? (uint32_t)fuzz_take(fuzz.in, 2) : (uint32_t)within);
    for (size_t i = 0; i < within; i++)
        (void)mem_write(
            fuzz.g->mem,
            ng_gpa(NG_SEND_AT, (uint32_t)(shape >> 2) * NETVSP_SEND_SECTION + (uint32_t)i),
            message + i, 1);
    ng_require(mem_write(fuzz.g->mem, NG_MESSAGE_AT, message + within, length - within) == 0);
    size_t left = length - within;
    segments[0] = (struct vmbus_segment){NG_MESSAGE_AT, left / 3};
    segments[1] = (struct vmbus_segment){NG_MESSAGE_AT + left / 3, left - left / 3};
    segments[2] = (struct vmbus_segment){0x300000, 4096};
    packet.segment_count = left == 0 ? 0 : (shape & 2) != 0 ? 3 : 2;
    put(index, &packet);
    /* What was written may be overwritten by the next message before it is read, or not. */
    if ((shape & 4) != 0 && ng_channel(fuzz.g, index) != NULL)
        fake_guest_signal(ng_channel(fuzz.g, index));
}

static void change_some(uint8_t *message, size_t length)
{
    for (uint64_t n = fuzz_take(fuzz.in, 1) & 3; n > 0; n--) {
        size_t at = (size_t)fuzz_take(fuzz.in, 2) % length;
        message[at] = (uint8_t)fuzz_take(fuzz.in, 1);
    }
}

/* Frames with information, a few bytes of them changed. */
static void put_frames(unsigned index)
{
    static uint8_t frame[70000];
    static uint8_t message[140000];
    uint64_t shape = fuzz_take(fuzz.in, 2);
    size_t length = 0;

    for (unsigned i = 0; i <= (shape & 3); i++) {
        uint32_t infos[3][2] = {
            {RNDIS_INFO_CHECKSUM, (uint32_t)fuzz_take(fuzz.in, 1)},
            {RNDIS_INFO_LARGE_SEND, (uint32_t)fuzz_take(fuzz.in, 1) * 16},
            {RNDIS_INFO_VLAN, (uint32_t)fuzz_take(fuzz.in, 2)},
        };
        size_t made = ng_make_tcp(frame, ng_mac, (size_t)(shape >> 2 & 0xff) * (i == 0 ? 90 : 3));
        if ((shape & 0x400) != 0)
            change_some(frame, made < 60 ? made : 60);
        length += ng_make_packet(message + length, frame, made, (const uint32_t(*)[2])infos,
                                 (unsigned)(shape >> 12 & 3));
    }
    change_some(message, length < 200 ? length : 200);
    put_rndis(index, message, length);
}

static void put_request(unsigned index)
{
    static const uint32_t oids[] = {OID_SUPPORTED,        OID_PACKET_FILTER,
                                    OID_MULTICAST_LIST,   OID_RSS_PARAMETERS,
                                    OID_CONFIG_PARAMETER, OID_OFFLOAD_PARAMETERS,
                                    OID_RSS_CAPABILITIES, OID_OFFLOAD_CAPABILITIES};
    uint8_t message[700] = {0};
    uint8_t type = (uint8_t)(fuzz_take(fuzz.in, 1) % 10);
    size_t size = (size_t)fuzz_take(fuzz.in, 2) % 660;
    size_t length = RNDIS_REQUEST_LENGTH + size;

    put_le32(message, type);
    put_le32(message + RNDIS_AT_LENGTH, (uint32_t)length);
    put_le32(message + RNDIS_AT_OID, oids[fuzz_take(fuzz.in, 1) % 8]);
    put_le32(message + RNDIS_AT_BUFFER_LENGTH, (uint32_t)size);
    put_le32(message + RNDIS_AT_BUFFER_OFFSET, RNDIS_REQUEST_LENGTH - RNDIS_HEADER);
    fuzz_take_bytes(fuzz.in, message + RNDIS_REQUEST_LENGTH, size < 30 ? size : 30);
    change_some(message, length);
    put_rndis(index, message, length);
}

/* All that it takes, so that what comes then is reached. */
static void connect(uint8_t action)
{
    static const uint32_t versions[] = {NVSP_VERSION_6_1, NVSP_VERSION_5, NVSP_VERSION_4,
                                        NVSP_VERSION_1};
    struct netvsc_guest *g = fuzz.g;

    vmbus_reset(g->vmbus);
    g->room = UINT32_MAX;
    for (unsigned i = 0; i < NG_CHANNELS; i++) {
        if (ng_channel(g, i) != NULL)
            fake_guest_set_room(ng_channel(g, i), FAKE_RING);
    }
    g->user.writable(g->user.owner);
    forget_closed();
    netvsp_set_link(g->netvsp, true);
    g->user.link(g->user.owner, true);
    ng_connect(g, versions[action >> 4 & 3]);
    if ((action & 0x40) != 0 && (action >> 4 & 3) < 2)
        ng_add_channels(g);
}

/* ---- what the host does ---- */

static void check_transfer(const struct fake_answer *answer)
{
    for (unsigned i = 0; i < answer->range_count; i++)
        ng_require(answer->range[i].offset < PAGES * 4096 &&
                   answer->range[i].length <= NETVSP_LARGE_SECTION &&
                   answer->range[i].offset + answer->range[i].length <= PAGES * 4096);
}

static void take_answers(unsigned index, unsigned most)
{
    struct netvsc_guest *g = fuzz.g;

    for (unsigned i = 0; i < most && ng_take(g, index); i++) {
        if (g->answer.range_count > 0) {
            check_transfer(&g->answer);
            if ((most & 1) != 0 && vmbus_channel_is_open(ng_channel(g, index)))
                ng_complete(g, index);
        } else if (g->answer.completion) {
            ng_require(g->answer.length == NVSP_MESSAGE && fuzz.asked[index] > 0);
            fuzz.asked[index]--;
        }
        forget_closed();
    }
}

static void deliver(void)
{
    static uint8_t frame[70000];
    uint64_t shape = fuzz_take(fuzz.in, 2);
    size_t length =
        ng_make_tcp(frame, ng_mac, (size_t)(shape & 0xff) * ((shape & 0x100) != 0 ? 250 : 5));
    struct net_offload offload = {
        .checksum_known = (shape & 0x200) != 0,
        .wants_checksum = (shape & 0x400) != 0,
        .checksum_start = (uint16_t)(fuzz_take(fuzz.in, 1) % 60),
        .checksum_offset = 16,
        .segmentation = (shape & 0x800) != 0 ? NET_TCP4 : NET_WHOLE,
        .segment_size = (uint16_t)(fuzz_take(fuzz.in, 1) * 8),
    };
    put_be16(frame + 34, (uint16_t)(shape >> 8));
    change_some(frame, length < 60 ? length : 60);
    if (offload.wants_checksum && (size_t)offload.checksum_start + 18 > length)
        offload.wants_checksum = false;
    (void)ng_deliver(fuzz.g, frame, length, &offload);
}

/* Free ones, those that wait in transfers, and those at the guest are all there are. */
static void check_sections(void)
{
    const struct netvsp *n = fuzz.g->netvsp;
    unsigned known = n->free_count;
    unsigned counted = 0;

    if (!n->receive_buffer.set)
        return;
    for (uint16_t at = n->free_section; counted < n->free_count; at = n->next[at], counted++)
        ng_require(at < n->receive_buffer.section_count && !n->told[at]);
    for (unsigned i = 0; i < n->channel_count; i++)
        known += n->channel[i].transfer.count;
    for (unsigned i = 0; i < n->receive_buffer.section_count; i++) {
        for (uint16_t at = (uint16_t)i; n->told[i] && at != NETVSP_NO_RANGE; at = n->next[at])
            known++;
    }
    ng_require(known == n->receive_buffer.section_count);
}

static void perform(uint8_t action)
{
    struct netvsc_guest *g = fuzz.g;
    unsigned index = (action >> 4) % NG_CHANNELS;
    struct vmbus_channel *channel = ng_channel(g, index);

    switch (action & 15) {
    case 0:
        connect(action);
        break;
    case 1:
        if (channel != NULL && !vmbus_channel_is_open(channel)) {
            fuzz.asked[index] = 0;
            (void)fake_guest_open(channel);
        }
        break;
    case 2:
        if (channel != NULL && (action & 0x80) != 0)
            fake_guest_close(channel);
        break;
    case 3:
        put_any(index);
        break;
    case 4:
        put_nvsp(index);
        break;
    case 5:
    case 6:
        put_frames(index);
        break;
    case 7:
    case 8:
        put_request(index);
        break;
    case 9:
        deliver();
        break;
    case 10:
        take_answers(index, (unsigned)fuzz_take(fuzz.in, 1));
        break;
    case 11:
        g->room = (unsigned)fuzz_take(fuzz.in, 1);
        if (g->room > 128)
            g->user.writable(g->user.owner);
        break;
    case 12:
        if (channel != NULL)
            fake_guest_set_room(channel, (unsigned)fuzz_take(fuzz.in, 1) + 1);
        break;
    case 13:
        if ((action & 0x10) != 0)
            netvsp_set_link(g->netvsp, (action & 0x20) != 0);
        else
            netvsp_send_give_up(g->netvsp);
        break;
    case 14:
        if (channel != NULL && (action & 0x80) != 0)
            fake_guest_break(channel);
        break;
    default:
        if (channel != NULL)
            fake_guest_signal(channel);
        break;
    }
    forget_closed();
    check_sections();
}

/* In the end the port takes all and the guest listens. */
static void settle(void)
{
    struct netvsc_guest *g = fuzz.g;

    g->room = UINT32_MAX;
    g->user.writable(g->user.owner);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < NG_CHANNELS; i++) {
            struct vmbus_channel *channel = ng_channel(g, i);
            if (channel == NULL || !vmbus_channel_is_open(channel))
                continue;
            fake_guest_set_room(channel, FAKE_RING);
            fake_guest_signal(channel);
            take_answers(i, 1 + 2 * FAKE_RING);
        }
    }
    forget_closed();
    for (unsigned i = 0; i < NG_CHANNELS; i++)
        ng_require(fuzz.asked[i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct fuzz_input in = {bytes, length};
    static struct netvsc_guest *g; /* of all runs, but for its card: that is what is slow */

    if (g == NULL) {
        g = ng_create(NULL);
        fake_vmbus_set_gpadl(g->vmbus, NG_RECEIVE_GPADL, NG_RECEIVE_AT, PAGES);
        fake_vmbus_set_gpadl(g->vmbus, NG_SEND_GPADL, NG_SEND_AT, PAGES);
    }
    struct netvsp_config config = g->netvsp->config;
    config.mtu = 9000;
    config.vlan = fuzz_take(&in, 1) % 4 == 1 ? 42 : 0;
    netvsp_destroy(g->netvsp);
    g->room = UINT32_MAX;
    ng_require(netvsp_create(&config, &g->netvsp, NULL) == 0);
    fuzz = (struct fuzz){.g = g, .in = &in};
    for (unsigned i = 0; i < 200 && in.left > 0; i++)
        perform((uint8_t)fuzz_take(&in, 1));
    settle();
    return 0;
}
