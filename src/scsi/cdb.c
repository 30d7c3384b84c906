/*
 * Decoding of command descriptor blocks by a unit's table of opcodes, and the report of that table.
 *
 * A bit that the row's usage does not name must be zero: the sense then points to it.
 */
#include "scsi/scsi_private.h"

enum {
    ACTION_MASK = 0x1f,
    REPORT_ALL = 0,    /* REPORTING OPTIONS, SPC-4 § 6.35.1 */
    REPORT_OPCODE = 1, /* which must have no service actions */
    REPORT_ACTION = 2, /* which must have them */
    REPORT_EITHER = 3, /* whether or not */
    REPORT_TIMEOUTS = 0x80,
    SUPPORT_NONE = 1,
    SUPPORT_STANDARD = 3,
    REPORT_MOST = 4 + 64 * 20,
};

void cdb_decode_nothing(const uint8_t *cdb, struct scsi_cdb *ret)
{
    (void)cdb;
    (void)ret;
}

void cdb_decode_block_6(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->lba = get_be24(cdb + 1) & 0x1fffff;
    ret->blocks = cdb[4] == 0 ? 256 : cdb[4]; /* SBC-3 § 5.10 */
    ret->options = 0;                         /* byte 1 is the address */
}

void cdb_decode_block_10(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->lba = get_be32(cdb + 2);
    ret->blocks = get_be16(cdb + 7);
}

void cdb_decode_block_12(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->lba = get_be32(cdb + 2);
    ret->blocks = get_be32(cdb + 6);
}

void cdb_decode_block_16(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->lba = get_be64(cdb + 2);
    ret->blocks = get_be32(cdb + 10);
}

void cdb_decode_length_6(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->length = cdb[4];
}

void cdb_decode_length_3(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->length = get_be16(cdb + 3);
}

void cdb_decode_length_10(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->length = get_be16(cdb + 7);
}

void cdb_decode_length_12(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->length = get_be32(cdb + 6);
}

void cdb_decode_length_16(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->length = get_be32(cdb + 10);
}

void cdb_decode_block_length_16(const uint8_t *cdb, struct scsi_cdb *ret)
{
    ret->lba = get_be64(cdb + 2);
    ret->length = get_be32(cdb + 10);
}

/* The row of an opcode and, where it has them, service action; `*ret_known`: the opcode is known.
 */
static const struct scsi_opcode *find_opcode(const struct scsi_opcodes *opcodes, uint8_t code,
                                             uint8_t action, bool *ret_known)
{
    *ret_known = false;
    for (size_t i = 0; i < opcodes->count; i++) {
        const struct scsi_opcode *row = &opcodes->row[i];
        if (row->code != code)
            continue;
        *ret_known = true;
        if (row->action < 0 || row->action == (action & ACTION_MASK))
            return row;
    }
    return NULL;
}

/* The number of the highest bit. */
static int highest_bit(uint8_t bits)
{
    return 31 - __builtin_clz(bits);
}

static bool check_usage(struct scsi_command *command, const struct scsi_opcode *row)
{
    for (unsigned byte = 1; byte < row->length; byte++) {
        uint8_t allowed = row->usage[byte - 1];
        if (byte == 1 && row->action >= 0)
            allowed |= ACTION_MASK;
        uint8_t wrong = command->cdb[byte] & (uint8_t)~allowed;
        if (wrong != 0) {
            sense_set_cdb_field(command, byte, highest_bit(wrong));
            return false;
        }
    }
    return true;
}

bool cdb_decode(struct scsi_command *command, const struct scsi_opcodes *opcodes,
                struct scsi_cdb *ret)
{
    const uint8_t *cdb = command->cdb;
    bool known;
    const struct scsi_opcode *row = find_opcode(opcodes, cdb[0], cdb[1], &known);

    if (row == NULL && known)
        sense_set_cdb_field(command, 1, 4);
    else if (row == NULL || command->cdb_length < row->length)
        sense_set(command, SENSE_UNKNOWN_OPCODE);
    if (row == NULL || command->cdb_length < row->length || !check_usage(command, row))
        return false;
    *ret = (struct scsi_cdb){
        .opcode = row, .options = cdb[1], .page = cdb[2], .subpage = cdb[3], .choice = cdb[4]};
    row->decode(cdb, ret);
    return true;
}

/* ---- REPORT SUPPORTED OPERATION CODES, SPC-4 § 6.35 ---- */

/* The command time-outs descriptor that says nothing. */
static size_t put_timeouts(uint8_t *to)
{
    put_be16(to, 0x0a);
    return 12;
}

static size_t put_row(uint8_t *to, const struct scsi_opcode *row, bool timeouts)
{
    to[0] = row->code;
    if (row->action >= 0)
        put_be16(to + 2, (uint16_t)row->action);
    to[5] = (uint8_t)((timeouts ? 2 : 0) | (row->action >= 0 ? 1 : 0));
    put_be16(to + 6, row->length);
    return timeouts ? 8 + put_timeouts(to + 8) : 8;
}

static void report_all(struct scsi_command *command, const struct scsi_cdb *cdb, bool timeouts)
{
    const struct scsi_opcodes *opcodes = &command->target->kind->opcodes;
    uint8_t reply[REPORT_MOST] = {0};
    size_t length = 4;

    for (size_t i = 0; i < opcodes->count && length + 20 <= sizeof(reply); i++)
        length += put_row(reply + length, &opcodes->row[i], timeouts);
    put_be32(reply, (uint32_t)(length - 4));
    transfer_reply(command, cdb, reply, length);
}

static void report_one(struct scsi_command *command, const struct scsi_cdb *cdb,
                       const struct scsi_opcode *row, bool timeouts)
{
    uint8_t reply[4 + SCSI_MAX_CDB + 12] = {0};
    size_t length = 4;

    reply[1] = (uint8_t)((timeouts ? 0x80 : 0) | (row == NULL ? SUPPORT_NONE : SUPPORT_STANDARD));
    if (row != NULL) {
        put_be16(reply + 2, row->length);
        reply[4] = row->code;
        for (unsigned i = 1; i < row->length; i++)
            reply[4 + i] = row->usage[i - 1];
        if (row->action >= 0)
            reply[5] |= (uint8_t)row->action;
        length += row->length;
    }
    if (timeouts)
        length += put_timeouts(reply + length);
    transfer_reply(command, cdb, reply, length);
}

void cdb_report_opcodes(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    bool timeouts = (cdb->page & REPORT_TIMEOUTS) != 0;
    uint8_t option = cdb->page & 7;
    uint16_t action = get_be16(command->cdb + 4);
    bool known;
    const struct scsi_opcode *row =
        find_opcode(&command->target->kind->opcodes, cdb->subpage, (uint8_t)action, &known);
    bool has_actions = row != NULL ? row->action >= 0 : known;

    if (row != NULL && has_actions && action > ACTION_MASK)
        row = NULL;
    bool wrong = option > REPORT_EITHER || (option == REPORT_OPCODE && has_actions) ||
                 (option == REPORT_ACTION && known && !has_actions);

    if (option == REPORT_ALL)
        report_all(command, cdb, timeouts);
    else if (wrong)
        sense_set_cdb_field(command, 2, 2);
    else
        report_one(command, cdb, row, timeouts);
}
