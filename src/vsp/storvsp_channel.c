/* A channel of the storage service: its pool, reading packets, sending answers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "vsp/storvsp_private.h"

/* ---- the pool ---- */

static void put_free(struct storvsp_request *request)
{
    request->next = request->channel->free;
    request->channel->free = request;
}

int storvsp_channel_make_pool(struct storvsp_channel *channel)
{
    if (channel->pool != NULL)
        return 0;
    void *pool = mmap(NULL, STORVSP_POOL * sizeof(*channel->pool), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool == MAP_FAILED)
        return -ENOMEM;
    channel->pool = pool;
    return 0;
}

void storvsp_channel_release_pool(struct storvsp_channel *channel)
{
    if (channel->pool != NULL)
        (void)munmap(channel->pool, STORVSP_POOL * sizeof(*channel->pool));
    channel->pool = NULL;
}

static bool has_free(const struct storvsp_channel *channel)
{
    return channel->free != NULL || channel->used < STORVSP_POOL;
}

/* One that was used before, else a new one: memory is touched only as far as it is needed. */
struct storvsp_request *storvsp_channel_take_request(struct storvsp_channel *channel)
{
    struct storvsp_request *request = channel->free;

    if (!has_free(channel))
        return NULL;
    if (request != NULL)
        channel->free = request->next;
    else
        request = &channel->pool[channel->used++];
    request->channel = channel;
    request->opening = channel->opening;
    return request;
}

/* ---- answers ---- */

void storvsp_channel_append_unsent(struct storvsp_request *request)
{
    struct storvsp_channel *channel = request->channel;

    request->next = NULL;
    if (channel->last_unsent == NULL)
        channel->first_unsent = request;
    else
        channel->last_unsent->next = request;
    channel->last_unsent = request;
}

static struct storvsp_request *pop_unsent(struct storvsp_channel *channel)
{
    struct storvsp_request *request = channel->first_unsent;

    if (request != NULL) {
        channel->first_unsent = request->next;
        if (request->next == NULL)
            channel->last_unsent = NULL;
    }
    return request;
}

static int send_answer(const struct storvsp_request *request)
{
    return vmbus_complete(request->channel->vmbus, request->transaction_id, request->packet,
                          request->length);
}

void storvsp_channel_answer(struct storvsp_request *request)
{
    struct storvsp_channel *channel = request->channel;
    struct storvsp *storvsp = channel->storvsp;
    bool current = channel->open && request->opening == channel->opening;

    /* Answers keep their order; any error but a full ring means that the channel is gone. */
    if (current && (channel->first_unsent != NULL || send_answer(request) == -EAGAIN))
        storvsp_channel_append_unsent(request);
    else
        put_free(request);
    storvsp->in_flight--;
    if (storvsp->stopped) {
        if (storvsp->in_flight == 0)
            storvsp_idle(storvsp); /* which may free it */
    } else if (channel->starved) {
        storvsp_channel_read(channel);
    }
}

/* Send what waits, as far as there is room. */
static void send_unsent(struct storvsp_channel *channel)
{
    while (channel->first_unsent != NULL) {
        struct storvsp_request *request = channel->first_unsent;
        int error = send_answer(request);
        if (error == -EAGAIN || !channel->open)
            return; /* when it has been closed, so has the list been emptied */
        (void)pop_unsent(channel);
        put_free(request);
    }
}

void storvsp_channel_send_rescan(struct storvsp *storvsp)
{
    const struct storvsp_channel *primary = &storvsp->channel[0];
    uint8_t packet[STORVSP_PACKET] = {STORVSP_ENUMERATE_BUS};

    /* Guests of 2.0 do not know of it. */
    if (!storvsp->rescan_due || !primary->open || storvsp->phase != STORVSP_READY ||
        storvsp->version < STORVSP_VERSION_4_2)
        return;
    size_t length = storvsp->version < STORVSP_VERSION_5_1 ? STORVSP_PACKET_LEAST : STORVSP_PACKET;
    if (vmbus_send(primary->vmbus, packet, length, 0, false) != -EAGAIN)
        storvsp->rescan_due = false;
}

/* ---- packets ---- */

/* What cannot be read as a whole is refused, for a guest that waits. */
static void refuse_unread(struct storvsp_channel *channel, const struct vmbus_packet *packet)
{
    struct storvsp_request *request = storvsp_channel_take_request(channel);

    memset(request->packet, 0, sizeof(request->packet));
    request->transaction_id = packet->transaction_id;
    request->length = STORVSP_PACKET;
    channel->storvsp->in_flight++;
    storvsp_srb_refuse(request, NT_INVALID_PARAMETER);
}

/* False: there are no more. */
static bool read_packet(struct storvsp_channel *channel)
{
    struct storvsp *storvsp = channel->storvsp;
    struct vmbus_packet *packet = &storvsp->packet;
    int error = vmbus_read(channel->vmbus, packet);

    if (error == -EMSGSIZE && packet->wants_completion)
        refuse_unread(channel, packet);
    if (error != 0)
        return error == -EMSGSIZE;
    /* Nobody would hear of the others: they are completions, or damage. */
    if (packet->wants_completion && packet->type != VMBUS_PACKET_COMPLETION) {
        storvsp->in_flight++;
        storvsp_protocol_serve(storvsp_channel_take_request(channel), packet);
    }
    return true;
}

void storvsp_channel_read(struct storvsp_channel *channel)
{
    if (channel->reading) /* further out */
        return;
    channel->reading = true;
    channel->starved = false;
    while (channel->open && !channel->storvsp->stopped) {
        channel->starved = !has_free(channel);
        if (channel->starved || !read_packet(channel))
            break;
    }
    channel->reading = false;
}

/* ---- what VMBus calls ---- */

static int channel_opened(void *owner, struct vmbus_channel *vmbus)
{
    struct storvsp_channel *channel = owner;
    struct storvsp *storvsp = channel->storvsp;

    (void)vmbus; /* channel->vmbus */
    int error = storvsp_channel_make_pool(channel);
    if (error < 0)
        return error;
    channel->open = true;
    channel->starved = false;
    if (channel->index == 0 && !channel->restored)
        storvsp->phase = STORVSP_BEGIN;
    channel->restored = false;
    return 0;
}

/* Nothing of what a guest has set up is left to the next. */
static void end_connection(struct storvsp *storvsp)
{
    storvsp->phase = STORVSP_BEGIN;
    storvsp->rescan_due = false;
    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++) {
        if (storvsp->unit[i].target != NULL)
            scsi_power_on(storvsp->unit[i].target);
    }
    storvsp_withdraw_subchannels(storvsp);
}

static void channel_closed(void *owner, struct vmbus_channel *vmbus)
{
    struct storvsp_channel *channel = owner;
    struct storvsp_request *request;

    (void)vmbus;
    channel->open = false;
    channel->opening++;
    while ((request = pop_unsent(channel)) != NULL)
        put_free(request);
    if (channel->index == 0)
        end_connection(channel->storvsp);
}

static void channel_readable(void *owner, struct vmbus_channel *vmbus)
{
    struct storvsp_channel *channel = owner;

    (void)vmbus;
    send_unsent(channel); /* from saved state: nobody else calls for them */
    storvsp_channel_read(channel);
}

static void channel_writable(void *owner, struct vmbus_channel *vmbus)
{
    struct storvsp_channel *channel = owner;

    (void)vmbus;
    send_unsent(channel);
    if (channel->first_unsent == NULL && channel->index == 0)
        storvsp_channel_send_rescan(channel->storvsp);
    if (channel->starved)
        storvsp_channel_read(channel);
}

/* No `released`: once withdrawn, a channel is VMBus's alone. */
const struct vmbus_channel_ops storvsp_channel_ops = {
    .opened = channel_opened,
    .closed = channel_closed,
    .readable = channel_readable,
    .writable = channel_writable,
};
