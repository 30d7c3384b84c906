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
enum { RANGE_SIZE = 64, MAX_RANGES = 2048 };
struct lockstep_range {
    uint8_t *host;
    uint64_t linear;
    unsigned size;
    uint64_t changed; /* which of them the instruction changed: no device's writes are taken back */
    uint8_t before[RANGE_SIZE], after[RANGE_SIZE];
};

/* What translated code had made of the registers when it called for the interpreter. */
enum { MAX_NOTES = 64 };
struct lockstep_note {
    unsigned done; /* instructions, since the chain began */
    bool flags_dead;
    uint64_t gpr[GPR_COUNT];
    uint64_t rip, flags;
};

/* Blocks that translated code goes through without coming back: see lockstep_chain.c. */
struct lockstep_chain {
    uint64_t random;  /* 0: none are made, each block is compared by itself */
    bool running;     /* translated, one of the host's instructions at a time */
    unsigned skip;    /* blocks to interpret until the next */
    unsigned done;    /* instructions of the guest that have begun, or completed once C runs */
    unsigned steps;   /* instructions of the host until something is pending; then 0 */
    bool interrupted; /* that came to be */
    struct lockstep_note note[MAX_NOTES];
    unsigned note_count;
    uint64_t compared, instructions, notes, stopped, faults, uncompared;
};

struct lockstep {
    bool vectors;
    struct lockstep_state start, interpreted, translated;
    struct lockstep_range range[MAX_RANGES];
    unsigned range_count;
    uint64_t last_start;  /* RIP of the block that the interpreter was in last */
    uint64_t runs, again; /* blocks compared; and how often once more */
    struct lockstep_chain chain;
};

/* ---- lockstep.c ---- */

void lockstep_save(struct cpu *cpu, int step, struct lockstep_state *ret, bool vectors);
void lockstep_restore(struct cpu *cpu, const struct lockstep_state *state, bool vectors);
bool lockstep_differs(const void *a, const void *b, size_t size);
/* Keep what the instruction may write; then what it did change of that, from range `first` on. */
void lockstep_record(struct cpu *cpu, const struct op *op);
void lockstep_note_changes(struct lockstep *lockstep, unsigned first);
/* Memory as it is now is what the other run has to leave. */
void lockstep_keep_after(struct lockstep *lockstep);
void lockstep_take_back(struct lockstep *lockstep);
/* Both states, and memory with what was kept; they stopped in or behind `block`. */
bool lockstep_is_same(const struct lockstep *lockstep, const struct block *block);

/* ---- lockstep_chain.c ---- */

int lockstep_run_chain(struct cpu *cpu, struct translation *translation);
/* Whose translated code is stepped; NULL: nobody's. Signal-safe. */
struct cpu *lockstep_watched(void);

/* ---- lockstep_trap.c ---- */

int lockstep_install_trap(void);

#endif
