/*
 * Partition tables, as Linux reads them: GPT (either copy) and MBR with logical partitions.
 *
 * 1. Every partition of a table lies within the disk and is not empty; partitions may overlap.
 * 2. Numbers are those of Linux: the slot in a GPT or MBR from 1 on, logical partitions from 5 on.
 * 3. Sectors are the disk's logical ones.
 */
#ifndef DISK_PARTITION_H
#define DISK_PARTITION_H

#include "disk/disk.h"

enum partition_scheme { PARTITION_NONE, PARTITION_MBR, PARTITION_GPT };
enum { PARTITION_MOST = 256, PARTITION_NAME_LENGTH = 36 };

/* Types of MBR partitions that others need by name. */
enum partition_mbr_type { PARTITION_MBR_LINUX = 0x83, PARTITION_MBR_PROTECTIVE = 0xee };

/* A GUID as it lies on the disk: its first three fields are little-endian. */
struct partition_guid {
    uint8_t bytes[16];
};
enum { PARTITION_GUID_TEXT = 37 };

struct partition {
    unsigned number;
    uint64_t offset, length;              /* bytes */
    uint8_t mbr_type;                     /* MBR only; 0x05, 0x0f, 0x85: an extended one */
    struct partition_guid type, id;       /* GPT only */
    uint16_t name[PARTITION_NAME_LENGTH]; /* GPT only: UTF-16, zero behind its end; not checked */
};

struct partition_table {
    enum partition_scheme scheme;
    uint32_t mbr_signature;           /* MBR */
    struct partition_guid disk_id;    /* GPT */
    bool primary_valid, backup_valid; /* GPT: at least one is */
    uint64_t backup_offset;           /* bytes: where the backup's header is, or should be */
    unsigned count;
    bool truncated;                              /* there are more partitions than PARTITION_MOST */
    struct partition partitions[PARTITION_MOST]; /* by number */
};

/*
 * Read the table of a disk; one without any has the scheme PARTITION_NONE. -EINVAL when a GPT is
 * announced and both copies are damaged, else errors of the disk.
 */
int partition_read(struct disk *disk, struct partition_table *ret, struct reason *reason);

/*
 * A disk has got another size, or will get one: put the backup of its GPT where a disk of
 * `capacity` bytes ends, and let both copies know of each other. A disk without a valid GPT is left
 * alone. The caller grows a disk before, and shrinks it behind. -ENOTEMPTY: a partition reaches
 * beyond that.
 */
int partition_move_backup(struct disk *disk, uint64_t capacity, struct reason *reason);

/* "0fc63daf-8483-4772-8e79-3d69d8477de4" */
void partition_guid_text(const struct partition_guid *guid, char ret[PARTITION_GUID_TEXT]);
bool partition_guid_is(const struct partition_guid *guid, const char *text);

/* What the kernel calls PARTUUID: the GUID of a GPT partition, "1234abcd-01" of an MBR one. */
void partition_uuid_text(const struct partition_table *table, const struct partition *partition,
                         char ret[PARTITION_GUID_TEXT]);

#endif
