/*
 * Giving room back: blocks of zeroes are freed, then blocks move from the file's end into places
 * before them, and the file ends behind the last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd/vhd.h"

enum { PIECE = 1 << 20 };

struct work {
    struct vhd *vhd;
    disk_progress_fn progress;
    void *owner;
    uint64_t done, total; /* bytes of blocks that were looked at, then that were moved or stay */
    uint8_t *buffer;
};

static int advance(struct work *work, uint64_t bytes)
{
    work->done = work->done + bytes < work->total ? work->done + bytes : work->total;
    return work->progress(work->owner, work->done, work->total);
}

/* ---- blocks that hold nothing ---- */

/* Over a parent: none of its sectors is here. */
static int holds_nothing(struct vhd *vhd, uint32_t block, bool *ret)
{
    uint64_t from = (uint64_t)block << vhd->block_shift;
    uint64_t left = vhd->disk.geometry.capacity - from;
    uint64_t length = left < vhd_block_bytes(vhd) ? left : vhd_block_bytes(vhd);
    uint64_t run = 0;
    bool here = false;
    uint64_t data = 0;

    if (!vhd->has_parent) {
        int error = disk_find_data(&vhd->disk, from, from + length, &data);
        *ret = error == 0 && data == from + length;
        return error;
    }
    int error = vhd_bitmap_run(vhd, from / VHD_SECTOR, length / VHD_SECTOR, &run, &here);
    *ret = error == 0 && !here && run == length / VHD_SECTOR;
    return error;
}

static int free_block(struct vhd *vhd, uint32_t block)
{
    int error = vhd_free_block(vhd, block);

    if (error != -EBUSY)
        return error;
    error = disk_flush(&vhd->disk);
    return error < 0 ? error : vhd_free_block(vhd, block);
}

static int free_blocks(struct work *work)
{
    struct vhd *vhd = work->vhd;
    int error = 0;

    for (uint32_t block = 0; error == 0 && block < vhd->blocks; block++) {
        bool nothing = false;
        if (vhd->table[block] == VHD_NO_BLOCK)
            continue;
        error = holds_nothing(vhd, block, &nothing);
        if (error == 0 && nothing)
            error = free_block(vhd, block);
        if (error == 0)
            error = advance(work, vhd_block_bytes(vhd));
    }
    return error < 0 ? error : disk_flush(&vhd->disk);
}

/* ---- blocks from the end ---- */

/* The new place reads as zeroes: holes of the old one stay holes. */
static int copy_block(struct work *work, uint64_t from, uint64_t to, uint64_t length)
{
    struct file *file = work->vhd->disk.file;
    int error = 0;

    for (uint64_t at = 0; error == 0 && at < length;) {
        size_t piece = length - at < PIECE ? (size_t)(length - at) : (size_t)PIECE;
        error = file_read(file, work->buffer, piece, from + at);
        if (error == 0 && !disk_is_zero(work->buffer, piece))
            error = file_write(file, work->buffer, piece, to + at);
        at += piece;
    }
    return error;
}

static int move_block(struct work *work, uint32_t block, uint32_t place)
{
    struct vhd *vhd = work->vhd;
    uint64_t length = (uint64_t)vhd->block_sectors * VHD_SECTOR;
    uint64_t to = (uint64_t)place * VHD_SECTOR;
    uint32_t old = vhd->table[block];
    int error = file_punch(vhd->disk.file, to, length);

    if (error == 0)
        error = copy_block(work, (uint64_t)old * VHD_SECTOR, to, length);
    if (error == 0)
        error = vhd_set_entry(vhd, block, place);
    if (error == -EBUSY) {
        error = disk_flush(&vhd->disk);
        if (error == 0)
            error = vhd_set_entry(vhd, block, place);
    }
    return error < 0 ? error : vhd_release_place(vhd, old);
}

static int by_value(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;

    return a < b ? -1 : a > b;
}

/* The lowest places that are free now, for the blocks that lie highest. */
static int fill_places(struct work *work, const struct vhd_range *ranges, size_t count,
                       const struct vhd_places *places)
{
    const struct vhd *vhd = work->vhd;
    size_t next = 0;
    int error = 0;

    for (size_t i = count; error == 0 && i-- > 0 && next < places->count;) {
        bool is_block = ranges[i].count == vhd->block_sectors &&
                        vhd->table[ranges[i].block] == ranges[i].sector;
        if (!is_block)
            continue;
        if (places->first[next] >= ranges[i].sector)
            break;
        error = move_block(work, ranges[i].block, places->first[next++]);
        if (error == 0)
            error = advance(work, vhd_block_bytes(vhd));
    }
    return error;
}

/* Places that are filled are no longer free; those that are left are found again at the end. */
static int move_blocks(struct work *work)
{
    struct vhd *vhd = work->vhd;
    struct vhd_places places = vhd->free;
    struct vhd_range *ranges = NULL;
    size_t count = 0;
    int error = vhd_list_ranges(vhd, &ranges, &count);

    vhd->free = (struct vhd_places){0};
    if (places.count != 0)
        qsort(places.first, places.count, sizeof(*places.first), by_value);
    if (error == 0)
        error = fill_places(work, ranges, count, &places);
    free(ranges);
    free(places.first);
    return error < 0 ? error : disk_flush(&vhd->disk);
}

static int compact(struct work *work)
{
    struct vhd *vhd = work->vhd;
    int error = free_blocks(work);

    if (error == 0)
        error = move_blocks(work);
    if (error == 0)
        error = disk_latch(&vhd->disk, vhd_finish(&vhd->disk));
    if (error < 0)
        return error;
    vhd->free.count = 0;
    vhd->zero_from = UINT64_MAX;
    return vhd_load_room(vhd, NULL);
}

int vhd_compact(struct disk *disk, disk_progress_fn progress, void *owner)
{
    struct vhd *vhd = vhd_of(disk);
    struct work work = {.vhd = vhd, .progress = progress, .owner = owner, .buffer = malloc(PIECE)};

    if (work.buffer == NULL)
        return -ENOMEM;
    work.total = 2 * (uint64_t)vhd->present * vhd_block_bytes(vhd);
    int error = compact(&work);
    free(work.buffer);
    return error;
}
