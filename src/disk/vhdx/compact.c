/*
 * Giving room back: blocks of zeroes are freed, then blocks move from the file's end into its
 * holes, and the file ends behind the last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/vhdx/vhdx.h"

struct work {
    struct vhdx *vhdx;
    disk_progress_fn progress;
    void *owner;
    uint64_t done, total; /* bytes of blocks that were looked at, then that were moved or stay */
    uint8_t *buffer;      /* of PIECE bytes */
};

enum { PIECE = 64 << 10 }; /* what is read at once: that stays in a processor's cache */

static int advance(struct work *work, uint64_t bytes)
{
    work->done += bytes;
    if (work->done > work->total)
        work->done = work->total;
    return work->progress(work->owner, work->done, work->total);
}

/* ---- blocks of zeroes ---- */

static int free_if_zero(struct work *work, uint64_t block)
{
    struct vhdx *vhdx = work->vhdx;
    uint64_t offset = block << vhdx->block_shift;
    uint64_t left = vhdx->disk.geometry.capacity - offset;
    uint64_t length = left < vhdx_block_size(vhdx) ? left : vhdx_block_size(vhdx);
    uint64_t data = 0;
    int error = disk_find_data(&vhdx->disk, offset, offset + length, &data);

    if (error == 0 && data == offset + length)
        error = disk_unmap(&vhdx->disk, offset, length);
    return error < 0 ? error : advance(work, offset + length - work->done);
}

static int free_zero_blocks(struct work *work)
{
    struct vhdx *vhdx = work->vhdx;
    int error = 0;

    for (uint64_t i = 0; error == 0 && (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++) {
        if (vhdx_has_room(vhdx->bat[i]) && !vhdx_is_bitmap_entry(vhdx, i) &&
            vhdx_block_of(vhdx, i) < vhdx->blocks)
            error = free_if_zero(work, vhdx_block_of(vhdx, i));
    }
    if (error == 0)
        error = advance(work, vhdx->disk.geometry.capacity - work->done);
    return error < 0 ? error : disk_flush(&vhdx->disk);
}

/* ---- blocks from the end ---- */

static int by_offset_descending(const void *left, const void *right, void *owner)
{
    const struct vhdx *vhdx = owner;
    uint64_t a = vhdx_entry_offset(vhdx->bat[*(const uint64_t *)left]);
    uint64_t b = vhdx_entry_offset(vhdx->bat[*(const uint64_t *)right]);

    return a > b ? -1 : a < b;
}

/* The entries that have room, those at the file's end first. */
static int sort_entries(struct vhdx *vhdx, uint64_t **ret, size_t *ret_count)
{
    size_t count = 0;

    for (uint64_t i = 0; (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++)
        count += vhdx_has_room(vhdx->bat[i]);
    uint64_t *indices = calloc(count + 1, sizeof(*indices));
    if (indices == NULL)
        return -ENOMEM;
    count = 0;
    for (uint64_t i = 0; (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++) {
        if (vhdx_has_room(vhdx->bat[i]))
            indices[count++] = i;
    }
    qsort_r(indices, count, sizeof(*indices), by_offset_descending, vhdx);
    *ret = indices;
    *ret_count = count;
    return 0;
}

/* The new place reads as zeroes: holes of the old one stay holes. */
static int copy_room(struct work *work, uint64_t from, uint64_t to, uint64_t length)
{
    struct file *file = work->vhdx->disk.file;
    int error = 0;

    for (uint64_t at = 0; error == 0 && at < length;) {
        uint64_t stop = 0;
        bool data = true;
        error = file_extent(file, from + at, &stop, &data);
        uint64_t end = stop - from < length ? stop - from : length;
        size_t piece = end - at < PIECE ? (size_t)(end - at) : PIECE;
        if (error == 0 && data) {
            error = file_read(file, work->buffer, piece, from + at);
            if (error == 0 && !disk_is_zero(work->buffer, piece))
                error = file_write(file, work->buffer, piece, to + at);
            end = at + piece;
        }
        at = end;
    }
    return error;
}

/* The bitmap's pages that are in memory find their new home by its entry. */
static int move_entry(struct work *work, uint64_t index)
{
    struct vhdx *vhdx = work->vhdx;
    uint64_t entry = vhdx->bat[index];
    uint64_t length = vhdx_entry_length(vhdx, index);
    uint64_t first = 0;
    uint64_t offset = 0;
    int error = vhdx_room_find(&vhdx->room, length / VHDX_UNIT, &first);

    if (error < 0 || first * VHDX_UNIT >= vhdx_entry_offset(entry))
        return error;
    if (!vhdx_has_dirty_room(vhdx, 1))
        error = disk_flush(&vhdx->disk);
    if (error == 0)
        error = vhdx_take_room(vhdx, length / VHDX_UNIT, &offset);
    if (error == 0)
        error = copy_room(work, vhdx_entry_offset(entry), offset, length);
    if (error == 0)
        error = vhdx_room_release(&vhdx->room, vhdx_entry_offset(entry) / VHDX_UNIT,
                                  length / VHDX_UNIT);
    if (error == 0)
        vhdx_set_entry(vhdx, index, offset | (entry & VHDX_STATE_MASK));
    return error;
}

static int move_blocks(struct work *work)
{
    auto_free uint64_t *indices = NULL;
    size_t count = 0;
    int error = sort_entries(work->vhdx, &indices, &count);

    for (size_t i = 0; error == 0 && i < count; i++) {
        error = move_entry(work, indices[i]);
        if (error == 0)
            error = advance(work, vhdx_entry_length(work->vhdx, indices[i]));
    }
    return error < 0 ? error : disk_flush(&work->vhdx->disk);
}

/* ---- the file's end ---- */

static int cut_file(struct vhdx *vhdx)
{
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t end = 0;

    for (; vhdx_room_next_used(&vhdx->room, &first, &count); first += count)
        end = first + count;
    if (end * VHDX_UNIT >= vhdx->file_size)
        return 0;
    /* What the log says of the file's end must not make it longer again. */
    int error = vhdx_finish(&vhdx->disk);
    if (error == 0)
        error = file_truncate(vhdx->disk.file, end * VHDX_UNIT);
    if (error == 0)
        error = file_flush(vhdx->disk.file);
    if (error < 0)
        return error;
    vhdx->file_size = end * VHDX_UNIT;
    vhdx->room.units = end;
    return 0;
}

int vhdx_compact(struct disk *disk, disk_progress_fn progress, void *owner)
{
    struct vhdx *vhdx = vhdx_of(disk);
    struct work work = {
        .vhdx = vhdx, .progress = progress, .owner = owner, .total = disk->geometry.capacity};

    if (vhdx->metadata.fixed)
        return -ENOTSUP;
    work.buffer = malloc(PIECE);
    if (work.buffer == NULL)
        return -ENOMEM;
    for (uint64_t i = 0; (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++)
        work.total += vhdx_has_room(vhdx->bat[i]) ? vhdx_entry_length(vhdx, i) : 0;
    int error = vhdx_edit_begin(vhdx, VHDX_KEEP_IDENTITY);
    if (error == 0)
        error = free_zero_blocks(&work);
    if (error == 0)
        error = move_blocks(&work);
    if (error == 0)
        error = disk_flush(disk); /* the places that were left are free now */
    if (error == 0)
        error = cut_file(vhdx);
    free(work.buffer);
    return error < 0 ? error : vhdx_finish(disk);
}
