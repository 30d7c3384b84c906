/*
 * Sector bitmaps: which sectors of a block are in this file; the others are the parent's, or
 * zeroes. ("Data Block", "Implementing a Differencing Hard Disk".)
 *
 * They are kept in pages of one sector of the file, read when they are first looked at. Clean ones
 * are dropped when there are many.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd/vhd.h"

enum { MOST_PAGES = 16384 };

/* ---- pages ---- */

static uint32_t block_of(const struct vhd *vhd, uint64_t sector)
{
    return (uint32_t)(sector >> (vhd->block_shift - 9));
}

static uint64_t page_of(const struct vhd *vhd, uint64_t sector)
{
    uint64_t within = sector & (vhd_block_bytes(vhd) / VHD_SECTOR - 1);

    return (uint64_t)block_of(vhd, sector) * vhd->bitmap_sectors + within / VHD_PAGE_SECTORS;
}

static void drop_page(struct vhd *vhd, uint64_t index)
{
    if (vhd->bitmaps[index] == NULL)
        return;
    free(vhd->bitmaps[index]);
    vhd->bitmaps[index] = NULL;
    vhd->pages_loaded--;
}

static void forget_clean(struct vhd *vhd)
{
    for (uint64_t i = 0; i < (uint64_t)vhd->blocks * vhd->bitmap_sectors; i++) {
        if (vhd->bitmaps[i] != NULL && !vhd->bitmaps[i]->dirty)
            drop_page(vhd, i);
    }
}

static struct vhd_page *new_page(struct vhd *vhd, uint64_t index)
{
    if (vhd->pages_loaded >= MOST_PAGES && !vhd->pages_are_kept)
        forget_clean(vhd);
    if (vhd->bitmaps[index] == NULL) {
        vhd->bitmaps[index] = calloc(1, sizeof(struct vhd_page));
        vhd->pages_loaded += vhd->bitmaps[index] != NULL;
    }
    return vhd->bitmaps[index];
}

static int find_page(struct vhd *vhd, uint64_t index, struct vhd_page **ret)
{
    uint32_t entry = vhd->table[index / vhd->bitmap_sectors];

    *ret = vhd->bitmaps[index];
    if (*ret != NULL)
        return 0;
    if (!vhd_is_in_file(vhd, entry))
        return -EIO;
    *ret = new_page(vhd, index);
    if (*ret == NULL)
        return -ENOMEM;
    int error = file_read(vhd->disk.file, (*ret)->bits, VHD_SECTOR,
                          (entry + index % vhd->bitmap_sectors) * VHD_SECTOR);
    if (error < 0)
        drop_page(vhd, index);
    return error;
}

static void note_dirty(struct vhd *vhd, uint64_t index)
{
    vhd->bitmaps[index]->dirty = true;
    vhd->dirty_pages[vhd->dirty_page_count++] = index;
}

void vhd_bitmap_drop(struct vhd *vhd, uint32_t block)
{
    for (uint32_t i = 0; i < vhd->bitmap_sectors; i++)
        drop_page(vhd, (uint64_t)block * vhd->bitmap_sectors + i);
}

void vhd_bitmap_release(struct vhd *vhd)
{
    for (uint32_t block = 0; vhd->bitmaps != NULL && block < vhd->blocks; block++)
        vhd_bitmap_drop(vhd, block);
    free(vhd->bitmaps);
    vhd->bitmaps = NULL;
}

int vhd_bitmap_begin(struct vhd *vhd, uint32_t block, bool here)
{
    for (uint32_t i = 0; i < vhd->bitmap_sectors; i++) {
        uint64_t index = (uint64_t)block * vhd->bitmap_sectors + i;
        struct vhd_page *page = new_page(vhd, index);
        if (page == NULL)
            return -ENOMEM;
        memset(page->bits, here ? 0xff : 0, VHD_SECTOR);
        note_dirty(vhd, index);
    }
    return 0;
}

/* ---- runs of bits ---- */

static bool has(const uint8_t *bits, uint64_t bit)
{
    return (bits[bit / 8] >> (7 - bit % 8) & 1) != 0;
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

static void set_bits(uint8_t *bits, uint64_t from, uint64_t end)
{
    for (uint64_t at = from; at < end;) {
        bool byte = at % 8 == 0 && end - at >= 8;
        unsigned mask = byte ? 0xffU : 0x80U >> at % 8;
        bits[at / 8] = (uint8_t)(bits[at / 8] | mask);
        at += byte ? 8 : 1;
    }
}

/* The part of [sector, sector + count) that lies in one page: its first bit, and the end's. */
static uint64_t in_page(uint64_t sector, uint64_t count, uint64_t *ret_end)
{
    uint64_t from = sector % VHD_PAGE_SECTORS;
    uint64_t left = VHD_PAGE_SECTORS - from;

    *ret_end = from + (count < left ? count : left);
    return from;
}

/* A block of less than a page begins at the page's first bit. */
static uint64_t in_block(const struct vhd *vhd, uint64_t sector)
{
    return sector & (vhd_block_bytes(vhd) / VHD_SECTOR - 1);
}

int vhd_bitmap_run(struct vhd *vhd, uint64_t sector, uint64_t count, uint64_t *ret_count,
                   bool *ret_here)
{
    uint64_t done = 0;

    while (done < count) {
        struct vhd_page *page = NULL;
        uint64_t end = 0;
        uint64_t from = in_page(in_block(vhd, sector + done), count - done, &end);
        int error = find_page(vhd, page_of(vhd, sector + done), &page);
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

int vhd_bitmap_set(struct vhd *vhd, uint64_t sector, uint64_t count)
{
    while (count > 0) {
        struct vhd_page *page = NULL;
        uint64_t end = 0;
        uint64_t from = in_page(in_block(vhd, sector), count, &end);
        uint64_t index = page_of(vhd, sector);
        int error = find_page(vhd, index, &page);
        if (error < 0)
            return error;
        if (run_end(page->bits, from, end, true) != end) {
            if (!page->dirty && !vhd_has_dirty_pages(vhd, 1))
                return -EBUSY;
            if (!page->dirty)
                note_dirty(vhd, index);
            set_bits(page->bits, from, end);
        }
        sector += end - from;
        count -= end - from;
    }
    return 0;
}
