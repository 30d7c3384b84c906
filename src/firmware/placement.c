#include "firmware/placement.h"

#include <errno.h>

#include "firmware/area.h"

static uint64_t range_end(const struct mem_range *range)
{
    return range->gpa + range->size;
}

/* Sums do not wrap: whatever is asked for was found to be RAM before. */
static const struct mem_range *overlapped(const struct placement *placement, uint64_t gpa,
                                          uint64_t size)
{
    for (size_t i = 0; i < placement->count; i++) {
        const struct mem_range *taken = &placement->taken[i];
        if (gpa < range_end(taken) && taken->gpa < gpa + size)
            return taken;
    }
    return NULL;
}

static int note_taken(struct placement *placement, uint64_t gpa, uint64_t size)
{
    if (placement->count == PLACEMENT_MAX)
        return -ENOSPC;
    placement->taken[placement->count++] = (struct mem_range){.gpa = gpa, .size = size};
    return 0;
}

void placement_start(struct placement *placement, const struct mem *mem)
{
    placement->mem = mem;
    placement->count = 0;
    (void)note_taken(placement, 0, AREA_BIOS_DATA_END);
    (void)note_taken(placement, AREA_LOW_TOP, AREA_HIGH - AREA_LOW_TOP);
}

int placement_take(struct placement *placement, uint64_t gpa, uint64_t size)
{
    if (!mem_is_ram(placement->mem, gpa, size) || gpa + size > AREA_4_GIB)
        return -EFAULT;
    if (overlapped(placement, gpa, size) != NULL)
        return -EEXIST;
    return note_taken(placement, gpa, size);
}

/* The highest free place within one range of RAM, going down from each obstacle to the next. */
static int find_within(const struct placement *placement, const struct mem_range *ram,
                       uint64_t size, uint64_t alignment, uint64_t limit, uint64_t *ret_gpa)
{
    uint64_t top = range_end(ram) < limit ? range_end(ram) : limit;
    while (top > ram->gpa && top - ram->gpa >= size) {
        uint64_t gpa = (top - size) & ~(alignment - 1);
        if (gpa < ram->gpa)
            break;
        const struct mem_range *obstacle = overlapped(placement, gpa, size);
        if (obstacle == NULL) {
            *ret_gpa = gpa;
            return 0;
        }
        top = obstacle->gpa;
    }
    return -ENOMEM;
}

int placement_find(struct placement *placement, uint64_t size, uint64_t alignment, uint64_t limit,
                   uint64_t *ret_gpa)
{
    for (size_t i = mem_range_count(placement->mem); i-- > 0;) {
        struct mem_range ram = mem_range_at(placement->mem, i);
        uint64_t gpa;
        if (find_within(placement, &ram, size, alignment, limit, &gpa) < 0)
            continue;
        int r = note_taken(placement, gpa, size);
        if (r == 0)
            *ret_gpa = gpa;
        return r;
    }
    return -ENOMEM;
}
