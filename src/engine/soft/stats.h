/*
 * What the engine counts of its own work, for --engine-stats.
 *
 * A vCPU's counters belong to its thread; the code cache's are under its lock. Times are host TSC
 * ticks, and taken only when somebody will read them.
 */
#ifndef SOFT_STATS_H
#define SOFT_STATS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct soft_partition;

enum { STATS_EXITS = 16 }; /* of enum engine_exit_kind */

struct cpu_stats {
    bool timed;
    uint64_t entries;     /* into translated code, from the run loop */
    uint64_t blocks;      /* run by the interpreter */
    uint64_t handled;     /* instructions that handlers completed, in both */
    uint64_t interpreted; /* instructions of translated blocks that always are */
    uint64_t refused;     /* … whose check failed: TLB, vector units, jump table */
    uint64_t asked;       /* links not yet set, and addresses not in the jump table */
    uint64_t fills;       /* TLB misses that a page walk answered */
    uint64_t services;    /* looks at what is pending */
    uint64_t exits[STATS_EXITS];
    uint64_t in_run, in_translated, in_helpers, in_interpreter, in_translator;
};

struct code_stats {
    uint64_t decoded, translated, guest_bytes, host_bytes, links, far_links, invalidated, resets;
};

static inline uint64_t stats_now(const struct cpu_stats *stats)
{
    if (!stats->timed)
        return 0;
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* Add the time since `start` to *counter; 0 ticks when nothing is timed. */
static inline void stats_add(const struct cpu_stats *stats, uint64_t start, uint64_t *counter)
{
    if (stats->timed)
        *counter += stats_now(stats) - start;
}

void stats_sum(struct cpu_stats *sum, const struct cpu_stats *one);
/* Of all vCPUs that are gone. */
void stats_print(const struct soft_partition *partition, FILE *to);

#endif
