/*
 * EXECUTE_SRB: a SCSI command with its buffer in guest memory.
 *
 * What Linux makes of an answer (storvsc_drv.c): it forces INQUIRY and MODE SENSE to success, so an
 * absent unit must say so in its INQUIRY data; INVALID LUN removes the unit; other errors are
 * judged by their sense data, which is looked at with AUTOSENSE VALID only.
 */
#include <string.h>

#include "base/bytes.h"
#include "vsp/storvsp_private.h"

enum {
    SRB_LENGTH_LEAST = 36, /* before 5.1 */
    SRB_LENGTH_MOST = 52,
    OPCODE_INQUIRY = 0x12,
};

static void answer(struct storvsp_request *request, uint8_t srb_status, uint8_t scsi_status,
                   uint32_t status)
{
    request->packet[STORVSP_AT_SRB_STATUS] = srb_status;
    request->packet[STORVSP_AT_SCSI_STATUS] = scsi_status;
    storvsp_protocol_answer(request, status);
}

void storvsp_srb_refuse(struct storvsp_request *request, uint32_t status)
{
    put_le32(request->packet + STORVSP_AT_DATA_LENGTH, 0);
    answer(request, SRB_STATUS_INVALID_REQUEST, 0, status);
}

/* ---- the end of a command ---- */

static void leave_unit(struct storvsp_request *request)
{
    struct storvsp_unit *unit = request->unit;

    if (unit == NULL || --unit->in_flight > 0 || !unit->leaving)
        return;
    struct storvsp_unit was = *unit;
    *unit = (struct storvsp_unit){0};
    was.removed(was.removed_owner, was.target);
}

/* The disk has written guest memory behind its back. */
static void tell_written(const struct storvsp_request *request)
{
    const struct scsi_command *command = &request->command;
    struct mem *mem = request->channel->storvsp->config.mem;
    size_t left = command->transferred;

    if (request->packet[STORVSP_AT_DATA_IN] != STORVSP_DATA_IN)
        return;
    /* After an error any part may have been written. */
    if (command->status != SCSI_STATUS_GOOD)
        left = get_le32(request->packet + STORVSP_AT_DATA_LENGTH);
    for (unsigned i = 0; i < command->iov_count && left > 0; i++) {
        size_t length = command->iov[i].iov_len < left ? command->iov[i].iov_len : left;
        mem_written(mem, request->gpa[i], length);
        left -= length;
    }
}

static bool is_absent(const struct storvsp_request *request)
{
    const struct scsi_command *command = &request->command;
    return request->unit == NULL && command->status != SCSI_STATUS_GOOD &&
           command->cdb[0] != OPCODE_INQUIRY && !scsi_is_report_luns(command);
}

static void put_sense(struct storvsp_request *request)
{
    uint8_t *room = request->packet + STORVSP_AT_CDB;

    memset(room, 0, STORVSP_SENSE_ROOM);
    memcpy(room, request->command.sense, request->command.sense_length);
    request->packet[STORVSP_AT_SENSE_LENGTH] = request->command.sense_length;
}

static void command_done(struct scsi_command *command)
{
    struct storvsp_request *request =
        (struct storvsp_request *)(void *)((uint8_t *)command -
                                           offsetof(struct storvsp_request, command));

    tell_written(request);
    put_le32(request->packet + STORVSP_AT_DATA_LENGTH, (uint32_t)command->transferred);
    bool absent = is_absent(request);
    leave_unit(request);
    if (absent) {
        answer(request, SRB_STATUS_INVALID_LUN, 0, NT_DEVICE_DOES_NOT_EXIST);
        return;
    }
    switch (command->status) {
    case SCSI_STATUS_GOOD:
        answer(request, SRB_STATUS_SUCCESS, SCSI_STATUS_GOOD, NT_SUCCESS);
        break;
    case SCSI_STATUS_BUSY:
        answer(request, SRB_STATUS_BUSY, SCSI_STATUS_BUSY, NT_DEVICE_BUSY);
        break;
    case SCSI_STATUS_CHECK_CONDITION:
        put_sense(request);
        answer(request, SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID, SCSI_STATUS_CHECK_CONDITION,
               NT_IO_DEVICE_ERROR);
        break;
    }
}

/* ---- its start ---- */

/* The first `length` bytes of the packet's segments, as host memory. */
static bool decode_buffer(struct storvsp_request *request, const struct vmbus_packet *packet,
                          size_t length)
{
    struct mem *mem = request->channel->storvsp->config.mem;
    struct scsi_command *command = &request->command;
    unsigned count = 0;

    for (size_t left = length; left > 0; count++) {
        if (count >= packet->segment_count || count >= STORVSP_MAX_PIECES)
            return false;
        const struct vmbus_segment *segment = &packet->segment[count];
        size_t part = segment->length < left ? (size_t)segment->length : left;
        request->gpa[count] = segment->gpa;
        request->iov[count] = (struct iovec){mem_pin(mem, segment->gpa, part), part};
        if (request->iov[count].iov_base == NULL)
            return false;
        left -= part;
    }
    command->iov = request->iov;
    command->iov_count = count;
    command->data_length = length;
    return true;
}

static bool decode_direction(uint8_t data_in, size_t length, enum scsi_direction *ret)
{
    if (data_in > STORVSP_DATA_NONE || (data_in == STORVSP_DATA_NONE && length != 0))
        return false;
    *ret = data_in == STORVSP_DATA_IN ? SCSI_FROM_TARGET : SCSI_TO_TARGET;
    if (length == 0)
        *ret = SCSI_NO_DATA;
    return true;
}

static bool decode_srb(struct storvsp_request *request, const struct vmbus_packet *packet)
{
    const uint8_t *bytes = request->packet;
    struct scsi_command *command = &request->command;
    uint16_t srb_length = get_le16(bytes + STORVSP_AT_SRB_LENGTH);
    size_t length = get_le32(bytes + STORVSP_AT_DATA_LENGTH);

    if (packet->payload_length < STORVSP_PACKET_LEAST || srb_length < SRB_LENGTH_LEAST ||
        srb_length > SRB_LENGTH_MOST || length > STORVSP_MAX_TRANSFER)
        return false;
    command->cdb_length = bytes[STORVSP_AT_CDB_LENGTH];
    if (command->cdb_length == 0 || command->cdb_length > SCSI_MAX_CDB)
        return false;
    memset(command->cdb, 0, sizeof(command->cdb));
    memcpy(command->cdb, bytes + STORVSP_AT_CDB, command->cdb_length);
    return decode_direction(bytes[STORVSP_AT_DATA_IN], length, &command->direction) &&
           decode_buffer(request, packet, length);
}

static bool is_present(const struct storvsp_unit *unit)
{
    return unit->target != NULL && !unit->leaving;
}

/* Bit n: unit n is there. */
static uint64_t present_luns(const struct storvsp *storvsp)
{
    uint64_t luns = 0;

    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++) {
        if (is_present(&storvsp->unit[i]))
            luns |= UINT64_C(1) << i;
    }
    return luns;
}

static void perform_srb(struct storvsp_request *request)
{
    struct storvsp *storvsp = request->channel->storvsp;
    const uint8_t *bytes = request->packet;
    struct scsi_command *command = &request->command;
    uint8_t lun = bytes[STORVSP_AT_LUN];
    /* All units have path and target 0. */
    bool addressed = bytes[STORVSP_AT_PATH] == 0 && bytes[STORVSP_AT_TARGET] == 0;

    command->done = command_done;
    request->unit = NULL;
    if (scsi_is_report_luns(command)) {
        scsi_report_luns(command, addressed ? present_luns(storvsp) : 0);
    } else if (addressed && lun < STORVSP_MAX_LUNS && is_present(&storvsp->unit[lun])) {
        request->unit = &storvsp->unit[lun];
        request->unit->in_flight++;
        scsi_submit(request->unit->target, command);
    } else {
        scsi_submit_absent(command);
    }
}

void storvsp_srb_execute(struct storvsp_request *request, const struct vmbus_packet *packet)
{
    if (request->channel->storvsp->phase != STORVSP_READY)
        storvsp_srb_refuse(request, NT_INVALID_DEVICE_STATE);
    else if (!decode_srb(request, packet))
        storvsp_srb_refuse(request, NT_INVALID_PARAMETER);
    else
        perform_srb(request);
}
