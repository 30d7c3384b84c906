/*
 * SCSI targets: a disk or a DVD drive behind command descriptor blocks.
 * Sources: SPC-4, SBC-3, MMC-6 as the guests' drivers use them.
 *
 * 1. A command belongs to its submitter until scsi_submit, then to the target until ->done, which
 *    may be called before scsi_submit returns. Submitting allocates nothing.
 * 2. The guest's bytes (cdb) are decoded and checked in full before anything changes.
 * 3. One thread, that of the disk.
 */
#ifndef SCSI_SCSI_H
#define SCSI_SCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "disk/disk.h"

struct scsi_target;
struct state_visitor;

enum { SCSI_MAX_CDB = 16, SCSI_MAX_SENSE = 18 };

enum scsi_status {
    SCSI_STATUS_GOOD = 0x00,
    SCSI_STATUS_CHECK_CONDITION = 0x02,
    SCSI_STATUS_BUSY = 0x08,
    SCSI_STATUS_RESERVATION_CONFLICT = 0x18,
};

enum scsi_direction { SCSI_NO_DATA, SCSI_FROM_TARGET, SCSI_TO_TARGET };

struct scsi_command {
    uint8_t cdb[SCSI_MAX_CDB];
    uint8_t cdb_length;
    enum scsi_direction direction;
    const struct iovec *iov; /* the guest's buffer: data_length bytes in all */
    unsigned iov_count;
    size_t data_length;
    void (*done)(struct scsi_command *command);
    /* set when done: */
    enum scsi_status status;
    size_t transferred;
    uint8_t sense[SCSI_MAX_SENSE]; /* fixed format, SPC-4 § 4.5.3 */
    uint8_t sense_length;
    /* the target's, while it has the command */
    struct disk_request disk;
    struct scsi_target *target;
};

/* Names for INQUIRY; both end up space-padded. */
struct scsi_identity {
    const char *serial; /* VPD page 0x80; NULL: made of the disk's id */
    uint8_t wwn[8];     /* VPD page 0x83, NAA; zero: made of the disk's id */
};

/* The disk stays the caller's and must outlive the target. */
int scsi_disk_create(struct disk *disk, const struct scsi_identity *identity,
                     struct scsi_target **ret);
/* A DVD drive; `medium` may be NULL (no disc), and be changed. */
int scsi_dvd_create(struct disk *medium, struct scsi_target **ret);
/* Unit attention follows; the old medium is not used once no command is in flight. */
void scsi_dvd_insert(struct scsi_target *dvd, struct disk *medium);
/* Commands in flight must have ended. NULL is accepted. */
void scsi_destroy(struct scsi_target *target);

void scsi_submit(struct scsi_target *target, struct scsi_command *command);
/* LOGICAL UNIT RESET: unit attention, removal allowed again. */
void scsi_reset(struct scsi_target *target);
/* The disk has grown or its identity changed: unit attention to the guest. */
void scsi_capacity_changed(struct scsi_target *target);
int scsi_visit_state(struct scsi_target *target, const char *section,
                     struct state_visitor *visitor);

#endif
