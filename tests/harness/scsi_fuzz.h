/*
 * What the fuzz targets of SCSI units share: an input is a sequence of commands, each with a shape
 * of its buffer, to a unit whose disk ends requests at once or later.
 */
#ifndef TESTS_HARNESS_SCSI_FUZZ_H
#define TESTS_HARNESS_SCSI_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "scsi/scsi_private.h"
#include "state/state.h"
#include "tests/harness/fake_disk.h"
#include "tests/harness/fuzz_input.h"

enum {
    SCSI_FUZZ_COMMANDS = 8,
    SCSI_FUZZ_DISK = 5 << 15, /* two and a half of the target's buffers */
    SCSI_FUZZ_PIECES = 5,
};

struct scsi_fuzz_command {
    struct scsi_command command;
    struct iovec iov[SCSI_FUZZ_PIECES];
    uint8_t *data; /* of exact length, so that a sanitizer sees what goes beyond */
    size_t length;
    unsigned state; /* 0 free, 1 submitted, 2 done */
};

static inline void scsi_fuzz_require(bool holds)
{
    if (!holds)
        abort();
}

/* The contract of ->done. */
static inline void scsi_fuzz_done(struct scsi_command *c)
{
    struct scsi_fuzz_command *slot = (struct scsi_fuzz_command *)(void *)c;
    scsi_fuzz_require(slot->state == 1);
    slot->state = 2;
    scsi_fuzz_require(c->transferred <= slot->length);
    scsi_fuzz_require(c->status == SCSI_STATUS_GOOD || c->transferred == 0);
    scsi_fuzz_require((c->status == SCSI_STATUS_CHECK_CONDITION) ==
                      (c->sense_length == SCSI_MAX_SENSE));
    if (c->status == SCSI_STATUS_CHECK_CONDITION)
        scsi_fuzz_require((c->sense[0] & 0x7f) == 0x70 && (c->sense[2] & 0x0f) != 0);
}

static inline void scsi_fuzz_free(struct scsi_fuzz_command *slot)
{
    if (slot->state == 2) {
        free(slot->data);
        slot->data = NULL;
        slot->state = 0;
    }
}

/* The buffer: its length, cut into pieces; its bytes are the input's, then a repeated byte. */
static inline void scsi_fuzz_buffer(struct scsi_fuzz_command *slot, struct fuzz_input *in)
{
    uint8_t shape = (uint8_t)fuzz_take(in, 1);
    size_t length = (size_t)fuzz_take(in, 2);
    length = (shape & 0x80) != 0 ? length % 192 * 512 : length % 1024;
    slot->length = length;
    slot->data = malloc(slot->length + (slot->length == 0));
    scsi_fuzz_require(slot->data != NULL);
    memset(slot->data, (shape & 0x40) != 0 ? shape : 0, slot->length);
    fuzz_take_bytes(in, slot->data,
                    slot->length < 32     ? slot->length
                    : (shape & 0x20) != 0 ? 32
                                          : 0);
    size_t at = 0;
    struct scsi_command *c = &slot->command;
    while (at < slot->length) {
        size_t part = (shape & 0x10) != 0 ? (size_t)fuzz_take(in, 2) + 1 : slot->length;
        if (part > slot->length - at || c->iov_count == SCSI_FUZZ_PIECES - 1)
            part = slot->length - at;
        slot->iov[c->iov_count++] = (struct iovec){slot->data + at, part};
        at += part;
    }
    c->iov = slot->iov;
    c->data_length = slot->length;
    c->direction = (shape & 3) == 0 ? SCSI_TO_TARGET : SCSI_FROM_TARGET;
    if (slot->length == 0)
        c->direction = SCSI_NO_DATA;
}

static inline void scsi_fuzz_submit(struct scsi_target *target, struct scsi_fuzz_command *slots,
                                    struct fuzz_input *in)
{
    for (unsigned i = 0; i < SCSI_FUZZ_COMMANDS; i++) {
        struct scsi_fuzz_command *slot = &slots[i];
        if (slot->state != 0)
            continue;
        memset(slot, 0, sizeof(*slot));
        fuzz_take_bytes(in, slot->command.cdb, SCSI_MAX_CDB);
        slot->command.cdb_length = (uint8_t)(fuzz_take(in, 1) % SCSI_MAX_CDB + 1);
        if (slot->command.cdb_length < 6)
            slot->command.cdb_length = SCSI_MAX_CDB;
        scsi_fuzz_buffer(slot, in);
        slot->command.done = scsi_fuzz_done;
        slot->state = 1;
        scsi_submit(target, &slot->command);
        scsi_fuzz_free(slot);
        return;
    }
}

/* What is saved loads, and saves the same again. */
static inline void scsi_fuzz_save(struct scsi_target *target)
{
    struct state_visitor *save = NULL;
    struct state_visitor *load = NULL;
    struct state_visitor *again = NULL;
    size_t length;
    size_t again_length;
    scsi_fuzz_require(state_save_create(&save) == 0 && state_save_create(&again) == 0);
    scsi_fuzz_require(scsi_visit_state(target, "unit", save) == 0);
    const uint8_t *bytes = state_saved(save, &length);
    scsi_fuzz_require(state_load_create(bytes, length, &load) == 0);
    scsi_fuzz_require(scsi_visit_state(target, "unit", load) == 0);
    scsi_fuzz_require(scsi_visit_state(target, "unit", again) == 0);
    const uint8_t *again_bytes = state_saved(again, &again_length);
    scsi_fuzz_require(length == again_length && memcmp(bytes, again_bytes, length) == 0);
    state_destroy(again);
    state_destroy(load);
    state_destroy(save);
}

static inline void scsi_fuzz_end_some(struct disk *disk, struct scsi_fuzz_command *slots,
                                      struct fuzz_input *in)
{
    if (disk->pending_count > 0)
        fake_disk_end(disk, (unsigned)fuzz_take(in, 1) % disk->pending_count);
    for (unsigned i = 0; i < SCSI_FUZZ_COMMANDS; i++)
        scsi_fuzz_free(&slots[i]);
}

/* A unit as it is made, but that making one takes longest. */
static inline void scsi_fuzz_renew(struct scsi_target *target, struct disk *medium)
{
    scsi_power_on(target);
    target->medium = medium;
    target->tray_open = false;
}

/* All commands must have ended once the disk has nothing left to do. */
static inline void scsi_fuzz_end_all(struct disk *disk, struct scsi_fuzz_command *slots)
{
    disk->late = false;
    fake_disk_end_all(disk);
    for (unsigned i = 0; i < SCSI_FUZZ_COMMANDS; i++) {
        scsi_fuzz_require(slots[i].state != 1);
        scsi_fuzz_free(&slots[i]);
    }
}

/* Actions that every kind of unit has; other numbers are commands. */
static inline void scsi_fuzz_act(struct scsi_target *target, struct disk *disk,
                                 struct scsi_fuzz_command *slots, struct fuzz_input *in,
                                 uint8_t action)
{
    static const int errors[] = {-5, -28, -30, -16, -12, -22, 0, 0}; /* EIO, ENOSPC, EROFS, … */
    switch (action % 16) {
    case 8:
    case 9:
        scsi_fuzz_end_some(disk, slots, in);
        break;
    case 10:
        disk->late = (action & 0x10) != 0;
        disk->keep_unmapped = (action & 0x20) != 0;
        break;
    case 11:
        disk->fail[action >> 4 & 3] = errors[action >> 6];
        break;
    case 12:
        scsi_reset(target);
        break;
    case 13:
        scsi_capacity_changed(target);
        break;
    case 14:
        scsi_fuzz_save(target);
        break;
    default:
        scsi_fuzz_submit(target, slots, in);
        break;
    }
}

#endif
