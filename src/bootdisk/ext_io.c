/*
 * libext2fs gives the open function of a manager only a name, so that the part of the disk waits
 * in a variable of this file. Offsets come from the disk's own bytes: each is checked.
 */
#include "bootdisk/ext_io.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SECTOR = 4096, MOST_BLOCK = 65536 };

struct part {
    struct disk *disk;
    uint64_t offset, length;
};

static struct part next_part;

static errcode_t io_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel->private_data);
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t io_set_block_size(io_channel channel, int size)
{
    if (size <= 0 || size > MOST_BLOCK)
        return EXT2_ET_INVALID_ARGUMENT;
    channel->block_size = size;
    return 0;
}

/* Bytes from anywhere on the disk: whole sectors at once, parts of one through a buffer. */
static int read_bytes(const struct part *part, uint8_t *to, uint64_t length, uint64_t offset)
{
    uint32_t sector = disk_geometry(part->disk)->logical_sector;
    uint8_t bounce[MOST_SECTOR];

    while (length > 0) {
        uint64_t within = offset & (sector - 1);
        uint64_t piece = length & ~(uint64_t)(sector - 1);
        int error;
        if (within == 0 && piece > 0) {
            error = disk_read(part->disk, to, piece, part->offset + offset);
        } else {
            piece = sector - within < length ? sector - within : length;
            error = disk_read(part->disk, bounce, sector, part->offset + offset - within);
            if (error == 0)
                memcpy(to, bounce + within, piece);
        }
        if (error < 0)
            return error;
        to += piece;
        offset += piece;
        length -= piece;
    }
    return 0;
}

/* A negative count is in bytes. */
static errcode_t io_read_block64(io_channel channel, unsigned long long block, int count,
                                 void *bytes)
{
    const struct part *part = channel->private_data;
    uint64_t size = (uint64_t)channel->block_size;
    uint64_t length = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * size;
    uint64_t offset;

    if (__builtin_mul_overflow(block, size, &offset) || length > part->length ||
        offset > part->length - length)
        return EXT2_ET_SHORT_READ;
    return read_bytes(part, bytes, length, offset) < 0 ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t io_read_block(io_channel channel, unsigned long block, int count, void *bytes)
{
    return io_read_block64(channel, block, count, bytes);
}

static errcode_t io_write_block64(io_channel channel, unsigned long long block, int count,
                                  const void *bytes)
{
    (void)channel;
    (void)block;
    (void)count;
    (void)bytes;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write_block(io_channel channel, unsigned long block, int count,
                                const void *bytes)
{
    return io_write_block64(channel, block, count, bytes);
}

static errcode_t io_flush(io_channel channel)
{
    (void)channel;
    return 0;
}

static errcode_t io_open(const char *name, int flags, io_channel *ret);

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "part of a disk",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_block_size,
    .read_blk = io_read_block,
    .write_blk = io_write_block,
    .flush = io_flush,
    .read_blk64 = io_read_block64,
    .write_blk64 = io_write_block64,
};

static errcode_t io_open(const char *name, int flags, io_channel *ret)
{
    io_channel channel = calloc(1, sizeof(*channel));
    struct part *part = malloc(sizeof(*part));
    char *own_name = strdup(name);

    if (channel == NULL || part == NULL || own_name == NULL || (flags & IO_FLAG_RW) != 0) {
        free(channel);
        free(part);
        free(own_name);
        return (flags & IO_FLAG_RW) != 0 ? EXT2_ET_RO_FILSYS : EXT2_ET_NO_MEMORY;
    }
    *part = next_part;
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = &manager;
    channel->name = own_name;
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = part;
    *ret = channel;
    return 0;
}

io_manager ext_io_prepare(struct disk *disk, uint64_t offset, uint64_t length)
{
    next_part = (struct part){.disk = disk, .offset = offset, .length = length};
    return &manager;
}
