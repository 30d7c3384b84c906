/* The block allocation table: read as a whole, and what it says checked. MS-VHDX § 2.5. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "disk/vhdx/vhdx.h"

static unsigned log2_of(uint64_t power)
{
    return (unsigned)__builtin_ctzll(power);
}

unsigned vhdx_ratio_shift(const struct vhdx_metadata *metadata)
{
    enum { BITMAP_BITS_SHIFT = 23 }; /* sectors that a bitmap block of 1 MiB tells of */

    return BITMAP_BITS_SHIFT + log2_of(metadata->logical_sector) - log2_of(metadata->block_size);
}

uint64_t vhdx_entry_count(uint64_t blocks, unsigned ratio_shift, bool has_parent)
{
    uint64_t ratio = UINT64_C(1) << ratio_shift;
    uint64_t bitmaps = (blocks + ratio - 1) >> ratio_shift;

    return has_parent ? bitmaps * (ratio + 1) : blocks + ((blocks - 1) >> ratio_shift);
}

void vhdx_lay_out(struct vhdx *vhdx)
{
    const struct vhdx_metadata *metadata = &vhdx->metadata;

    vhdx->block_shift = log2_of(metadata->block_size);
    vhdx->sector_shift = log2_of(metadata->logical_sector);
    vhdx->ratio_shift = vhdx_ratio_shift(metadata);
    vhdx->blocks = (metadata->capacity + metadata->block_size - 1) >> vhdx->block_shift;
    vhdx->entries = vhdx_entry_count(vhdx->blocks, vhdx->ratio_shift, metadata->has_parent);
    vhdx->bitmap_blocks =
        (vhdx->blocks + (UINT64_C(1) << vhdx->ratio_shift) - 1) >> vhdx->ratio_shift;
}

bool vhdx_is_bitmap_entry(const struct vhdx *vhdx, uint64_t index)
{
    uint64_t ratio = UINT64_C(1) << vhdx->ratio_shift;
    return index % (ratio + 1) == ratio;
}

uint64_t vhdx_block_of(const struct vhdx *vhdx, uint64_t index)
{
    return index - index / ((UINT64_C(1) << vhdx->ratio_shift) + 1);
}

uint64_t vhdx_entry_length(const struct vhdx *vhdx, uint64_t index)
{
    return vhdx_is_bitmap_entry(vhdx, index) ? (uint64_t)VHDX_UNIT : vhdx_block_size(vhdx);
}

void vhdx_note_used(struct vhdx *vhdx, uint64_t index)
{
    uint64_t page = index / VHDX_BAT_PAGE_ENTRIES;
    vhdx->bat_used[page / 8] |= (uint8_t)(1U << page % 8);
}

/* The first page from `page` on that may have entries, or one behind the last. */
static uint64_t next_used_page(const struct vhdx *vhdx, uint64_t page)
{
    uint64_t pages = vhdx->bat_bytes / VHDX_PAGE;

    while (page < pages && (vhdx->bat_used[page / 8] >> page % 8 & 1) == 0)
        page += vhdx->bat_used[page / 8] == 0 ? 8 - page % 8 : 1;
    return page;
}

uint64_t vhdx_next_entry(const struct vhdx *vhdx, uint64_t index)
{
    while (index < vhdx->entries) {
        uint64_t page = next_used_page(vhdx, index / VHDX_BAT_PAGE_ENTRIES);
        uint64_t end = (page + 1) * VHDX_BAT_PAGE_ENTRIES;
        if (page != index / VHDX_BAT_PAGE_ENTRIES)
            index = page * VHDX_BAT_PAGE_ENTRIES;
        end = end < vhdx->entries ? end : vhdx->entries;
        while (index < end && vhdx->bat[index] == 0)
            index++;
        if (index < end)
            return index;
    }
    return vhdx->entries;
}

/* Holes are not read: a table for 64 TiB is half a GiB, and nearly all of it is empty. */
static int read_range(struct vhdx *vhdx, uint64_t at, uint64_t end)
{
    uint64_t first = at - vhdx->regions.bat.offset;
    uint64_t last = end - 1 - vhdx->regions.bat.offset;

    for (uint64_t page = first / VHDX_PAGE; page <= last / VHDX_PAGE; page++)
        vhdx_note_used(vhdx, page * VHDX_BAT_PAGE_ENTRIES);
    return file_read(vhdx->disk.file, (uint8_t *)vhdx->bat + first, end - at, at);
}

static int read_entries(struct vhdx *vhdx)
{
    uint64_t base = vhdx->regions.bat.offset;
    uint64_t end = base + vhdx->entries * 8;
    int error = 0;

    for (uint64_t at = base; error == 0 && at < end && at < vhdx->file_size;) {
        uint64_t stop = 0;
        bool data = true;
        error = file_extent(vhdx->disk.file, at, &stop, &data);
        stop = stop < end ? stop : end;
        if (error == 0 && data)
            error = read_range(vhdx, at, stop);
        at = stop;
    }
    if (error < 0)
        return error;
    vhdx_replay_patch(&vhdx->replay, (uint8_t *)vhdx->bat, vhdx->entries * 8, base);
    for (size_t i = 0; i < vhdx->replay.count; i++) {
        uint64_t at = vhdx->replay.changes[i].offset;
        if (at >= base && at < end)
            vhdx_note_used(vhdx, (at - base) / 8);
    }
    return 0;
}

int vhdx_load_bat(struct vhdx *vhdx, struct reason *reason)
{
    uint64_t pages = (vhdx->entries + VHDX_BAT_PAGE_ENTRIES - 1) / VHDX_BAT_PAGE_ENTRIES;

    if (vhdx->entries * 8 > vhdx->regions.bat.length)
        return reason_set(reason, -EINVAL,
                          "its allocation table at %#llx is too small for the disk's size",
                          (unsigned long long)vhdx->regions.bat.offset);
    vhdx->bat_bytes = pages * VHDX_PAGE;
    void *bat = mmap(NULL, vhdx->bat_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bat == MAP_FAILED)
        return -ENOMEM;
    vhdx->bat = bat;
    vhdx->bat_dirty = calloc(pages / 8 + 1, 1);
    vhdx->bat_used = calloc(pages / 8 + 1, 1);
    vhdx->bitmaps = calloc(vhdx->bitmap_blocks, sizeof(void *));
    if (vhdx->bat_dirty == NULL || vhdx->bat_used == NULL || vhdx->bitmaps == NULL)
        return -ENOMEM;
    int error = read_entries(vhdx);
    return error < 0 ? reason_set(reason, error, "its allocation table cannot be read") : 0;
}

void vhdx_release_bat(struct vhdx *vhdx)
{
    if (vhdx->bat != NULL)
        (void)munmap(vhdx->bat, vhdx->bat_bytes);
    vhdx->bat = NULL;
    free(vhdx->bat_dirty);
    free(vhdx->bat_used);
    vhdx->bat_dirty = vhdx->bat_used = NULL;
}

/* ---- what is in use ---- */

static int take_range(struct vhdx *vhdx, const char *what, uint64_t offset, uint64_t length,
                      struct reason *reason)
{
    uint64_t end = (vhdx->file_size + VHDX_UNIT - 1) & VHDX_OFFSET_MASK;

    if (offset >= end || length > end - offset)
        return reason_set(reason, -ERANGE, "%s at %#llx lies outside of the file", what,
                          (unsigned long long)offset);
    int error = vhdx_room_take(&vhdx->room, offset / VHDX_UNIT, length / VHDX_UNIT);
    return error == -EEXIST ? reason_set(reason, error, "%s at %#llx lies over something else",
                                         what, (unsigned long long)offset)
                            : error;
}

static int take_entry(struct vhdx *vhdx, uint64_t index, struct reason *reason)
{
    bool bitmap = vhdx_is_bitmap_entry(vhdx, index);
    uint64_t offset = vhdx_entry_offset(vhdx->bat[index]);
    uint64_t length = vhdx_entry_length(vhdx, index);

    if (vhdx_state(vhdx->bat[index]) == VHDX_PARTIAL && (bitmap || !vhdx->metadata.has_parent))
        return reason_set(reason, -EINVAL, "entry %llu of the allocation table has a wrong state",
                          (unsigned long long)index);
    return take_range(vhdx, bitmap ? "a sector bitmap" : "a block", offset, length, reason);
}

int vhdx_load_room(struct vhdx *vhdx, struct reason *reason)
{
    const struct vhdx_regions *regions = &vhdx->regions;
    const struct vhdx_header *header = &vhdx->header;
    int error = vhdx_room_init(&vhdx->room, (vhdx->file_size + VHDX_UNIT - 1) / VHDX_UNIT);

    if (error == 0)
        error = take_range(vhdx, "the beginning", 0, VHDX_UNIT, reason);
    if (error == 0)
        error = take_range(vhdx, "the log", header->log_offset, header->log_length, reason);
    if (error == 0)
        error = take_range(vhdx, "the allocation table", regions->bat.offset, regions->bat.length,
                           reason);
    if (error == 0)
        error = take_range(vhdx, "the metadata", regions->metadata.offset, regions->metadata.length,
                           reason);
    for (uint64_t i = 0; error == 0 && (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++) {
        if (vhdx_has_room(vhdx->bat[i]))
            error = take_entry(vhdx, i, reason);
    }
    return error;
}
