/*
 * What a disk does to blocks beside reading and writing them: VERIFY, WRITE SAME, UNMAP; all of it
 * goes through the target's buffer (transfer.c, 3). And GET LBA STATUS.
 */
#include <string.h>

#include "scsi/scsi_private.h"

enum {
    VERIFY_BYTES = 0x02,     /* BYTCHK 01b: compare with the guest's buffer, SBC-3 § 5.33 */
    WRITE_SAME_UNMAP = 0x08, /* SBC-3 § 5.44 */
    WRITE_SAME_ZERO = 0x01,  /* NDOB: there is no buffer, the block is zero */

    UNMAP_HEADER = 8,
    UNMAP_RANGE = 16,

    STATUS_HEADER = 8,
    STATUS_EXTENT = 16,
    STATUS_MOST = 64, /* extents in an answer: each is looked up in the file */
    STATUS_MAPPED = 0,
    STATUS_DEALLOCATED = 1,
};

static size_t stage_part(const struct scsi_command *command)
{
    return command->io.left < SCSI_STAGE_SIZE ? (size_t)command->io.left : SCSI_STAGE_SIZE;
}

static void move_on(struct scsi_command *command, uint64_t length)
{
    command->io.offset += length;
    command->io.left -= length;
}

/* ---- VERIFY ---- */

/* The first of the next bytes of the guest that differs from the buffer; `length`: none. */
static size_t find_difference(const struct scsi_command *command, size_t length)
{
    const uint8_t *stage = command->target->stage;
    uint8_t part[512];

    for (size_t at = 0; at < length; at += sizeof(part)) {
        size_t size = length - at < sizeof(part) ? length - at : sizeof(part);
        transfer_copy_in(command, command->io.done + at, part, size);
        if (memcmp(part, stage + at, size) == 0)
            continue;
        size_t i = 0;
        while (part[i] == stage[at + i])
            i++;
        return at + i;
    }
    return length;
}

static bool compare(struct scsi_command *command, size_t length)
{
    size_t same = find_difference(command, length);

    command->io.done += same;
    if (same == length)
        return true;
    /* INFORMATION is the offset of the byte in the buffer, SBC-3 § 5.33. */
    sense_set_block(command, SENSE_MISCOMPARE, command->io.done);
    return false;
}

static bool advance_verify(struct scsi_command *command)
{
    if (command->io.step++ > 0) {
        size_t length = (size_t)command->disk.length;
        if (command->direction == SCSI_TO_TARGET && !compare(command, length))
            return false;
        move_on(command, length);
    }
    command->io.step = 1;
    command->transferred = command->io.done;
    return command->io.left > 0 && transfer_ask_stage(command, DISK_READ, stage_part(command));
}

void blocks_verify(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint64_t length = (uint64_t)cdb->blocks * command->target->sector;
    bool bytes = (cdb->options & VERIFY_BYTES) != 0;

    if (!transfer_check_blocks(command, cdb))
        return;
    if (bytes && length > transfer_room(command, SCSI_TO_TARGET)) {
        sense_set_cdb_field(command, 1, 1);
        return;
    }
    if (!bytes)
        command->direction = SCSI_NO_DATA;
    command->io.staged = true;
    transfer_begin(command, cdb->lba * command->target->sector, length, advance_verify);
}

/* ---- WRITE SAME ---- */

enum write_same_step { SAME_START, SAME_WRITE, SAME_UNMAPPED, SAME_READ, SAME_ZEROED, SAME_END };

static bool is_zero(const uint8_t *bytes, size_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* The block, from the guest, as often as the buffer has room for it. */
static void fill_stage(struct scsi_command *command)
{
    uint8_t *stage = command->target->stage;
    uint32_t sector = command->target->sector;

    if (command->direction == SCSI_NO_DATA)
        memset(stage, 0, sector);
    else
        transfer_copy_in(command, 0, stage, sector);
    for (size_t at = sector; at < SCSI_STAGE_SIZE; at += sector)
        memcpy(stage + at, stage, sector);
}

static bool write_next(struct scsi_command *command)
{
    const uint64_t most = (uint64_t)SCSI_STAGE_SIZE * SCSI_STAGE_REPEAT;
    uint64_t length = command->io.left < most ? command->io.left : most;

    if (length == 0) {
        command->io.step = SAME_END;
        return transfer_ask_flush(command);
    }
    (void)transfer_ask_stage(command, DISK_WRITE, length);
    move_on(command, length);
    return true;
}

/*
 * After unmapping: a disk may leave alone what it cannot free cheaply, yet all must read as the
 * zeroes that were asked for (SBC-3 § 5.44), so what does not is overwritten.
 */
static bool check_next(struct scsi_command *command)
{
    uint8_t *stage = command->target->stage;
    size_t length = (size_t)command->disk.length;

    if (command->io.step == SAME_READ && !is_zero(stage, length)) {
        memset(stage, 0, length);
        command->io.step = SAME_ZEROED;
        return transfer_ask_stage(command, DISK_WRITE, length);
    }
    if (command->io.step != SAME_UNMAPPED)
        move_on(command, length);
    if (command->io.left == 0) {
        command->io.step = SAME_END;
        return transfer_ask_flush(command);
    }
    command->io.step = SAME_READ;
    return transfer_ask_stage(command, DISK_READ, stage_part(command));
}

static bool start_write_same(struct scsi_command *command)
{
    fill_stage(command);
    command->transferred = command->direction == SCSI_NO_DATA ? 0 : command->target->sector;
    if ((command->cdb[1] & WRITE_SAME_UNMAP) != 0 &&
        is_zero(command->target->stage, command->target->sector)) {
        command->io.step = SAME_UNMAPPED;
        return transfer_ask_unmap(command, command->io.offset, command->io.left);
    }
    command->io.step = SAME_WRITE;
    return write_next(command);
}

static bool advance_write_same(struct scsi_command *command)
{
    switch ((enum write_same_step)command->io.step) {
    case SAME_START:
        return start_write_same(command);
    case SAME_WRITE:
        return write_next(command);
    case SAME_UNMAPPED:
    case SAME_READ:
    case SAME_ZEROED:
        return check_next(command);
    case SAME_END:
        break;
    }
    return false;
}

void blocks_write_same(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint32_t sector = command->target->sector;
    bool zero = (cdb->options & WRITE_SAME_ZERO) != 0;

    if (!transfer_check_blocks(command, cdb))
        return;
    if (cdb->blocks == 0) { /* WSNZ of VPD page 0xb0 */
        sense_set_cdb_field(command, cdb->opcode->length == 10 ? 7 : 10, -1);
        return;
    }
    if (!zero && transfer_room(command, SCSI_TO_TARGET) < sector) {
        sense_set_cdb_field(command, 1, 0);
        return;
    }
    if (zero)
        command->direction = SCSI_NO_DATA;
    command->io.staged = true;
    command->io.flush = !command->target->write_cache;
    transfer_begin(command, cdb->lba * sector, (uint64_t)cdb->blocks * sector, advance_write_same);
}

/* ---- UNMAP, SBC-3 § 5.28 ---- */

static const uint8_t *range_at(const struct scsi_command *command, size_t index)
{
    return command->target->stage + UNMAP_HEADER + index * UNMAP_RANGE;
}

/* All ranges lie on the medium and are together not too many blocks. */
static bool check_ranges(struct scsi_command *command, size_t count)
{
    uint64_t blocks = target_block_count(command->target);
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t lba = get_be64(range_at(command, i));
        uint32_t length = get_be32(range_at(command, i) + 8);
        if (lba > blocks || length > blocks - lba) {
            sense_set_block(command, SENSE_LBA_OUT_OF_RANGE, lba);
            return false;
        }
        sum += length;
        if (sum > SCSI_MOST_UNMAP / command->target->sector) {
            sense_set_list_field(command, (unsigned)(UNMAP_HEADER + i * UNMAP_RANGE + 8), -1);
            return false;
        }
    }
    return true;
}

/* Copy the parameter list into the buffer and check it: io.left counts the ranges then. */
static bool decode_ranges(struct scsi_command *command)
{
    uint8_t *list = command->target->stage;
    size_t length = (size_t)command->io.left;

    transfer_copy_in(command, 0, list, length);
    size_t count = get_be16(list + 2) / UNMAP_RANGE;
    if (count > (length - UNMAP_HEADER) / UNMAP_RANGE) {
        sense_set(command, SENSE_PARAMETER_LIST_LENGTH);
        return false;
    }
    if (count > SCSI_MOST_UNMAP_RANGES) {
        sense_set_list_field(command, 2, -1);
        return false;
    }
    command->io.left = count;
    command->io.step = 1;
    command->transferred = length;
    return check_ranges(command, count);
}

static bool advance_unmap(struct scsi_command *command)
{
    if (command->io.step == 0 && !decode_ranges(command))
        return false;
    while (command->io.done < command->io.left) {
        const uint8_t *range = range_at(command, command->io.done++);
        uint64_t sector = command->target->sector;
        uint32_t length = get_be32(range + 8);
        if (length != 0)
            return transfer_ask_unmap(command, get_be64(range) * sector, length * sector);
    }
    return transfer_ask_flush(command);
}

void blocks_unmap(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    const size_t most = UNMAP_HEADER + SCSI_MOST_UNMAP_RANGES * UNMAP_RANGE;

    if (cdb->length == 0)
        return;
    if (cdb->length < UNMAP_HEADER || transfer_room(command, SCSI_TO_TARGET) < cdb->length) {
        sense_set(command, SENSE_PARAMETER_LIST_LENGTH);
        return;
    }
    command->io.staged = true;
    command->io.flush = !command->target->write_cache;
    transfer_begin(command, 0, cdb->length < most ? cdb->length : most, advance_unmap);
}

/* ---- GET LBA STATUS, SBC-3 § 5.7 ---- */

/* How many extents the answer has room for; the first is always looked up. */
static unsigned extents_wanted(const struct scsi_command *command, const struct scsi_cdb *cdb)
{
    size_t room = transfer_room(command, SCSI_FROM_TARGET);

    room = room < cdb->length ? room : cdb->length;
    if (room < STATUS_HEADER + 2 * STATUS_EXTENT)
        return 1;
    room = (room - STATUS_HEADER) / STATUS_EXTENT;
    return room < STATUS_MOST ? (unsigned)room : STATUS_MOST;
}

/* Describe what begins at the block, and move on to what follows it. */
static int put_extent(const struct scsi_command *command, uint64_t *lba, uint8_t *to)
{
    const uint32_t sector = command->target->sector;
    uint64_t end = 0;
    bool data = true;

    int error = disk_extent(command->medium, *lba * sector, &end, &data);
    if (error < 0)
        return error;
    uint64_t count = end / sector - *lba;
    count = count < UINT32_MAX ? count : UINT32_MAX;
    put_be64(to, *lba);
    put_be32(to + 8, (uint32_t)count);
    to[12] = data ? STATUS_MAPPED : STATUS_DEALLOCATED;
    *lba += count;
    return 0;
}

void blocks_get_status(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    const uint64_t blocks = target_block_count(command->target);
    const unsigned wanted = extents_wanted(command, cdb);
    uint8_t reply[STATUS_HEADER + STATUS_MOST * STATUS_EXTENT] = {0};
    size_t length = STATUS_HEADER;
    uint64_t lba = cdb->lba;

    command->disk.op = DISK_READ; /* for what is said of an error */
    if (lba >= blocks) {
        sense_set_block(command, SENSE_LBA_OUT_OF_RANGE, lba);
        return;
    }
    for (unsigned i = 0; i < wanted && lba < blocks; i++, length += STATUS_EXTENT) {
        int error = put_extent(command, &lba, reply + length);
        if (error < 0) {
            sense_set_error(command, error);
            return;
        }
    }
    put_be32(reply, (uint32_t)(length - 4));
    transfer_reply(command, cdb, reply, length);
}
