/* Packets that set the channel up and reset units; the rest is storvsp_srb.c's. */
#include <string.h>

#include "base/bytes.h"
#include "vsp/storvsp_private.h"

void storvsp_protocol_answer(struct storvsp_request *request, uint32_t status)
{
    put_le32(request->packet + STORVSP_AT_OPERATION, STORVSP_COMPLETE_IO);
    put_le32(request->packet + 4, 0);
    put_le32(request->packet + STORVSP_AT_STATUS, status);
    storvsp_channel_answer(request);
}

static bool version_is_known(uint16_t version)
{
    return version == STORVSP_VERSION_6_2 || version == STORVSP_VERSION_6_0 ||
           version == STORVSP_VERSION_5_1 || version == STORVSP_VERSION_4_2 ||
           version == STORVSP_VERSION_2_0;
}

static uint32_t begin(struct storvsp *storvsp, struct storvsp_request *request)
{
    (void)request;
    storvsp->phase = STORVSP_VERSION;
    return NT_SUCCESS;
}

/* The answer names the version that was asked for, also when it is refused: the guest goes down. */
static uint32_t query_version(struct storvsp *storvsp, struct storvsp_request *request)
{
    uint16_t version = get_le16(request->packet + STORVSP_AT_VERSION);

    if (!version_is_known(version))
        return NT_REVISION_MISMATCH;
    storvsp->version = version;
    storvsp->phase = STORVSP_PROPERTIES;
    return NT_SUCCESS;
}

static bool has_subchannels(const struct storvsp *storvsp)
{
    return storvsp->version >= STORVSP_VERSION_5_1 && storvsp->config.max_subchannels > 0;
}

static uint32_t query_properties(struct storvsp *storvsp, struct storvsp_request *request)
{
    uint8_t *packet = request->packet;

    memset(packet + STORVSP_AT_PAYLOAD, 0, STORVSP_PACKET - STORVSP_AT_PAYLOAD);
    if (has_subchannels(storvsp)) {
        put_le16(packet + STORVSP_AT_MAX_SUBCHANNELS, (uint16_t)storvsp->config.max_subchannels);
        put_le32(packet + STORVSP_AT_PROPERTY_FLAGS, STORVSP_MULTI_CHANNEL);
    }
    put_le32(packet + STORVSP_AT_MAX_TRANSFER, STORVSP_MAX_TRANSFER);
    storvsp->phase = STORVSP_END;
    return NT_SUCCESS;
}

static uint32_t end(struct storvsp *storvsp, struct storvsp_request *request)
{
    (void)request;
    storvsp->phase = STORVSP_READY;
    storvsp->rescan_due = false; /* the guest scans the bus now anyway */
    return NT_SUCCESS;
}

static uint32_t create_subchannels(struct storvsp *storvsp, struct storvsp_request *request)
{
    unsigned count = get_le16(request->packet + STORVSP_AT_SUBCHANNELS);

    if (!has_subchannels(storvsp) || count == 0 || count > storvsp->config.max_subchannels)
        return NT_INVALID_PARAMETER;
    if (storvsp_subchannel_count(storvsp) != 0)
        return NT_INVALID_DEVICE_STATE;
    int error = storvsp_offer_subchannels(storvsp, count);
    return error < 0 && storvsp_subchannel_count(storvsp) == 0 ? NT_IO_DEVICE_ERROR : NT_SUCCESS;
}

static void reset_unit(const struct storvsp_unit *unit)
{
    if (unit->target != NULL && !unit->leaving)
        scsi_reset(unit->target);
}

/* Commands that are in flight end as they would have; the guest waits for them. */
static uint32_t reset_units(struct storvsp *storvsp, struct storvsp_request *request)
{
    const uint8_t *packet = request->packet;
    uint8_t lun = packet[STORVSP_AT_LUN];

    if (get_le32(packet + STORVSP_AT_OPERATION) != STORVSP_RESET_LUN) {
        for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++)
            reset_unit(&storvsp->unit[i]);
    } else if (packet[STORVSP_AT_PATH] == 0 && packet[STORVSP_AT_TARGET] == 0 &&
               lun < STORVSP_MAX_LUNS) {
        reset_unit(&storvsp->unit[lun]);
    }
    return NT_SUCCESS;
}

/* By operation: in which phases, as bits, and on which channels it may come. */
static const struct protocol_row {
    uint32_t (*perform)(struct storvsp *storvsp, struct storvsp_request *request);
    uint8_t phases;
    bool anywhere; /* also on sub-channels */
} rows[] = {
    [STORVSP_RESET_LUN] = {reset_units, 1 << STORVSP_READY, true},
    [STORVSP_RESET_ADAPTER] = {reset_units, 1 << STORVSP_READY, true},
    [STORVSP_RESET_BUS] = {reset_units, 1 << STORVSP_READY, true},
    [STORVSP_BEGIN_INITIALIZATION] = {begin, 1 << STORVSP_BEGIN, false},
    [STORVSP_END_INITIALIZATION] = {end, 1 << STORVSP_END, false},
    [STORVSP_QUERY_PROTOCOL_VERSION] = {query_version, 1 << STORVSP_VERSION, false},
    [STORVSP_QUERY_PROPERTIES] = {query_properties, 1 << STORVSP_PROPERTIES, false},
    [STORVSP_CREATE_SUB_CHANNELS] = {create_subchannels, 1 << STORVSP_END | 1 << STORVSP_READY,
                                     false},
};

static uint32_t perform(struct storvsp_request *request, uint32_t operation)
{
    struct storvsp *storvsp = request->channel->storvsp;

    if (operation >= sizeof(rows) / sizeof(rows[0]) || rows[operation].perform == NULL)
        return NT_INVALID_PARAMETER;
    const struct protocol_row *row = &rows[operation];
    if ((row->phases & 1 << storvsp->phase) == 0 ||
        (!row->anywhere && request->channel->index != 0))
        return NT_INVALID_DEVICE_STATE;
    return row->perform(storvsp, request);
}

void storvsp_protocol_serve(struct storvsp_request *request, const struct vmbus_packet *packet)
{
    size_t length = packet->payload_length;

    /* Missing fields are zero. Answers are as long as what they answer: Linux asks for that. */
    memset(request->packet, 0, sizeof(request->packet));
    memcpy(request->packet, packet->payload, length);
    request->transaction_id = packet->transaction_id;
    request->length = length < STORVSP_PACKET_LEAST ? STORVSP_PACKET_LEAST : (uint32_t)length;
    uint32_t operation = get_le32(request->packet + STORVSP_AT_OPERATION);
    if (operation == STORVSP_EXECUTE_SRB)
        storvsp_srb_execute(request, packet);
    else
        storvsp_protocol_answer(request, perform(request, operation));
}
