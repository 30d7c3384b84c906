/*
 * Seeded pseudo-random numbers (splitmix64, by S. Vigna, public domain algorithm): the same seed
 * gives the same cases on every host.
 */
#ifndef TESTS_HARNESS_RNG_H
#define TESTS_HARNESS_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A generator of its own for the thing numbered `index`. */
static inline struct rng rng_fork(uint64_t seed, uint64_t index)
{
    struct rng rng = {.state = seed ^ index * UINT64_C(0xd1342543de82ef95)};
    rng.state = rng_next(&rng);
    return rng;
}

/* 0 … limit-1 */
static inline uint32_t rng_below(struct rng *rng, uint32_t limit)
{
    return (uint32_t)((rng_next(rng) >> 32) * limit >> 32);
}

static inline bool rng_percent(struct rng *rng, uint32_t percent)
{
    return rng_below(rng, 100) < percent;
}

static inline void rng_fill(struct rng *rng, uint8_t *to, size_t length)
{
    for (size_t i = 0; i < length; i += 8) {
        uint64_t value = rng_next(rng);
        memcpy(to + i, &value, length - i < 8 ? length - i : 8);
    }
}

#endif
