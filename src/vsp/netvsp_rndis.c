/* RNDIS but data: requests, and answers that wait for a section (netvsp_private.h). */
#include <string.h>

#include "base/bytes.h"
#include "vsp/netvsp_private.h"

enum { MOST_TRANSFER = 0x10000, MOST_PACKETS = 8, ALIGNMENT_SHIFT = 3 };

/* ---- answers ---- */

static struct netvsp_control *new_answer(struct netvsp *netvsp, uint32_t type, uint32_t length)
{
    unsigned index = (netvsp->control_first + netvsp->control_count) % NETVSP_CONTROL_QUEUE;
    struct netvsp_control *answer = &netvsp->control[index];

    memset(answer, 0, sizeof(*answer));
    answer->length = (uint16_t)length;
    put_le32(answer->message, type);
    put_le32(answer->message + RNDIS_AT_LENGTH, length);
    netvsp->control_count++;
    return answer;
}

/* It has a cable again, or not any more. */
static void send_link(struct netvsp *netvsp)
{
    uint8_t message[RNDIS_STATUS_LENGTH] = {RNDIS_INDICATE_STATUS};

    put_le32(message + RNDIS_AT_LENGTH, sizeof(message));
    put_le32(message + RNDIS_AT_REQUEST,
             netvsp_link(netvsp) ? RNDIS_MEDIA_CONNECTED : RNDIS_MEDIA_DISCONNECTED);
    if (netvsp_receive_control(netvsp, message, sizeof(message)))
        netvsp->link_due = false;
}

void netvsp_rndis_send(struct netvsp *netvsp)
{
    while (netvsp->control_count > 0) {
        const struct netvsp_control *answer = &netvsp->control[netvsp->control_first];
        if (!netvsp_receive_control(netvsp, answer->message, answer->length))
            return;
        if (netvsp->control_count == 0) /* closed over it */
            return;
        netvsp->control_first = (netvsp->control_first + 1) % NETVSP_CONTROL_QUEUE;
        netvsp->control_count--;
    }
    if (netvsp->link_due && netvsp->initialized)
        send_link(netvsp);
}

/* ---- requests: `bytes` is the message, `length` all of it ---- */

static bool initialize(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    if (length < RNDIS_INITIALIZE_LENGTH)
        return false;
    uint8_t *answer =
        new_answer(netvsp, RNDIS_INITIALIZE | RNDIS_COMPLETE, RNDIS_INITIALIZE_ANSWER)->message;
    memcpy(answer + RNDIS_AT_REQUEST, bytes + RNDIS_AT_REQUEST, 4);
    put_le32(answer + 16, 1); /* version 1.0 */
    put_le32(answer + 24, 1); /* connectionless */
    put_le32(answer + 32, MOST_PACKETS);
    put_le32(answer + 36, MOST_TRANSFER);
    put_le32(answer + 40, ALIGNMENT_SHIFT);
    netvsp->initialized = true;
    netvsp->link_due = false; /* it asks for it */
    return true;
}

static void halt(struct netvsp *netvsp)
{
    netvsp->initialized = false;
    netvsp->filter.packets = 0;
    netvsp_tell_port(netvsp);
}

/* The buffer of a request, within the message. */
static bool find_buffer(const uint8_t *bytes, size_t length, const uint8_t **ret,
                        uint32_t *ret_length)
{
    if (length < RNDIS_REQUEST_LENGTH)
        return false;
    uint32_t size = get_le32(bytes + RNDIS_AT_BUFFER_LENGTH);
    uint32_t offset = get_le32(bytes + RNDIS_AT_BUFFER_OFFSET);
    if (size == 0)
        offset = 0;
    if (offset > length - RNDIS_HEADER || size > length - RNDIS_HEADER - offset)
        return false;
    *ret = bytes + RNDIS_HEADER + offset;
    *ret_length = size;
    return true;
}

static bool query(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    uint32_t answer_length = 0;

    if (length < RNDIS_REQUEST_LENGTH)
        return false;
    struct netvsp_control *control =
        new_answer(netvsp, RNDIS_QUERY | RNDIS_COMPLETE, RNDIS_QUERY_ANSWER);
    uint8_t *answer = control->message;
    uint32_t status = netvsp_oid_query(netvsp, get_le32(bytes + RNDIS_AT_OID),
                                       get_le32(bytes + RNDIS_AT_BUFFER_LENGTH),
                                       answer + RNDIS_QUERY_ANSWER, &answer_length);
    memcpy(answer + RNDIS_AT_REQUEST, bytes + RNDIS_AT_REQUEST, 4);
    put_le32(answer + RNDIS_AT_STATUS, status);
    put_le32(answer + RNDIS_AT_ANSWER_LENGTH, answer_length);
    put_le32(answer + RNDIS_AT_ANSWER_OFFSET, RNDIS_QUERY_ANSWER - RNDIS_HEADER);
    control->length = (uint16_t)(RNDIS_QUERY_ANSWER + answer_length);
    put_le32(answer + RNDIS_AT_LENGTH, control->length);
    return true;
}

static bool set(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    const uint8_t *buffer = NULL;
    uint32_t size = 0;

    if (!find_buffer(bytes, length, &buffer, &size))
        return false;
    uint8_t *answer = new_answer(netvsp, RNDIS_SET | RNDIS_COMPLETE, 16)->message;
    memcpy(answer + RNDIS_AT_REQUEST, bytes + RNDIS_AT_REQUEST, 4);
    put_le32(answer + RNDIS_AT_STATUS,
             netvsp_oid_set(netvsp, get_le32(bytes + RNDIS_AT_OID), buffer, size));
    return true;
}

static bool keep_alive(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    if (length < 12)
        return false;
    uint8_t *answer = new_answer(netvsp, RNDIS_KEEPALIVE | RNDIS_COMPLETE, 16)->message;
    memcpy(answer + RNDIS_AT_REQUEST, bytes + RNDIS_AT_REQUEST, 4);
    return true;
}

static bool perform(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    uint32_t type = get_le32(bytes);

    if (type == RNDIS_INITIALIZE)
        return initialize(netvsp, bytes, length);
    if (type == RNDIS_HALT) {
        halt(netvsp);
        return true;
    }
    if (!netvsp->initialized)
        return false;
    switch (type) {
    case RNDIS_QUERY:
        return query(netvsp, bytes, length);
    case RNDIS_SET:
        return set(netvsp, bytes, length);
    case RNDIS_KEEPALIVE:
        return keep_alive(netvsp, bytes, length);
    case RNDIS_RESET:
        put_le32(new_answer(netvsp, RNDIS_RESET | RNDIS_COMPLETE, 16)->message + 12, 1);
        netvsp->filter.packets = 0;
        netvsp_tell_port(netvsp);
        return true;
    default:
        return false;
    }
}

enum nvsp_status netvsp_rndis_serve(struct netvsp *netvsp)
{
    uint8_t *bytes = netvsp->scratch;
    uint8_t header[RNDIS_HEADER];

    /* One that does not fetch its answers gets no more. */
    if (netvsp->control_count == NETVSP_CONTROL_QUEUE)
        return NVSP_FAILURE;
    if (!netvsp_stream_read(netvsp, 0, header, sizeof(header)))
        return NVSP_INVALID_RNDIS;
    uint32_t length = get_le32(header + RNDIS_AT_LENGTH);
    if (length < RNDIS_HEADER || length > NETVSP_MOST_CONTROL ||
        !netvsp_stream_read(netvsp, 0, bytes, length))
        return NVSP_INVALID_RNDIS;
    memcpy(bytes, header, sizeof(header)); /* of which was read twice, the checked one counts */
    return perform(netvsp, bytes, length) ? NVSP_SUCCESS : NVSP_INVALID_RNDIS;
}
