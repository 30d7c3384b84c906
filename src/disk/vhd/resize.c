/*
 * Another size. What is larger than its table gets a new one behind the end; the footers, one after
 * the other, tell of the new size last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd/vhd.h"

static uint32_t blocks_of(const struct vhd *vhd, uint64_t capacity)
{
    return (uint32_t)((capacity + vhd_block_bytes(vhd) - 1) >> vhd->block_shift);
}

/* -EBUSY is seen to by a commit. */
static int drop_block(struct vhd *vhd, uint32_t block)
{
    int error = vhd_free_block(vhd, block);

    if (error != -EBUSY)
        return error;
    error = disk_flush(&vhd->disk);
    return error < 0 ? error : vhd_free_block(vhd, block);
}

static int shrink(struct vhd *vhd, uint64_t capacity)
{
    uint32_t blocks = blocks_of(vhd, capacity);
    int error = 0;

    for (uint32_t block = blocks; error == 0 && block < vhd->blocks; block++)
        error = drop_block(vhd, block);
    if (error == 0)
        error = disk_flush(&vhd->disk);
    if (error < 0)
        return error;
    vhd->blocks = blocks;
    vhd_set_capacity(vhd->footer, capacity);
    return vhd_write_footers(vhd);
}

static int grow_memory(struct vhd *vhd, uint32_t blocks)
{
    size_t pages = (size_t)vhd->blocks * vhd->bitmap_sectors;
    size_t new_pages = (size_t)blocks * vhd->bitmap_sectors;
    size_t dirty = blocks / VHD_TABLE_SECTOR_ENTRIES / 8 + 1;
    uint32_t *table = realloc(vhd->table, vhd_table_bytes(blocks));

    if (table == NULL)
        return -ENOMEM;
    vhd->table = table;
    struct vhd_page **bitmaps = reallocarray(vhd->bitmaps, new_pages, sizeof(struct vhd_page *));
    if (bitmaps == NULL)
        return -ENOMEM;
    vhd->bitmaps = bitmaps;
    uint8_t *table_dirty = realloc(vhd->table_dirty, dirty);
    if (table_dirty == NULL)
        return -ENOMEM;
    vhd->table_dirty = table_dirty;
    memset(table_dirty, 0, dirty); /* nothing is dirty now */
    memset(bitmaps + pages, 0, (new_pages - pages) * sizeof(struct vhd_page *));
    for (uint32_t block = vhd->blocks; block < blocks; block++)
        vhd->table[block] = VHD_NO_BLOCK;
    return 0;
}

/* In the room of the old table; what is in the file behind the last entry may be anything. */
static int clear_new_entries(struct vhd *vhd, uint32_t old_blocks)
{
    int error = 0;

    for (uint32_t block = old_blocks; error == 0 && block < vhd->blocks; block++) {
        error = vhd_set_entry(vhd, block, VHD_NO_BLOCK);
        if (error == -EBUSY)
            error = disk_flush(&vhd->disk);
        if (error == 0)
            error = vhd_set_entry(vhd, block, VHD_NO_BLOCK);
    }
    return error < 0 ? error : disk_flush(&vhd->disk);
}

static int grow(struct vhd *vhd, uint64_t capacity)
{
    uint32_t old_blocks = vhd->blocks;
    uint32_t blocks = blocks_of(vhd, capacity);
    int error = grow_memory(vhd, blocks);

    if (error < 0)
        return error;
    vhd->blocks = blocks;
    if (blocks > vhd_table_entries(vhd->header))
        return vhd_replace_header(
            vhd, &(struct vhd_new_header){.capacity = capacity, .entries = blocks});
    error = clear_new_entries(vhd, old_blocks);
    vhd_set_capacity(vhd->footer, capacity);
    return error < 0 ? error : vhd_write_footers(vhd);
}

int vhd_resize(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    struct vhd *vhd = vhd_of(disk);
    uint64_t old = disk->geometry.capacity;
    int error = 0;

    if (capacity > VHD_MOST_CAPACITY)
        return reason_set(reason, -EFBIG, "a VHD disk has at most 2040 GiB");
    if (capacity < old)
        error = shrink(vhd, capacity);
    else if (capacity > old)
        error = grow(vhd, capacity);
    if (error == 0)
        disk->geometry.capacity = capacity;
    return disk_latch(disk, error);
}
