#include "disk/vhdx/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 64 };

static bool has(const struct vhdx_room_set *set, uint64_t unit)
{
    return (set->bits[unit / WORD] >> unit % WORD & 1) != 0;
}

static void set_run(struct vhdx_room_set *set, uint64_t first, uint64_t count)
{
    for (uint64_t unit = first; unit < first + count; unit++)
        set->bits[unit / WORD] |= UINT64_C(1) << unit % WORD;
    if (set->low == set->high)
        set->low = set->high = first;
    set->low = first < set->low ? first : set->low;
    set->high = first + count > set->high ? first + count : set->high;
}

static void clear_all(struct vhdx_room_set *set)
{
    if (set->low < set->high)
        memset(set->bits + set->low / WORD, 0,
               ((set->high + WORD - 1) / WORD - set->low / WORD) * sizeof(*set->bits));
    set->low = set->high = 0;
}

/* Twice as much as is wanted: the file grows. */
static int reserve(struct vhdx_room_set *set, uint64_t units)
{
    uint64_t words = units / WORD * 2 + 16;

    if (units <= set->words * WORD)
        return 0;
    uint64_t *bits = reallocarray(set->bits, words, sizeof(*bits));
    if (bits == NULL)
        return -ENOMEM;
    memset(bits + set->words, 0, (words - set->words) * sizeof(*bits));
    set->bits = bits;
    set->words = words;
    return 0;
}

int vhdx_room_init(struct vhdx_room *room, uint64_t units)
{
    *room = (struct vhdx_room){.units = units};
    return reserve(&room->used, units);
}

void vhdx_room_release_all(struct vhdx_room *room)
{
    free(room->used.bits);
    free(room->released.bits);
    free(room->committing.bits);
    *room = (struct vhdx_room){0};
}

int vhdx_room_take(struct vhdx_room *room, uint64_t first, uint64_t count)
{
    int error = reserve(&room->used, first + count);

    if (error < 0)
        return error;
    for (uint64_t unit = first; unit < first + count; unit++) {
        if (has(&room->used, unit))
            return -EEXIST;
    }
    set_run(&room->used, first, count);
    room->in_use += count;
    if (first + count > room->units)
        room->units = first + count;
    return 0;
}

int vhdx_room_find(struct vhdx_room *room, uint64_t count, uint64_t *ret_first)
{
    uint64_t start = count >= room->no_fit_count ? room->no_fit_below : 0;
    uint64_t free_run = 0;
    uint64_t unit = start;

    for (; unit < room->units && free_run < count; unit++) {
        if (unit % WORD == 0 && room->used.bits[unit / WORD] == UINT64_MAX) {
            unit += WORD - 1;
            free_run = 0;
            continue;
        }
        free_run = has(&room->used, unit) ? 0 : free_run + 1;
    }
    if (unit > room->units) /* a full word at the end */
        unit = room->units;
    *ret_first = unit - free_run;
    room->no_fit_count = count;
    room->no_fit_below = *ret_first;
    return reserve(&room->used, *ret_first + count);
}

int vhdx_room_release(struct vhdx_room *room, uint64_t first, uint64_t count)
{
    int error = reserve(&room->released, first + count);

    if (error < 0)
        return error;
    set_run(&room->released, first, count);
    return 0;
}

void vhdx_room_prepare(struct vhdx_room *room)
{
    struct vhdx_room_set empty = room->committing; /* the commit before has emptied it */

    room->committing = room->released;
    room->released = empty;
}

void vhdx_room_committed(struct vhdx_room *room)
{
    uint64_t first = 0;
    uint64_t count = 0;

    for (; vhdx_room_next_committing(room, &first, &count); first += count) {
        for (uint64_t unit = first; unit < first + count; unit++)
            room->used.bits[unit / WORD] &= ~(UINT64_C(1) << unit % WORD);
        room->in_use -= count;
        if (first < room->no_fit_below)
            room->no_fit_below = 0;
    }
    clear_all(&room->committing);
}

static bool next_run(const struct vhdx_room_set *set, uint64_t *first, uint64_t *ret_count)
{
    uint64_t unit = *first > set->low ? *first : set->low;

    while (unit < set->high && !has(set, unit))
        unit++;
    *first = unit;
    while (unit < set->high && has(set, unit))
        unit++;
    *ret_count = unit - *first;
    return *ret_count != 0;
}

bool vhdx_room_next_committing(const struct vhdx_room *room, uint64_t *first, uint64_t *ret_count)
{
    return next_run(&room->committing, first, ret_count);
}

bool vhdx_room_next_used(const struct vhdx_room *room, uint64_t *first, uint64_t *ret_count)
{
    return next_run(&room->used, first, ret_count);
}
