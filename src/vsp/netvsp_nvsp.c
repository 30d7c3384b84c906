/* NVSP: versions, buffers, sub-channels (netvsp_private.h). */
#include <string.h>

#include "base/bytes.h"
#include "vsp/netvsp_private.h"

static const uint32_t versions[] = {NVSP_VERSION_6_1, NVSP_VERSION_6, NVSP_VERSION_5,
                                    NVSP_VERSION_4,   NVSP_VERSION_2, NVSP_VERSION_1};

/* The first field of a message that is answered by another: a status. */
static void start_answer(uint8_t *answer, enum nvsp_type type, enum nvsp_status status)
{
    put_le32(answer, type);
    put_le32(answer + NVSP_AT_FIRST, status);
}

static void initialize(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    uint32_t least = get_le32(message + NVSP_AT_FIRST);
    uint32_t most = get_le32(message + NVSP_AT_SECOND);
    uint32_t version = 0;

    for (unsigned i = 0; version == 0 && i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (versions[i] >= least && versions[i] <= most)
            version = versions[i];
    }
    if (netvsp->receive_buffer.set || netvsp->send_buffer.set)
        version = 0; /* it is too late */
    else
        netvsp->version = version;
    put_le32(answer, NVSP_INIT_COMPLETE);
    put_le32(answer + NVSP_AT_FIRST, version);
    put_le32(answer + NVSP_AT_SECOND, NET_MOST_PIECES / 2); /* pieces of a packet */
    put_le32(answer + NVSP_AT_THIRD, version != 0 ? NVSP_SUCCESS : NVSP_UNSUPPORTED);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as all in the table */
static void configure(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    uint32_t frame = get_le32(message + NVSP_AT_FIRST);

    (void)answer;
    if (netvsp->version < NVSP_VERSION_2 || netvsp->receive_buffer.set)
        return;
    netvsp->capabilities = get_le64(message + NVSP_AT_CAPABILITIES);
    if (frame < NETVSP_LEAST_MTU + NET_ETHERNET)
        return;
    netvsp->mtu =
        frame - NET_ETHERNET < netvsp->config.mtu ? frame - NET_ETHERNET : netvsp->config.mtu;
}

/* Sections that a frame fits into; large frames in parts are worth large ones. */
static uint32_t section_size(const struct netvsp *netvsp)
{
    bool large = netvsp->version >= NVSP_VERSION_6_1 || netvsp->mtu > 3500;
    return large ? NETVSP_LARGE_SECTION : NETVSP_SMALL_SECTION;
}

static void take_receive_buffer(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    struct netvsp_buffer *buffer = &netvsp->receive_buffer;
    uint32_t gpadl = get_le32(message + NVSP_AT_FIRST);
    uint16_t id = get_le16(message + NVSP_AT_SECOND);

    start_answer(answer, NVSP_RECEIVE_BUFFER_COMPLETE, NVSP_FAILURE);
    if (buffer->set || netvsp_buffer_take(netvsp, buffer, gpadl, id, section_size(netvsp)) < 0)
        return;
    netvsp_sections_reset(netvsp);
    start_answer(answer, NVSP_RECEIVE_BUFFER_COMPLETE, NVSP_SUCCESS);
    put_le32(answer + NVSP_AT_SECOND, 1);
    put_le32(answer + NVSP_AT_SECTION_SIZE, buffer->section_size);
    put_le32(answer + NVSP_AT_SECTION_COUNT, buffer->section_count);
    put_le32(answer + NVSP_AT_SECTION_END, buffer->section_size * buffer->section_count);
}

static void take_send_buffer(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    struct netvsp_buffer *buffer = &netvsp->send_buffer;
    uint32_t gpadl = get_le32(message + NVSP_AT_FIRST);
    uint16_t id = get_le16(message + NVSP_AT_SECOND);
    bool taken =
        !buffer->set && netvsp_buffer_take(netvsp, buffer, gpadl, id, NETVSP_SEND_SECTION) == 0;

    start_answer(answer, NVSP_SEND_BUFFER_COMPLETE, taken ? NVSP_SUCCESS : NVSP_FAILURE);
    put_le32(answer + NVSP_AT_SECOND, taken ? NETVSP_SEND_SECTION : 0);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as all in the table */
static void revoke_receive_buffer(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    (void)message;
    (void)answer;
    netvsp->receive_buffer.set = false;
    for (unsigned i = 0; i < netvsp->channel_count; i++)
        netvsp->channel[i].transfer = (struct netvsp_transfer){0};
    netvsp_sections_reset(netvsp);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as all in the table */
static void revoke_send_buffer(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    (void)message;
    (void)answer;
    netvsp->send_buffer.set = false;
}

static void offer_subchannels(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    uint32_t count = get_le32(message + NVSP_AT_SECOND);
    bool valid = netvsp->version >= NVSP_VERSION_5 && get_le32(message + NVSP_AT_FIRST) == 1;

    if (count > netvsp->config.max_subchannels)
        count = netvsp->config.max_subchannels;
    start_answer(answer, NVSP_SUBCHANNEL, valid ? NVSP_SUCCESS : NVSP_FAILURE);
    put_le32(answer + NVSP_AT_SECOND, valid ? count : 0);
    if (valid)
        netvsp_offer_subchannels(netvsp, count);
}

/* A guest that knows no other path to take is told that it is on it. */
static void switch_path(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    (void)netvsp;
    memcpy(answer, message, NVSP_MESSAGE);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as all in the table */
static void ignore(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer)
{
    (void)netvsp;
    (void)message;
    (void)answer;
}

static const struct nvsp_row {
    uint32_t type;
    void (*perform)(struct netvsp *netvsp, const uint8_t *message, uint8_t *answer);
} rows[] = {
    {NVSP_INIT, initialize},
    {NVSP_NDIS_VERSION, ignore},
    {NVSP_NDIS_CONFIG, configure},
    {NVSP_SEND_RECEIVE_BUFFER, take_receive_buffer},
    {NVSP_REVOKE_RECEIVE_BUFFER, revoke_receive_buffer},
    {NVSP_SEND_SEND_BUFFER, take_send_buffer},
    {NVSP_REVOKE_SEND_BUFFER, revoke_send_buffer},
    {NVSP_SUBCHANNEL, offer_subchannels},
    {NVSP_SWITCH_DATA_PATH, switch_path},
};

/* Before a version is agreed only that is talked about, and all of it on the primary channel. */
void netvsp_nvsp_serve(struct netvsp_channel *channel, const struct vmbus_packet *packet)
{
    struct netvsp *netvsp = channel->netvsp;
    uint8_t answer[NVSP_MESSAGE] = {0};
    uint32_t type = get_le32(packet->payload);

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].type == type && channel->index == 0 &&
            (netvsp->version != 0 || type == NVSP_INIT))
            rows[i].perform(netvsp, packet->payload, answer);
    }
    if (packet->wants_completion)
        netvsp_channel_answer(channel, packet->transaction_id, answer);
    if (type == NVSP_SUBCHANNEL)
        netvsp_rndis_send(netvsp);
}
