/*
 * Another size. Each step leaves an image that opens: blocks that are cut off are freed first; a
 * table that must be larger is written elsewhere and then named, in one region table after the
 * other; the size itself is last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/vhdx/vhdx.h"

static int commit_size(struct vhdx *vhdx, uint64_t capacity)
{
    uint8_t bytes[8];

    put_le64(bytes, capacity);
    int error = vhdx_edit_begin(vhdx, VHDX_NEW_IDENTITY);
    if (error == 0)
        error = vhdx_edit_put(vhdx, bytes, sizeof(bytes),
                              vhdx->regions.metadata.offset + vhdx->items.capacity.offset);
    if (error == 0)
        error = vhdx_edit_commit(vhdx);
    if (error == 0)
        vhdx->disk.geometry.capacity = vhdx->metadata.capacity = capacity;
    return error;
}

static int reset_entry(struct vhdx *vhdx, uint64_t index, uint64_t entry)
{
    if (!vhdx_has_dirty_room(vhdx, 1)) {
        int error = disk_flush(&vhdx->disk);
        if (error < 0)
            return error;
    }
    vhdx_set_entry(vhdx, index, entry);
    return 0;
}

/* ---- smaller ---- */

/* Nothing may be left in entries that do not count any more: a larger disk would find it. */
static int drop_entries(struct vhdx *vhdx, uint64_t blocks)
{
    uint64_t last_bitmap = vhdx_bitmap_index(vhdx, (blocks - 1) >> vhdx->ratio_shift);
    int error = vhdx_edit_begin(vhdx, VHDX_NEW_IDENTITY); /* a session */

    for (uint64_t i = vhdx_block_index(vhdx, blocks);
         error == 0 && (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++) {
        uint64_t entry = vhdx->bat[i];
        if (i == last_bitmap)
            continue;
        if (vhdx_has_room(entry))
            error = vhdx_room_release(&vhdx->room, vhdx_entry_offset(entry) / VHDX_UNIT,
                                      vhdx_entry_length(vhdx, i) / VHDX_UNIT);
        if (error == 0)
            error = reset_entry(vhdx, i, 0);
    }
    vhdx_bitmap_forget(vhdx);
    return error < 0 ? error : disk_flush(&vhdx->disk);
}

static int shrink(struct vhdx *vhdx, uint64_t capacity)
{
    uint64_t blocks = (capacity + vhdx_block_size(vhdx) - 1) >> vhdx->block_shift;
    int error = drop_entries(vhdx, blocks);

    if (error == 0)
        error = commit_size(vhdx, capacity);
    if (error == 0)
        vhdx_lay_out(vhdx);
    return error;
}

/* ---- larger ---- */

static bool grow_bits(uint8_t **bits, uint64_t old_count, uint64_t count)
{
    uint8_t *larger = realloc(*bits, count / 8 + 1);

    if (larger == NULL)
        return false;
    memset(larger + old_count / 8 + 1, 0, count / 8 - old_count / 8);
    *bits = larger;
    return true;
}

static int grow_memory(struct vhdx *vhdx, uint64_t entries, uint64_t bitmap_blocks)
{
    uint64_t pages = (entries + VHDX_BAT_PAGE_ENTRIES - 1) / VHDX_BAT_PAGE_ENTRIES;
    uint64_t old_pages = vhdx->bat_bytes / VHDX_PAGE;

    if (bitmap_blocks > vhdx->bitmap_blocks) {
        void *bitmaps = reallocarray(vhdx->bitmaps, bitmap_blocks, sizeof(void *));
        if (bitmaps == NULL)
            return -ENOMEM;
        vhdx->bitmaps = bitmaps;
        memset(vhdx->bitmaps + vhdx->bitmap_blocks, 0,
               (bitmap_blocks - vhdx->bitmap_blocks) * sizeof(void *));
        vhdx->bitmap_blocks = bitmap_blocks;
    }
    if (pages <= old_pages)
        return 0;
    if (!grow_bits(&vhdx->bat_dirty, old_pages, pages) ||
        !grow_bits(&vhdx->bat_used, old_pages, pages))
        return -ENOMEM;
    void *bat = mremap(vhdx->bat, vhdx->bat_bytes, pages * VHDX_PAGE, MREMAP_MAYMOVE);
    if (bat == MAP_FAILED)
        return -ENOMEM;
    vhdx->bat = bat;
    vhdx->bat_bytes = pages * VHDX_PAGE;
    return 0;
}

static int write_region_tables(struct vhdx *vhdx, const struct vhdx_regions *regions)
{
    static const uint64_t offsets[2] = {VHDX_REGIONS_0, VHDX_REGIONS_1};
    auto_free uint8_t *bytes = malloc(VHDX_TABLE_SIZE);
    int error = bytes != NULL ? 0 : -ENOMEM;

    for (unsigned i = 0; error == 0 && i < 2; i++) {
        vhdx_encode_regions(regions, bytes);
        error = file_write(vhdx->disk.file, bytes, VHDX_TABLE_SIZE, offsets[i]);
        if (error == 0)
            error = file_flush(vhdx->disk.file);
    }
    return error;
}

/*
 * The table, as large as it will be, somewhere else. The log is empty meanwhile: an entry of it
 * would be for the old place.
 */
static int move_table(struct vhdx *vhdx, uint64_t entries)
{
    struct vhdx_regions regions = vhdx->regions;
    uint64_t length = (entries * 8 + VHDX_UNIT - 1) & VHDX_OFFSET_MASK;
    uint64_t offset = 0;
    int error = vhdx_finish(&vhdx->disk);

    if (error == 0)
        error = vhdx_take_room(vhdx, length / VHDX_UNIT, &offset);
    if (error == 0)
        error = file_write(vhdx->disk.file, vhdx->bat, vhdx->bat_bytes, offset);
    if (error == 0)
        error = file_flush(vhdx->disk.file);
    if (error < 0)
        return error;
    regions.bat = (struct vhdx_range){.offset = offset, .length = length};
    error = write_region_tables(vhdx, &regions);
    if (error < 0)
        return error;
    error = vhdx_room_release(&vhdx->room, vhdx->regions.bat.offset / VHDX_UNIT,
                              vhdx->regions.bat.length / VHDX_UNIT);
    vhdx->regions = regions;
    return error;
}

/* In its place: what is in the file behind the last entry may be anything. */
static int clear_new_entries(struct vhdx *vhdx, uint64_t old_entries, uint64_t entries)
{
    int error = vhdx_edit_begin(vhdx, VHDX_NEW_IDENTITY);

    memset(vhdx->bat + old_entries, 0, vhdx->bat_bytes - old_entries * 8);
    for (uint64_t i = old_entries; error == 0 && i < entries; i += VHDX_BAT_PAGE_ENTRIES)
        error = reset_entry(vhdx, i, 0);
    if (error == 0)
        error = reset_entry(vhdx, entries - 1, 0);
    return error < 0 ? error : disk_flush(&vhdx->disk);
}

/* A fixed disk has all of its blocks. */
static int take_blocks(struct vhdx *vhdx, uint64_t first, uint64_t end)
{
    int error = vhdx_edit_begin(vhdx, VHDX_NEW_IDENTITY);

    for (uint64_t block = first; error == 0 && block < end; block++) {
        uint64_t offset = 0;
        error = vhdx_take_room(vhdx, vhdx_block_size(vhdx) / VHDX_UNIT, &offset);
        if (error == 0)
            error = reset_entry(vhdx, vhdx_block_index(vhdx, block), offset | VHDX_PRESENT);
    }
    return error < 0 ? error : disk_flush(&vhdx->disk);
}

static int grow(struct vhdx *vhdx, uint64_t capacity, struct reason *reason)
{
    uint64_t old_entries = vhdx->entries;
    uint64_t old_blocks = vhdx->blocks;
    uint64_t blocks = (capacity + vhdx_block_size(vhdx) - 1) >> vhdx->block_shift;
    uint64_t entries = vhdx_entry_count(blocks, vhdx->ratio_shift, vhdx->metadata.has_parent);
    uint64_t ratio = UINT64_C(1) << vhdx->ratio_shift;

    if (capacity > VHDX_MOST_CAPACITY)
        return reason_set(reason, -EFBIG, "a VHDX disk has at most 64 TiB");
    int error = grow_memory(vhdx, entries, (blocks + ratio - 1) >> vhdx->ratio_shift);
    if (error == 0 && entries > old_entries)
        memset(vhdx->bat + old_entries, 0, vhdx->bat_bytes - old_entries * 8);
    if (error == 0 && entries * 8 > vhdx->regions.bat.length)
        error = move_table(vhdx, entries);
    else if (error == 0 && entries > old_entries)
        error = clear_new_entries(vhdx, old_entries, entries);
    vhdx->entries = entries;
    vhdx->blocks = blocks;
    if (error == 0 && vhdx->metadata.fixed && blocks > old_blocks)
        error = take_blocks(vhdx, old_blocks, blocks);
    return error < 0 ? error : commit_size(vhdx, capacity);
}

/* Until all of it is done nothing else may go on, and after a failure nothing at all. */
int vhdx_resize(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    struct vhdx *vhdx = vhdx_of(disk);
    int error = capacity < disk->geometry.capacity   ? shrink(vhdx, capacity)
                : capacity > disk->geometry.capacity ? grow(vhdx, capacity, reason)
                                                     : 0;

    if (error < 0 && error != -EFBIG)
        disk->failed = error;
    return error;
}
