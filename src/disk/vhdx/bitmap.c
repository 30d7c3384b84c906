/*
 * Sector bitmaps of differencing disks (MS-VHDX § 2.5.2): which sectors of a block that is there in
 * part are in this file, and which are the parent's.
 *
 * A bitmap block of 1 MiB is kept in pages, read when they are first looked at. Clean ones are
 * dropped when there are many.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhdx/vhdx.h"

enum { MOST_PAGES = 4096 };

static bool forget_block(struct vhdx *vhdx, struct vhdx_bitmap_block *block)
{
    bool empty = true;

    for (unsigned p = 0; p < VHDX_BITMAP_PAGES; p++) {
        struct vhdx_bitmap_page **page = &block->pages[p];
        if (*page != NULL && !(*page)->dirty) {
            free(*page);
            *page = NULL;
            vhdx->bitmap_pages_loaded--;
        }
        empty = empty && *page == NULL;
    }
    return empty;
}

void vhdx_bitmap_forget(struct vhdx *vhdx)
{
    for (uint64_t i = 0; i < vhdx->bitmap_blocks; i++) {
        if (vhdx->bitmaps[i] == NULL || !forget_block(vhdx, vhdx->bitmaps[i]))
            continue;
        free(vhdx->bitmaps[i]);
        vhdx->bitmaps[i] = NULL;
    }
}

/* A bitmap block that is not there says that no sector is. */
static int load_page(struct vhdx *vhdx, uint64_t index, struct vhdx_bitmap_page **ret)
{
    uint64_t entry = vhdx->bat[vhdx_bitmap_index(vhdx, index / VHDX_BITMAP_PAGES)];

    struct vhdx_bitmap_page *page = calloc(1, sizeof(*page));
    if (page == NULL)
        return -ENOMEM;
    int error = 0;
    if (vhdx_state(entry) == VHDX_PRESENT)
        error = vhdx_read(vhdx, page->bits, VHDX_PAGE,
                          vhdx_entry_offset(entry) + index % VHDX_BITMAP_PAGES * VHDX_PAGE);
    if (error < 0) {
        free(page);
        return error;
    }
    vhdx->bitmap_pages_loaded++;
    *ret = page;
    return 0;
}

static int find_page(struct vhdx *vhdx, uint64_t index, struct vhdx_bitmap_page **ret)
{
    struct vhdx_bitmap_block **block = &vhdx->bitmaps[index / VHDX_BITMAP_PAGES];

    if (vhdx->bitmap_pages_loaded >= MOST_PAGES && !vhdx->pages_are_kept)
        vhdx_bitmap_forget(vhdx);
    if (*block == NULL)
        *block = calloc(1, sizeof(**block));
    if (*block == NULL)
        return -ENOMEM;
    struct vhdx_bitmap_page **page = &(*block)->pages[index % VHDX_BITMAP_PAGES];
    int error = *page == NULL ? load_page(vhdx, index, page) : 0;
    *ret = *page;
    return error;
}

void vhdx_bitmap_release(struct vhdx *vhdx)
{
    for (uint64_t i = 0; vhdx->bitmaps != NULL && i < vhdx->bitmap_blocks; i++) {
        for (unsigned p = 0; vhdx->bitmaps[i] != NULL && p < VHDX_BITMAP_PAGES; p++)
            free(vhdx->bitmaps[i]->pages[p]);
        free(vhdx->bitmaps[i]);
    }
    free(vhdx->bitmaps);
    vhdx->bitmaps = NULL;
}

/* ---- runs of bits ---- */

static bool has(const uint8_t *bits, uint64_t bit)
{
    return (bits[bit / 8] >> bit % 8 & 1) != 0;
}

/* The first bit from `from` on that is not `value`, or `end`. */
static uint64_t run_end(const uint8_t *bits, uint64_t from, uint64_t end, bool value)
{
    uint8_t whole = value ? 0xff : 0;
    uint64_t at = from;

    while (at < end) {
        if (at % 8 == 0 && end - at >= 8 && bits[at / 8] == whole) {
            at += 8;
            continue;
        }
        if (has(bits, at) != value)
            break;
        at++;
    }
    return at;
}

static void fill_bits(uint8_t *bits, uint64_t from, uint64_t end, bool value)
{
    for (uint64_t at = from; at < end;) {
        if (at % 8 == 0 && end - at >= 8) {
            bits[at / 8] = value ? 0xff : 0;
            at += 8;
            continue;
        }
        uint8_t bit = (uint8_t)(1U << at % 8);
        bits[at / 8] = value ? bits[at / 8] | bit : bits[at / 8] & (uint8_t)~bit;
        at++;
    }
}

/* The part of [sector, sector + count) that lies in one page: its first bit, and the end's. */
static uint64_t in_page(uint64_t sector, uint64_t count, uint64_t *ret_end)
{
    uint64_t from = sector % VHDX_BITMAP_PAGE_SECTORS;
    uint64_t left = VHDX_BITMAP_PAGE_SECTORS - from;

    *ret_end = from + (count < left ? count : left);
    return from;
}

int vhdx_bitmap_run(struct vhdx *vhdx, uint64_t sector, uint64_t count, uint64_t *ret_count,
                    bool *ret_here)
{
    uint64_t done = 0;

    while (done < count) {
        struct vhdx_bitmap_page *page = NULL;
        uint64_t end = 0;
        uint64_t from = in_page(sector + done, count - done, &end);
        int error = find_page(vhdx, (sector + done) / VHDX_BITMAP_PAGE_SECTORS, &page);
        if (error < 0)
            return error;
        if (done == 0)
            *ret_here = has(page->bits, from);
        uint64_t stop = run_end(page->bits, from, end, *ret_here);
        done += stop - from;
        if (stop != end)
            break;
    }
    *ret_count = done;
    return 0;
}

static int change(struct vhdx *vhdx, uint64_t sector, uint64_t count, bool value)
{
    while (count > 0) {
        struct vhdx_bitmap_page *page = NULL;
        uint64_t end = 0;
        uint64_t from = in_page(sector, count, &end);
        uint64_t index = sector / VHDX_BITMAP_PAGE_SECTORS;
        int error = find_page(vhdx, index, &page);
        if (error < 0)
            return error;
        if (run_end(page->bits, from, end, value) != end) {
            if (!page->dirty && !vhdx_has_dirty_room(vhdx, 1))
                return -EBUSY;
            if (!page->dirty)
                vhdx_note_dirty(vhdx, true, index);
            page->dirty = true;
            fill_bits(page->bits, from, end, value);
        }
        sector += end - from;
        count -= end - from;
    }
    return 0;
}

int vhdx_bitmap_set(struct vhdx *vhdx, uint64_t sector, uint64_t count)
{
    return change(vhdx, sector, count, true);
}

int vhdx_bitmap_clear(struct vhdx *vhdx, uint64_t sector, uint64_t count)
{
    return change(vhdx, sector, count, false);
}
