/*
 * The room of a file: what lies where, and the places that blocks can have.
 *
 * Places are all alike, a bitmap and its block long. One that is given up stays in use until the
 * commit after it is durable: released → committing → free.
 */
#include <errno.h>
#include <stdlib.h>

#include "disk/vhd/vhd.h"

enum { GROWTH_BYTES = 64 << 20, ALIGNMENT = 8, MOST_RANGES_BUT_BLOCKS = 4 + VHD_LOCATORS };

/* ---- what lies where ---- */

static uint64_t sectors(uint64_t bytes)
{
    return (bytes + VHD_SECTOR - 1) / VHD_SECTOR;
}

static int by_sector(const void *left, const void *right)
{
    const struct vhd_range *a = left;
    const struct vhd_range *b = right;

    return a->sector < b->sector ? -1 : a->sector > b->sector;
}

static size_t list_metadata(const struct vhd *vhd, struct vhd_range *ret)
{
    size_t count = 3;

    ret[0] = (struct vhd_range){.count = 1, .what = "the copy of the footer"};
    ret[1] = (struct vhd_range){.sector = vhd->header_at / VHD_SECTOR,
                                .count = sectors(VHD_HEADER + vhd->header_at % VHD_SECTOR),
                                .what = "the header"};
    ret[2] = (struct vhd_range){
        .sector = vhd_table_offset(vhd->header) / VHD_SECTOR,
        .count = sectors(vhd_table_bytes(vhd_table_entries(vhd->header))),
        .what = "the table",
    };
    for (unsigned i = 0; vhd->has_parent && i < VHD_LOCATORS; i++) {
        struct vhd_locator locator = vhd_get_locator(vhd->header, i);
        if (locator.length == 0 || locator.offset > vhd->footer_at)
            continue;
        ret[count++] = (struct vhd_range){
            .sector = locator.offset / VHD_SECTOR,
            .count = sectors(locator.length + locator.offset % VHD_SECTOR),
            .what = "a name of the parent",
        };
    }
    return count;
}

int vhd_list_ranges(const struct vhd *vhd, struct vhd_range **ret, size_t *ret_count)
{
    struct vhd_range *ranges =
        calloc((size_t)vhd->present + MOST_RANGES_BUT_BLOCKS, sizeof(*ranges));

    if (ranges == NULL)
        return -ENOMEM;
    size_t count = list_metadata(vhd, ranges);
    for (uint32_t block = 0; block < vhd->blocks; block++) {
        if (vhd->table[block] != VHD_NO_BLOCK)
            ranges[count++] = (struct vhd_range){.sector = vhd->table[block],
                                                 .count = vhd->block_sectors,
                                                 .what = "a block",
                                                 .block = block};
    }
    qsort(ranges, count, sizeof(*ranges), by_sector);
    *ret = ranges;
    *ret_count = count;
    return 0;
}

uint64_t vhd_used_end(const struct vhd *vhd)
{
    struct vhd_range ranges[MOST_RANGES_BUT_BLOCKS];
    size_t count = list_metadata(vhd, ranges);
    uint64_t end = 0;

    for (size_t i = 0; i < count; i++)
        end = ranges[i].sector + ranges[i].count > end ? ranges[i].sector + ranges[i].count : end;
    for (uint32_t block = 0; block < vhd->blocks; block++) {
        uint64_t stop = (uint64_t)vhd->table[block] + vhd->block_sectors;
        if (vhd->table[block] != VHD_NO_BLOCK && stop > end)
            end = stop;
    }
    return end * VHD_SECTOR;
}

/* ---- places ---- */

static int push(struct vhd_places *places, uint32_t first)
{
    if (places->count == places->room) {
        size_t room = places->room * 2 + 64;
        uint32_t *grown = reallocarray(places->first, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        places->first = grown;
        places->room = room;
    }
    places->first[places->count++] = first;
    return 0;
}

/* Data lies at multiples of 4 KiB, unless many small blocks would make the file too long by that.
 */
static uint64_t align_place(const struct vhd *vhd, uint64_t sector)
{
    uint64_t data = sector + vhd->bitmap_sectors;

    if (vhd_block_bytes(vhd) < VHD_DEFAULT_BLOCK)
        return sector;
    return ((data + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1)) - vhd->bitmap_sectors;
}

static int add_places(struct vhd *vhd, uint64_t from, uint64_t end)
{
    int error = 0;
    uint64_t place = align_place(vhd, from);

    while (error == 0 && place + vhd->block_sectors <= end && place < VHD_NO_BLOCK) {
        error = push(&vhd->free, (uint32_t)place);
        place = align_place(vhd, place + vhd->block_sectors);
    }
    return error;
}

/* The lowest is to be taken first: from the array's end. */
static void reverse(struct vhd_places *places)
{
    for (size_t i = 0; i < places->count / 2; i++) {
        uint32_t first = places->first[i];
        places->first[i] = places->first[places->count - 1 - i];
        places->first[places->count - 1 - i] = first;
    }
}

static int check_range(const struct vhd_range *range, uint64_t free_from, uint64_t end,
                       struct reason *reason)
{
    const char *wrong = range->sector + range->count > end ? "outside of the file"
                        : range->sector < free_from        ? "over something else"
                                                           : NULL;

    return wrong == NULL ? 0
                         : reason_set(reason, -EINVAL, "%s at %#llx lies %s", range->what,
                                      (unsigned long long)range->sector * VHD_SECTOR, wrong);
}

int vhd_load_room(struct vhd *vhd, struct reason *reason)
{
    struct vhd_range *ranges = NULL;
    uint64_t end = vhd->footer_at / VHD_SECTOR;
    uint64_t free_from = 0;
    size_t count = 0;
    int error = vhd_list_ranges(vhd, &ranges, &count);

    for (size_t i = 0; error == 0 && i < count; i++) {
        const struct vhd_range *range = &ranges[i];
        error = check_range(range, free_from, end, reason);
        if (error == 0)
            error = add_places(vhd, free_from, range->sector);
        free_from = range->sector + range->count;
    }
    if (error == 0)
        error = add_places(vhd, free_from, end);
    free(ranges);
    reverse(&vhd->free);
    return error;
}

int vhd_take_place(struct vhd *vhd, uint32_t *ret)
{
    uint64_t most = vhd->footer_at / VHD_SECTOR + 2 * (uint64_t)vhd->block_sectors + ALIGNMENT;

    if (vhd->free.count == 0) {
        vhd->wants_growth = true;
        return most < VHD_NO_BLOCK ? -EBUSY : -ENOSPC;
    }
    uint32_t place = vhd->free.first[vhd->free.count - 1];
    int error = 0;
    if ((uint64_t)place * VHD_SECTOR < vhd->zero_from) /* what was there before */
        error = file_punch(vhd->disk.file, (uint64_t)place * VHD_SECTOR,
                           (uint64_t)vhd->block_sectors * VHD_SECTOR);
    if (error < 0)
        return error;
    vhd->free.count--;
    *ret = place;
    return 0;
}

int vhd_release_place(struct vhd *vhd, uint32_t first)
{
    return push(&vhd->released, first);
}

/* ---- with a commit ---- */

void vhd_plan_growth(struct vhd *vhd)
{
    struct vhd_places empty = vhd->committing; /* the commit before has emptied it */
    uint32_t absent = vhd->blocks - vhd->present;
    uint64_t most = GROWTH_BYTES / vhd_block_bytes(vhd);
    uint64_t place = align_place(vhd, vhd->footer_at / VHD_SECTOR);

    vhd->committing = vhd->released;
    vhd->released = empty;
    vhd->growth = (struct vhd_growth){.first = (uint32_t)place};
    if (!vhd->wants_growth || vhd->free.count != 0)
        return;
    most = most != 0 ? most : 1;
    while (vhd->growth.count < most && vhd->growth.count < absent &&
           place + vhd->block_sectors < VHD_NO_BLOCK) {
        vhd->growth.count++;
        vhd->growth.footer_at = (place + vhd->block_sectors) * VHD_SECTOR;
        place = align_place(vhd, place + vhd->block_sectors);
    }
}

static int take_growth(struct vhd *vhd)
{
    uint64_t place = vhd->growth.first;
    size_t before = vhd->free.count;
    int error = 0;

    for (uint32_t i = 0; error == 0 && i < vhd->growth.count; i++) {
        error = push(&vhd->free, (uint32_t)place);
        place = align_place(vhd, place + vhd->block_sectors);
    }
    struct vhd_places grown = {.first = vhd->free.first + before,
                               .count = vhd->free.count - before};
    reverse(&grown);
    vhd->zero_from = vhd->footer_at + VHD_FOOTER;
    vhd->footer_at = vhd->growth.footer_at;
    vhd->wants_growth = false;
    return error;
}

int vhd_places_committed(struct vhd *vhd)
{
    int error = 0;

    if (vhd->growth.footer_at != 0)
        error = take_growth(vhd);
    for (size_t i = 0; error == 0 && i < vhd->committing.count; i++) {
        uint32_t place = vhd->committing.first[i];
        uint64_t end = ((uint64_t)place + vhd->block_sectors) * VHD_SECTOR;
        vhd->zero_from = end > vhd->zero_from ? end : vhd->zero_from;
        error = push(&vhd->free, place);
    }
    vhd->committing.count = 0;
    return error;
}
