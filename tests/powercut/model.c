#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t model_sectors(uint64_t stride, uint64_t capacity)
{
    uint64_t groups = capacity / stride;
    uint64_t rest = capacity % stride / MODEL_SECTOR;
    uint64_t sectors = groups * MODEL_GROUP + (rest < MODEL_GROUP ? rest : MODEL_GROUP);

    return sectors < MODEL_SECTORS ? (uint32_t)sectors : (uint32_t)MODEL_SECTORS;
}

/* ---- what was done ---- */

uint32_t model_add(struct model_history *history, uint32_t first, uint32_t count, bool zero)
{
    static uint32_t last_id;

    if (history->count == history->room) {
        history->room = history->room * 2 + 64;
        history->changes =
            content_must(reallocarray(history->changes, history->room, sizeof(*history->changes)));
    }
    uint32_t id = zero ? 0 : ++last_id;
    history->changes[history->count++] =
        (struct model_change){.first = first, .count = count, .id = id};
    return id;
}

static void settle(struct model *model, uint64_t end)
{
    for (; model->flushed < end; model->flushed++) {
        const struct model_change *change = &model->history->changes[model->flushed];
        for (uint32_t i = 0; i < change->count; i++)
            model->durable[change->first + i] = change->id;
    }
}

void model_follow(struct model *model, uint64_t what, uint64_t value)
{
    switch ((enum model_mark)what) {
    case MARK_CREATE:
        model->may_exist = true;
        model->capacity = model->next_capacity = value;
        break;
    case MARK_START:
        model->may_exist = model->exists = true;
        break;
    case MARK_CHANGE:
        model->begun = value + 1;
        break;
    case MARK_FLUSHED:
        settle(model, value);
        break;
    case MARK_RESIZE:
        model->next_capacity = value;
        break;
    case MARK_RESIZED:
        model->capacity = model->next_capacity;
        break;
    }
}

void model_restart(struct model *model, const struct model_history *history,
                   const struct picture *picture)
{
    model->history = history;
    model->flushed = model->begun = 0;
    model->capacity = model->next_capacity = picture->capacity;
    model->may_exist = model->exists = true;
    memcpy(model->durable, picture->ids, sizeof(model->durable));
}

/* ---- what a disk holds ---- */

void model_fill(uint8_t *bytes, uint32_t sector, uint32_t id)
{
    uint64_t word = id != 0 ? (uint64_t)id << 32 | sector : 0;

    for (unsigned i = 0; i < MODEL_SECTOR; i += sizeof(word))
        memcpy(bytes + i, &word, sizeof(word));
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* One sector of the disk, at `offset`. */
static bool take_sector(struct picture *picture, const uint8_t *bytes, uint64_t offset,
                        uint64_t stride, char text[MODEL_TEXT])
{
    uint64_t within = offset % stride / MODEL_SECTOR;
    uint64_t sector = offset / stride * MODEL_GROUP + within;
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    bool whole = memcmp(bytes, bytes + sizeof(word), MODEL_SECTOR - sizeof(word)) == 0;
    bool ours = within < MODEL_GROUP && sector < MODEL_SECTORS && (uint32_t)word == sector;
    if (whole && word == 0)
        return true;
    if (whole && ours) {
        picture->ids[sector] = (uint32_t)(word >> 32);
        return true;
    }
    (void)snprintf(text, MODEL_TEXT, "byte %llu of the disk: %s, %#llx", (unsigned long long)offset,
                   whole ? "another sector's data" : "a mixture in one sector",
                   (unsigned long long)word);
    return false;
}

static bool take_data(struct picture *picture, struct disk *disk, uint64_t offset, uint64_t end,
                      uint64_t stride, char text[MODEL_TEXT])
{
    enum { PIECE = 1 << 16 };
    static uint8_t bytes[PIECE];

    for (; offset < end; offset += PIECE) {
        size_t length = end - offset < PIECE ? (size_t)(end - offset) : PIECE;
        int error = disk_read(disk, bytes, length, offset);
        if (error != 0) {
            (void)snprintf(text, MODEL_TEXT, "byte %llu of the disk cannot be read (%d)",
                           (unsigned long long)offset, error);
            return false;
        }
        if (is_zero(bytes, length))
            continue;
        for (size_t at = 0; at < length; at += MODEL_SECTOR) {
            if (!take_sector(picture, bytes + at, offset + at, stride, text))
                return false;
        }
    }
    return true;
}

bool picture_take(struct picture *picture, struct disk *disk, uint64_t stride,
                  char text[MODEL_TEXT])
{
    uint64_t capacity = disk_geometry(disk)->capacity;

    *picture = (struct picture){.capacity = capacity};
    for (uint64_t offset = 0; offset < capacity;) {
        uint64_t end = 0;
        bool data = false;
        int error = disk_extent(disk, offset, &end, &data);
        if (error != 0) {
            (void)snprintf(text, MODEL_TEXT, "no extent at byte %llu of the disk (%d)",
                           (unsigned long long)offset, error);
            return false;
        }
        if (data && !take_data(picture, disk, offset, end, stride, text))
            return false;
        offset = end;
    }
    return true;
}

/* ---- the comparison ---- */

static bool may_be(const struct model *model, uint32_t sector, uint32_t id)
{
    if (model->durable[sector] == id)
        return true;
    for (size_t i = model->flushed; i < model->begun; i++) {
        const struct model_change *change = &model->history->changes[i];
        if (change->id == id && sector >= change->first && sector - change->first < change->count)
            return true;
    }
    return false;
}

bool model_allows(const struct model *model, const struct picture *picture, char text[MODEL_TEXT])
{
    uint64_t capacity = picture->capacity;

    if (capacity != model->capacity && capacity != model->next_capacity) {
        (void)snprintf(text, MODEL_TEXT, "the disk has %llu bytes", (unsigned long long)capacity);
        return false;
    }
    uint32_t sectors = model_sectors(model->stride, capacity);
    for (uint32_t sector = 0; sector < sectors; sector++) {
        if (may_be(model, sector, picture->ids[sector]))
            continue;
        (void)snprintf(text, MODEL_TEXT, "byte %llu of the disk holds write %u, and %u was flushed",
                       (unsigned long long)model_offset(model->stride, sector),
                       picture->ids[sector], model->durable[sector]);
        return false;
    }
    return true;
}

bool picture_equals(const struct picture *left, const struct picture *right, char text[MODEL_TEXT])
{
    for (uint32_t sector = 0; sector < MODEL_SECTORS; sector++) {
        if (left->ids[sector] == right->ids[sector])
            continue;
        (void)snprintf(text, MODEL_TEXT, "sector %u of the model: write %u, and then %u", sector,
                       left->ids[sector], right->ids[sector]);
        return false;
    }
    return true;
}
