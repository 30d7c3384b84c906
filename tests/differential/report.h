/*
 * What the tester says: one case in full, and the sums of a run as TAP.
 */
#ifndef DIFFERENTIAL_REPORT_H
#define DIFFERENTIAL_REPORT_H

#include <stdio.h>

#include "build.h"
#include "compare.h"

/* Print a case with its state before and after, and what differs, as TAP diagnostics. */
void report_case(FILE *to, const struct build *build, const struct diff_result *native,
                 const struct diff_result *guest, const struct difference *difference);

/* "48 01 d8" and the assembler text of the case's first instruction. */
void report_instruction(const struct build *build, char *ret, size_t size);

#endif
