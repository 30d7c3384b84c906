/* Opening: footer, header, table, parent, in this order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd/vhd.h"

/*
 * The footer at the file's end, else its copy at the beginning. Only images that are not fixed have
 * a copy; what is at the beginning of a fixed one is its guest's.
 */
int vhd_read_footer(struct file *file, uint8_t ret[VHD_FOOTER], uint64_t *ret_at, bool *ret_is_lost,
                    struct reason *reason)
{
    uint64_t size = 0;
    int error = file_size(file, &size);

    if (error == 0 && size < VHD_FOOTER)
        return reason_set(reason, -EINVAL, "not a VHD file (shorter than a footer)");
    *ret_at = error == 0 ? size - VHD_FOOTER : 0;
    *ret_is_lost = false;
    if (error == 0)
        error = file_read(file, ret, VHD_FOOTER, *ret_at);
    if (error < 0)
        return reason_set(reason, error, "its footer cannot be read");
    if (vhd_check_footer(ret, reason))
        return 0;
    error = file_read(file, ret, VHD_FOOTER, 0);
    if (error < 0 || !vhd_check_footer(ret, NULL) || vhd_type(ret) == VHD_FIXED)
        return error < 0 ? error : -EINVAL;
    *ret_at = (size + VHD_SECTOR - 1) & ~(uint64_t)(VHD_SECTOR - 1);
    *ret_is_lost = true;
    return 0;
}

int vhd_read_header(struct vhd *vhd, struct reason *reason)
{
    struct reason why = {"it lies outside of the file"};
    int error = 0;

    vhd->header_at = vhd_header_offset(vhd->footer);
    bool inside = vhd->header_at <= vhd->footer_at && vhd->footer_at - vhd->header_at >= VHD_HEADER;
    if (inside)
        error = file_read(vhd->disk.file, vhd->header, VHD_HEADER, vhd->header_at);
    if (error < 0)
        return reason_set(reason, error, "its header cannot be read");
    if (!inside || !vhd_check_header(vhd->header, vhd_capacity(vhd->footer), &why))
        return reason_set(reason, -EINVAL, "its header at %#llx: %s",
                          (unsigned long long)vhd->header_at, why.text);
    return 0;
}

void vhd_lay_out(struct vhd *vhd)
{
    uint32_t size = vhd_block_size(vhd->header);

    vhd->block_shift = (unsigned)__builtin_ctz(size);
    vhd->blocks = (uint32_t)((vhd_capacity(vhd->footer) + size - 1) >> vhd->block_shift);
    vhd->bitmap_sectors = (size / VHD_SECTOR + VHD_PAGE_SECTORS - 1) / VHD_PAGE_SECTORS;
    vhd->block_sectors = vhd->bitmap_sectors + size / VHD_SECTOR;
    vhd->has_parent = vhd_type(vhd->footer) == VHD_DIFFERENCING;
}

int vhd_load_table(struct vhd *vhd, struct reason *reason)
{
    uint64_t offset = vhd_table_offset(vhd->header);
    uint64_t length = vhd_table_bytes(vhd->blocks);

    if (offset > vhd->footer_at || length > vhd->footer_at - offset)
        return reason_set(reason, -EINVAL, "its table at %#llx lies outside of the file",
                          (unsigned long long)offset);
    vhd->table = malloc(length);
    vhd->bitmaps = calloc((size_t)vhd->blocks * vhd->bitmap_sectors, sizeof(struct vhd_page *));
    if (vhd->table == NULL || vhd->bitmaps == NULL)
        return -ENOMEM;
    int error = file_read(vhd->disk.file, vhd->table, length, offset);
    if (error < 0)
        return reason_set(reason, error, "its table cannot be read");
    for (uint32_t i = 0; i < vhd->blocks; i++) {
        vhd->table[i] = get_be32((const uint8_t *)&vhd->table[i]);
        vhd->present += vhd->table[i] != VHD_NO_BLOCK;
    }
    return 0;
}

/* What a cut of the power has left undone. */
static int mend_footers(struct vhd *vhd)
{
    uint8_t copy[VHD_FOOTER];
    int error = file_read(vhd->disk.file, copy, VHD_FOOTER, 0);

    if (error < 0 || (!vhd->footer_is_lost && memcmp(copy, vhd->footer, VHD_FOOTER) == 0))
        return error;
    vhd->footer_is_lost = false;
    return vhd_write_footers(vhd);
}

static int prepare_writing(struct vhd *vhd, struct reason *reason)
{
    int error = vhd_load_room(vhd, reason);

    if (error < 0)
        return error;
    vhd->table_dirty = calloc(vhd->blocks / VHD_TABLE_SECTOR_ENTRIES / 8 + 1, 1);
    vhd->bitmap_changes = malloc(sizeof(*vhd->bitmap_changes));
    vhd->table_changes = malloc(sizeof(*vhd->table_changes));
    if (vhd->table_dirty == NULL || vhd->bitmap_changes == NULL || vhd->table_changes == NULL)
        return -ENOMEM;
    vhd->zero_from = UINT64_MAX;
    return mend_footers(vhd);
}

static const struct disk_ops vhd_ops = {
    .map = vhd_map,
    .written = vhd_written,
    .unmap = vhd_unmap,
    .commit_prepare = vhd_commit_prepare,
    .commit_write = vhd_commit_write,
    .commit_done = vhd_commit_done,
    .finish = vhd_finish,
    .close = vhd_close,
    .describe = vhd_describe,
    .resize = vhd_resize,
    .compact = vhd_compact,
    .set_parent = vhd_set_parent,
};

static int open_dynamic(struct vhd *vhd, const struct disk_source *source, struct reason *reason)
{
    int error = vhd_read_header(vhd, reason);

    if (error < 0)
        return error;
    vhd->disk.ops = &vhd_ops;
    vhd_lay_out(vhd);
    error = vhd_load_table(vhd, reason);
    if (error == 0 && vhd->has_parent && (source->flags & DISK_WITHOUT_PARENT) == 0)
        error = vhd_open_parent(vhd, source, reason);
    if (error == 0 && !vhd->disk.geometry.read_only)
        error = prepare_writing(vhd, reason);
    return error;
}

static int open_all(struct vhd *vhd, const struct disk_source *source, struct reason *reason)
{
    struct disk_geometry *geometry = &vhd->disk.geometry;
    int error =
        vhd_read_footer(source->file, vhd->footer, &vhd->footer_at, &vhd->footer_is_lost, reason);

    if (error < 0)
        return error;
    *geometry = (struct disk_geometry){.capacity = vhd_capacity(vhd->footer),
                                       .logical_sector = VHD_SECTOR,
                                       .physical_sector = VHD_SECTOR,
                                       .read_only = (source->flags & DISK_WRITABLE) == 0};
    memcpy(geometry->id, vhd_unique_id(vhd->footer), sizeof(geometry->id));
    memcpy(vhd->disk.identity, vhd_unique_id(vhd->footer), sizeof(vhd->disk.identity));
    return vhd_type(vhd->footer) == VHD_FIXED ? vhd_open_fixed(vhd, reason)
                                              : open_dynamic(vhd, source, reason);
}

static int vhd_open(const struct disk_source *source, struct disk **ret, struct reason *reason)
{
    struct vhd *vhd = calloc(1, sizeof(*vhd));

    if (vhd == NULL)
        return -ENOMEM;
    vhd->disk.file = source->file;
    vhd->stale = UINT64_MAX;
    int error = open_all(vhd, source, reason);
    if (error < 0) {
        vhd->disk.file = NULL; /* the caller's still */
        vhd_close(&vhd->disk);
        return error;
    }
    *ret = &vhd->disk;
    return 0;
}

void vhd_close(struct disk *disk)
{
    struct vhd *vhd = vhd_of(disk);

    vhd_bitmap_release(vhd);
    free(vhd->table);
    free(vhd->table_dirty);
    free(vhd->bitmap_changes);
    free(vhd->table_changes);
    free(vhd->free.first);
    free(vhd->released.first);
    free(vhd->committing.first);
    disk_free(disk);
}

const struct disk_format vhd_format = {
    .name = "vhd",
    .suffixes = {".vhd", ".avhd"},
    .flag = DISK_AS_VHD,
    .open = vhd_open,
    .create = vhd_create,
    .check = vhd_check,
};
