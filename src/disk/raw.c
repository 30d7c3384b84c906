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

static int raw_resize(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    int error = file_truncate(disk->file, capacity);

    if (error == 0)
        error = file_flush(disk->file);
    if (error == -ENOTSUP)
        return reason_set(reason, error, "a block device keeps its size");
    if (error == 0)
        disk->geometry.capacity = capacity;
    return error;
}

static const struct disk_ops raw_ops = {
    .map = raw_map,
    .unmap = raw_unmap,
    .commit_prepare = raw_commit_prepare,
    .commit_write = raw_commit_write,
    .commit_done = raw_commit_done,
    .close = disk_free,
    .resize = raw_resize,
};

static int raw_open(const struct disk_source *source, struct disk **ret, struct reason *reason)
{
    struct file *file = source->file;
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
                                            .read_only = (source->flags & DISK_WRITABLE) == 0};
    *ret = disk;
    return 0;
}

static int raw_create(struct file *file, const struct image_layout *layout, struct disk *parent,
                      struct reason *reason)
{
    (void)parent;
    if (layout->kind != IMAGE_FIXED)
        return reason_set(reason, -EINVAL, "a raw image is fixed");
    if (layout->capacity > INT64_MAX - 511 || layout->logical_sector != 512)
        return reason_set(reason, -EINVAL, "a raw image has sectors of 512 bytes, below 8 EiB");
    int error = file_truncate(file, layout->capacity);
    if (error == 0 && layout->preallocate)
        error = file_allocate(file, 0, layout->capacity);
    return error;
}

static int raw_check(struct file *file, bool repair, struct image_check *check)
{
    uint64_t size = 0;
    int error = file_size(file, &size);

    (void)repair;
    if (error == 0 && size % 512 != 0)
        image_found(check, IMAGE_NOTE, size, "the last sector is not whole");
    return error;
}

const struct disk_format raw_format = {
    .name = "raw",
    .suffixes = {".raw", ".img"},
    .flag = DISK_AS_RAW,
    .open = raw_open,
    .create = raw_create,
    .check = raw_check,
};
