/*
 * What the vCPUs of one partition share inside the software engine.
 */
#ifndef SOFT_PARTITION_H
#define SOFT_PARTITION_H

#include <pthread.h>

#include "engine/soft/cpu.h"

struct code_cache;
struct lockstep;

/* A range made by engine map(): ROM or an overlay that is not RAM of the struct mem. */
struct soft_mapping {
    uint64_t gpa, size;
    uint8_t *host;
    bool writable;
};
enum { SOFT_MAX_MAPPINGS = 16 };

struct cpuid_entry {
    uint32_t leaf, subleaf;
    uint32_t eax, ebx, ecx, edx;
};
enum { SOFT_MAX_CPUID = 96 };

struct soft_partition {
    struct engine_config config;
    struct mem *mem;
    uint8_t *ram;                      /* mem_base */
    uint64_t ram_end;                  /* mem_limit */
    struct cpu *cpu[ENGINE_MAX_VCPUS]; /* index = APIC id; NULL until created */
    struct soft_mapping mapping[SOFT_MAX_MAPPINGS];
    size_t mapping_count;
    struct cpuid_entry cpuid[SOFT_MAX_CPUID]; /* made once by cpuid.c from host, level and engine */
    size_t cpuid_count;
    uint64_t xcr0_supported;
    uint32_t mxcsr_mask;
    unsigned physical_bits; /* MAXPHYADDR */
    uint64_t tsc_hz;
    struct code_cache *code;
    struct cpu_stats stats;     /* of the vCPUs that are gone */
    struct lockstep *lockstep;  /* with ENGINE_TRANSLATE_LOCKSTEP */
    _Atomic uint64_t epoch;     /* (a) see code.h */
    pthread_mutex_t split_lock; /* for locked accesses that cross a page */
    uint64_t *dirty;            /* one bit a page, NULL while not logging */
};

static inline void partition_mark_dirty(struct soft_partition *partition, uint64_t gpa)
{
    if (partition->dirty != NULL)
        (void)__atomic_fetch_or(&partition->dirty[gpa >> 18], UINT64_C(1) << ((gpa >> 12) & 63),
                                __ATOMIC_RELAXED);
}

/* cpuid.c */
int cpuid_build(struct soft_partition *partition, struct reason *reason);
#endif
