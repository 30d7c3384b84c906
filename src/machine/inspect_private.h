/* The page table walk of inspect.c, apart from a machine. */
#ifndef MACHINE_INSPECT_PRIVATE_H
#define MACHINE_INSPECT_PRIVATE_H

#include <stdint.h>

#include "engine/engine.h"
#include "mem/mem.h"

struct physical {
    uint64_t gpa;
    uint64_t left; /* bytes from here to the end of the page */
};

/* 0, or -EFAULT where the tables map nothing, leave RAM, or the address is not canonical. */
int linear_to_physical(const struct mem *mem, const struct engine_registers *registers,
                       uint64_t linear, struct physical *ret);

#endif
