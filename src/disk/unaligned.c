/* A range is a part of its first sector, whole sectors, and a part of its last; each may lack. */
#include "disk/unaligned.h"

#include <errno.h>
#include <string.h>

enum { MOST_SECTOR = 4096 };

struct piece {
    uint64_t length;
    uint64_t sector, within; /* a part of the sector that begins at `sector` */
    bool whole;
};

static struct piece first_piece(const struct disk *disk, uint64_t offset, uint64_t length)
{
    uint64_t size = disk_geometry(disk)->logical_sector;
    uint64_t within = offset & (size - 1);
    struct piece piece = {.sector = offset - within, .within = within};

    piece.whole = within == 0 && length >= size;
    if (piece.whole)
        piece.length = length & ~(size - 1);
    else
        piece.length = length < size - within ? length : size - within;
    return piece;
}

static int check_range(const struct disk *disk, uint64_t offset, uint64_t length)
{
    uint64_t capacity = disk_geometry(disk)->capacity;

    return length > capacity || offset > capacity - length ? -EINVAL : 0;
}

static int read_part(struct disk *disk, const struct piece *piece, uint8_t *to)
{
    uint8_t sector[MOST_SECTOR];
    int error = disk_read(disk, sector, disk_geometry(disk)->logical_sector, piece->sector);

    if (error == 0)
        memcpy(to, sector + piece->within, (size_t)piece->length);
    return error;
}

/* From NULL: zeroes. */
static int write_part(struct disk *disk, const struct piece *piece, const uint8_t *from)
{
    uint8_t sector[MOST_SECTOR];
    uint32_t size = disk_geometry(disk)->logical_sector;
    int error = disk_read(disk, sector, size, piece->sector);

    if (error < 0)
        return error;
    if (from != NULL)
        memcpy(sector + piece->within, from, (size_t)piece->length);
    else
        memset(sector + piece->within, 0, (size_t)piece->length);
    return disk_write(disk, sector, size, piece->sector);
}

int disk_unaligned_read(struct disk *disk, void *bytes, size_t length, uint64_t offset)
{
    uint8_t *to = bytes;
    int error = check_range(disk, offset, length);

    while (error == 0 && length > 0) {
        struct piece piece = first_piece(disk, offset, length);
        error = piece.whole ? disk_read(disk, to, (size_t)piece.length, offset)
                            : read_part(disk, &piece, to);
        to += piece.length;
        offset += piece.length;
        length -= (size_t)piece.length;
    }
    return error;
}

int disk_unaligned_write(struct disk *disk, const void *bytes, size_t length, uint64_t offset)
{
    const uint8_t *from = bytes;
    int error = check_range(disk, offset, length);

    while (error == 0 && length > 0) {
        struct piece piece = first_piece(disk, offset, length);
        error = piece.whole ? disk_write(disk, from, (size_t)piece.length, offset)
                            : write_part(disk, &piece, from);
        from += piece.length;
        offset += piece.length;
        length -= (size_t)piece.length;
    }
    return error;
}

int disk_unaligned_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    int error = check_range(disk, offset, length);

    while (error == 0 && length > 0) {
        struct piece piece = first_piece(disk, offset, length);
        error =
            piece.whole ? disk_unmap(disk, offset, piece.length) : write_part(disk, &piece, NULL);
        offset += piece.length;
        length -= piece.length;
    }
    return error;
}
