/* What a block's two runs are compared by. */
#ifndef SOFT_LOCKSTEP_PRIVATE_H
#define SOFT_LOCKSTEP_PRIVATE_H

#include "engine/soft/lockstep.h"

/* All of a vCPU that instructions of a translation, interpreted or not, can change. */
struct lockstep_state {
    int step;
    uint64_t gpr[GPR_COUNT];
    uint64_t rip, flags;
    uint64_t gs_base, kernel_gs_base;
    uint64_t debug_trap;
    struct fault fault;
    uint8_t shadow;
    _Alignas(64) uint8_t xsave[ENGINE_XSAVE_SIZE];
};

/* Bytes that an instruction may write: before it, and as the interpreter left them. */
enum { RANGE_SIZE = 64, MAX_RANGES = 512 };
struct lockstep_range {
    uint8_t *host;
    uint64_t linear;
    unsigned size;
    uint8_t before[RANGE_SIZE], after[RANGE_SIZE];
};

struct lockstep {
    bool vectors;
    struct lockstep_state start, interpreted, translated;
    struct lockstep_range range[MAX_RANGES];
    unsigned range_count;
    uint64_t runs, again; /* blocks compared; and how often once more */
};

#endif
