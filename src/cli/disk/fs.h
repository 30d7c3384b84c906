/*
 * A disk as a folder of files, by FUSE: "disk" is all of it, "part1" and so on are its partitions.
 *
 * Bytes are read and written at any offset; fsync is a flush of the disk, punched holes are
 * unmapped. Files have the size that they have. One thread serves all.
 */
#ifndef CLI_DISK_FS_H
#define CLI_DISK_FS_H

#include "disk/disk.h"

#define FS_PID_XATTR "user.partita.pid" /* of the folder: who serves it, in digits */
#define FS_DISK_NAME "disk"

struct fs_mount {
    struct disk *disk;
    const char *folder, *source; /* source: the image, as mount(8) shall show it */
    bool foreground;
};

/*
 * Mount, and serve until it is unmounted or a signal says so. When the mount is not for the
 * foreground the caller's process ends in here with 0 once it is there, and what follows happens
 * in its child.
 */
int fs_serve(const struct fs_mount *mount, struct reason *reason);

#endif
