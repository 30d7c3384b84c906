#include "firmware/memory_map.h"

#include "firmware/area.h"

static void add(struct memory_map *map, uint64_t gpa, uint64_t end, enum memory_map_type type)
{
    if (end <= gpa)
        return;
    map->entry[map->count++] =
        (struct memory_map_entry){.gpa = gpa, .size = end - gpa, .type = type};
}

/*
 * 0xa0000–0xdffff is left out: on a PC it is VGA and option ROMs, and a guest that looks there must
 * not be told that it is memory.
 */
void memory_map_make(const struct mem *mem, struct memory_map *ret)
{
    ret->count = 0;
    add(ret, 0, AREA_LOW_TOP, MEMORY_MAP_USABLE);
    add(ret, AREA_LOW_TOP, AREA_LOW_END, MEMORY_MAP_RESERVED);
    add(ret, AREA_ACPI, AREA_HIGH, MEMORY_MAP_RESERVED);
    for (size_t i = 0; i < mem_range_count(mem); i++) {
        struct mem_range ram = mem_range_at(mem, i);
        uint64_t from = ram.gpa < AREA_HIGH ? AREA_HIGH : ram.gpa;
        add(ret, from, ram.gpa + ram.size, MEMORY_MAP_USABLE);
    }
}
