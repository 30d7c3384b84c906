/* A disk as the few files of a FUSE file system: `disk`, and `part1`, `part2`, … of its table. */
#ifndef CLI_DISK_MOUNT_H
#define CLI_DISK_MOUNT_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "disk/partition.h"

/* FUSE asks for no more at a time; and the files that there can be. */
enum { MOUNT_MOST_BYTES = 1 << 20, MOUNT_MOST_FILES = 1 + PARTITION_MOST };

/* What unmount asks the root folder for: the process id of the one who serves it, in digits. */
#define MOUNT_PROCESS_ATTRIBUTE "user.partita.process"
#define MOUNT_SUBTYPE           "partita"
#define MOUNT_DISK_FILE         "disk"

struct mount_file {
    char name[16];
    uint64_t offset, length; /* bytes of the disk */
};

/* The user data of the FUSE session. */
struct mount_files {
    struct disk *disk;
    struct timespec changed;
    void (*ready)(void *owner); /* the kernel has begun to ask */
    void *owner;
    unsigned count;
    struct mount_file files[MOUNT_MOST_FILES];
    uint8_t bytes[MOUNT_MOST_BYTES]; /* of the answer that is being made */
};

/*
 * Name the files of `disk`, which stays the caller's. A disk whose partition table cannot be read
 * has the one file; `reason` says why then, and is empty otherwise.
 */
void mount_files_init(struct mount_files *files, struct disk *disk, struct reason *reason);

struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops mount_operations;

#endif
