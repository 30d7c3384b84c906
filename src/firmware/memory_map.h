/* The memory map of the PC that every boot protocol hands on in its own shape (ACPI 6.3 § 15). */
#ifndef FIRMWARE_MEMORY_MAP_H
#define FIRMWARE_MEMORY_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "mem/mem.h"

enum memory_map_type {
    MEMORY_MAP_USABLE = 1,
    MEMORY_MAP_RESERVED = 2,
};

struct memory_map_entry {
    uint64_t gpa;
    uint64_t size;
    enum memory_map_type type;
};

enum { MEMORY_MAP_MAX = 6 };

struct memory_map {
    size_t count;
    struct memory_map_entry entry[MEMORY_MAP_MAX];
};

/* In ascending order, without overlaps. */
void memory_map_make(const struct mem *mem, struct memory_map *ret);

#endif
