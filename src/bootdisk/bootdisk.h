/*
 * The kernel, initrd and command line that a disk would boot with, out of its own file systems:
 * for direct boot of a disk without firmware.
 *
 * Disks are hostile. Partition tables are read here; ext2, ext3 and ext4 by libext2fs in a child
 * process that may only read the disk and write to a pipe (child.h), and what comes through the
 * pipe is bounded and checked.
 */
#ifndef BOOTDISK_BOOTDISK_H
#define BOOTDISK_BOOTDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

struct disk;

enum { BOOTDISK_NAME_SIZE = 320, BOOTDISK_COMMAND_LINE_SIZE = 2048 };

struct bootdisk_file {
    char name[BOOTDISK_NAME_SIZE]; /* the path in its file system; printable */
    uint8_t *bytes;                /* NULL: there is none; else from mmap, `length` bytes */
    size_t length;
};

struct bootdisk_images {
    struct bootdisk_file kernel; /* at most 256 MiB */
    struct bootdisk_file initrd; /* at most 1 GiB; may be absent */
    char command_line[BOOTDISK_COMMAND_LINE_SIZE];
};

/* What the command line should have besides. */
struct bootdisk_wish {
    const char *append; /* at its end, so that the kernel takes it over what was there before; may
                           be NULL */
    bool screen;        /* there is one, which shows the kernel's messages too */
};

/*
 * Look for a kernel on the disk. -ENOENT when there is no kernel or no root file
 * system, -EINVAL when the disk's content is broken, -ETIMEDOUT, -ENOMEM, or what the host said; a
 * reason always. The disk is only read. It forks: for before the process has threads.
 */
int bootdisk_find(struct disk *disk, const struct bootdisk_wish *wish, struct bootdisk_images *ret,
                  struct reason *reason);
/* Bytes that the caller took (and left NULL) are not released. */
void bootdisk_release(struct bootdisk_images *images);

#endif
