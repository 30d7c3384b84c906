/*
 * An integration service's channel (ic.h).
 *
 * 1. `wanted` is what the administrator said, `channel` what the guest is told; settle() brings the
 *    second to the first, one step in PACE_NS.
 * 2. One message is on its way at most, in `output`. When the ring has no room it waits there.
 * 3. VMBus may close a channel within any call: who called looks at `phase` afterwards.
 */
#include "vsp/ic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "vsp/ic_private.h"

/* A message: pipe header, message header, body. */
enum {
    AT_PIPE_TYPE = 0,
    AT_PIPE_SIZE = 4,
    AT_FRAMEWORK = 8, /* versions are two words of 16 bits */
    AT_TYPE = 12,
    AT_VERSION = 14,
    AT_SIZE = 18,
    AT_STATUS = 20,
    AT_TRANSACTION = 24,
    AT_FLAGS = 25,
    AT_BODY = IC_HEADERS,
    PIPE_HEADER = 8,
    PIPE_DATA = 1,
};

enum { TYPE_NEGOTIATE = 0 };
enum { FLAG_TRANSACTION = 1, FLAG_REQUEST = 2, FLAG_RESPONSE = 4 };

/* The body of a negotiation: numbers of framework and message versions, then these. */
enum {
    AT_FRAMEWORK_COUNT = 0,
    AT_VERSION_COUNT = 2,
    AT_VERSIONS = 8,
    NEGOTIATED_SIZE = AT_VERSIONS + 8,
};

static const uint32_t frameworks[] = {IC_VERSION(3, 0), IC_VERSION(1, 0)};
enum { FRAMEWORK_COUNT = sizeof(frameworks) / sizeof(frameworks[0]) };

#define PACE_NS  (UINT64_C(1500) * 1000000) /* between an offer and its end */
#define RETRY_NS (UINT64_C(250) * 1000000)  /* for a guest that holds on to the last offer */
enum { PACKETS_A_TURN = 32 };

/* ---- sending ---- */

static void put_version(uint8_t *at, uint32_t version)
{
    put_le16(at, (uint16_t)(version >> 16));
    put_le16(at + 2, (uint16_t)version);
}

static uint32_t get_version(const uint8_t *at)
{
    return IC_VERSION(get_le16(at), get_le16(at + 2));
}

/* Any error but a full ring means that the channel is gone, which `closed` tells. */
static void send_output(struct ic *ic)
{
    size_t length = ic->unsent;

    if (length > 0 && vmbus_send(ic->channel, ic->output, length, 0, false) != -EAGAIN)
        ic->unsent = 0;
}

static void send_message(struct ic *ic, uint16_t type, const void *body, size_t length)
{
    uint8_t *out = ic->output;

    memset(out, 0, AT_BODY);
    put_le32(out + AT_PIPE_TYPE, PIPE_DATA);
    put_le32(out + AT_PIPE_SIZE, (uint32_t)(AT_BODY - PIPE_HEADER + length));
    put_version(out + AT_FRAMEWORK, ic->framework);
    put_le16(out + AT_TYPE, type);
    put_version(out + AT_VERSION, ic->version);
    put_le16(out + AT_SIZE, (uint16_t)length);
    out[AT_TRANSACTION] = ++ic->transaction;
    out[AT_FLAGS] = FLAG_TRANSACTION | FLAG_REQUEST;
    memcpy(out + AT_BODY, body, length);
    ic->unsent = AT_BODY + length;
    send_output(ic);
}

static void negotiate(struct ic *ic)
{
    uint8_t body[AT_VERSIONS + 4 * (FRAMEWORK_COUNT + IC_MOST_VERSIONS)] = {0};
    uint8_t *at = body + AT_VERSIONS;

    put_le16(body + AT_FRAMEWORK_COUNT, FRAMEWORK_COUNT);
    put_le16(body + AT_VERSION_COUNT, (uint16_t)ic->kind->version_count);
    for (unsigned i = 0; i < FRAMEWORK_COUNT; i++, at += 4)
        put_version(at, frameworks[i]);
    for (unsigned i = 0; i < ic->kind->version_count; i++, at += 4)
        put_version(at, ic->kind->versions[i]);
    ic->framework = 0;
    ic->version = 0;
    ic->phase = IC_PHASE_ASKED;
    send_message(ic, TYPE_NEGOTIATE, body, (size_t)(at - body));
}

bool ic_is_ready(const struct ic *ic)
{
    return ic->phase == IC_PHASE_READY && ic->wanted;
}

uint32_t ic_version(const struct ic *ic)
{
    return ic->version;
}

int ic_request(struct ic *ic, const void *body, size_t length, uint64_t timeout_ns)
{
    if (!ic_is_ready(ic))
        return -ENOTCONN;
    if (ic->asking || ic->unsent > 0)
        return -EBUSY;
    if (length > IC_MOST_BODY)
        return -EMSGSIZE;
    ic->asking = true;
    ic->requests++;
    loop_timer_set(ic->timeout, ic->host.now() + timeout_ns);
    send_message(ic, ic->kind->type, body, length);
    return ic->phase == IC_PHASE_READY ? 0 : -ENOTCONN;
}

static void time_out(void *owner)
{
    struct ic *ic = owner;

    if (!ic->asking)
        return;
    ic->asking = false;
    ic->unsent = 0; /* what did not go out yet must not later */
    ic->silent = true;
    ic->silences++;
    if (ic->kind->silent != NULL)
        ic->kind->silent(ic->owner);
}

/* ---- receiving ---- */

static bool is_known(uint32_t version, const uint32_t *versions, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (versions[i] == version)
            return true;
    }
    return false;
}

static void take_versions(struct ic *ic, const uint8_t *body, size_t length)
{
    uint32_t framework = 0;
    uint32_t version = 0;

    if (length >= NEGOTIATED_SIZE && get_le16(body + AT_FRAMEWORK_COUNT) == 1 &&
        get_le16(body + AT_VERSION_COUNT) == 1) {
        framework = get_version(body + AT_VERSIONS);
        version = get_version(body + AT_VERSIONS + 4);
    }
    if (!is_known(framework, frameworks, FRAMEWORK_COUNT) ||
        !is_known(version, ic->kind->versions, ic->kind->version_count)) {
        ic->phase = IC_PHASE_MISMATCH;
        return;
    }
    ic->phase = IC_PHASE_READY;
    ic->framework = framework;
    ic->version = version;
    if (ic->kind->ready != NULL)
        ic->kind->ready(ic->owner);
}

static void take_answer(struct ic *ic, const uint8_t *payload, size_t body_length)
{
    if (!ic->asking || payload[AT_TRANSACTION] != ic->transaction) {
        ic->silent = false; /* late, but it lives */
        return;
    }
    ic->asking = false;
    ic->silent = false;
    ic->answers++;
    loop_timer_set(ic->timeout, 0);
    if (ic->kind->answered != NULL)
        ic->kind->answered(ic->owner, get_le32(payload + AT_STATUS), payload + AT_BODY,
                           body_length);
}

/* False: it makes no sense. */
static bool take_message(struct ic *ic, const uint8_t *payload, size_t length)
{
    if (length < AT_BODY || get_le32(payload + AT_PIPE_TYPE) != PIPE_DATA)
        return false;
    size_t body = get_le16(payload + AT_SIZE);
    uint16_t type = get_le16(payload + AT_TYPE);
    if (body > length - AT_BODY || (payload[AT_FLAGS] & FLAG_RESPONSE) == 0)
        return false;
    ic->contact_ns = ic->host.now();
    if (ic->phase == IC_PHASE_ASKED && type == TYPE_NEGOTIATE)
        take_versions(ic, payload + AT_BODY, body);
    else if (ic->phase == IC_PHASE_READY && type == ic->kind->type)
        take_answer(ic, payload, body);
    else
        return false;
    return true;
}

static void read_packet(struct ic *ic, int error)
{
    if (ic->packet.wants_completion)
        (void)vmbus_complete(ic->channel, ic->packet.transaction_id, NULL, 0);
    if (error != 0 || ic->packet.type != VMBUS_PACKET_DATA_INBAND ||
        !take_message(ic, ic->payload, ic->packet.payload_length))
        ic->oddities++;
}

/* A guest that sends without end does not keep the loop from others. */
static void read_packets(void *owner)
{
    struct ic *ic = owner;

    for (unsigned i = 0; i < PACKETS_A_TURN; i++) {
        if (ic->phase == IC_PHASE_CLOSED)
            return;
        int error = vmbus_read(ic->channel, &ic->packet);
        if (error != 0 && error != -EMSGSIZE)
            return;
        read_packet(ic, error);
    }
    if (ic->phase != IC_PHASE_CLOSED)
        loop_timer_set(ic->reader, 1);
}

/* ---- the channel ---- */

static int opened(void *owner, struct vmbus_channel *channel)
{
    struct ic *ic = owner;

    (void)channel;
    ic->phase = IC_PHASE_OPENED;
    ic->was_open = true;
    return 0;
}

static void closed(void *owner, struct vmbus_channel *channel)
{
    struct ic *ic = owner;

    (void)channel;
    ic->phase = IC_PHASE_CLOSED;
    ic->unsent = 0;
    ic->asking = false;
    ic->silent = false;
    ic->restored = false;
    ic->framework = 0;
    ic->version = 0;
    loop_timer_set(ic->timeout, 0);
    loop_timer_set(ic->reader, 0);
    if (ic->kind->gone != NULL)
        ic->kind->gone(ic->owner);
}

/* The first call comes once the channel is open: only then may we speak. */
static void readable(void *owner, struct vmbus_channel *channel)
{
    struct ic *ic = owner;

    (void)channel;
    if (ic->phase == IC_PHASE_OPENED && ic->restored) {
        ic->phase = IC_PHASE_READY;
        if (ic->kind->ready != NULL)
            ic->kind->ready(ic->owner);
    } else if (ic->phase == IC_PHASE_OPENED) {
        negotiate(ic);
    }
    ic->restored = false;
    read_packets(ic);
}

static void writable(void *owner, struct vmbus_channel *channel)
{
    (void)channel;
    send_output(owner);
}

static const struct vmbus_channel_ops channel_ops = {
    .opened = opened, .closed = closed, .readable = readable, .writable = writable};

/* ---- offered or not ---- */

static int offer(struct ic *ic)
{
    struct vmbus_offer offer = {.name = ic->kind->name};

    memcpy(offer.class_id, ic->kind->class_id, sizeof(offer.class_id));
    /* One of each kind in a partition: the instance is the class, but for its last bytes. */
    memcpy(offer.instance_id, ic->kind->class_id, sizeof(offer.instance_id));
    memcpy(offer.instance_id + 10, "partic", 6);
    return vmbus_offer(ic->host.vmbus, &offer, &channel_ops, ic, &ic->channel);
}

static void withdraw(struct ic *ic)
{
    struct vmbus_channel *channel = ic->channel;

    if (channel == NULL)
        return;
    vmbus_rescind(channel); /* which closes it first */
    ic->channel = NULL;
}

static void settle(void *owner)
{
    struct ic *ic = owner;
    uint64_t now = ic->host.now();

    if (ic->wanted == (ic->channel != NULL))
        return;
    if (ic->settled_ns != 0 && now < ic->settled_ns + PACE_NS) {
        loop_timer_set(ic->pace, ic->settled_ns + PACE_NS);
        return;
    }
    if (!ic->wanted) {
        withdraw(ic);
    } else if (offer(ic) < 0) { /* the guest has not let go of the last one yet */
        ic->channel = NULL;
        loop_timer_set(ic->pace, now + RETRY_NS);
        return;
    }
    ic->offered_ns = now;
    ic->was_open = false;
    ic->settled_ns = now;
}

void ic_enable(struct ic *ic, bool enabled)
{
    ic->wanted = enabled;
    settle(ic);
}

/* ---- life ---- */

int ic_create(const struct ic_host *host, const struct ic_kind *kind, void *owner, struct ic **ret)
{
    struct ic *ic = calloc(1, sizeof(*ic));

    if (ic == NULL)
        return -ENOMEM;
    ic->host = *host;
    ic->kind = kind;
    ic->owner = owner;
    ic->packet.payload = ic->payload;
    ic->packet.payload_room = sizeof(ic->payload);
    int error = loop_timer_create(host->loop, settle, ic, &ic->pace);
    if (error == 0)
        error = loop_timer_create(host->loop, time_out, ic, &ic->timeout);
    if (error == 0)
        error = loop_timer_create(host->loop, read_packets, ic, &ic->reader);
    if (error < 0)
        ic_destroy(ic);
    else
        *ret = ic;
    return error;
}

void ic_destroy(struct ic *ic)
{
    static const struct ic_kind none;

    if (ic == NULL)
        return;
    ic->kind = &none;
    withdraw(ic);
    if (ic->pace != NULL)
        loop_timer_destroy(ic->pace);
    if (ic->timeout != NULL)
        loop_timer_destroy(ic->timeout);
    if (ic->reader != NULL)
        loop_timer_destroy(ic->reader);
    free(ic);
}
