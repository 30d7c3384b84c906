/*
 * What a disk must hold: for each sector what was there at the last flush, and what was written
 * since. A sector is told by a number, the write's; 0 are zeroes.
 */
#ifndef TESTS_POWERCUT_MODEL_H
#define TESTS_POWERCUT_MODEL_H

#include "cut_host.h"

enum { MODEL_SECTOR = 512, MODEL_SECTORS = (16 << 20) / MODEL_SECTOR };

enum model_mark { MARK_START = 1, MARK_CHANGE, MARK_FLUSHED, MARK_RESIZE, MARK_RESIZED };

struct model_change {
    uint32_t first, count, id;
};

/* The changes that a workload has made, in order; marks of the log point into them. */
struct model_history {
    struct model_change *changes;
    size_t count, room;
};

struct model {
    const struct model_history *history;
    uint32_t durable[MODEL_SECTORS];
    size_t flushed, begun; /* changes */
    uint64_t capacity, next_capacity;
    bool started;
};

uint32_t model_add(struct model_history *history, uint32_t first, uint32_t count, bool zero);
/* A mark of the log has been reached. */
void model_follow(struct model *model, uint64_t what, uint64_t value);
/* All that was begun is durable: how a run that was not cut ends. */
void model_settle(struct model *model);

void model_fill(uint8_t *bytes, uint32_t sector, uint32_t id);
/* Does the disk hold what it may? False: `text` says what is wrong. */
bool model_verify(const struct model *model, struct disk *disk, char *text, size_t size);

#endif
