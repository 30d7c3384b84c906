/* What is told of an open image. */
#include <stdio.h>
#include <string.h>

#include "disk/vhd/vhd.h"

static void count_runs(const struct vhd *vhd, struct image_info *ret)
{
    uint32_t last = VHD_NO_BLOCK;

    for (uint32_t block = 0; block < vhd->blocks; block++) {
        uint32_t entry = vhd->table[block];
        uint64_t gap = last != VHD_NO_BLOCK ? (uint64_t)entry - last : UINT64_MAX;
        bool follows = gap >= vhd->block_sectors && gap < vhd->block_sectors + 8U;
        if (entry != VHD_NO_BLOCK && !follows)
            ret->runs++;
        if (entry != VHD_NO_BLOCK)
            ret->minimum = (uint64_t)(block + 1) << vhd->block_shift;
        last = entry;
    }
}

static void describe_parent(struct vhd *vhd, struct image_info *ret)
{
    struct disk *parent = vhd->disk.parent;
    const char *path = parent != NULL ? image_path(parent) : "";

    memcpy(ret->parent_identity, vhd_parent_id(vhd->header), sizeof(ret->parent_identity));
    if (path[0] != '\0')
        (void)snprintf(ret->parent, sizeof(ret->parent), "%s", path);
    else
        (void)vhd_parent_path(vhd, ret->parent);
    ret->parent_found = parent != NULL && memcmp(parent->identity, ret->parent_identity,
                                                 sizeof(parent->identity)) == 0;
}

void vhd_describe(struct disk *disk, struct image_info *ret)
{
    struct vhd *vhd = vhd_of(disk);
    uint64_t capacity = disk->geometry.capacity;

    vhd_creator(vhd->footer, ret->creator);
    ret->created = vhd_created(vhd->footer);
    if (vhd->table == NULL) {
        ret->kind = IMAGE_FIXED;
        return;
    }
    ret->kind = vhd->has_parent ? IMAGE_DIFFERENCING : IMAGE_DYNAMIC;
    ret->block_size = vhd_block_size(vhd->header);
    ret->blocks = vhd->blocks;
    ret->blocks_present = vhd->present;
    ret->dirty = vhd->footer_is_lost;
    count_runs(vhd, ret);
    if (disk->parent != NULL && disk->parent->geometry.capacity > ret->minimum)
        ret->minimum = disk->parent->geometry.capacity;
    ret->minimum = ret->minimum < capacity ? ret->minimum : capacity;
    if (vhd->has_parent)
        describe_parent(vhd, ret);
}
