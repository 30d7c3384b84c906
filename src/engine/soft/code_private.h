/* The code cache, as its two halves see it: code.c finds blocks, code_build.c makes them. */
#ifndef SOFT_CODE_PRIVATE_H
#define SOFT_CODE_PRIVATE_H

#include "engine/soft/code.h"
#include "engine/soft/partition.h"

struct decoder;
struct translator;

enum {
    HASH_BITS = 16,
    HASH_SIZE = 1 << HASH_BITS,
};

/* One entry of the list of blocks that a page has bytes of; the last may be `page_link_end`. */
struct page_link {
    struct block *block; /* NULL: the end of a list that began anew in a marked page */
    struct page_link *next;
};

typedef int (*code_enter)(struct cpu *cpu, const uint8_t *entry);

struct code_cache {
    pthread_mutex_t lock;
    struct soft_partition *partition;
    struct decoder *decoder;
    struct translator *translator; /* NULL: all is interpreted */
    code_enter enter;              /* into translated code; a step */
    const uint8_t *leave;          /* where it goes to come back */
    uint8_t *arena;
    size_t arena_used, arena_size;
    size_t host_size; /* of translated code */
    bool resetting;
    uint64_t page_count;
    struct page_link *_Atomic *pages; /* by guest page number; NULL = not marked */
    uint8_t *idle;                    /* writes to a marked page since it had its last block */
    _Atomic uint64_t generation;      /* counts arena resets */
    struct code_stats stats;
    struct block *_Atomic hash[HASH_SIZE];
};

/* Where the code at cpu->rip lies. */
struct fetch {
    uint64_t rip, gpa;
    uint64_t anchor; /* block.rip of its block */
    uint32_t mode;
    const uint8_t *host;
    unsigned room; /* bytes left in the page */
};

/*
 * Libraries are mapped anywhere, and mostly more than once. Not at the top: a branch from there may
 * lead out of the canonical range. Nor below 4 GiB: programs there are linked to their addresses;
 * but in page 0, where an anchored block would have the key of a floating one.
 */
static inline bool code_floats(uint64_t rip, uint32_t mode)
{
    enum { ANYWHERE = MODE_LONG | MODE_USER };
    uint64_t low = UINT64_C(1) << 32;
    uint64_t high = (UINT64_C(1) << 47) - low;
    bool far = (rip >= low && rip < high) || rip < MEM_PAGE_SIZE;
    return (mode & ANYWHERE) == ANYWHERE && far;
}

static inline unsigned code_hash(uint64_t gpa, uint64_t rip, uint32_t mode)
{
    uint64_t h = (gpa ^ (rip >> 12) ^ ((uint64_t)mode << 24)) * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned)(h >> (64 - HASH_BITS));
}

/* code.c; no lock */
struct block *code_lookup(struct code_cache *code, uint64_t gpa, uint64_t rip, uint32_t mode);
bool code_all_have_seen(struct soft_partition *partition, uint64_t epoch);
int code_fetch_page(struct cpu *cpu, uint64_t linear, uint64_t *ret_gpa);
uint64_t code_fetch_linear(const struct cpu *cpu, uint64_t rip);

/* code_build.c; under the lock: memory that lasts until the arena is reset, or NULL */
void *code_arena_take(struct code_cache *code, size_t size);
/* A new epoch: the others hear of it at their next block end, a sleeping one when it wakes. `self`
 * is on this thread and passes it at once; NULL: this is no vCPU's thread. */
void code_begin_epoch(struct soft_partition *partition, struct cpu *self);
/* Let the arena be reset when the next block is built. */
void code_arena_exhaust(struct code_cache *code);

/* code_reset.c; without the lock: the arena is full, begin anew, or wait for who does */
void code_reset(struct cpu *cpu);

/* code_build.c; gates: they start with fpu_leave */
int code_build(struct cpu *cpu, const struct fetch *fetch, struct block **ret);
void code_retire(struct cpu *cpu, struct block *block);
/* The bytes in memory are still those that were decoded. */
bool code_matches(struct cpu *cpu, const struct block *block);

#endif
