/* Raw images and block devices: byte n of the disk is byte n of the file. */
#include <errno.h>
#include <stdlib.h>

#include "disk/disk_private.h"

static int raw_read(struct disk *disk, void *bytes, size_t length, uint64_t offset)
{
    return file_read(disk->file, bytes, length, offset);
}

static int raw_write(struct disk *disk, const void *bytes, size_t length, uint64_t offset)
{
    return file_write(disk->file, bytes, length, offset);
}

static int raw_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    return file_punch(disk->file, offset, length);
}

static int raw_flush(struct disk *disk)
{
    return file_flush(disk->file);
}

static int raw_extent(struct disk *disk, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    return file_extent(disk->file, offset, ret_end, ret_data);
}

static int raw_close(struct disk *disk)
{
    int error = disk_flush(disk);
    file_close(disk->file);
    free(disk);
    return error;
}

static const struct disk_ops raw_ops = {
    .read = raw_read,
    .write = raw_write,
    .unmap = raw_unmap,
    .flush = raw_flush,
    .extent = raw_extent,
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
