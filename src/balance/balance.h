/*
 * How the memory of a host is shared among partitions: a function of numbers, without state.
 *
 * It promises, for sizes and targets in bytes:
 * 1. minimum <= target <= maximum, always.
 * 2. The targets fit into the budget when what the partitions have fits into it, each within its
 *    bounds; else they are no more than that, and become less with each call until they fit or all
 *    are at their minimum.
 * 3. Of two partitions that differ in weight alone, the heavier gets no less.
 * 4. What one needs now comes before what another would like to have in reserve.
 * 5. A target is a bounded step from what the partition has; a small change is none. Once each
 *    target is what its partition has, the same call gives the same targets.
 */
#ifndef BALANCE_BALANCE_H
#define BALANCE_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BALANCE_LEAST_BUFFER = 5, /* percent */
    BALANCE_MOST_BUFFER = 2000,
    BALANCE_MOST_WEIGHT = 10000,
    BALANCE_MOST_PARTITIONS = 1024,
};
#define BALANCE_MOST_BYTES (UINT64_C(1) << 50)

struct balance_partition {
    uint64_t minimum, maximum; /* minimum <= maximum <= BALANCE_MOST_BYTES */
    uint64_t current;          /* what it has */
    bool reported;             /* else it keeps what it has */
    uint64_t demand;           /* what it uses */
    unsigned buffer;           /* percent of its demand that it is to have in reserve */
    unsigned weight;           /* from 1 on */
};

/* A target for each. -EINVAL: a partition is not as above; -ENOMEM. */
int balance(uint64_t budget, const struct balance_partition *partitions, size_t count,
            uint64_t *ret_targets);

#endif
