/*
 * Inputs for the fuzz target of the software engine (src/engine/soft/run_fuzz.c): real code with
 * changes, instructions by their encoding, pieces that go between privilege levels, change code or
 * page tables, and mere bytes.
 */
#ifndef CODEFUZZ_GENERATE_H
#define CODEFUZZ_GENERATE_H

#include "tests/harness/rng.h"

enum { GENERATE_MAX = 10 + 1024 };

/* Real code to take pieces of; bytes may be NULL. */
struct generate_code {
    const uint8_t *bytes;
    size_t length;
};

/* The length of what is in `ret`. */
size_t generate_input(struct rng *rng, const struct generate_code *code, uint8_t ret[GENERATE_MAX]);

#endif
