/* What all formats share: opening, requests, the latch on errors. */
#include "disk/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk_private.h"
#include "disk/queue.h"

int disk_close(struct disk *disk)
{
    if (disk == NULL)
        return 0;
    disk_queue_stop(disk);
    int error = disk_flush(disk);
    if (error == 0 && !disk->geometry.read_only && disk->ops->finish != NULL)
        error = disk->ops->finish(disk);
    disk->ops->close(disk);
    return error;
}

void disk_free(struct disk *disk)
{
    if (disk->parent != NULL)
        disk->parent->ops->close(disk->parent);
    file_close(disk->file);
    free(disk->path);
    free(disk);
}

const struct disk_geometry *disk_geometry(const struct disk *disk)
{
    return &disk->geometry;
}

const struct disk_counts *disk_counts(const struct disk *disk)
{
    return &disk->counts;
}

static int check_range(const struct disk *disk, uint64_t offset, uint64_t length)
{
    uint64_t mask = disk->geometry.logical_sector - 1;
    uint64_t capacity = disk->geometry.capacity;

    if (((offset | length) & mask) != 0 || length > capacity || offset > capacity - length)
        return -EINVAL;
    return 0;
}

int disk_check_change(const struct disk *disk)
{
    return disk->geometry.read_only || disk->failed != 0 ? -EROFS : 0;
}

/* After a failed change what is on the medium is unknown: nothing is built upon it. */
int disk_latch(struct disk *disk, int error)
{
    if (error < 0 && disk->failed == 0)
        disk->failed = error;
    return error;
}

/* ---- at once: for tools, and for disks without a queue ---- */

static int commit(struct disk *disk)
{
    disk->ops->commit_prepare(disk);
    int error = disk->ops->commit_write(disk);
    disk->ops->commit_done(disk, error);
    return error;
}

static int read_all(struct disk *disk, uint8_t *to, size_t length, uint64_t offset)
{
    int error = 0;

    while (error == 0 && length > 0) {
        struct disk_extent extent;
        error = disk->ops->map(disk, DISK_READ, offset, length, &extent);
        if (error < 0)
            break;
        size_t piece = (size_t)extent.length;
        if (extent.file == NULL)
            memset(to, 0, piece);
        else
            error = file_read(extent.file, to, piece, extent.offset);
        to += piece;
        offset += piece;
        length -= piece;
    }
    return error;
}

/* One extent of a write; `*ret_length` bytes are done. */
static int write_piece(struct disk *disk, const uint8_t *from, size_t length, uint64_t offset,
                       size_t *ret_length)
{
    struct disk_extent extent;
    int error = disk->ops->map(disk, DISK_WRITE, offset, length, &extent);

    if (error < 0)
        return error;
    *ret_length = (size_t)extent.length;
    error = file_write(extent.file, from, *ret_length, extent.offset);
    if (error < 0 || disk->ops->written == NULL)
        return error;
    error = disk->ops->written(disk, offset, *ret_length);
    while (error == -EBUSY) {
        error = commit(disk);
        if (error == 0)
            error = disk->ops->written(disk, offset, *ret_length);
    }
    return error;
}

static int write_all(struct disk *disk, const uint8_t *from, size_t length, uint64_t offset)
{
    while (length > 0) {
        size_t piece = 0;
        int error = write_piece(disk, from, length, offset, &piece);
        if (error == -EBUSY) {
            error = commit(disk);
            if (error == 0)
                error = write_piece(disk, from, length, offset, &piece);
        }
        if (error < 0)
            return error;
        from += piece;
        offset += piece;
        length -= piece;
    }
    return 0;
}

int disk_read(struct disk *disk, void *bytes, size_t length, uint64_t offset)
{
    int error = check_range(disk, offset, length);
    disk_queue_settle(disk);
    return error < 0 ? error : read_all(disk, bytes, length, offset);
}

int disk_write(struct disk *disk, const void *bytes, size_t length, uint64_t offset)
{
    int error = check_range(disk, offset, length);
    disk_queue_drain(disk);
    if (error == 0)
        error = disk_check_change(disk);
    return error < 0 ? error : disk_latch(disk, write_all(disk, bytes, length, offset));
}

int disk_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    int error = check_range(disk, offset, length);
    disk_queue_drain(disk);
    if (error == 0)
        error = disk_check_change(disk);
    if (error < 0 || length == 0)
        return error;
    error = disk->ops->unmap(disk, offset, length);
    while (error == -EBUSY) { /* each time it comes further */
        error = commit(disk);
        if (error == 0)
            error = disk->ops->unmap(disk, offset, length);
    }
    return disk_latch(disk, error);
}

int disk_flush(struct disk *disk)
{
    if (disk->geometry.read_only)
        return 0;
    disk_queue_drain(disk);
    int error = disk_check_change(disk);
    return error < 0 ? error : disk_latch(disk, commit(disk));
}

/* What the format knows, and within its data what the file under it knows. */
static int find_extent(struct disk *disk, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    struct disk_extent extent;
    int error = disk->ops->map(disk, DISK_READ, offset, disk->geometry.capacity - offset, &extent);

    if (error < 0)
        return error;
    *ret_data = extent.file != NULL;
    *ret_end = offset + extent.length;
    if (extent.file == NULL)
        return 0;
    uint64_t end = 0;
    error = file_extent(extent.file, extent.offset, &end, ret_data);
    if (error == 0 && end - extent.offset < extent.length)
        *ret_end = offset + (end - extent.offset);
    return error;
}

int disk_extent(struct disk *disk, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    uint64_t sector = disk->geometry.logical_sector;
    uint64_t capacity = disk->geometry.capacity;

    if (offset >= capacity || (offset & (sector - 1)) != 0)
        return -EINVAL;
    disk_queue_settle(disk);
    int error = find_extent(disk, offset, ret_end, ret_data);
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

/* ---- for the formats ---- */

int disk_map_parent(const struct disk *disk, uint64_t offset, struct disk_extent *ret)
{
    struct disk *parent = disk->parent;
    uint64_t length = ret->length;
    uint64_t capacity = parent != NULL ? parent->geometry.capacity : 0;
    int error = 0;

    if (parent == NULL)
        return -EIO;
    if (offset < capacity)
        error = parent->ops->map(parent, DISK_READ, offset,
                                 length < capacity - offset ? length : capacity - offset, ret);
    else
        *ret = (struct disk_extent){.length = length, .absent = true};
    ret->layer++;
    return error;
}

bool disk_is_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

int disk_find_data(struct disk *disk, uint64_t from, uint64_t end, uint64_t *ret_data)
{
    enum { PIECE = 1 << 16 };
    uint8_t bytes[PIECE];

    for (*ret_data = from; *ret_data < end;) {
        uint64_t stop = 0;
        bool data = false;
        int error = disk_extent(disk, *ret_data, &stop, &data);
        if (error < 0)
            return error;
        stop = stop < end ? stop : end;
        if (data) {
            size_t length = stop - *ret_data < PIECE ? (size_t)(stop - *ret_data) : PIECE;
            error = disk_read(disk, bytes, length, *ret_data);
            if (error < 0 || !disk_is_zero(bytes, length))
                return error;
            stop = *ret_data + length;
        }
        *ret_data = stop;
    }
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

int disk_check_request(const struct disk *disk, const struct disk_request *request)
{
    int error = 0;

    switch (request->op) {
    case DISK_READ:
        return check_pieces(disk, request);
    case DISK_WRITE:
        error = check_pieces(disk, request);
        break;
    case DISK_UNMAP:
        error = check_range(disk, request->offset, request->length);
        break;
    case DISK_FLUSH:
        if (disk->geometry.read_only)
            return 0; /* nothing was written */
        break;
    default:
        return -EINVAL;
    }
    return error < 0 ? error : disk_check_change(disk);
}

static int transfer(struct disk *disk, const struct disk_request *request)
{
    uint64_t offset = request->offset;
    int error = 0;

    for (unsigned i = 0; error == 0 && i < request->iov_count; i++) {
        const struct iovec *piece = &request->iov[i];
        error = request->op == DISK_READ
                    ? disk_read(disk, piece->iov_base, piece->iov_len, offset)
                    : disk_write(disk, piece->iov_base, piece->iov_len, offset);
        offset += piece->iov_len;
    }
    return error;
}

void disk_count(struct disk *disk, const struct disk_request *request)
{
    if (request->op == DISK_READ) {
        disk->counts.reads++;
        disk->counts.read_bytes += request->length;
    } else if (request->op == DISK_WRITE) {
        disk->counts.writes++;
        disk->counts.written_bytes += request->length;
    }
}

static int serve_now(struct disk *disk, const struct disk_request *request)
{
    switch (request->op) {
    case DISK_READ:
    case DISK_WRITE:
        return transfer(disk, request);
    case DISK_FLUSH:
        return disk_flush(disk);
    case DISK_UNMAP:
        return disk_unmap(disk, request->offset, request->length);
    }
    return -EINVAL;
}

void disk_submit(struct disk *disk, struct disk_request *request)
{
    int error = disk_check_request(disk, request);

    if (error == 0 && disk->queue != NULL) {
        disk_queue_submit(request, disk->queue);
        return;
    }
    if (error == 0)
        error = serve_now(disk, request);
    if (error == 0)
        disk_count(disk, request);
    request->done(request, error);
}
