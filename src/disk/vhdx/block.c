/* Where the bytes of a disk are: blocks, and what a write or an unmap makes of them. */
#include <errno.h>

#include "disk/vhdx/vhdx.h"

/* Pages that a new block may make dirty: its entry, the bitmap block's, the bitmap's. */
enum { MOST_PAGES_OF_A_BLOCK = 2 + VHDX_MOST_BLOCK / 512 / VHDX_BITMAP_PAGE_SECTORS };

static uint64_t entry_of(const struct vhdx *vhdx, uint64_t block)
{
    return vhdx->bat[vhdx_block_index(vhdx, block)];
}

/* Hostile entries: opening for writing has looked at all of them, opening for reading at none. */
static bool is_in_file(const struct vhdx *vhdx, uint64_t entry)
{
    uint64_t offset = vhdx_entry_offset(entry);
    uint64_t end = (vhdx->file_size + VHDX_UNIT - 1) & VHDX_OFFSET_MASK;

    return offset >= VHDX_UNIT && offset < end && vhdx_block_size(vhdx) <= end - offset;
}

static int map_present(const struct vhdx *vhdx, uint64_t entry, uint64_t within,
                       struct disk_extent *ret)
{
    if (!is_in_file(vhdx, entry))
        return -EIO;
    ret->file = vhdx->disk.file;
    ret->offset = vhdx_entry_offset(entry) + within;
    return 0;
}

/* Go on over the blocks behind, as long as they lie behind in the file too. */
static void extend_present(const struct vhdx *vhdx, uint64_t block, uint64_t length,
                           struct disk_extent *ret)
{
    uint64_t size = vhdx_block_size(vhdx);

    while (ret->length < length && ++block < vhdx->blocks) {
        uint64_t entry = entry_of(vhdx, block);
        if (vhdx_state(entry) != VHDX_PRESENT || !is_in_file(vhdx, entry) ||
            vhdx_entry_offset(entry) != ret->offset + ret->length)
            break;
        ret->length += size < length - ret->length ? size : length - ret->length;
    }
}

static void extend_zero(const struct vhdx *vhdx, uint64_t block, uint64_t length,
                        struct disk_extent *ret)
{
    enum vhdx_state state = vhdx_state(entry_of(vhdx, block));
    uint64_t size = vhdx_block_size(vhdx);

    while (ret->length < length && ++block < vhdx->blocks &&
           vhdx_state(entry_of(vhdx, block)) == state)
        ret->length += size < length - ret->length ? size : length - ret->length;
}

static int map_partial(struct vhdx *vhdx, uint64_t entry, uint64_t offset, struct disk_extent *ret)
{
    uint64_t count = 0;
    bool here = false;
    int error = vhdx_bitmap_run(vhdx, offset >> vhdx->sector_shift,
                                ret->length >> vhdx->sector_shift, &count, &here);

    if (error < 0)
        return error;
    ret->length = count << vhdx->sector_shift;
    return here ? map_present(vhdx, entry, offset & (vhdx_block_size(vhdx) - 1), ret)
                : disk_map_parent(&vhdx->disk, offset, ret);
}

static int map_read(struct vhdx *vhdx, uint64_t offset, uint64_t length, struct disk_extent *ret)
{
    uint64_t block = offset >> vhdx->block_shift;
    uint64_t within = offset & (vhdx_block_size(vhdx) - 1);
    uint64_t left = vhdx_block_size(vhdx) - within;
    uint64_t entry = entry_of(vhdx, block);
    int error = 0;

    *ret = (struct disk_extent){.length = length < left ? length : left};
    switch (vhdx_state(entry)) {
    case VHDX_PRESENT:
        error = map_present(vhdx, entry, within, ret);
        if (error == 0)
            extend_present(vhdx, block, length, ret);
        return error;
    case VHDX_PARTIAL:
        return vhdx->metadata.has_parent ? map_partial(vhdx, entry, offset, ret) : -EIO;
    case VHDX_ZERO:
    case VHDX_UNMAPPED:
    case VHDX_UNDEFINED:
        extend_zero(vhdx, block, length, ret);
        return 0;
    case VHDX_NOT_PRESENT:
        if (vhdx->metadata.has_parent)
            return disk_map_parent(&vhdx->disk, offset, ret);
        extend_zero(vhdx, block, length, ret);
        ret->absent = true;
        return 0;
    }
    return -EIO;
}

/* ---- writing ---- */

int vhdx_take_room(struct vhdx *vhdx, uint64_t count, uint64_t *ret_offset)
{
    struct file *file = vhdx->disk.file;
    uint64_t first = 0;
    int error = vhdx_room_find(&vhdx->room, count, &first);
    uint64_t offset = first * VHDX_UNIT;
    uint64_t end = (first + count) * VHDX_UNIT;

    if (error == 0 && offset < vhdx->file_size) /* what was there before */
        error = file_punch(file, offset, count * VHDX_UNIT);
    if (error == 0 && end > vhdx->file_size)
        error = file_truncate(file, end);
    if (error == 0)
        error = vhdx_room_take(&vhdx->room, first, count);
    if (error < 0)
        return error;
    if (end > vhdx->file_size)
        vhdx->file_size = end;
    *ret_offset = offset;
    return 0;
}

/* The bitmap block that a block which is there in part needs. */
static int take_bitmap(struct vhdx *vhdx, uint64_t block)
{
    uint64_t index = vhdx_bitmap_index(vhdx, block >> vhdx->ratio_shift);
    uint64_t sectors = vhdx_block_size(vhdx) >> vhdx->sector_shift;
    uint64_t offset = 0;

    if (vhdx_state(vhdx->bat[index]) == VHDX_PRESENT)
        return vhdx_bitmap_clear(vhdx, block * sectors, sectors);
    int error = vhdx_take_room(vhdx, 1, &offset);
    if (error == 0)
        vhdx_set_entry(vhdx, index, offset | VHDX_PRESENT);
    return error;
}

/*
 * Room for a block. It reads as zeroes, so that it may be named before it is written; over a parent
 * it is there in part, and no sector of it yet.
 */
static int take_block(struct vhdx *vhdx, uint64_t block, enum vhdx_state state)
{
    bool partial = vhdx->metadata.has_parent && state == VHDX_NOT_PRESENT;
    uint64_t offset = 0;

    if (!vhdx_has_dirty_room(vhdx, MOST_PAGES_OF_A_BLOCK))
        return -EBUSY;
    int error = partial ? take_bitmap(vhdx, block) : 0;
    if (error == 0)
        error = vhdx_take_room(vhdx, vhdx_block_size(vhdx) / VHDX_UNIT, &offset);
    if (error == 0)
        vhdx_set_entry(vhdx, vhdx_block_index(vhdx, block),
                       offset | (partial ? VHDX_PARTIAL : VHDX_PRESENT));
    return error;
}

/* The first change of a session waits for a commit, which opens it. */
static int check_session(struct vhdx *vhdx)
{
    if (vhdx->session == VHDX_SESSION_OPEN)
        return 0;
    int error = vhdx_want_session(vhdx);
    return error < 0 ? error : -EBUSY;
}

static int map_write(struct vhdx *vhdx, uint64_t offset, uint64_t length, struct disk_extent *ret)
{
    uint64_t block = offset >> vhdx->block_shift;
    uint64_t within = offset & (vhdx_block_size(vhdx) - 1);
    uint64_t left = vhdx_block_size(vhdx) - within;
    int error = check_session(vhdx);

    if (vhdx->metadata.has_parent && vhdx->disk.parent == NULL)
        return -EIO;
    if (error == 0 && !vhdx_has_room(entry_of(vhdx, block)))
        error = take_block(vhdx, block, vhdx_state(entry_of(vhdx, block)));
    if (error < 0)
        return error;
    *ret = (struct disk_extent){.length = length < left ? length : left};
    error = map_present(vhdx, entry_of(vhdx, block), within, ret);
    if (error == 0 && vhdx_state(entry_of(vhdx, block)) == VHDX_PRESENT)
        extend_present(vhdx, block, length, ret);
    return error;
}

int vhdx_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
             struct disk_extent *ret)
{
    return op == DISK_WRITE ? map_write(vhdx_of(disk), offset, length, ret)
                            : map_read(vhdx_of(disk), offset, length, ret);
}

/* ---- after a write ---- */

/* A block all of whose sectors are here needs its bitmap no more. */
static int complete_block(struct vhdx *vhdx, uint64_t block)
{
    uint64_t sectors = vhdx_block_size(vhdx) >> vhdx->sector_shift;
    uint64_t run = 0;
    bool here = false;
    int error = vhdx_bitmap_run(vhdx, block * sectors, sectors, &run, &here);

    if (error < 0 || !here || run != sectors)
        return error;
    if (!vhdx_has_dirty_room(vhdx, 1))
        return -EBUSY;
    vhdx_set_entry(vhdx, vhdx_block_index(vhdx, block),
                   vhdx_entry_offset(entry_of(vhdx, block)) | VHDX_PRESENT);
    return 0;
}

static int written_in_block(struct vhdx *vhdx, uint64_t offset, uint64_t length)
{
    uint64_t block = offset >> vhdx->block_shift;

    if (vhdx_state(entry_of(vhdx, block)) != VHDX_PARTIAL)
        return 0;
    int error = vhdx_bitmap_set(vhdx, offset >> vhdx->sector_shift, length >> vhdx->sector_shift);
    return error < 0 ? error : complete_block(vhdx, block);
}

/* Call `each` for the parts of a range, a block each. */
static int for_blocks(struct vhdx *vhdx, uint64_t offset, uint64_t length,
                      int (*each)(struct vhdx *vhdx, uint64_t offset, uint64_t length))
{
    int error = 0;

    while (error == 0 && length > 0) {
        uint64_t left = vhdx_block_size(vhdx) - (offset & (vhdx_block_size(vhdx) - 1));
        uint64_t piece = length < left ? length : left;
        error = each(vhdx, offset, piece);
        offset += piece;
        length -= piece;
    }
    return error;
}

int vhdx_written(struct disk *disk, uint64_t offset, uint64_t length)
{
    if (!vhdx_of(disk)->metadata.has_parent)
        return 0;
    return for_blocks(vhdx_of(disk), offset, length, written_in_block);
}

/* ---- unmap ---- */

static int free_block(struct vhdx *vhdx, uint64_t block)
{
    uint64_t entry = entry_of(vhdx, block);
    int error = 0;

    if (!vhdx_has_room(entry) && (!vhdx->metadata.has_parent || entry != VHDX_NOT_PRESENT))
        return 0;
    if (!vhdx_has_dirty_room(vhdx, 1))
        return -EBUSY;
    if (vhdx_has_room(entry))
        error = vhdx_room_release(&vhdx->room, vhdx_entry_offset(entry) / VHDX_UNIT,
                                  vhdx_block_size(vhdx) / VHDX_UNIT);
    if (error == 0)
        vhdx_set_entry(vhdx, vhdx_block_index(vhdx, block), VHDX_ZERO);
    return error;
}

/* Within a block: zeroes in its place, which take no room there. */
static int zero_in_block(struct vhdx *vhdx, uint64_t offset, uint64_t length)
{
    uint64_t entry = entry_of(vhdx, offset >> vhdx->block_shift);
    struct disk_extent extent;

    if (!vhdx_has_room(entry) && (!vhdx->metadata.has_parent || entry != VHDX_NOT_PRESENT))
        return 0;
    int error = map_write(vhdx, offset, length, &extent);
    if (error == 0)
        error = file_punch(extent.file, extent.offset, length);
    return error < 0 ? error : written_in_block(vhdx, offset, length);
}

static int unmap_in_block(struct vhdx *vhdx, uint64_t offset, uint64_t length)
{
    uint64_t block = offset >> vhdx->block_shift;
    uint64_t capacity = vhdx->disk.geometry.capacity;
    bool whole = (offset & (vhdx_block_size(vhdx) - 1)) == 0 &&
                 (length == vhdx_block_size(vhdx) || offset + length == capacity);

    return whole && !vhdx->metadata.fixed ? free_block(vhdx, block)
                                          : zero_in_block(vhdx, offset, length);
}

int vhdx_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    struct vhdx *vhdx = vhdx_of(disk);
    int error = check_session(vhdx);

    return error < 0 ? error : for_blocks(vhdx, offset, length, unmap_in_block);
}
