/*
 * Life of VMBus, and its two queues of messages: VP threads put the guest's into one, bounded, so
 * that a guest which floods it is told to come back later; the loop thread works it off and sends
 * replies, which wait in the other while the guest's message slot is full.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "vmbus/vmbus_private.h"

enum { RETRY_NS = 1000000, REPLIES_A_MESSAGE = 1 };

void server_wake(struct vmbus *vmbus)
{
    loop_event_raise(vmbus->wake);
}

/* ---- to the guest ---- */

bool server_has_room(const struct vmbus *vmbus)
{
    return vmbus->outgoing_count + REPLIES_A_MESSAGE <= VMBUS_OUTGOING;
}

/* What the guest takes now; false: it must be tried again. */
static bool flush_outgoing(struct vmbus *vmbus)
{
    while (vmbus->outgoing_count > 0) {
        const struct hv_message *message = &vmbus->outgoing[vmbus->outgoing_first];
        if (hv_post_message(vmbus->config.hv, vmbus->target_vp, WIRE_SINT, message) == -ENOBUFS)
            return false;
        vmbus->outgoing_first = (vmbus->outgoing_first + 1) % VMBUS_OUTGOING;
        vmbus->outgoing_count--;
    }
    return true;
}

void server_send(struct vmbus *vmbus, const void *bytes, size_t length)
{
    unsigned last = (vmbus->outgoing_first + vmbus->outgoing_count) % VMBUS_OUTGOING;
    struct hv_message *message = &vmbus->outgoing[last];

    *message = (struct hv_message){.type = WIRE_MESSAGE_TYPE, .length = (uint8_t)length};
    memcpy(message->payload, bytes, length);
    vmbus->outgoing_count++;
}

/* ---- from the guest ---- */

static enum hv_status message_arrived(void *owner, const struct hv_message *message)
{
    struct vmbus *vmbus = owner;
    enum hv_status status = HV_STATUS_INSUFFICIENT_BUFFERS;

    (void)pthread_mutex_lock(&vmbus->incoming_lock);
    if (vmbus->incoming_count < VMBUS_INCOMING) {
        unsigned last = (vmbus->incoming_first + vmbus->incoming_count) % VMBUS_INCOMING;
        vmbus->incoming[last] = *message;
        vmbus->incoming_count++;
        status = HV_STATUS_SUCCESS;
    }
    (void)pthread_mutex_unlock(&vmbus->incoming_lock);
    server_wake(vmbus);
    return status;
}

static bool take_incoming(struct vmbus *vmbus, struct hv_message *ret)
{
    (void)pthread_mutex_lock(&vmbus->incoming_lock);
    bool found = vmbus->incoming_count > 0;
    if (found) {
        *ret = vmbus->incoming[vmbus->incoming_first];
        vmbus->incoming_first = (vmbus->incoming_first + 1) % VMBUS_INCOMING;
        vmbus->incoming_count--;
    }
    (void)pthread_mutex_unlock(&vmbus->incoming_lock);
    return found;
}

/* Offers before messages: one that the guest waits for may answer its request. */
static bool work_off_messages(struct vmbus *vmbus)
{
    struct hv_message message;

    while (channel_announce_all(vmbus) && server_has_room(vmbus)) {
        if (!take_incoming(vmbus, &message))
            return flush_outgoing(vmbus);
        message_handle(vmbus, &message);
    }
    (void)flush_outgoing(vmbus);
    return false;
}

static void work(void *owner)
{
    struct vmbus *vmbus = owner;

    if (!work_off_messages(vmbus))
        loop_timer_set(vmbus->retry, clock_monotonic_ns() + RETRY_NS);
    channel_serve_all(vmbus);
}

static void work_late(void *owner)
{
    channel_serve_late(owner);
}

/* ---- life ---- */

static int connect_ports(struct vmbus *vmbus, struct reason *reason)
{
    const struct hv_port port = {.message = message_arrived, .owner = vmbus};

    int error = hv_port_connect(vmbus->config.hv, WIRE_CONNECTION_OLD, &port);
    if (error == 0)
        error = hv_port_connect(vmbus->config.hv, WIRE_CONNECTION, &port);
    return error < 0 ? reason_set(reason, error, "the message ports of VMBus are taken") : 0;
}

int vmbus_create(const struct vmbus_config *config, struct vmbus **ret, struct reason *reason)
{
    struct vmbus *vmbus = calloc(1, sizeof(*vmbus));

    if (vmbus == NULL)
        return reason_set(reason, -ENOMEM, "no memory for VMBus");
    vmbus->config = *config;
    (void)pthread_mutex_init(&vmbus->incoming_lock, NULL);
    int error = loop_event_create(config->loop, work, vmbus, &vmbus->wake);
    if (error == 0)
        error = loop_timer_create(config->loop, work, vmbus, &vmbus->retry);
    if (error == 0)
        error = loop_timer_create(config->loop, work_late, vmbus, &vmbus->late);
    if (error < 0)
        (void)reason_set(reason, error, "the host has no timer or event for VMBus");
    else
        error = connect_ports(vmbus, reason);
    if (error < 0) {
        vmbus_destroy(vmbus);
        return error;
    }
    *ret = vmbus;
    return 0;
}

void vmbus_reset(struct vmbus *vmbus)
{
    vmbus->version = 0;
    vmbus->offers_wanted = false;
    vmbus->all_told = false;
    vmbus->outgoing_count = 0;
    (void)pthread_mutex_lock(&vmbus->incoming_lock);
    vmbus->incoming_count = 0;
    (void)pthread_mutex_unlock(&vmbus->incoming_lock);
    channel_reset_all(vmbus);
    gpadl_forget_all(vmbus);
}

void vmbus_destroy(struct vmbus *vmbus)
{
    if (vmbus == NULL)
        return;
    hv_port_disconnect(vmbus->config.hv, WIRE_CONNECTION_OLD);
    hv_port_disconnect(vmbus->config.hv, WIRE_CONNECTION);
    channel_reset_all(vmbus); /* frees those that the guest had not let go */
    gpadl_forget_all(vmbus);
    loop_timer_destroy(vmbus->retry);
    loop_timer_destroy(vmbus->late);
    loop_event_destroy(vmbus->wake);
    (void)pthread_mutex_destroy(&vmbus->incoming_lock);
    free(vmbus);
}

void vmbus_set_sockets(struct vmbus *vmbus, vmbus_connect_fn connect, void *owner)
{
    vmbus->connect = connect;
    vmbus->connect_owner = owner;
}

bool vmbus_takes_offers(const struct vmbus *vmbus)
{
    return vmbus->version != 0 && vmbus->offers_wanted;
}

uint32_t vmbus_version(const struct vmbus *vmbus)
{
    return vmbus->version;
}
