/*
 * What prepare.c and prepare_branch.c share. Private to the two.
 */
#ifndef DIFFERENTIAL_PREPARE_H
#define DIFFERENTIAL_PREPARE_H

#include "build.h"

struct preparing {
    struct rng *rng;
    struct build *build;
    uint64_t target[2]; /* linear addresses of the first memory operands */
    unsigned targets;
};

/* The number of a general register, -1 for another kind. */
int preparing_gpr(ZydisRegister reg);
/* Set a register of the case; `gpr` may be -1. */
void preparing_set_gpr(struct preparing *p, int gpr, uint64_t value);
uint64_t preparing_next_rip(const struct build *build);
/* An address over the border of two pages, in a page that is not there, not canonical, … */
uint64_t preparing_odd_target(struct rng *rng, uint32_t size);
uint16_t preparing_selector(struct preparing *p);

void prepare_branch(struct preparing *p);

#endif
