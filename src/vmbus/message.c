/*
 * Messages of the guest: a row a type, with the length that it must have at least. What is too
 * short, unknown, or about a channel that there is not, is ignored, as no driver sends such.
 */
#include <string.h>

#include "base/bytes.h"
#include "vmbus/vmbus_private.h"

static const uint32_t versions[] = {
    VMBUS_VERSION(2, 4), VMBUS_VERSION(3, 0), VMBUS_VERSION(4, 0), VMBUS_VERSION(4, 1),
    VMBUS_VERSION(5, 0), VMBUS_VERSION(5, 1), VMBUS_VERSION(5, 2), VMBUS_VERSION(5, 3),
};

static bool is_known(uint32_t version)
{
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (versions[i] == version)
            return true;
    }
    return false;
}

static void begin(uint8_t *message, enum wire_type type, size_t size)
{
    memset(message, 0, size);
    put_le32(message, type);
}

/* The guest waits for an answer without end; a version that we do not speak is refused. */
static void contact(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    uint8_t response[RESPONSE_SIZE];
    uint32_t version = get_le32(message + CONTACT_VERSION);
    uint32_t target = get_le32(message + CONTACT_TARGET_VP);
    bool new_form = version >= VMBUS_VERSION(5, 0);
    bool supported = is_known(version) && target < vmbus->config.vp_count &&
                     (!new_form || message[CONTACT_SINT] == WIRE_SINT);

    (void)length;
    if (supported) {
        vmbus_reset(vmbus);
        vmbus->version = version;
        vmbus->target_vp = target;
    }
    begin(response, WIRE_VERSION_RESPONSE, sizeof(response));
    response[RESPONSE_SUPPORTED] = supported;
    put_le32(response + RESPONSE_CONNECTION, new_form ? WIRE_CONNECTION : WIRE_CONNECTION_OLD);
    server_send(vmbus, response, sizeof(response));
}

static void request_offers(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    (void)message;
    (void)length;
    if (vmbus->version != 0)
        vmbus->offers_wanted = true;
}

static void unload(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    uint8_t response[WIRE_HEADER];
    (void)message;
    (void)length;
    vmbus_reset(vmbus);
    begin(response, WIRE_UNLOAD_RESPONSE, sizeof(response));
    server_send(vmbus, response, sizeof(response));
}

/* Only a refusal is answered: else the offer is the answer. */
static void tl_connect(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    uint8_t result[TL_RESULT_SIZE];
    (void)length;
    if (vmbus->connect != NULL && vmbus_takes_offers(vmbus) &&
        vmbus->connect(vmbus->connect_owner, message + TL_SERVICE, message + TL_ENDPOINT) == 0)
        return;
    begin(result, WIRE_TL_RESULT, sizeof(result));
    memcpy(result + TL_IDS, message + TL_IDS, TL_STATUS - TL_IDS);
    put_le32(result + TL_STATUS, WIRE_STATUS_REFUSED);
    server_send(vmbus, result, sizeof(result));
}

static struct vmbus_channel *channel_of(const struct vmbus *vmbus, const uint8_t *message)
{
    uint32_t relid = get_le32(message + RELID);
    struct vmbus_channel *channel = relid < VMBUS_MAX_RELID ? vmbus->by_relid[relid] : NULL;

    return channel != NULL && channel->announced ? channel : NULL;
}

static void open_channel(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    struct vmbus_channel *channel = channel_of(vmbus, message);
    (void)length;
    if (channel != NULL)
        channel_open(channel, message);
}

static void close_channel(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    struct vmbus_channel *channel = channel_of(vmbus, message);
    (void)length;
    if (channel != NULL)
        channel_close(channel);
}

static void modify_channel(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    struct vmbus_channel *channel = channel_of(vmbus, message);
    (void)length;
    if (channel != NULL)
        channel_modify(channel, message);
}

static void release_channel(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    struct vmbus_channel *channel = channel_of(vmbus, message);
    (void)length;
    if (channel != NULL)
        channel_released(channel);
}

static void tear_down(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    (void)length;
    gpadl_teardown(vmbus, message);
}

static const struct {
    void (*handle)(struct vmbus *vmbus, const uint8_t *message, size_t length);
    size_t size; /* at least */
    uint32_t type;
    bool connected; /* only behind an agreed version */
} handlers[] = {
    {contact, CONTACT_SIZE, WIRE_CONTACT, false},
    {request_offers, WIRE_HEADER, WIRE_REQUEST_OFFERS, true},
    {open_channel, OPEN_SIZE, WIRE_OPEN, true},
    {close_channel, RELID_SIZE, WIRE_CLOSE, true},
    {gpadl_header, GPADL_PFNS, WIRE_GPADL_HEADER, true},
    {gpadl_body, GPADL_BODY_PFNS, WIRE_GPADL_BODY, true},
    {tear_down, GPADL_TEARDOWN_SIZE, WIRE_GPADL_TEARDOWN, true},
    {release_channel, RELID_SIZE, WIRE_RELID_RELEASED, true},
    {unload, WIRE_HEADER, WIRE_UNLOAD, false},
    {tl_connect, TL_SIZE, WIRE_TL_CONNECT, true},
    {modify_channel, MODIFY_SIZE, WIRE_MODIFY, true},
};

void message_handle(struct vmbus *vmbus, const struct hv_message *message)
{
    if (message->type != WIRE_MESSAGE_TYPE || message->length < WIRE_HEADER)
        return;
    uint32_t type = get_le32(message->payload);
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        if (handlers[i].type != type)
            continue;
        if (message->length >= handlers[i].size && (vmbus->version != 0 || !handlers[i].connected))
            handlers[i].handle(vmbus, message->payload, message->length);
        return;
    }
}
