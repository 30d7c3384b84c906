/* What all units do alike: taking commands, the state that resets and saved state touch. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scsi/scsi_private.h"
#include "state/state.h"

enum {
    OPCODE_INQUIRY = 0x12,
    OPCODE_REPORT_LUNS = 0xa0,
    PREVENT = 0x01, /* byte 4 of PREVENT ALLOW MEDIUM REMOVAL */
    ATTENTION_ANY = ATTENTION_RESET | ATTENTION_MEDIUM | ATTENTION_CAPACITY,
    MEDIA_EVENTS = 5,
    STAGE_ALIGNMENT = 4096, /* direct I/O needs it */
};

int target_create(const struct scsi_kind *kind, uint32_t sector, struct scsi_target **ret)
{
    struct scsi_target *target = calloc(1, sizeof(*target));

    if (target == NULL)
        return -ENOMEM;
    target->kind = kind;
    target->sector = sector;
    target->write_cache = true;
    target->stage = aligned_alloc(STAGE_ALIGNMENT, SCSI_STAGE_SIZE);
    if (target->stage == NULL) {
        free(target);
        return -ENOMEM;
    }
    memset(target->stage, 0, SCSI_STAGE_SIZE);
    *ret = target;
    return 0;
}

void scsi_destroy(struct scsi_target *target)
{
    if (target == NULL)
        return;
    free(target->stage);
    free(target);
}

uint64_t target_block_count(const struct scsi_target *target)
{
    if (target->medium == NULL || target->tray_open)
        return 0;
    return disk_geometry(target->medium)->capacity / target->sector;
}

/* ---- commands ---- */

static void prepare(struct scsi_command *command, struct scsi_target *target)
{
    command->target = target;
    command->medium = target != NULL ? target->medium : NULL;
    command->next = NULL;
    command->status = SCSI_STATUS_GOOD;
    command->transferred = 0;
    command->sense_length = 0;
    memset(&command->io, 0, sizeof(command->io));
    if (command->medium != NULL)
        target->users++;
}

static void tell_released(struct scsi_target *target)
{
    struct disk *medium = target->old_medium;

    target->old_medium = NULL;
    target->released(target->released_owner, medium);
}

void target_release_medium(const struct scsi_command *command)
{
    struct scsi_target *target = command->target;

    if (command->medium == NULL)
        return;
    if (command->medium != target->old_medium)
        target->users--;
    else if (--target->old_users == 0)
        tell_released(target);
}

int target_change_medium(struct scsi_target *target, struct disk *medium,
                         void (*released)(void *owner, struct disk *medium), void *owner)
{
    if (medium == target->medium)
        return 0;
    if (target->old_medium != NULL)
        return -EBUSY;
    target->old_medium = target->medium;
    target->old_users = target->users;
    target->released = released;
    target->released_owner = owner;
    target->medium = medium;
    target->users = 0;
    if (target->old_medium != NULL && target->old_users == 0)
        tell_released(target);
    return 0;
}

/* SPC-4 § 5.14 for unit attentions, 5.12 for readiness. */
static bool check_state(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    struct scsi_target *target = command->target;
    uint8_t flags = cdb->opcode->flags;
    enum scsi_sense wrong = SENSE_NONE;

    if ((flags & SCSI_ALWAYS) == 0)
        wrong = sense_take_attention(target);
    if (wrong == SENSE_NONE && (flags & SCSI_MEDIUM) != 0) {
        if (target->medium == NULL || target->tray_open)
            wrong = SENSE_NO_MEDIUM;
        else if (target->stopped)
            wrong = SENSE_START_NEEDED;
        else if ((flags & SCSI_CHANGES) != 0 && disk_geometry(target->medium)->read_only)
            wrong = SENSE_WRITE_PROTECTED;
    }
    if (wrong != SENSE_NONE)
        sense_set(command, wrong);
    return wrong == SENSE_NONE;
}

void scsi_submit(struct scsi_target *target, struct scsi_command *command)
{
    struct scsi_cdb cdb;

    prepare(command, target);
    if (cdb_decode(command, &target->kind->opcodes, &cdb) && check_state(command, &cdb))
        cdb.opcode->perform(command, &cdb);
    transfer_run(command);
}

void target_test_ready(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    (void)command; /* check_state has said it all */
    (void)cdb;
}

void target_accept(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    (void)command; /* there is nothing to do, nor to tell */
    (void)cdb;
}

void target_request_sense(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    struct scsi_target *target = command->target;
    uint8_t sense[SCSI_MAX_SENSE];
    enum scsi_sense what = sense_take_attention(target);

    if (what == SENSE_NONE && (target->medium == NULL || target->tray_open))
        what = SENSE_NO_MEDIUM;
    sense_format(sense, what);
    transfer_reply(command, cdb, sense, sizeof(sense));
}

void target_prevent_removal(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    command->target->removal_prevented = (cdb->choice & PREVENT) != 0;
}

/* ---- units that are not there, and the list of those that are ---- */

static const struct scsi_opcode absent_opcodes[] = {
    {OPCODE_INQUIRY,
     -1,
     6,
     SCSI_ALWAYS,
     cdb_decode_length_3,
     inquiry_absent,
     {0xe1, 0xff, 0xff, 0xff, 0xff}},
};

void scsi_submit_absent(struct scsi_command *command)
{
    static const struct scsi_opcodes opcodes = {absent_opcodes, 1};
    struct scsi_cdb cdb;

    prepare(command, NULL);
    if (command->cdb[0] != OPCODE_INQUIRY)
        sense_set(command, SENSE_NO_SUCH_UNIT);
    else if (cdb_decode(command, &opcodes, &cdb))
        cdb.opcode->perform(command, &cdb);
    transfer_run(command);
}

bool scsi_is_report_luns(const struct scsi_command *command)
{
    return command->cdb[0] == OPCODE_REPORT_LUNS;
}

static void nothing_performed(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    (void)command;
    (void)cdb;
}

static const struct scsi_opcode report_luns_opcodes[] = {
    {OPCODE_REPORT_LUNS,
     -1,
     12,
     SCSI_ALWAYS,
     cdb_decode_length_12,
     nothing_performed,
     {0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff}},
};

/* SPC-4 § 6.33; addresses of 8 bytes, SAM-5 § 4.7.3: a single level, peripheral device. */
void scsi_report_luns(struct scsi_command *command, uint64_t luns)
{
    static const struct scsi_opcodes opcodes = {report_luns_opcodes, 1};
    uint8_t reply[8 + 64 * 8] = {0};
    size_t length = 8;
    struct scsi_cdb cdb;

    prepare(command, NULL);
    if (cdb_decode(command, &opcodes, &cdb)) {
        if (cdb.page == 1) /* well known units only, of which there are none */
            luns = 0;
        for (; luns != 0; luns &= luns - 1, length += 8)
            reply[length + 1] = (uint8_t)__builtin_ctzll(luns);
        put_be32(reply, (uint32_t)(length - 8));
        if (cdb.page > 2)
            sense_set_cdb_field(command, 2, -1);
        else
            transfer_reply(command, &cdb, reply, length);
    }
    transfer_run(command);
}

/* ---- events ---- */

static void set_defaults(struct scsi_target *target)
{
    target->write_cache = true;
    target->removal_prevented = false;
    target->stopped = false;
}

void scsi_reset(struct scsi_target *target)
{
    set_defaults(target);
    target->attention |= ATTENTION_RESET;
}

void scsi_power_on(struct scsi_target *target)
{
    set_defaults(target);
    target->attention = 0;
    target->media_event = 0;
}

void scsi_capacity_changed(struct scsi_target *target)
{
    target->attention |= ATTENTION_CAPACITY;
}

int scsi_visit_state(struct scsi_target *target, const char *section, struct state_visitor *visitor)
{
    struct scsi_target s = *target;

    state_begin(visitor, section, 1);
    state_u8(visitor, "attention", &s.attention);
    state_bool(visitor, "write-cache", &s.write_cache);
    state_bool(visitor, "removal-prevented", &s.removal_prevented);
    state_bool(visitor, "stopped", &s.stopped);
    state_bool(visitor, "tray-open", &s.tray_open);
    state_u8(visitor, "media-event", &s.media_event);
    if ((s.attention & ~ATTENTION_ANY) != 0 || s.media_event >= MEDIA_EVENTS ||
        (s.tray_open && !s.kind->removable))
        state_fail(visitor, -EINVAL);
    int error = state_end(visitor);
    if (error == 0 && state_is_load(visitor))
        *target = s;
    return error;
}
