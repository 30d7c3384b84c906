#include "tests/harness/ic_guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { CHANNELS = 8, TIMERS = 32 };

struct queue {
    unsigned first, count;
    struct ic_message message[IC_GUEST_QUEUE];
};

struct vmbus {
    uint32_t version;
};

struct vmbus_channel {
    bool offered, open, wants_room;
    struct vmbus_offer offer;
    const struct vmbus_channel_ops *ops;
    void *owner;
    struct queue in, out;
};

struct loop {
    uint64_t now;
};

struct loop_timer {
    bool used;
    loop_timer_fn fn;
    void *owner;
    uint64_t deadline;
};

static struct vmbus vmbus;
static struct loop the_loop;
static struct vmbus_channel channels[CHANNELS];
static struct loop_timer timers[TIMERS];
static unsigned ring_room;
static bool refuse_offers;

static void require(bool condition)
{
    if (!condition)
        abort();
}

uint64_t ic_guest_now(void)
{
    return the_loop.now;
}

const struct ic_host *ic_guest_start(void)
{
    static const struct ic_host host = {&vmbus, &the_loop, ic_guest_now};

    vmbus.version = 5 << 16 | 3;
    the_loop.now = UINT64_C(100) * NS_PER_SECOND;
    ring_room = IC_GUEST_QUEUE;
    refuse_offers = false;
    for (unsigned i = 0; i < CHANNELS; i++) {
        channels[i].offered = false;
        channels[i].open = false;
    }
    for (unsigned i = 0; i < TIMERS; i++)
        timers[i].used = false;
    return &host;
}

void ic_guest_end(void)
{
    for (unsigned i = 0; i < CHANNELS; i++)
        require(!channels[i].offered);
    for (unsigned i = 0; i < TIMERS; i++)
        require(!timers[i].used);
}

/* ---- loop.h ---- */

int loop_timer_create(struct loop *loop, loop_timer_fn fn, void *owner, struct loop_timer **ret)
{
    (void)loop;
    for (unsigned i = 0; i < TIMERS; i++) {
        if (!timers[i].used) {
            timers[i] = (struct loop_timer){true, fn, owner, 0};
            *ret = &timers[i];
            return 0;
        }
    }
    return -ENOMEM;
}

void loop_timer_set(struct loop_timer *timer, uint64_t deadline_ns)
{
    require(timer->used);
    timer->deadline = deadline_ns;
}

void loop_timer_destroy(struct loop_timer *timer)
{
    if (timer != NULL)
        timer->used = false;
}

static struct loop_timer *first_due(uint64_t until)
{
    struct loop_timer *first = NULL;

    for (unsigned i = 0; i < TIMERS; i++) {
        struct loop_timer *timer = &timers[i];
        if (timer->used && timer->deadline != 0 && timer->deadline <= until &&
            (first == NULL || timer->deadline < first->deadline))
            first = timer;
    }
    return first;
}

void ic_guest_pass(uint64_t ns)
{
    uint64_t end = the_loop.now + ns;
    struct loop_timer *timer = NULL;

    while ((timer = first_due(end)) != NULL) {
        if (timer->deadline > the_loop.now)
            the_loop.now = timer->deadline;
        timer->deadline = 0;
        timer->fn(timer->owner);
    }
    the_loop.now = end;
}

/* ---- queues ---- */

static bool push(struct queue *queue, const void *bytes, size_t length)
{
    if (queue->count == IC_GUEST_QUEUE || length > IC_GUEST_BYTES)
        return false;
    struct ic_message *message = &queue->message[(queue->first + queue->count) % IC_GUEST_QUEUE];
    queue->count++;
    message->length = length;
    memcpy(message->bytes, bytes, length);
    return true;
}

static const struct ic_message *pop(struct queue *queue)
{
    if (queue->count == 0)
        return NULL;
    const struct ic_message *message = &queue->message[queue->first];
    queue->first = (queue->first + 1) % IC_GUEST_QUEUE;
    queue->count--;
    return message;
}

/* ---- vmbus.h ---- */

uint32_t vmbus_version(const struct vmbus *bus)
{
    return bus->version;
}

int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
                const struct vmbus_channel_ops *ops, void *owner, struct vmbus_channel **ret)
{
    (void)bus;
    if (refuse_offers)
        return -EEXIST;
    for (unsigned i = 0; i < CHANNELS; i++) {
        struct vmbus_channel *channel = &channels[i];
        if (!channel->offered) {
            channel->offered = true;
            channel->open = false;
            channel->offer = *offer;
            channel->ops = ops;
            channel->owner = owner;
            *ret = channel;
            return 0;
        }
    }
    return -ENOMEM;
}

void vmbus_rescind(struct vmbus_channel *channel)
{
    require(channel->offered);
    ic_guest_close(channel);
    channel->offered = false;
}

int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
    require(channel->offered);
    if (!channel->open)
        return -ENOTCONN;
    const struct ic_message *message = pop(&channel->in);
    if (message == NULL)
        return -EAGAIN;
    packet->type = VMBUS_PACKET_DATA_INBAND;
    packet->wants_completion = false;
    packet->payload_length = message->length;
    if (message->length > packet->payload_room)
        return -EMSGSIZE;
    memcpy(packet->payload, message->bytes, message->length);
    return 0;
}

int vmbus_send(struct vmbus_channel *channel, const void *payload, size_t length,
               uint64_t transaction_id, bool wants_completion)
{
    (void)transaction_id;
    require(channel->offered && !wants_completion);
    if (!channel->open)
        return -ENOTCONN;
    if (channel->out.count < ring_room && push(&channel->out, payload, length))
        return 0;
    channel->wants_room = true;
    return -EAGAIN;
}

int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
                   size_t length)
{
    (void)channel;
    (void)transaction_id;
    (void)payload;
    (void)length;
    abort(); /* nobody asked for one */
}

/* ---- the guest ---- */

struct vmbus_channel *ic_guest_find(void)
{
    struct vmbus_channel *found = NULL;

    for (unsigned i = 0; i < CHANNELS; i++) {
        if (!channels[i].offered)
            continue;
        require(found == NULL);
        found = &channels[i];
    }
    return found;
}

struct vmbus_channel *ic_guest_find_class(uint8_t first)
{
    for (unsigned i = 0; i < CHANNELS; i++) {
        if (channels[i].offered && channels[i].offer.class_id[0] == first)
            return &channels[i];
    }
    return NULL;
}

void ic_guest_open(struct vmbus_channel *channel)
{
    if (channel->open)
        return;
    channel->open = true;
    channel->wants_room = false;
    channel->in.count = 0;
    channel->out.count = 0;
    require(channel->ops->opened(channel->owner, channel) == 0);
    channel->ops->readable(channel->owner, channel);
}

void ic_guest_close(struct vmbus_channel *channel)
{
    if (!channel->open)
        return;
    channel->open = false;
    channel->ops->closed(channel->owner, channel);
}

void ic_guest_set_room(unsigned room)
{
    ring_room = room;
}

void ic_guest_refuse_offers(bool refuse)
{
    refuse_offers = refuse;
}

bool ic_guest_take(struct vmbus_channel *channel, struct ic_message *ret)
{
    const struct ic_message *message = channel->open ? pop(&channel->out) : NULL;

    if (message == NULL)
        return false;
    *ret = *message;
    if (channel->wants_room && channel->out.count < ring_room) {
        channel->wants_room = false;
        channel->ops->writable(channel->owner, channel);
    }
    return true;
}

void ic_guest_put(struct vmbus_channel *channel, const void *bytes, size_t length)
{
    if (channel->open && push(&channel->in, bytes, length))
        channel->ops->readable(channel->owner, channel);
}

/* ---- what a guest with Linux does: vmbus_prep_negotiate_resp and its callers ---- */

void ic_guest_answer(struct vmbus_channel *channel, struct ic_message *message, uint32_t status)
{
    put_le32(message->bytes + 20, status);
    message->bytes[25] = 5; /* transaction, response */
    ic_guest_put(channel, message->bytes, message->length);
}

bool ic_guest_negotiate(struct vmbus_channel *channel, uint32_t framework, uint32_t version)
{
    struct ic_message message;

    if (!ic_guest_take(channel, &message) || get_le16(message.bytes + 12) != 0)
        return false;
    uint8_t *body = ic_guest_body(&message);
    put_le16(message.bytes + 18, 16);
    put_le16(body, version != 0);
    put_le16(body + 2, version != 0);
    put_le16(body + 8, (uint16_t)(framework >> 16));
    put_le16(body + 10, (uint16_t)framework);
    put_le16(body + 12, (uint16_t)(version >> 16));
    put_le16(body + 14, (uint16_t)version);
    ic_guest_answer(channel, &message, 0);
    return true;
}

void ic_guest_connect(struct vmbus_channel *channel, uint32_t version)
{
    ic_guest_open(channel);
    require(ic_guest_negotiate(channel, IC_VERSION(3, 0), version));
}
