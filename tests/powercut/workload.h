/* What is done to images before the power is cut. */
#ifndef TESTS_POWERCUT_WORKLOAD_H
#define TESTS_POWERCUT_WORKLOAD_H

#include "model.h"
#include "toy.h"

struct run;

struct script {
    const char *name;
    void (*perform)(struct run *run); /* from nothing to closed images */
    const char *top;                  /* the image that is looked at after the cut: no suffix */
    const char *merged;               /* it was merged into that one; NULL: not */
    unsigned levels;
    bool creates;     /* it is cut before run_start() too: there may be no image yet */
    unsigned formats; /* a bit for each that has such images */
    unsigned align;   /* sectors of the model in a logical one; 0: 1 */
    uint64_t stride;  /* 0: MODEL_DENSE */
};

extern const struct script scripts[];
extern const unsigned script_count;
extern const struct script toy_script;

/* A script with a format. */
struct workload {
    const struct script *script;
    enum image_format format;
    enum toy_fault toy; /* TOY_NONE: the format is a real one */
};

void workload_name(const struct workload *workload, char ret[CUT_NAME]);
uint64_t workload_stride(const struct workload *workload);
/* Of the image `image`: with its suffix. */
void workload_path(const struct workload *workload, const char *image, char ret[CUT_NAME]);
int workload_open(const struct workload *workload, struct disk_host *host, const char *image,
                  unsigned flags, struct disk **ret, struct reason *reason);
int workload_check(const struct workload *workload, struct disk_host *host, const char *path,
                   bool repair, struct image_check *check);
int workload_merge(const struct workload *workload, struct disk_host *host, struct reason *reason);

#endif
