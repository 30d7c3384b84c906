/*
 * Values worth trying: edges of integers and of floating point, plausible processor state, and the
 * contents of the data pages.
 */
#ifndef DIFFERENTIAL_VALUES_H
#define DIFFERENTIAL_VALUES_H

#include "layout.h"
#include "tests/harness/rng.h"

/* Where in the data pages (from DIFF_RW0) lie images that XRSTOR, FXRSTOR and FRSTOR accept. */
enum { VALUES_IMAGES = 4, VALUES_IMAGE_FIRST = 0x400, VALUES_IMAGE_STEP = 0x340 };

uint64_t values_integer(struct rng *rng);
uint32_t values_mxcsr(struct rng *rng);
uint16_t values_fpu_control(struct rng *rng);
void values_vector(struct rng *rng, uint8_t *to, size_t length);
/* An XSAVE area of DIFF_XSAVE_SIZE bytes, standard format. */
void values_xsave(struct rng *rng, uint8_t *to);
/* The DIFF_DATA_SIZE bytes that the data pages hold before each case of a batch. */
void values_data(struct rng *rng, uint8_t *to);
/* The whole register state except what addresses operands. */
void values_state(struct rng *rng, enum diff_mode mode, bool has_ldt, struct diff_state *ret);

#endif
