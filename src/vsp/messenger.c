/* The channel of a keyboard, a mouse or a screen (messenger.h). VMBus may close it within any call.
 */
#include "vsp/messenger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PACKETS_A_TURN = 32 };

struct waiting {
    uint8_t length;
    uint8_t bytes[MESSENGER_MOST_MESSAGE];
};

struct messenger {
    struct ic_host host;
    struct messenger_kind kind;
    void *owner;
    struct vmbus_channel *channel;
    struct loop_timer *reader;
    bool open, ready, was_open;
    uint64_t sent, oddities;
    struct vmbus_packet packet;
    uint8_t payload[MESSENGER_MOST_HEARD];
    unsigned first, count; /* of those that wait */
    struct waiting waiting[MESSENGER_MOST_WAITING];
};

/* ---- sending ---- */

/* Any error but a full ring means that the channel is gone, which `closed` tells. */
static void send_waiting(struct messenger *messenger)
{
    while (messenger->count > 0) {
        const struct waiting *next = &messenger->waiting[messenger->first];
        if (vmbus_send(messenger->channel, next->bytes, next->length, 0, false) != 0)
            return;
        messenger->first = (messenger->first + 1) % MESSENGER_MOST_WAITING;
        messenger->count--;
        messenger->sent++;
    }
}

void messenger_answer(struct messenger *messenger, const void *bytes, size_t length)
{
    (void)vmbus_send(messenger->channel, bytes, length, 0, false);
}

void messenger_start(struct messenger *messenger)
{
    messenger->ready = messenger->open;
}

int messenger_send(struct messenger *messenger, const void *messages, size_t size, size_t count)
{
    const uint8_t *from = messages;

    if (!messenger->ready)
        return -ENOTCONN;
    if (count > MESSENGER_MOST_WAITING - messenger->count || size > MESSENGER_MOST_MESSAGE)
        return -ENOBUFS;
    for (size_t i = 0; i < count; i++) {
        struct waiting *to =
            &messenger->waiting[(messenger->first + messenger->count++) % MESSENGER_MOST_WAITING];
        to->length = (uint8_t)size;
        memcpy(to->bytes, from + i * size, size);
    }
    send_waiting(messenger);
    return messenger->open ? 0 : -ENOTCONN;
}

/* ---- receiving ---- */

static void read_packet(struct messenger *messenger, int error)
{
    const struct vmbus_packet *packet = &messenger->packet;

    if (packet->wants_completion)
        (void)vmbus_complete(messenger->channel, packet->transaction_id, NULL, 0);
    if (!messenger->open)
        return;
    if (error != 0 || packet->type != VMBUS_PACKET_DATA_INBAND ||
        !messenger->kind.received(messenger->owner, messenger->payload, packet->payload_length))
        messenger->oddities++;
}

/* Not so many that others do not come in. */
static void read_packets(void *owner)
{
    struct messenger *messenger = owner;

    for (unsigned i = 0; i < PACKETS_A_TURN; i++) {
        if (!messenger->open)
            return;
        int error = vmbus_read(messenger->channel, &messenger->packet);
        if (error != 0 && error != -EMSGSIZE)
            return;
        read_packet(messenger, error);
    }
    if (messenger->open)
        loop_timer_set(messenger->reader, 1);
}

/* ---- the channel ---- */

static int opened(void *owner, struct vmbus_channel *channel)
{
    struct messenger *messenger = owner;

    (void)channel;
    messenger->open = true;
    messenger->was_open = true;
    return 0;
}

static void closed(void *owner, struct vmbus_channel *channel)
{
    struct messenger *messenger = owner;

    (void)channel;
    messenger->open = false;
    messenger->ready = false;
    messenger->count = 0;
    loop_timer_set(messenger->reader, 0);
    if (messenger->kind.closed != NULL)
        messenger->kind.closed(messenger->owner);
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

int messenger_create(const struct ic_host *host, const struct messenger_kind *kind, void *owner,
                     struct messenger **ret)
{
    struct messenger *messenger = calloc(1, sizeof(*messenger));

    if (messenger == NULL)
        return -ENOMEM;
    messenger->host = *host;
    messenger->kind = *kind;
    messenger->owner = owner;
    messenger->packet.payload = messenger->payload;
    messenger->packet.payload_room = sizeof(messenger->payload);
    int error = loop_timer_create(host->loop, read_packets, messenger, &messenger->reader);
    if (error == 0)
        error =
            vmbus_offer(host->vmbus, &kind->offer, &channel_ops, messenger, &messenger->channel);
    if (error < 0)
        messenger_destroy(messenger);
    else
        *ret = messenger;
    return error;
}

void messenger_destroy(struct messenger *messenger)
{
    if (messenger == NULL)
        return;
    if (messenger->channel != NULL)
        vmbus_rescind(messenger->channel); /* which closes it first */
    if (messenger->reader != NULL)
        loop_timer_destroy(messenger->reader);
    free(messenger);
}

void messenger_describe(const struct messenger *messenger, struct messenger_report *ret)
{
    *ret = (struct messenger_report){
        .ready = messenger->ready,
        .was_open = messenger->was_open,
        .sent = messenger->sent,
        .oddities = messenger->oddities,
    };
}
