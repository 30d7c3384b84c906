/*
 * The backup of a GPT moves with the disk's end. In this order, each step durable, so that one
 * valid copy is there all the time: new backup, primary, zeroes over the old backup.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/partition_private.h"

enum {
    HEADER_CRC = 16,
    HEADER_OWN = 24,
    HEADER_ALTERNATE = 32,
    HEADER_FIRST_USABLE = 40,
    HEADER_LAST_USABLE = 48,
    HEADER_ENTRIES = 72,
    HEADER_COUNT = 80,
    HEADER_ENTRY_SIZE = 84,
    MBR_ENTRIES = 446,
    MBR_ENTRY_SIZE = 16,
    MBR_COUNT = 4,
};

struct move {
    struct disk *disk;
    uint32_t sector;
    uint64_t end, array_sectors; /* sectors */
    uint8_t *primary, *backup;   /* a sector each */
    uint8_t *array;
    uint64_t old_header, old_array;
};

static int put_sectors(const struct move *move, const uint8_t *bytes, uint64_t count, uint64_t lba)
{
    return disk_write(move->disk, bytes, (size_t)count * move->sector, lba * move->sector);
}

static void seal(uint8_t *header)
{
    uint32_t size = get_le32(header + 12);

    put_le32(header + HEADER_CRC, 0);
    put_le32(header + HEADER_CRC, partition_crc32(0, header, size));
}

static void fill_headers(struct move *move)
{
    uint64_t last = move->end - 1;
    uint64_t array = last - move->array_sectors;

    put_le64(move->primary + HEADER_ALTERNATE, last);
    put_le64(move->primary + HEADER_LAST_USABLE, array - 1);
    memcpy(move->backup, move->primary, move->sector);
    put_le64(move->backup + HEADER_OWN, last);
    put_le64(move->backup + HEADER_ALTERNATE, 1);
    put_le64(move->backup + HEADER_ENTRIES, array);
    seal(move->primary);
    seal(move->backup);
}

/* The MBR that protects a GPT says how long the disk is, up to 2 TiB. */
static int move_protection(const struct move *move)
{
    auto_free uint8_t *mbr = malloc(move->sector);
    uint64_t length = move->end - 1;

    if (mbr == NULL)
        return -ENOMEM;
    int error = disk_read(move->disk, mbr, move->sector, 0);
    for (unsigned i = 0; i < MBR_COUNT; i++) {
        uint8_t *entry = mbr + MBR_ENTRIES + (size_t)i * MBR_ENTRY_SIZE;
        if (entry[4] == PARTITION_MBR_PROTECTIVE)
            put_le32(entry + 12, length < UINT32_MAX ? (uint32_t)length : UINT32_MAX);
    }
    return error < 0 ? error : put_sectors(move, mbr, 1, 0);
}

static bool overlaps(uint64_t first, uint64_t count, uint64_t other, uint64_t other_count)
{
    return first < other + other_count && other < first + count;
}

/* What is not under the new copy. */
static int clear_old(const struct move *move)
{
    uint64_t new_first = move->end - 1 - move->array_sectors;
    uint64_t new_count = move->array_sectors + 1;
    uint64_t sectors = disk_geometry(move->disk)->capacity / move->sector;
    int error = 0;

    if (move->old_header < sectors && !overlaps(move->old_header, 1, new_first, new_count))
        error = disk_unmap(move->disk, move->old_header * move->sector, move->sector);
    if (error == 0 && move->old_array < sectors &&
        move->array_sectors <= sectors - move->old_array &&
        !overlaps(move->old_array, move->array_sectors, new_first, new_count))
        error = disk_unmap(move->disk, move->old_array * move->sector,
                           move->array_sectors * move->sector);
    return error;
}

static int carry_out(struct move *move)
{
    uint64_t entries = get_le64(move->primary + HEADER_ENTRIES);

    int error = disk_read(move->disk, move->array, (size_t)move->array_sectors * move->sector,
                          entries * move->sector);
    fill_headers(move);
    if (error == 0)
        error = put_sectors(move, move->array, move->array_sectors,
                            move->end - 1 - move->array_sectors);
    if (error == 0)
        error = put_sectors(move, move->backup, 1, move->end - 1);
    if (error == 0)
        error = disk_flush(move->disk);
    if (error == 0)
        error = put_sectors(move, move->primary, 1, 1);
    if (error == 0)
        error = move_protection(move);
    if (error == 0)
        error = disk_flush(move->disk);
    if (error == 0)
        error = clear_old(move);
    return error < 0 ? error : disk_flush(move->disk);
}

static bool fits(const struct partition_table *table, const struct move *move)
{
    uint64_t room = (move->end - 1 - move->array_sectors) * move->sector;

    for (unsigned i = 0; i < table->count; i++) {
        if (table->partitions[i].offset + table->partitions[i].length > room)
            return false;
    }
    return true;
}

static int read_headers(struct move *move, const struct partition_table *table)
{
    move->primary = calloc(2, move->sector);
    move->backup = move->primary + move->sector;
    if (move->primary == NULL)
        return -ENOMEM;
    int error = disk_read(move->disk, move->primary, move->sector, move->sector);
    if (error == 0)
        error = disk_read(move->disk, move->backup, move->sector, table->backup_offset);
    if (error < 0)
        return error;
    uint64_t bytes = (uint64_t)get_le32(move->primary + HEADER_COUNT) *
                     get_le32(move->primary + HEADER_ENTRY_SIZE); /* reading has checked it */
    move->array_sectors = (bytes + move->sector - 1) / move->sector;
    move->old_header = table->backup_offset / move->sector;
    move->old_array = table->backup_valid ? get_le64(move->backup + HEADER_ENTRIES) : UINT64_MAX;
    move->array = malloc((size_t)move->array_sectors * move->sector);
    return move->array != NULL ? 0 : -ENOMEM;
}

int partition_move_backup(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    struct move move = {.disk = disk, .sector = disk_geometry(disk)->logical_sector};
    auto_free struct partition_table *table = malloc(sizeof(*table));

    if (table == NULL)
        return -ENOMEM;
    int error = partition_read(disk, table, reason);
    if (error < 0 || table->scheme != PARTITION_GPT || !table->primary_valid)
        return error == -EINVAL ? 0 : error; /* no table that is worth keeping */
    move.end = capacity / move.sector;
    error = read_headers(&move, table);
    if (error == 0 && (move.end < 2 * move.array_sectors + 8 || !fits(table, &move)))
        error = reason_set(reason, -ENOTEMPTY, "a partition reaches beyond the new end");
    if (error == 0)
        error = carry_out(&move);
    free(move.primary);
    free(move.array);
    return error;
}
