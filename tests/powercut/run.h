/*
 * A workload as it runs: what is done to its disk is noted in the log of the host.
 *
 * Nothing of it may fail. If it does, the program ends with status 2; or, when the run has a text
 * for it, the reason is there, and what is called after that does nothing.
 */
#ifndef TESTS_POWERCUT_RUN_H
#define TESTS_POWERCUT_RUN_H

#include "workload.h"

enum {
    RUN_MIB = 1 << 20,
    RUN_MIB_SECTORS = RUN_MIB / MODEL_SECTOR,
    RUN_CAPACITY = 12 * RUN_MIB,
};

/* One extent of a write, as a queue carries it out: three steps, between which a commit may be. */
enum run_stage { RUN_IDLE, RUN_MAPPED, RUN_TRANSFERRED };

struct run_transfer {
    enum run_stage stage;
    uint32_t first, count; /* sectors of the model */
    struct file *file;
    uint64_t file_offset;
};

struct run {
    const struct workload *workload;
    struct cut_host host;
    struct model_history history;
    struct disk *disk;
    uint64_t seed, capacity;
    char *text; /* MODEL_TEXT bytes; NULL: end the program */
    bool failed;
    struct run_transfer transfer;
};

void run_must(struct run *run, int error, const struct reason *reason, const char *what);
void run_release(struct run *run);

void run_create(struct run *run, const char *image, enum image_kind kind, uint64_t capacity,
                const char *parent);
void run_open(struct run *run, const char *image);
void run_close(struct run *run);
/* From here on there is an image of which nothing may be lost. */
void run_start(struct run *run);

/* Sectors of the model. */
void run_write(struct run *run, uint32_t first, uint32_t count);
void run_unmap(struct run *run, uint32_t first, uint32_t count);
void run_flush(struct run *run);
/* As a queue does it: writes come and end while the commit is under way on another thread. */
void run_flush_with_writes(struct run *run);
/* Random writes, unmaps and flushes. */
void run_steps(struct run *run, unsigned count);
void run_resize(struct run *run, uint64_t capacity);
void run_compact(struct run *run);

#endif
