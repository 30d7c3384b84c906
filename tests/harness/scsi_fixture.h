/* For tests: a unit on a disk in memory, and commands sent to it. */
#ifndef TESTS_HARNESS_SCSI_FIXTURE_H
#define TESTS_HARNESS_SCSI_FIXTURE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scsi/scsi_private.h"
#include "tests/harness/fake_disk.h"

enum { FIXTURE_SIZE = 4 << 20, FIXTURE_PIECES = 64 };

struct fixture {
    struct disk *disk;
    struct scsi_target *target;
    struct scsi_command command;
    struct iovec iov[FIXTURE_PIECES];
    unsigned done;     /* calls of ->done since the last send */
    unsigned released; /* discs */
    uint8_t data[1 << 20];
};

static inline struct fixture *fixture_open(uint32_t sector, const char *serial)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct scsi_identity identity = {.serial = serial};
    if (f == NULL)
        abort();
    f->disk = fake_disk_create(FIXTURE_SIZE, sector);
    if (scsi_disk_create(f->disk, &identity, &f->target) != 0)
        abort();
    return f;
}

static inline struct fixture *fixture_open_dvd(bool disc)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        abort();
    f->disk = fake_disk_create(FIXTURE_SIZE, 512);
    f->disk->geometry.read_only = true;
    if (scsi_dvd_create(disc ? f->disk : NULL, &f->target) != 0)
        abort();
    return f;
}

static inline void fixture_close(struct fixture *f)
{
    scsi_destroy(f->target);
    fake_disk_destroy(f->disk);
    free(f);
}

static inline void fixture_done(struct scsi_command *command)
{
    struct fixture *f =
        (struct fixture *)(void *)((uint8_t *)command - offsetof(struct fixture, command));
    f->done++;
}

/* Send a CDB with the first `length` bytes of data as its buffer; true when the status is GOOD. */
static inline bool fixture_send(struct fixture *f, const uint8_t *cdb, size_t cdb_length,
                                enum scsi_direction direction, size_t length)
{
    memset(&f->command, 0, sizeof(f->command));
    memcpy(f->command.cdb, cdb, cdb_length);
    f->command.cdb_length = (uint8_t)cdb_length;
    f->command.direction = length == 0 ? SCSI_NO_DATA : direction;
    f->iov[0] = (struct iovec){f->data, length};
    f->command.iov = f->iov;
    f->command.iov_count = length != 0;
    f->command.data_length = length;
    f->command.done = fixture_done;
    f->done = 0;
    scsi_submit(f->target, &f->command);
    return f->done == 1 && f->command.status == SCSI_STATUS_GOOD;
}

/* Sense key << 16 | code << 8 | qualifier of the last command; 0 when it had none. */
static inline unsigned fixture_sense(const struct fixture *f)
{
    const uint8_t *sense = f->command.sense;
    if (f->command.status != SCSI_STATUS_CHECK_CONDITION || f->command.sense_length == 0)
        return 0;
    return (unsigned)(sense[2] << 16 | sense[12] << 8 | sense[13]);
}

#define fixture_read_cdb(f, length, ...)                                                    \
    fixture_send(f, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), \
                 SCSI_FROM_TARGET, length)
#define fixture_write_cdb(f, length, ...)                                                   \
    fixture_send(f, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), \
                 SCSI_TO_TARGET, length)

#endif
