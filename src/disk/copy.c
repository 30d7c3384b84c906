/* Copying a disk: what is zero is not written, so that sparse stays sparse. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk_private.h"

enum { PIECE = 1 << 20, GRAIN = 1 << 16 };

static bool is_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* Write the runs of grains that are not zero. */
static int write_data(struct disk *to, const uint8_t *bytes, size_t length, uint64_t offset)
{
    for (size_t at = 0; at < length;) {
        size_t end = at;
        while (end < length && !is_zero(bytes + end, length - end < GRAIN ? length - end : GRAIN))
            end = end + GRAIN < length ? end + GRAIN : length;
        int error = end > at ? disk_write(to, bytes + at, end - at, offset + at) : 0;
        if (error < 0)
            return error;
        at = end > at ? end : at + GRAIN;
    }
    return 0;
}

static int copy_extent(struct disk *from, struct disk *to, uint64_t offset, uint64_t end,
                       uint8_t *buffer)
{
    size_t length = (size_t)(end - offset);
    uint64_t sector = disk_geometry(to)->logical_sector;
    size_t padded = (length + sector - 1) & ~(size_t)(sector - 1);

    int error = disk_read(from, buffer, length, offset);
    if (error < 0)
        return error;
    memset(buffer + length, 0, padded - length); /* only behind the end of `from` */
    return write_data(to, buffer, padded, offset);
}

/* The end of the piece at `offset`: it ends on a multiple of PIECE, or with the disk. */
static uint64_t piece_end(uint64_t offset, uint64_t capacity)
{
    uint64_t end = (offset | (PIECE - 1)) + 1;
    return end < capacity ? end : capacity;
}

static int copy_all(struct disk *from, struct disk *to, uint8_t *buffer, disk_progress_fn progress,
                    void *owner)
{
    uint64_t capacity = disk_geometry(from)->capacity;
    int error = 0;

    for (uint64_t offset = 0; error == 0 && offset < capacity;) {
        uint64_t end = 0;
        bool data = true;
        error = disk_extent(from, offset, &end, &data);
        uint64_t piece = piece_end(offset, capacity);
        if (error == 0 && (data || end < piece))
            error = copy_extent(from, to, offset, piece, buffer);
        else if (error == 0)
            piece = end == capacity ? end : end & ~(uint64_t)(PIECE - 1);
        offset = piece;
        if (error == 0)
            error = progress(owner, offset, capacity);
    }
    return error;
}

int disk_copy(struct disk *from, struct disk *to, disk_progress_fn progress, void *owner)
{
    if (disk_geometry(to)->capacity < disk_geometry(from)->capacity)
        return -ENOSPC;
    uint8_t *buffer = malloc(PIECE);
    if (buffer == NULL)
        return -ENOMEM;
    int error = copy_all(from, to, buffer, progress, owner);
    free(buffer);
    return error;
}
