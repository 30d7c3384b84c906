/* For the formats: what lies behind disk.h. */
#ifndef DISK_DISK_PRIVATE_H
#define DISK_DISK_PRIVATE_H

#include "disk/disk.h"
#include "disk/file.h"

/*
 * A format. Ranges are checked before: aligned to sectors, within the capacity. Read, write and
 * unmap of a range that is partly done when an error comes leave the rest undone.
 */
struct disk_ops {
    int (*read)(struct disk *disk, void *bytes, size_t length, uint64_t offset);
    int (*write)(struct disk *disk, const void *bytes, size_t length, uint64_t offset);
    int (*unmap)(struct disk *disk, uint64_t offset, uint64_t length);
    int (*flush)(struct disk *disk);
    int (*extent)(struct disk *disk, uint64_t offset, uint64_t *ret_end, bool *ret_data);
    int (*close)(struct disk *disk); /* frees the disk and its file */
};

/* The first member of every format's own struct. */
struct disk {
    const struct disk_ops *ops;
    struct file *file;
    struct disk_geometry geometry;
    int failed; /* the error after which nothing is changed any more */
};

int raw_open(struct file *file, unsigned flags, struct disk **ret, struct reason *reason);

#endif
