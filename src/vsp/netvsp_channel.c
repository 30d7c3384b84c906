/* A channel of the network service: packets in, answers out (netvsp_private.h). */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "vsp/netvsp_private.h"

/* ---- answers ---- */

void netvsp_channel_answer(struct netvsp_channel *channel, uint64_t transaction,
                           const uint8_t message[NVSP_MESSAGE])
{
    if (!channel->open)
        return;
    if (channel->unsent_count == 0 &&
        vmbus_complete(channel->vmbus, transaction, message, NVSP_MESSAGE) != -EAGAIN)
        return;
    if (!channel->open || channel->unsent_count == NETVSP_UNSENT)
        return;
    struct netvsp_answer *answer = &channel->unsent[channel->unsent_count++];
    answer->transaction = transaction;
    memcpy(answer->message, message, NVSP_MESSAGE);
}

void netvsp_channel_answer_rndis(struct netvsp_channel *channel, uint64_t transaction,
                                 enum nvsp_status status)
{
    uint8_t message[NVSP_MESSAGE] = {NVSP_RNDIS_COMPLETE};

    put_le32(message + NVSP_AT_FIRST, status);
    netvsp_channel_answer(channel, transaction, message);
}

/* As far as there is room. */
static void send_unsent(struct netvsp_channel *channel)
{
    unsigned done = 0;

    while (channel->open && done < channel->unsent_count) {
        const struct netvsp_answer *answer = &channel->unsent[done];
        if (vmbus_complete(channel->vmbus, answer->transaction, answer->message, NVSP_MESSAGE) ==
            -EAGAIN)
            break;
        done++;
    }
    if (!channel->open)
        return;
    channel->unsent_count -= done;
    memmove(channel->unsent, channel->unsent + done,
            channel->unsent_count * sizeof(channel->unsent[0]));
}

/* ---- packets ---- */

static void serve_rndis(struct netvsp_channel *channel, const struct vmbus_packet *packet)
{
    struct netvsp *netvsp = channel->netvsp;
    uint32_t section = get_le32(packet->payload + NVSP_AT_SECOND);
    uint32_t length = get_le32(packet->payload + NVSP_AT_THIRD);
    enum nvsp_status status = NVSP_INVALID_RNDIS;
    uint8_t type[4] = {0};

    netvsp->stream.count = 0;
    netvsp->stream.length = 0;
    bool whole = section == NVSP_NO_SECTION || netvsp_stream_add_section(netvsp, section, length);
    for (unsigned i = 0; i < packet->segment_count; i++)
        netvsp_stream_add(&netvsp->stream, packet->segment[i]);
    if (whole && netvsp_stream_read(netvsp, 0, type, sizeof(type))) {
        if (get_le32(type) != RNDIS_PACKET)
            status = netvsp_rndis_serve(netvsp);
        else if (netvsp_send_stream(channel, packet))
            return; /* answered when the port has it */
    }
    if (packet->wants_completion)
        netvsp_channel_answer_rndis(channel, packet->transaction_id, status);
    netvsp_rndis_send(netvsp);
}

static void serve(struct netvsp_channel *channel, struct vmbus_packet *packet)
{
    struct netvsp *netvsp = channel->netvsp;

    if (packet->type == VMBUS_PACKET_COMPLETION) {
        netvsp_receive_completed(netvsp, packet->transaction_id);
        return;
    }
    /* Missing fields are zero. */
    memset(packet->payload + packet->payload_length, 0, NETVSP_PAYLOAD - packet->payload_length);
    if (get_le32(packet->payload) == NVSP_RNDIS && netvsp->version != 0)
        serve_rndis(channel, packet);
    else
        netvsp_nvsp_serve(channel, packet);
}

/* False: there are no more. */
static bool read_packet(struct netvsp_channel *channel)
{
    struct vmbus_packet *packet = &channel->netvsp->packet;
    int error = vmbus_read(channel->vmbus, packet);

    if (error == 0)
        serve(channel, packet);
    else if (error == -EMSGSIZE && packet->wants_completion)
        netvsp_channel_answer_rndis(channel, packet->transaction_id, NVSP_INVALID_RNDIS);
    return error == 0 || error == -EMSGSIZE;
}

void netvsp_channel_read(struct netvsp_channel *channel)
{
    struct netvsp *netvsp = channel->netvsp;
    bool more = true;

    if (channel->reading) /* further out */
        return;
    channel->reading = true;
    while (more && channel->open && channel->unsent_count == 0 && !netvsp->blocked) {
        more = read_packet(channel);
        if (!more || !netvsp_send_has_room(netvsp))
            netvsp_send_flush(netvsp);
    }
    netvsp_send_flush(netvsp);
    channel->reading = false;
    if (netvsp->control_count > 0 || netvsp->link_due)
        netvsp_rndis_send(netvsp);
    netvsp_receive_resume(netvsp);
}

void netvsp_channel_read_all(struct netvsp *netvsp)
{
    for (unsigned i = 0; i < netvsp->channel_count; i++)
        netvsp_channel_read(&netvsp->channel[i]);
}

/* ---- what VMBus calls ---- */

static int channel_opened(void *owner, struct vmbus_channel *vmbus)
{
    struct netvsp_channel *channel = owner;

    (void)vmbus; /* channel->vmbus */
    channel->open = true;
    channel->unsent_count = 0;
    channel->transfer = (struct netvsp_transfer){0};
    return 0;
}

static void channel_closed(void *owner, struct vmbus_channel *vmbus)
{
    struct netvsp_channel *channel = owner;
    struct netvsp *netvsp = channel->netvsp;

    (void)vmbus;
    channel->open = false;
    channel->unsent_count = 0;
    netvsp_send_forget(channel);
    if (channel->index == 0)
        netvsp_end_connection(netvsp);
    else if (channel->transfer.count > 0)
        netvsp_sections_give_back(netvsp, channel->transfer.first);
    channel->transfer = (struct netvsp_transfer){0};
}

static void channel_readable(void *owner, struct vmbus_channel *vmbus)
{
    (void)vmbus;
    netvsp_channel_read(owner);
}

static void channel_writable(void *owner, struct vmbus_channel *vmbus)
{
    struct netvsp_channel *channel = owner;

    (void)vmbus;
    send_unsent(channel);
    if (channel->open && channel->unsent_count == 0 && netvsp_receive_flush(channel))
        netvsp_channel_read(channel);
}

/* No `released`: once withdrawn, a channel is VMBus's alone. */
const struct vmbus_channel_ops netvsp_channel_ops = {
    .opened = channel_opened,
    .closed = channel_closed,
    .readable = channel_readable,
    .writable = channel_writable,
};
