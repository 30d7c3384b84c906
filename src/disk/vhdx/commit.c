/*
 * What makes changes durable, and in which order:
 *
 *   1. flush: the data that the metadata will name, and the last commit's pages at home
 *   2. the session's first commit: headers with new identities and the name of a new log
 *   3. the changed pages as one entry of the log; flush
 *   4. the same pages at home, which the next commit's first step makes durable
 *   5. room that is free now is given back to the file system
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhdx/vhdx.h"

int vhdx_want_session(struct vhdx *vhdx)
{
    int error = vhdx_log_reserve(&vhdx->log);

    if (error == 0 && vhdx->dirty == NULL)
        vhdx->dirty = calloc(vhdx->log.most, sizeof(*vhdx->dirty));
    if (error == 0 && vhdx->dirty == NULL)
        error = -ENOMEM;
    if (error == 0 && vhdx->session != VHDX_SESSION_OPEN)
        vhdx->session = VHDX_SESSION_WANTED;
    return error;
}

bool vhdx_bat_page_is_dirty(const struct vhdx *vhdx, uint64_t page)
{
    return (vhdx->bat_dirty[page / 8] >> page % 8 & 1) != 0;
}

bool vhdx_has_dirty_room(const struct vhdx *vhdx, unsigned pages)
{
    return vhdx->dirty_count + pages <= vhdx->log.most;
}

void vhdx_note_dirty(struct vhdx *vhdx, bool bitmap, uint64_t page)
{
    vhdx->dirty[vhdx->dirty_count++] = (struct vhdx_dirty_page){.bitmap = bitmap, .index = page};
}

void vhdx_set_entry(struct vhdx *vhdx, uint64_t index, uint64_t entry)
{
    uint64_t page = index / VHDX_BAT_PAGE_ENTRIES;

    vhdx->bat[index] = entry;
    vhdx_note_used(vhdx, index);
    if (vhdx_bat_page_is_dirty(vhdx, page))
        return;
    vhdx->bat_dirty[page / 8] |= (uint8_t)(1U << page % 8);
    vhdx_note_dirty(vhdx, false, page);
}

static void set_aside_bat(struct vhdx *vhdx, uint64_t page)
{
    uint8_t *to = vhdx_log_add(&vhdx->log, vhdx->regions.bat.offset + page * VHDX_PAGE);

    memcpy(to, vhdx->bat + page * VHDX_BAT_PAGE_ENTRIES, VHDX_PAGE);
    vhdx->bat_dirty[page / 8] &= (uint8_t) ~(1U << page % 8);
}

static void set_aside_bitmap(struct vhdx *vhdx, uint64_t index)
{
    uint64_t block = index / VHDX_BITMAP_PAGES;
    struct vhdx_bitmap_page *page = vhdx->bitmaps[block]->pages[index % VHDX_BITMAP_PAGES];
    uint64_t home = vhdx_entry_offset(vhdx->bat[vhdx_bitmap_index(vhdx, block)]) +
                    index % VHDX_BITMAP_PAGES * VHDX_PAGE;

    memcpy(vhdx_log_add(&vhdx->log, home), page->bits, VHDX_PAGE);
    page->dirty = false;
}

void vhdx_commit_prepare(struct disk *disk)
{
    struct vhdx *vhdx = vhdx_of(disk);

    vhdx->log.count = 0;
    for (unsigned i = 0; i < vhdx->dirty_count; i++) {
        const struct vhdx_dirty_page *dirty = &vhdx->dirty[i];
        if (dirty->bitmap)
            set_aside_bitmap(vhdx, dirty->index);
        else
            set_aside_bat(vhdx, dirty->index);
    }
    vhdx->dirty_count = 0;
    if (vhdx->log.count != 0)
        vhdx_log_seal(&vhdx->log, vhdx->file_size);
    vhdx->pages_are_kept = true;
    vhdx->committed_session = vhdx->session;
    vhdx_room_prepare(&vhdx->room);
}

static int open_session(struct vhdx *vhdx)
{
    vhdx_new_guid(&vhdx->header.file_write);
    if (vhdx->disk.has_next_identity)
        memcpy(vhdx->header.data_write.bytes, vhdx->disk.next_identity, 16);
    else if (!vhdx->keep_identity)
        vhdx_new_guid(&vhdx->header.data_write);
    memcpy(vhdx->disk.identity, vhdx->header.data_write.bytes, sizeof(vhdx->disk.identity));
    vhdx_new_guid(&vhdx->header.log);
    vhdx_log_restart(&vhdx->log, &vhdx->header.log);
    return vhdx_write_header(vhdx);
}

static int write_log(struct vhdx *vhdx)
{
    struct file *file = vhdx->disk.file;
    int error = vhdx_log_write(&vhdx->log, file);

    if (error == 0)
        error = file_flush(file);
    return error < 0 ? error : vhdx_log_write_home(&vhdx->log, file);
}

static int give_room_back(const struct vhdx *vhdx)
{
    uint64_t first = 0;
    uint64_t count = 0;
    int error = 0;

    for (; error == 0 && vhdx_room_next_committing(&vhdx->room, &first, &count); first += count)
        error = file_punch(vhdx->disk.file, first * VHDX_UNIT, count * VHDX_UNIT);
    return error;
}

int vhdx_commit_write(struct disk *disk)
{
    struct vhdx *vhdx = vhdx_of(disk);
    int error = file_flush(disk->file);

    if (error == 0 && vhdx->committed_session == VHDX_SESSION_WANTED)
        error = open_session(vhdx);
    if (error == 0 && vhdx->log.count != 0)
        error = write_log(vhdx);
    return error < 0 ? error : give_room_back(vhdx);
}

void vhdx_commit_done(struct disk *disk, int error)
{
    struct vhdx *vhdx = vhdx_of(disk);

    if (error < 0) /* what the file has now is not known, what memory has is */
        return;
    vhdx->pages_are_kept = false;
    vhdx_room_committed(&vhdx->room);
    if (vhdx->committed_session != VHDX_SESSION_WANTED)
        return;
    vhdx->session = VHDX_SESSION_OPEN;
    vhdx->log_is_named = true;
}

int vhdx_finish(struct disk *disk)
{
    struct vhdx *vhdx = vhdx_of(disk);
    static const struct partition_guid none;

    if (!vhdx->log_is_named)
        return 0;
    int error = file_flush(disk->file); /* the last commit's pages */
    if (error < 0)
        return error;
    vhdx->header.log = none;
    vhdx->log_is_named = false;
    vhdx->session = VHDX_SESSION_NONE;
    return vhdx_write_header(vhdx);
}

/* ---- other metadata ---- */

int vhdx_edit_begin(struct vhdx *vhdx, enum vhdx_edit edit)
{
    int error = vhdx_want_session(vhdx);

    if (error < 0)
        return error;
    vhdx->keep_identity = edit == VHDX_KEEP_IDENTITY;
    error = disk_flush(&vhdx->disk);
    vhdx->keep_identity = false;
    vhdx->log.count = 0;
    return error;
}

int vhdx_edit_page(struct vhdx *vhdx, uint64_t offset, uint8_t **ret)
{
    for (unsigned i = 0; i < vhdx->log.count; i++) {
        *ret = vhdx->log.pages + (size_t)i * VHDX_PAGE;
        if (vhdx->log.homes[i] == offset)
            return 0;
    }
    if (vhdx->log.count == vhdx->log.most)
        return -ENOSPC;
    *ret = vhdx_log_add(&vhdx->log, offset);
    return vhdx_read(vhdx, *ret, VHDX_PAGE, offset);
}

int vhdx_edit_put(struct vhdx *vhdx, const uint8_t *bytes, size_t length, uint64_t offset)
{
    while (length > 0) {
        size_t within = offset % VHDX_PAGE;
        size_t piece = length < VHDX_PAGE - within ? length : VHDX_PAGE - within;
        uint8_t *page = NULL;
        int error = vhdx_edit_page(vhdx, offset - within, &page);
        if (error < 0)
            return error;
        memcpy(page + within, bytes, piece);
        bytes += piece;
        offset += piece;
        length -= piece;
    }
    return 0;
}

int vhdx_edit_commit(struct vhdx *vhdx)
{
    vhdx_log_seal(&vhdx->log, vhdx->file_size);
    int error = file_flush(vhdx->disk.file);
    if (error == 0)
        error = write_log(vhdx);
    return error < 0 ? error : file_flush(vhdx->disk.file);
}
