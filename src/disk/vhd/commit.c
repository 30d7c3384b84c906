/*
 * What makes changes durable. There is no log; each step is whole by itself, in this order:
 *
 *   1. flush: the data
 *   2. bitmaps, which name data of blocks that are there, a sector at a time; a footer behind more
 *      room, where the file is to grow; flush
 *   3. the table, which names blocks with their bitmaps; flush
 *   4. room that is free now is given back to the file system
 *
 * A larger file has its footer before anything is put where the old one was, so that never a
 * guest's bytes are at the end of the file, where they would be taken for a footer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd/vhd.h"

/* ---- what is dirty ---- */

bool vhd_has_dirty_pages(const struct vhd *vhd, unsigned pages)
{
    return vhd->dirty_page_count + pages <= VHD_MOST_DIRTY;
}

int vhd_set_entry(struct vhd *vhd, uint32_t block, uint32_t entry)
{
    uint32_t sector = block / VHD_TABLE_SECTOR_ENTRIES;
    uint8_t bit = (uint8_t)(1U << sector % 8);

    if ((vhd->table_dirty[sector / 8] & bit) == 0) {
        if (vhd->dirty_table_count == VHD_MOST_DIRTY)
            return -EBUSY;
        vhd->dirty_table[vhd->dirty_table_count++] = sector;
        vhd->table_dirty[sector / 8] |= bit;
    }
    vhd->table[block] = entry;
    return 0;
}

/* ---- setting aside ---- */

static uint8_t *add_change(struct vhd_changes *changes, uint64_t home)
{
    changes->homes[changes->count] = home;
    return changes->sectors[changes->count++];
}

static void set_aside_page(struct vhd *vhd, uint64_t index)
{
    struct vhd_page *page = vhd->bitmaps[index];
    uint64_t entry = vhd->table[index / vhd->bitmap_sectors];

    if (page == NULL || !page->dirty) /* its block was freed; or it is noted twice */
        return;
    memcpy(add_change(vhd->bitmap_changes, (entry + index % vhd->bitmap_sectors) * VHD_SECTOR),
           page->bits, VHD_SECTOR);
    page->dirty = false;
}

/* Entries behind the disk's last name nothing. */
static void encode_table(const struct vhd *vhd, uint32_t sector, uint8_t ret[VHD_SECTOR])
{
    uint64_t block = (uint64_t)sector * VHD_TABLE_SECTOR_ENTRIES;

    for (unsigned i = 0; i < VHD_TABLE_SECTOR_ENTRIES; i++, block++)
        put_be32(ret + (size_t)i * 4, block < vhd->blocks ? vhd->table[block] : VHD_NO_BLOCK);
}

static void set_aside_table(struct vhd *vhd, uint32_t sector)
{
    uint64_t home = vhd_table_offset(vhd->header) + (uint64_t)sector * VHD_SECTOR;

    encode_table(vhd, sector, add_change(vhd->table_changes, home));
    vhd->table_dirty[sector / 8] &= (uint8_t) ~(1U << sector % 8);
}

void vhd_commit_prepare(struct disk *disk)
{
    struct vhd *vhd = vhd_of(disk);

    vhd->bitmap_changes->count = vhd->table_changes->count = 0;
    for (unsigned i = 0; i < vhd->dirty_page_count; i++)
        set_aside_page(vhd, vhd->dirty_pages[i]);
    for (unsigned i = 0; i < vhd->dirty_table_count; i++)
        set_aside_table(vhd, vhd->dirty_table[i]);
    vhd->dirty_page_count = vhd->dirty_table_count = 0;
    vhd->pages_are_kept = true;
    vhd_plan_growth(vhd);
}

/* ---- writing ---- */

static int write_changes(const struct vhd *vhd, const struct vhd_changes *changes)
{
    int error = 0;

    for (unsigned i = 0; error == 0 && i < changes->count; i++)
        error = file_write(vhd->disk.file, changes->sectors[i], VHD_SECTOR, changes->homes[i]);
    return error;
}

static int give_room_back(const struct vhd *vhd)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < vhd->committing.count; i++)
        error = file_punch(vhd->disk.file, (uint64_t)vhd->committing.first[i] * VHD_SECTOR,
                           (uint64_t)vhd->block_sectors * VHD_SECTOR);
    return error;
}

int vhd_commit_write(struct disk *disk)
{
    struct vhd *vhd = vhd_of(disk);
    bool grows = vhd->growth.footer_at != 0;
    int error = file_flush(disk->file);

    if (error == 0)
        error = write_changes(vhd, vhd->bitmap_changes);
    if (error == 0 && grows)
        error = file_write(disk->file, vhd->footer, VHD_FOOTER, vhd->growth.footer_at);
    if (error == 0 && (grows || vhd->bitmap_changes->count != 0))
        error = file_flush(disk->file);
    if (error == 0)
        error = write_changes(vhd, vhd->table_changes);
    if (error == 0 && vhd->table_changes->count != 0)
        error = file_flush(disk->file);
    return error < 0 ? error : give_room_back(vhd);
}

void vhd_commit_done(struct disk *disk, int error)
{
    if (error < 0) /* what the file has now is not known, what memory has is */
        return;
    vhd_of(disk)->pages_are_kept = false;
    (void)disk_latch(disk, vhd_places_committed(vhd_of(disk)));
}

/* ---- other metadata; nothing is dirty ---- */

int vhd_write_footers(struct vhd *vhd)
{
    struct file *file = vhd->disk.file;
    int error = file_write(file, vhd->footer, VHD_FOOTER, vhd->footer_at);

    if (error == 0)
        error = file_flush(file);
    if (error == 0)
        error = file_write(file, vhd->footer, VHD_FOOTER, 0);
    return error < 0 ? error : file_flush(file);
}

/* The room behind the last block, when it is enough for one, is given back. */
int vhd_finish(struct disk *disk)
{
    struct vhd *vhd = vhd_of(disk);
    uint64_t end = vhd_used_end(vhd);

    if (vhd->footer_at < end + (uint64_t)vhd->block_sectors * VHD_SECTOR)
        return 0;
    vhd->footer_at = end;
    vhd->free.count = 0;
    int error = file_write(disk->file, vhd->footer, VHD_FOOTER, end);
    if (error == 0)
        error = file_flush(disk->file);
    if (error == 0)
        error = file_truncate(disk->file, end + VHD_FOOTER);
    return error < 0 ? error : file_flush(disk->file);
}

static int write_table(const struct vhd *vhd, uint64_t offset, uint32_t entries)
{
    enum { PIECE = 256 }; /* sectors */
    uint64_t count = vhd_table_bytes(entries) / VHD_SECTOR;
    uint8_t *bytes = malloc((size_t)PIECE * VHD_SECTOR);
    int error = bytes != NULL ? 0 : -ENOMEM;

    for (uint64_t first = 0; error == 0 && first < count; first += PIECE) {
        size_t piece = count - first < PIECE ? (size_t)(count - first) : PIECE;
        for (size_t i = 0; i < piece; i++)
            encode_table(vhd, (uint32_t)(first + i), bytes + i * VHD_SECTOR);
        error = file_write(vhd->disk.file, bytes, piece * VHD_SECTOR, offset + first * VHD_SECTOR);
    }
    free(bytes);
    return error;
}

/* The file ends with a footer all the time: first with the old one, behind the new room. */
static int move_footer(struct vhd *vhd, uint64_t to)
{
    int error = file_write(vhd->disk.file, vhd->footer, VHD_FOOTER, to);

    vhd->footer_at = to;
    return error < 0 ? error : file_flush(vhd->disk.file);
}

int vhd_replace_header(struct vhd *vhd, const struct vhd_new_header *new)
{
    struct file *file = vhd->disk.file;
    /* QEMU puts its next block behind the table and the blocks: nothing else may lie there. */
    uint64_t header_at = vhd->footer_at + VHD_FOOTER;
    uint64_t names_at = header_at + VHD_HEADER;
    uint64_t table_at = names_at + new->names_length;
    int error =
        move_footer(vhd, table_at + (new->entries != 0 ? vhd_table_bytes(new->entries) : 0));

    if (new->entries != 0)
        vhd_set_table(vhd->header, table_at, new->entries);
    if (error == 0 && new->entries != 0)
        error = write_table(vhd, table_at, new->entries);
    if (new->parent != NULL) {
        vhd_place_names(new->parent, names_at);
        vhd_set_parent_name(vhd->header, new->parent);
    }
    if (error == 0 && new->names_length != 0)
        error = file_write(file, new->names, new->names_length, names_at);
    if (error == 0)
        error = file_write(file, vhd->header, VHD_HEADER, header_at);
    if (error == 0)
        error = file_flush(file);
    vhd->header_at = header_at;
    vhd_set_header_offset(vhd->footer, header_at);
    vhd_set_capacity(vhd->footer, new->capacity);
    return error < 0 ? error : vhd_write_footers(vhd);
}
