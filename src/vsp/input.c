/* The channel of a keyboard or a mouse (input.h). VMBus may close it within any call. */
#include "vsp/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PACKETS_A_TURN = 32, MOST_ASKED = 256 };

struct waiting {
    uint8_t length;
    uint8_t bytes[INPUT_MOST_MESSAGE];
};

struct input {
    struct ic_host host;
    const struct input_kind *kind;
    void *owner;
    struct vmbus_channel *channel;
    struct loop_timer *reader;
    bool open, ready, was_open;
    uint64_t sent, oddities;
    struct vmbus_packet packet;
    uint8_t payload[MOST_ASKED];
    unsigned first, count; /* of those that wait */
    struct waiting waiting[INPUT_MOST_WAITING];
};

/* ---- sending ---- */

/* Any error but a full ring means that the channel is gone, which `closed` tells. */
static void send_waiting(struct input *input)
{
    while (input->count > 0) {
        const struct waiting *next = &input->waiting[input->first];
        if (vmbus_send(input->channel, next->bytes, next->length, 0, false) != 0)
            return;
        input->first = (input->first + 1) % INPUT_MOST_WAITING;
        input->count--;
        input->sent++;
    }
}

void input_answer(struct input *input, const void *bytes, size_t length)
{
    (void)vmbus_send(input->channel, bytes, length, 0, false);
}

void input_start(struct input *input)
{
    input->ready = input->open;
}

int input_send(struct input *input, const void *messages, size_t size, size_t count)
{
    const uint8_t *from = messages;

    if (!input->ready)
        return -ENOTCONN;
    if (count > INPUT_MOST_WAITING - input->count || size > INPUT_MOST_MESSAGE)
        return -ENOBUFS;
    for (size_t i = 0; i < count; i++) {
        struct waiting *to = &input->waiting[(input->first + input->count++) % INPUT_MOST_WAITING];
        to->length = (uint8_t)size;
        memcpy(to->bytes, from + i * size, size);
    }
    send_waiting(input);
    return input->open ? 0 : -ENOTCONN;
}

/* ---- receiving ---- */

static void read_packet(struct input *input, int error)
{
    const struct vmbus_packet *packet = &input->packet;

    if (packet->wants_completion)
        (void)vmbus_complete(input->channel, packet->transaction_id, NULL, 0);
    if (!input->open)
        return;
    if (error != 0 || packet->type != VMBUS_PACKET_DATA_INBAND ||
        !input->kind->received(input->owner, input->payload, packet->payload_length))
        input->oddities++;
}

/* Not so many that others do not come in. */
static void read_packets(void *owner)
{
    struct input *input = owner;

    for (unsigned i = 0; i < PACKETS_A_TURN; i++) {
        if (!input->open)
            return;
        int error = vmbus_read(input->channel, &input->packet);
        if (error != 0 && error != -EMSGSIZE)
            return;
        read_packet(input, error);
    }
    if (input->open)
        loop_timer_set(input->reader, 1);
}

/* ---- the channel ---- */

static int opened(void *owner, struct vmbus_channel *channel)
{
    struct input *input = owner;

    (void)channel;
    input->open = true;
    input->was_open = true;
    return 0;
}

static void closed(void *owner, struct vmbus_channel *channel)
{
    struct input *input = owner;

    (void)channel;
    input->open = false;
    input->ready = false;
    input->count = 0;
    loop_timer_set(input->reader, 0);
}

static void readable(void *owner, struct vmbus_channel *channel)
{
    (void)channel;
    read_packets(owner);
}

static void writable(void *owner, struct vmbus_channel *channel)
{
    (void)channel;
    send_waiting(owner);
}

static const struct vmbus_channel_ops channel_ops = {
    .opened = opened, .closed = closed, .readable = readable, .writable = writable};

/* ---- life ---- */

int input_create(const struct ic_host *host, const struct input_kind *kind, void *owner,
                 struct input **ret)
{
    struct input *input = calloc(1, sizeof(*input));

    if (input == NULL)
        return -ENOMEM;
    input->host = *host;
    input->kind = kind;
    input->owner = owner;
    input->packet.payload = input->payload;
    input->packet.payload_room = sizeof(input->payload);
    int error = loop_timer_create(host->loop, read_packets, input, &input->reader);
    if (error == 0)
        error = vmbus_offer(host->vmbus, &kind->offer, &channel_ops, input, &input->channel);
    if (error < 0)
        input_destroy(input);
    else
        *ret = input;
    return error;
}

void input_destroy(struct input *input)
{
    if (input == NULL)
        return;
    if (input->channel != NULL)
        vmbus_rescind(input->channel); /* which closes it first */
    if (input->reader != NULL)
        loop_timer_destroy(input->reader);
    free(input);
}

void input_describe(const struct input *input, struct input_report *ret)
{
    *ret = (struct input_report){
        .ready = input->ready,
        .was_open = input->was_open,
        .sent = input->sent,
        .oddities = input->oddities,
    };
}
