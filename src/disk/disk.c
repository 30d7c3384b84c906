/* What all formats share: opening, requests, the latch on errors. */
#include "disk/disk.h"

#include <errno.h>

#include "disk/disk_private.h"

int disk_open_file(struct file *file, unsigned flags, struct disk **ret, struct reason *reason)
{
    return raw_open(file, flags, ret, reason);
}

/* Put the path before what went wrong. */
static int name_path(struct reason *reason, int error, const char *path, const struct reason *why)
{
    return reason_set(reason, error, "%s: %s", path, why->text);
}

int disk_open(const char *path, unsigned flags, struct disk **ret, struct reason *reason)
{
    struct file *file = NULL;
    struct reason why = {"out of memory"};
    unsigned file_flags = flags & DISK_WRITABLE ? FILE_WRITABLE : 0;
    int error = file_open(path, file_flags, &file, reason);

    if (error < 0)
        return error;
    error = disk_open_file(file, flags, ret, &why);
    if (error < 0) {
        file_close(file);
        return name_path(reason, error, path, &why);
    }
    return 0;
}

int disk_close(struct disk *disk)
{
    return disk != NULL ? disk->ops->close(disk) : 0;
}

const struct disk_geometry *disk_geometry(const struct disk *disk)
{
    return &disk->geometry;
}

static int check_range(const struct disk *disk, uint64_t offset, uint64_t length)
{
    uint64_t mask = disk->geometry.logical_sector - 1;
    uint64_t capacity = disk->geometry.capacity;

    if (((offset | length) & mask) != 0 || length > capacity || offset > capacity - length)
        return -EINVAL;
    return 0;
}

static int check_change(const struct disk *disk)
{
    return disk->geometry.read_only || disk->failed != 0 ? -EROFS : 0;
}

/* After a failed change what is on the medium is unknown: nothing is built upon it. */
static int latch(struct disk *disk, int error)
{
    if (error < 0 && disk->failed == 0)
        disk->failed = error;
    return error;
}

int disk_read(struct disk *disk, void *bytes, size_t length, uint64_t offset)
{
    int error = check_range(disk, offset, length);
    return error < 0 ? error : disk->ops->read(disk, bytes, length, offset);
}

int disk_write(struct disk *disk, const void *bytes, size_t length, uint64_t offset)
{
    int error = check_range(disk, offset, length);
    if (error == 0)
        error = check_change(disk);
    return error < 0 ? error : latch(disk, disk->ops->write(disk, bytes, length, offset));
}

int disk_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    int error = check_range(disk, offset, length);
    if (error == 0)
        error = check_change(disk);
    return error < 0 ? error : latch(disk, disk->ops->unmap(disk, offset, length));
}

int disk_flush(struct disk *disk)
{
    if (disk->geometry.read_only)
        return 0;
    int error = check_change(disk);
    return error < 0 ? error : latch(disk, disk->ops->flush(disk));
}

int disk_extent(struct disk *disk, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    uint64_t sector = disk->geometry.logical_sector;
    uint64_t capacity = disk->geometry.capacity;

    if (offset >= capacity || (offset & (sector - 1)) != 0)
        return -EINVAL;
    int error = disk->ops->extent(disk, offset, ret_end, ret_data);
    if (error < 0)
        return error;
    /* A hole that ends within a sector ends before it, data ends behind it. */
    uint64_t end = *ret_end < capacity ? *ret_end : capacity;
    end = (*ret_data ? end + sector - 1 : end) & ~(sector - 1);
    if (end <= offset) {
        *ret_data = true;
        end = offset + sector;
    }
    *ret_end = end;
    return 0;
}

/* ---- requests ---- */

static int check_pieces(const struct disk *disk, const struct disk_request *request)
{
    uint64_t left = request->length;
    int error = check_range(disk, request->offset, request->length);

    for (unsigned i = 0; error == 0 && i < request->iov_count; i++) {
        size_t length = request->iov[i].iov_len;
        if (length > left || (length & (disk->geometry.logical_sector - 1)) != 0)
            error = -EINVAL;
        else
            left -= length;
    }
    return error == 0 && left != 0 ? -EINVAL : error;
}

static int transfer(struct disk *disk, const struct disk_request *request)
{
    uint64_t offset = request->offset;
    int error = check_pieces(disk, request);

    for (unsigned i = 0; error == 0 && i < request->iov_count; i++) {
        const struct iovec *piece = &request->iov[i];
        error = request->op == DISK_READ
                    ? disk_read(disk, piece->iov_base, piece->iov_len, offset)
                    : disk_write(disk, piece->iov_base, piece->iov_len, offset);
        offset += piece->iov_len;
    }
    return error;
}

void disk_submit(struct disk *disk, struct disk_request *request)
{
    int error = -EINVAL;

    switch (request->op) {
    case DISK_READ:
    case DISK_WRITE:
        error = transfer(disk, request);
        break;
    case DISK_FLUSH:
        error = disk_flush(disk);
        break;
    case DISK_UNMAP:
        error = disk_unmap(disk, request->offset, request->length);
        break;
    }
    request->done(request, error);
}
