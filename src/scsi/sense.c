/* Sense data in the fixed format (SPC-4 § 4.5.3), and unit attentions. */
#include <errno.h>
#include <string.h>

#include "scsi/scsi_private.h"

enum {
    FIXED_CURRENT = 0x70,
    INFORMATION_VALID = 0x80,
    ADDITIONAL_LENGTH = SCSI_MAX_SENSE - 8,

    /* Sense-key specific bytes 15 to 17, for ILLEGAL REQUEST: the field pointer. */
    POINTER_VALID = 0x80,
    POINTER_IN_CDB = 0x40,
    POINTER_BIT_VALID = 0x08,
};

void sense_format(uint8_t sense[SCSI_MAX_SENSE], enum scsi_sense what)
{
    memset(sense, 0, SCSI_MAX_SENSE);
    sense[0] = FIXED_CURRENT;
    sense[2] = (uint8_t)(what >> 16);
    sense[7] = ADDITIONAL_LENGTH;
    sense[12] = (uint8_t)(what >> 8);
    sense[13] = (uint8_t)what;
}

void sense_set(struct scsi_command *command, enum scsi_sense what)
{
    sense_format(command->sense, what);
    command->sense_length = SCSI_MAX_SENSE;
    command->status = SCSI_STATUS_CHECK_CONDITION;
    command->transferred = 0;
}

static void set_pointer(struct scsi_command *command, uint8_t where, unsigned byte, int bit)
{
    command->sense[15] = POINTER_VALID | where;
    if (bit >= 0)
        command->sense[15] |= (uint8_t)(POINTER_BIT_VALID | bit);
    put_be16(command->sense + 16, (uint16_t)byte);
}

void sense_set_cdb_field(struct scsi_command *command, unsigned byte, int bit)
{
    sense_set(command, SENSE_INVALID_FIELD_IN_CDB);
    set_pointer(command, POINTER_IN_CDB, byte, bit);
}

void sense_set_list_field(struct scsi_command *command, unsigned byte, int bit)
{
    sense_set(command, SENSE_INVALID_FIELD_IN_LIST);
    set_pointer(command, 0, byte, bit);
}

void sense_set_block(struct scsi_command *command, enum scsi_sense what, uint64_t lba)
{
    sense_set(command, what);
    if (lba <= UINT32_MAX) { /* the field has no room for more */
        command->sense[0] |= INFORMATION_VALID;
        put_be32(command->sense + 3, (uint32_t)lba);
    }
}

void sense_set_error(struct scsi_command *command, int error)
{
    switch (error) {
    case -EROFS: /* also after a change that failed: disk.h, 4 */
        sense_set(command, SENSE_WRITE_PROTECTED);
        break;
    case -ENOSPC:
    case -EDQUOT:
        sense_set(command, SENSE_NO_SPACE);
        break;
    case -ENOMEM:
    case -EAGAIN:
    case -EBUSY:
        command->status = SCSI_STATUS_BUSY; /* the guest tries again */
        command->transferred = 0;
        break;
    case -EINVAL: /* a fault of ours: the medium is not to blame */
        sense_set(command, SENSE_INTERNAL_FAILURE);
        break;
    default:
        sense_set(command, command->disk.op == DISK_READ ? SENSE_READ_ERROR : SENSE_WRITE_ERROR);
        break;
    }
}

enum scsi_sense sense_take_attention(struct scsi_target *target)
{
    static const struct {
        enum unit_attention attention;
        enum scsi_sense sense;
    } order[] = {
        {ATTENTION_RESET, SENSE_RESET},
        {ATTENTION_MEDIUM, SENSE_MEDIUM_CHANGED},
        {ATTENTION_CAPACITY, SENSE_CAPACITY_CHANGED},
    };

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if ((target->attention & order[i].attention) != 0) {
            target->attention &= (uint8_t)~order[i].attention;
            return order[i].sense;
        }
    }
    return SENSE_NONE;
}
