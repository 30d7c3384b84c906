/*
 * SCSI logical units: a disk or a DVD drive behind command descriptor blocks.
 * Sources: SPC-4, SBC-3, MMC-6 as the guests' drivers use them.
 *
 * 1. A command belongs to its submitter until scsi_submit, then to the target until ->done, which
 *    may be called before scsi_submit returns. Submitting allocates nothing.
 * 2. The guest's bytes (cdb, parameter lists) are read once, and checked in full before anything
 *    changes. The guest's buffer goes to the disk as it is; only what is not aligned to sectors is
 *    copied, through the target's own buffer.
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
};

enum scsi_direction { SCSI_NO_DATA, SCSI_FROM_TARGET, SCSI_TO_TARGET };

struct scsi_command {
    uint8_t cdb[SCSI_MAX_CDB];
    uint8_t cdb_length;
    enum scsi_direction direction;
    struct iovec *iov; /* the guest's buffer: data_length bytes in all; the target may shorten it */
    unsigned iov_count;
    size_t data_length;
    void (*done)(struct scsi_command *command);

    /* Set when done. */
    enum scsi_status status;
    size_t transferred; /* bytes of the buffer that were read or written, from its start */
    uint8_t sense[SCSI_MAX_SENSE]; /* fixed format, SPC-4 § 4.5.3 */
    uint8_t sense_length;

    /* The target's, while it has the command. */
    struct scsi_target *target;
    struct scsi_command *next; /* behind this one, for the target's buffer */
    struct disk *medium;
    struct disk_request disk;
    struct {
        bool (*advance)(struct scsi_command *command);
        uint64_t offset, left; /* bytes of the disk yet to do */
        size_t done;           /* bytes of the guest's buffer already used */
        uint8_t step;
        bool staged, flush, submitting, ended;
        int error;
    } io;
};

/* What names the unit for good, when the disk has no id of its own or another is wanted. */
struct scsi_identity {
    const char *serial; /* VPD page 0x80, at most 32 characters; NULL: made of the disk's id */
    uint8_t wwn[8];     /* VPD page 0x83, an NAA; zero: made of the disk's id or the serial */
};

/*
 * The disk stays the caller's and must outlive the target. `identity` may be NULL; a unit with
 * neither identity nor id has no names. -EINVAL, -ENOMEM.
 */
int scsi_disk_create(struct disk *disk, const struct scsi_identity *identity,
                     struct scsi_target **ret);
/*
 * A DVD drive; `medium` may be NULL (no disc), and be changed. -EINVAL: its sectors are larger than
 * 2048 bytes; -ENOMEM.
 */
int scsi_dvd_create(struct disk *medium, struct scsi_target **ret);
/*
 * Put in or (NULL) take out, whatever the guest says of it; it is told. `released` is called for
 * the old medium, when there was one, once no command uses it: perhaps at once, perhaps within a
 * call of that disk. -EINVAL as above; -EBUSY: the one before that is still in use; -ENOTSUP: this
 * is no DVD drive. The same medium again is a new one to the guest only.
 */
int scsi_dvd_insert(struct scsi_target *dvd, struct disk *medium,
                    void (*released)(void *owner, struct disk *medium), void *owner);
/* Commands in flight must have ended. NULL is accepted. */
void scsi_destroy(struct scsi_target *target);

void scsi_submit(struct scsi_target *target, struct scsi_command *command);
/* For a logical unit that is not there: INQUIRY says so, all else is refused. ->done as above. */
void scsi_submit_absent(struct scsi_command *command);
/* What REPORT LUNS is, whichever unit it is sent to: bit n of `luns` is unit n. */
bool scsi_is_report_luns(const struct scsi_command *command);
void scsi_report_luns(struct scsi_command *command, uint64_t luns);

/* LOGICAL UNIT RESET: mode pages as at power-on, removal allowed; the guest is told. */
void scsi_reset(struct scsi_target *target);
/* The guest is another now: state as at power-on, and nothing to tell. A tray stays as it is. */
void scsi_power_on(struct scsi_target *target);
/* The disk has grown: the guest is told. */
void scsi_capacity_changed(struct scsi_target *target);
/* No command may be in flight. The medium itself is the caller's. */
int scsi_visit_state(struct scsi_target *target, const char *section,
                     struct state_visitor *visitor);

#endif
