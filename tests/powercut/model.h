/*
 * What a disk must hold: for each sector what was there at the last flush, and what was written
 * since. A sector is told by a number, the write's; 0 are zeroes.
 *
 * The sectors that are written lie in groups, one each `stride` bytes; what is between is never
 * written and reads as zeroes. With a wide stride a small model has a disk of many blocks.
 */
#ifndef TESTS_POWERCUT_MODEL_H
#define TESTS_POWERCUT_MODEL_H

#include "cut_host.h"

enum {
    MODEL_SECTOR = 512,
    MODEL_GROUP = 64, /* sectors */
    MODEL_SECTORS = (16 << 20) / MODEL_SECTOR,
    MODEL_DENSE = MODEL_GROUP * MODEL_SECTOR, /* the stride of a disk without gaps */
    MODEL_TEXT = 512,
};

enum model_mark {
    MARK_CREATE = 1, /* from here on there may be an image; value: its capacity */
    MARK_START,      /* and from here on there is one */
    MARK_CHANGE,     /* value: its index in the history */
    MARK_FLUSHED,    /* value: so many changes are durable */
    MARK_RESIZE,
    MARK_RESIZED,
};

struct model_change {
    uint32_t first, count, id;
};

/* The changes that a workload has made, in order; marks of the log point into them. */
struct model_history {
    struct model_change *changes;
    size_t count, room;
};

/* What was read from a disk. */
struct picture {
    uint64_t capacity;
    uint32_t ids[MODEL_SECTORS];
};

struct model {
    const struct model_history *history;
    uint64_t stride;
    uint32_t durable[MODEL_SECTORS];
    size_t flushed, begun; /* changes */
    uint64_t capacity, next_capacity;
    bool may_exist, exists;
};

/* Of model sector `sector`: its place on the disk. */
static inline uint64_t model_offset(uint64_t stride, uint32_t sector)
{
    return sector / MODEL_GROUP * stride + (uint64_t)(sector % MODEL_GROUP) * MODEL_SECTOR;
}
/* Sectors of the model that a disk of so many bytes has. */
uint32_t model_sectors(uint64_t stride, uint64_t capacity);

uint32_t model_add(struct model_history *history, uint32_t first, uint32_t count, bool zero);
/* A mark of the log has been reached. */
void model_follow(struct model *model, uint64_t what, uint64_t value);
/* Begin anew from what a disk holds, with another history. */
void model_restart(struct model *model, const struct model_history *history,
                   const struct picture *picture);

void model_fill(uint8_t *bytes, uint32_t sector, uint32_t id);

/* All of a disk; false: `text` says what no write of ours can have left. */
bool picture_take(struct picture *picture, struct disk *disk, uint64_t stride,
                  char text[MODEL_TEXT]);
/* May the disk hold this? False: `text` says what is wrong. */
bool model_allows(const struct model *model, const struct picture *picture, char text[MODEL_TEXT]);
/* Do two disks read alike? One may be larger, by zeroes. */
bool picture_equals(const struct picture *left, const struct picture *right, char text[MODEL_TEXT]);

#endif
