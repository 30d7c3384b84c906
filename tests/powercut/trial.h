/*
 * One cut of a workload, in several ways, and what is looked at after each:
 *
 * 1. A reader and a writer open the image and see the same; every sector is as it was flushed, or
 *    as it was written since; the check of the format finds no damage in any of the images.
 * 2. Life goes on: the image is opened, changed and closed once more (a merge is made again), and
 *    holds exactly what it must.
 * 3. That, with the recovery at its beginning, is cut too, and looked at in the same way.
 */
#ifndef TESTS_POWERCUT_TRIAL_H
#define TESTS_POWERCUT_TRIAL_H

#include "replay.h"
#include "workload.h"

struct trial_counts {
    unsigned long cuts, subsets, sequels, second_cuts, failures;
};

struct trial {
    const struct workload *workload;
    const struct model *model;
    const struct replay *replay;
    struct trial_counts *counts;
    uint64_t seed; /* that of the options */
    bool all, quiet;
};

/* Ways to cut, by number. */
unsigned trial_ways(void);
/* Cut where the replay is; a failure is printed and counted. */
void trial_cut(const struct trial *trial, unsigned way);

#endif
