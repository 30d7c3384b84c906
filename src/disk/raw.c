/* Raw images and block devices: byte n of the disk is byte n of the file. */
#include <errno.h>
#include <stdlib.h>

#include "disk/disk_private.h"

static int raw_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
                   struct disk_extent *ret)
{
    (void)op;
    *ret = (struct disk_extent){.file = disk->file, .offset = offset, .length = length};
    return 0;
}

static int raw_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    return file_punch(disk->file, offset, length);
}

static void raw_commit_prepare(struct disk *disk)
{
    (void)disk; /* no metadata */
}

static int raw_commit_write(struct disk *disk)
{
    return file_flush(disk->file);
}

static void raw_commit_done(struct disk *disk, int error)
{
    (void)disk;
    (void)error;
}

static void raw_close(struct disk *disk)
{
    file_close(disk->file);
    free(disk);
}

static const struct disk_ops raw_ops = {
    .map = raw_map,
    .unmap = raw_unmap,
    .commit_prepare = raw_commit_prepare,
    .commit_write = raw_commit_write,
    .commit_done = raw_commit_done,
    .close = raw_close,
};

int raw_open(struct file *file, unsigned flags, struct disk **ret, struct reason *reason)
{
    uint64_t size = 0;
    int error = file_size(file, &size);

    if (error < 0)
        return reason_set(reason, error, "the size cannot be read");
    if (size == 0 || size > INT64_MAX - 511)
        return reason_set(reason, -EINVAL, "an empty file is no disk");
    struct disk *disk = calloc(1, sizeof(*disk));
    if (disk == NULL)
        return -ENOMEM;
    disk->ops = &raw_ops;
    disk->file = file;
    /* A last sector that the file has in part reads as if zeroes followed. */
    disk->geometry = (struct disk_geometry){.capacity = (size + 511) & ~UINT64_C(511),
                                            .logical_sector = 512,
                                            .physical_sector = 512,
                                            .read_only = (flags & DISK_WRITABLE) == 0};
    *ret = disk;
    return 0;
}
