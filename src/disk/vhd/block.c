/* Where the bytes of a disk are: blocks, and what a write or an unmap makes of them. */
#include <errno.h>

#include "disk/vhd/vhd.h"

static uint64_t within_block(const struct vhd *vhd, uint64_t offset)
{
    return offset & (vhd_block_bytes(vhd) - 1);
}

/* Hostile entries: opening for writing has looked at all of them, opening for reading at none. */
bool vhd_is_in_file(const struct vhd *vhd, uint32_t entry)
{
    return ((uint64_t)entry + vhd->block_sectors) * VHD_SECTOR <= vhd->footer_at;
}

static int map_present(const struct vhd *vhd, uint64_t offset, struct disk_extent *ret)
{
    uint32_t entry = vhd->table[offset >> vhd->block_shift];

    if (!vhd_is_in_file(vhd, entry))
        return -EIO;
    ret->file = vhd->disk.file;
    ret->offset = ((uint64_t)entry + vhd->bitmap_sectors) * VHD_SECTOR + within_block(vhd, offset);
    return 0;
}

static int map_below(const struct vhd *vhd, uint64_t offset, struct disk_extent *ret)
{
    if (vhd->has_parent)
        return disk_map_parent(&vhd->disk, offset, ret);
    ret->absent = true;
    return 0;
}

/* Go on over the blocks behind that have no room either. */
static void extend_absent(const struct vhd *vhd, uint64_t offset, uint64_t length,
                          struct disk_extent *ret)
{
    uint64_t block = offset >> vhd->block_shift;

    while (ret->length < length && ++block < vhd->blocks && vhd->table[block] == VHD_NO_BLOCK) {
        uint64_t left = length - ret->length;
        ret->length += left < vhd_block_bytes(vhd) ? left : vhd_block_bytes(vhd);
    }
}

static int map_read(struct vhd *vhd, uint64_t offset, uint64_t length, struct disk_extent *ret)
{
    uint64_t left = vhd_block_bytes(vhd) - within_block(vhd, offset);
    uint64_t count = 0;
    bool here = false;

    *ret = (struct disk_extent){.length = length < left ? length : left};
    if (vhd->table[offset >> vhd->block_shift] == VHD_NO_BLOCK) {
        extend_absent(vhd, offset, length, ret);
        return map_below(vhd, offset, ret);
    }
    int error = vhd_bitmap_run(vhd, offset / VHD_SECTOR, ret->length / VHD_SECTOR, &count, &here);
    if (error < 0)
        return error;
    ret->length = count * VHD_SECTOR;
    return here ? map_present(vhd, offset, ret) : map_below(vhd, offset, ret);
}

/* ---- writing ---- */

/*
 * Room for a block. Where its data will be there are zeroes, so that it may be named before it is
 * written: without a parent all of it counts at once, as with other programs, of which some do not
 * look at the bitmaps of such disks.
 */
static int take_block(struct vhd *vhd, uint32_t block)
{
    uint32_t place = 0;
    bool has_pages = vhd_has_dirty_pages(vhd, vhd->bitmap_sectors);
    int error = vhd_take_place(vhd, &place); /* first: one commit makes all the room */

    if (error < 0)
        return error;
    error = has_pages ? vhd_set_entry(vhd, block, place) : -EBUSY;
    if (error == 0) {
        error = vhd_bitmap_begin(vhd, block, !vhd->has_parent);
        vhd->present++;
    } else {
        vhd->free.first[vhd->free.count++] = place;
    }
    return error;
}

static int map_write(struct vhd *vhd, uint64_t offset, uint64_t length, struct disk_extent *ret)
{
    uint32_t block = (uint32_t)(offset >> vhd->block_shift);
    uint64_t left = vhd_block_bytes(vhd) - within_block(vhd, offset);

    if (vhd->has_parent && vhd->disk.parent == NULL)
        return -EIO;
    if (vhd->table[block] == VHD_NO_BLOCK) {
        int error = take_block(vhd, block);
        if (error < 0)
            return error;
    }
    *ret = (struct disk_extent){.length = length < left ? length : left};
    return map_present(vhd, offset, ret);
}

int vhd_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
            struct disk_extent *ret)
{
    return op == DISK_WRITE ? map_write(vhd_of(disk), offset, length, ret)
                            : map_read(vhd_of(disk), offset, length, ret);
}

/* Call `each` for the parts of a range, a block each. */
static int for_blocks(struct vhd *vhd, uint64_t offset, uint64_t length,
                      int (*each)(struct vhd *vhd, uint64_t offset, uint64_t length))
{
    int error = 0;

    while (error == 0 && length > 0) {
        uint64_t left = vhd_block_bytes(vhd) - within_block(vhd, offset);
        uint64_t piece = length < left ? length : left;
        error = each(vhd, offset, piece);
        offset += piece;
        length -= piece;
    }
    return error;
}

static int written_in_block(struct vhd *vhd, uint64_t offset, uint64_t length)
{
    return vhd_bitmap_set(vhd, offset / VHD_SECTOR, length / VHD_SECTOR);
}

int vhd_written(struct disk *disk, uint64_t offset, uint64_t length)
{
    return for_blocks(vhd_of(disk), offset, length, written_in_block);
}

/* ---- unmap ---- */

int vhd_free_block(struct vhd *vhd, uint32_t block)
{
    uint32_t place = vhd->table[block];

    if (place == VHD_NO_BLOCK)
        return 0;
    int error = vhd_set_entry(vhd, block, VHD_NO_BLOCK);
    if (error == 0)
        error = vhd_release_place(vhd, place);
    if (error < 0)
        return error;
    vhd_bitmap_drop(vhd, block);
    vhd->present--;
    return 0;
}

static int zero_extent(struct vhd *vhd, uint64_t offset, uint64_t length)
{
    struct disk_extent extent;
    int error = map_write(vhd, offset, length, &extent);

    if (error == 0)
        error = file_punch(extent.file, extent.offset, length);
    return error < 0 ? error : written_in_block(vhd, offset, length);
}

/* Zeroes in the place of what is none already, which take no room there. */
static int zero_in_block(struct vhd *vhd, uint64_t offset, uint64_t length)
{
    int error = 0;

    while (error == 0 && length > 0) {
        struct disk_extent extent;
        error = map_read(vhd, offset, length, &extent);
        if (error == 0 && extent.file != NULL)
            error = zero_extent(vhd, offset, extent.length);
        offset += extent.length;
        length -= extent.length;
    }
    return error;
}

static int unmap_in_block(struct vhd *vhd, uint64_t offset, uint64_t length)
{
    bool whole = within_block(vhd, offset) == 0 &&
                 (length == vhd_block_bytes(vhd) || offset + length == vhd->disk.geometry.capacity);

    return whole && !vhd->has_parent ? vhd_free_block(vhd, (uint32_t)(offset >> vhd->block_shift))
                                     : zero_in_block(vhd, offset, length);
}

int vhd_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    return for_blocks(vhd_of(disk), offset, length, unmap_in_block);
}
