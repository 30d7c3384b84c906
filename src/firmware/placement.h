/*
 * Which guest-physical addresses a boot has given away.
 *
 * An image says where its parts must lie: these are taken first, and refused when they are not free
 * RAM. What may lie anywhere (parameters, tables, initrd, modules) is then found room for in what
 * is left, so no image can collide with what the loader itself writes.
 */
#ifndef FIRMWARE_PLACEMENT_H
#define FIRMWARE_PLACEMENT_H

#include <stddef.h>
#include <stdint.h>

#include "mem/mem.h"

enum { PLACEMENT_MAX = 96 };

struct placement {
    const struct mem *mem;
    size_t count;
    struct mem_range taken[PLACEMENT_MAX];
};

/* Nothing taken but the BIOS data and 0x9fc00–0xfffff. */
void placement_start(struct placement *placement, const struct mem *mem);

/* 0, -EFAULT: not RAM below 4 GiB, -EEXIST: taken, -ENOSPC: too many parts. */
int placement_take(struct placement *placement, uint64_t gpa, uint64_t size);

/*
 * Take the highest free `size` bytes that end at or below `limit`; `alignment` is a power of two.
 * 0, -ENOMEM: no room, -ENOSPC.
 */
int placement_find(struct placement *placement, uint64_t size, uint64_t alignment, uint64_t limit,
                   uint64_t *ret_gpa);

#endif
