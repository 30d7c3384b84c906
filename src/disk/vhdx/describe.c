/* What a person is told of an image. */
#include <stdio.h>
#include <string.h>

#include "disk/utf16.h"
#include "disk/vhdx/vhdx.h"

/* Returns a block behind the last that is there. */
static uint64_t count_blocks(const struct vhdx *vhdx, struct image_info *ret)
{
    uint64_t end = 0;
    uint64_t next = 0; /* where the next one that is there would go on */

    for (uint64_t i = 0; (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++) {
        uint64_t entry = vhdx->bat[i];
        if (!vhdx_has_room(entry) || vhdx_is_bitmap_entry(vhdx, i) ||
            vhdx_block_of(vhdx, i) >= vhdx->blocks)
            continue;
        end = vhdx_block_of(vhdx, i) + 1;
        ret->blocks_present++;
        ret->runs += vhdx_entry_offset(entry) != next;
        next = vhdx_entry_offset(entry) + vhdx_block_size(vhdx);
    }
    return end;
}

/* A disk ends behind its last block that has something. */
static uint64_t least_capacity(const struct vhdx *vhdx, uint64_t blocks_end)
{
    uint64_t end = blocks_end << vhdx->block_shift;
    uint64_t least = vhdx->disk.parent != NULL ? vhdx->disk.parent->geometry.capacity
                                               : vhdx->disk.geometry.logical_sector;
    end = end < vhdx->disk.geometry.capacity ? end : vhdx->disk.geometry.capacity;
    return end > least ? end : least;
}

static void describe_parent(const struct vhdx *vhdx, struct image_info *ret)
{
    struct vhdx_locator locator;

    if (vhdx_read_locator(vhdx, &locator, NULL) < 0)
        return;
    memcpy(ret->parent_identity, locator.linkage.bytes, sizeof(ret->parent_identity));
    const char *path = vhdx->disk.parent != NULL ? image_path(vhdx->disk.parent) : "";
    if (path[0] == '\0')
        path = locator.relative[0] != '\0' ? locator.relative : locator.absolute;
    (void)snprintf(ret->parent, sizeof(ret->parent), "%s", path);
    ret->parent_found = vhdx->disk.parent != NULL && vhdx_is_expected(&locator, vhdx->disk.parent);
}

void vhdx_describe(struct disk *disk, struct image_info *ret)
{
    const struct vhdx *vhdx = vhdx_of(disk);
    uint8_t creator[VHDX_CREATOR_LENGTH];

    ret->kind = vhdx->metadata.has_parent ? IMAGE_DIFFERENCING
                : vhdx->metadata.fixed    ? IMAGE_FIXED
                                          : IMAGE_DYNAMIC;
    ret->block_size = vhdx->metadata.block_size;
    ret->blocks = vhdx->blocks;
    ret->log_size = vhdx->header.log_length;
    ret->dirty = vhdx->replay.count != 0;
    ret->minimum = least_capacity(vhdx, count_blocks(vhdx, ret));
    if (file_read(disk->file, creator, sizeof(creator), VHDX_CREATOR) == 0)
        utf16_decode(creator, sizeof(creator), ret->creator, sizeof(ret->creator));
    if (vhdx->metadata.has_parent)
        describe_parent(vhdx, ret);
}
