/*
 * Moving bytes: between the guest's buffer and answers, and between it and the disk.
 *
 * 1. A command's work is its io.advance, called at the start and after each request to the disk
 *    that went well: it asks for the next request, or returns false when the command has ended.
 * 2. A request may end before disk_submit returns or at any time later; the crank (run) turns in a
 *    loop, so that a disk that ends all at once takes no stack.
 * 3. A command with io.staged has the target's buffer alone; others wait for it in order.
 */
#include <errno.h>
#include <string.h>

#include "scsi/scsi_private.h"

enum {
    OPTION_FUA = 0x08, /* in byte 1 of READ and WRITE */
};

enum transfer_step { STEP_MOVE, STEP_MOVED, STEP_END };

size_t transfer_room(const struct scsi_command *command, enum scsi_direction direction)
{
    return command->direction == direction ? command->data_length : 0;
}

/* Call `copy` for the pieces of [at, at + length) of the guest's buffer. */
static void for_pieces(const struct scsi_command *command, size_t at, uint8_t *bytes, size_t length,
                       void (*copy)(uint8_t *guest, uint8_t *ours, size_t length))
{
    for (unsigned i = 0; i < command->iov_count && length > 0; i++) {
        const struct iovec *piece = &command->iov[i];
        if (at >= piece->iov_len) {
            at -= piece->iov_len;
            continue;
        }
        size_t part = piece->iov_len - at < length ? piece->iov_len - at : length;
        copy((uint8_t *)piece->iov_base + at, bytes, part);
        bytes += part;
        length -= part;
        at = 0;
    }
}

static void copy_from_guest(uint8_t *guest, uint8_t *ours, size_t length)
{
    memcpy(ours, guest, length);
}

static void copy_to_guest(uint8_t *guest, uint8_t *ours, size_t length)
{
    memcpy(guest, ours, length);
}

void transfer_copy_in(const struct scsi_command *command, size_t at, uint8_t *to, size_t length)
{
    for_pieces(command, at, to, length, copy_from_guest);
}

void transfer_copy_out(const struct scsi_command *command, size_t at, uint8_t *from, size_t length)
{
    for_pieces(command, at, from, length, copy_to_guest);
}

void transfer_reply(struct scsi_command *command, const struct scsi_cdb *cdb, uint8_t *bytes,
                    size_t length)
{
    size_t room = transfer_room(command, SCSI_FROM_TARGET);

    length = length < cdb->length ? length : cdb->length;
    length = length < room ? length : room;
    transfer_copy_out(command, 0, bytes, length);
    command->transferred = length;
}

/* ---- requests to the disk ---- */

static void request_done(struct disk_request *request, int error)
{
    struct scsi_command *command =
        (struct scsi_command *)(void *)((uint8_t *)request - offsetof(struct scsi_command, disk));

    command->io.ended = true;
    command->io.error = error;
    if (!command->io.submitting)
        transfer_run(command);
}

static bool ask(struct scsi_command *command, enum disk_op op, uint64_t length)
{
    command->disk = (struct disk_request){
        .op = op, .offset = command->io.offset, .length = length, .done = request_done};
    return true;
}

/* Leave `length` bytes of the guest's buffer. */
static void shorten(struct scsi_command *command, size_t length)
{
    unsigned count = 0;

    for (size_t left = length; left > 0; count++) {
        struct iovec *piece = &command->iov[count];
        piece->iov_len = piece->iov_len < left ? piece->iov_len : left;
        left -= piece->iov_len;
    }
    command->iov_count = count;
}

bool transfer_ask_buffer(struct scsi_command *command, enum disk_op op)
{
    (void)ask(command, op, command->io.left);
    command->disk.iov = command->iov;
    command->disk.iov_count = command->iov_count;
    return true;
}

bool transfer_ask_stage(struct scsi_command *command, enum disk_op op, uint64_t length)
{
    struct scsi_target *target = command->target;
    unsigned count = 0;

    (void)ask(command, op, length);
    for (uint64_t left = length; left > 0; count++) {
        size_t part = left < SCSI_STAGE_SIZE ? (size_t)left : SCSI_STAGE_SIZE;
        target->stage_iov[count] = (struct iovec){target->stage, part};
        left -= part;
    }
    command->disk.iov = target->stage_iov;
    command->disk.iov_count = count;
    return true;
}

bool transfer_ask_unmap(struct scsi_command *command, uint64_t offset, uint64_t length)
{
    command->io.offset = offset;
    return ask(command, DISK_UNMAP, length);
}

bool transfer_ask_flush(struct scsi_command *command)
{
    if (!command->io.flush)
        return false;
    command->io.flush = false;
    command->disk = (struct disk_request){.op = DISK_FLUSH, .done = request_done};
    return true;
}

/* ---- the crank ---- */

/* Whether the command may go on: it needs no buffer, or has it. */
static bool take_stage(struct scsi_command *command)
{
    struct scsi_target *target = command->target;

    if (!command->io.staged || target->stager == command)
        return true;
    if (target->stager == NULL) {
        target->stager = command;
        return true;
    }
    command->next = NULL;
    if (target->last_waiting == NULL)
        target->first_waiting = command;
    else
        target->last_waiting->next = command;
    target->last_waiting = command;
    return false;
}

/* End the command. Returns the one that has the buffer now and may go on, or NULL. */
static struct scsi_command *finish(struct scsi_command *command)
{
    struct scsi_target *target = command->target;
    struct scsi_command *next = NULL;

    if (target != NULL && target->stager == command) {
        next = target->first_waiting;
        target->stager = next;
        if (next != NULL)
            target->first_waiting = next->next;
        if (target->first_waiting == NULL)
            target->last_waiting = NULL;
    }
    target_release_medium(command);
    /* Afterwards the command may be gone, and the target unless `next` still holds it. */
    command->done(command);
    return next;
}

/* Turn until a request is under way (false) or the command has ended (true). */
static bool turn(struct scsi_command *command)
{
    for (;;) {
        if (command->io.ended && command->io.error != 0) {
            sense_set_error(command, command->io.error);
            return true;
        }
        if (command->io.advance == NULL || !command->io.advance(command))
            return true;
        command->io.ended = false;
        command->io.submitting = true;
        disk_submit(command->medium, &command->disk);
        command->io.submitting = false;
        if (!command->io.ended)
            return false;
    }
}

void transfer_run(struct scsi_command *command)
{
    while (command != NULL && take_stage(command) && turn(command))
        command = finish(command);
}

/* ---- READ, WRITE, SYNCHRONIZE CACHE ---- */

/* Where a CDB of this opcode's group has its transfer length, SPC-4 § 4.2.5. */
static unsigned length_byte(uint8_t opcode)
{
    static const uint8_t byte_of[8] = {4, 7, 7, 7, 10, 6, 6, 6};
    return byte_of[opcode >> 5];
}

bool transfer_check_blocks(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    const struct scsi_target *target = command->target;
    uint64_t count = target_block_count(target);

    if (cdb->lba > count || cdb->blocks > count - cdb->lba) {
        sense_set_block(command, SENSE_LBA_OUT_OF_RANGE, cdb->lba);
        return false;
    }
    if (cdb->blocks > SCSI_MOST_TRANSFER / target->sector) {
        sense_set_cdb_field(command, length_byte(command->cdb[0]), -1);
        return false;
    }
    return true;
}

void transfer_begin(struct scsi_command *command, uint64_t offset, uint64_t length,
                    bool (*advance)(struct scsi_command *command))
{
    command->io.offset = offset;
    command->io.left = length;
    command->io.advance = advance;
}

/* The guest's buffer is as long as the blocks, which it must be, and goes to the disk as it is. */
static bool advance_buffer(struct scsi_command *command)
{
    enum disk_op op = command->direction == SCSI_FROM_TARGET ? DISK_READ : DISK_WRITE;

    if (command->io.step == STEP_MOVE && command->io.left > 0) {
        command->io.step = STEP_MOVED;
        return transfer_ask_buffer(command, op);
    }
    command->transferred = (size_t)command->io.left;
    return transfer_ask_flush(command);
}

/* The same by way of the target's buffer. */
static bool advance_read_staged(struct scsi_command *command)
{
    if (command->io.step == STEP_MOVED) {
        size_t length = (size_t)command->disk.length;
        transfer_copy_out(command, command->io.done, command->target->stage, length);
        command->io.done += length;
        command->io.offset += length;
        command->io.left -= length;
    }
    command->io.step = STEP_MOVED;
    command->transferred = command->io.done;
    if (command->io.left == 0)
        return false;
    uint64_t length = command->io.left < SCSI_STAGE_SIZE ? command->io.left : SCSI_STAGE_SIZE;
    return transfer_ask_stage(command, DISK_READ, length);
}

static bool advance_write_staged(struct scsi_command *command)
{
    size_t length = command->io.left < SCSI_STAGE_SIZE ? (size_t)command->io.left : SCSI_STAGE_SIZE;

    command->transferred = command->io.done;
    if (length == 0)
        return transfer_ask_flush(command);
    transfer_copy_in(command, command->io.done, command->target->stage, length);
    (void)transfer_ask_stage(command, DISK_WRITE, length);
    command->io.done += length;
    command->io.offset += length;
    command->io.left -= length;
    return true;
}

/* Whether the disk takes the pieces as they are (disk.h, 2). */
static bool is_aligned(const struct scsi_command *command)
{
    uint32_t sector = disk_geometry(command->medium)->logical_sector;

    for (unsigned i = 0; i < command->iov_count; i++) {
        if ((command->iov[i].iov_len & (sector - 1)) != 0)
            return false;
    }
    return true;
}

static void begin_blocks(struct scsi_command *command, const struct scsi_cdb *cdb,
                         enum scsi_direction direction)
{
    uint64_t length = (uint64_t)cdb->blocks * command->target->sector;

    if (!transfer_check_blocks(command, cdb))
        return;
    if (length > transfer_room(command, direction)) {
        sense_set_cdb_field(command, length_byte(command->cdb[0]), -1);
        return;
    }
    shorten(command, (size_t)length);
    command->io.staged = !is_aligned(command);
    bool (*staged)(struct scsi_command *) =
        direction == SCSI_FROM_TARGET ? advance_read_staged : advance_write_staged;
    transfer_begin(command, cdb->lba * command->target->sector, length,
                   command->io.staged ? staged : advance_buffer);
}

void transfer_read(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    /* FUA asks for what the medium holds, and no cache of ours ever holds anything else. */
    begin_blocks(command, cdb, SCSI_FROM_TARGET);
}

void transfer_write(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    command->io.flush = (cdb->options & OPTION_FUA) != 0 || !command->target->write_cache;
    begin_blocks(command, cdb, SCSI_TO_TARGET);
}

void transfer_flush(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint64_t count = target_block_count(command->target);

    /* All is flushed, whatever the range; but it must be one. */
    if (cdb->lba > count || cdb->blocks > count - cdb->lba) {
        sense_set_block(command, SENSE_LBA_OUT_OF_RANGE, cdb->lba);
        return;
    }
    command->io.flush = true;
    transfer_begin(command, 0, 0, transfer_ask_flush);
}
