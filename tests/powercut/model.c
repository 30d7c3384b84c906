#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t model_add(struct model_history *history, uint32_t first, uint32_t count, bool zero)
{
    if (history->count == history->room) {
        history->room = history->room * 2 + 64;
        history->changes = reallocarray(history->changes, history->room, sizeof(*history->changes));
        if (history->changes == NULL)
            abort();
    }
    uint32_t id = zero ? 0 : (uint32_t)history->count + 1;
    history->changes[history->count++] =
        (struct model_change){.first = first, .count = count, .id = id};
    return id;
}

static void settle(struct model *model, size_t end)
{
    for (; model->flushed < end; model->flushed++) {
        const struct model_change *change = &model->history->changes[model->flushed];
        for (uint32_t i = 0; i < change->count; i++)
            model->durable[change->first + i] = change->id;
    }
}

void model_settle(struct model *model)
{
    settle(model, model->begun);
    model->capacity = model->next_capacity;
}

void model_follow(struct model *model, uint64_t what, uint64_t value)
{
    switch ((enum model_mark)what) {
    case MARK_START:
        model->started = true;
        model->capacity = model->next_capacity = value;
        break;
    case MARK_CHANGE:
        model->begun = value + 1;
        break;
    case MARK_FLUSHED:
        settle(model, model->begun);
        break;
    case MARK_RESIZE:
        model->next_capacity = value;
        break;
    case MARK_RESIZED:
        model->capacity = model->next_capacity;
        break;
    }
}

void model_fill(uint8_t *bytes, uint32_t sector, uint32_t id)
{
    uint64_t word = id != 0 ? (uint64_t)id << 32 | sector : 0;

    for (unsigned i = 0; i < MODEL_SECTOR; i += sizeof(word))
        memcpy(bytes + i, &word, sizeof(word));
}

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

/* What the bytes of a sector say; false: no write of ours looks like that. */
static bool read_id(const uint8_t *bytes, uint32_t sector, uint32_t *ret)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    *ret = (uint32_t)(word >> 32);
    return memcmp(bytes, bytes + sizeof(word), MODEL_SECTOR - sizeof(word)) == 0 &&
           (word == 0 || (uint32_t)word == sector);
}

static bool verify_data(const struct model *model, struct disk *disk, uint32_t first,
                        uint32_t count, char *text, size_t size)
{
    enum { PIECE = 128 };
    uint8_t bytes[PIECE * MODEL_SECTOR];

    for (uint32_t at = 0; at < count; at += PIECE) {
        uint32_t piece = count - at < PIECE ? count - at : PIECE;
        if (disk_read(disk, bytes, (size_t)piece * MODEL_SECTOR,
                      (uint64_t)(first + at) * MODEL_SECTOR) != 0) {
            (void)snprintf(text, size, "sector %u cannot be read", first + at);
            return false;
        }
        for (uint32_t i = 0; i < piece; i++) {
            uint32_t sector = first + at + i;
            uint32_t id = 0;
            bool whole = read_id(bytes + (size_t)i * MODEL_SECTOR, sector, &id);
            if (whole && may_be(model, sector, id))
                continue;
            (void)snprintf(text, size, "sector %u holds %s%u, and %u was flushed", sector,
                           whole ? "" : "a mixture with ", id, model->durable[sector]);
            return false;
        }
    }
    return true;
}

static bool verify_hole(const struct model *model, uint32_t first, uint32_t count, char *text,
                        size_t size)
{
    for (uint32_t sector = first; sector < first + count && sector < MODEL_SECTORS; sector++) {
        if (may_be(model, sector, 0))
            continue;
        (void)snprintf(text, size, "sector %u is empty, and %u was flushed", sector,
                       model->durable[sector]);
        return false;
    }
    return true;
}

bool model_verify(const struct model *model, struct disk *disk, char *text, size_t size)
{
    uint64_t capacity = disk_geometry(disk)->capacity;

    if (capacity != model->capacity && capacity != model->next_capacity) {
        (void)snprintf(text, size, "it has %llu bytes", (unsigned long long)capacity);
        return false;
    }
    for (uint64_t offset = 0; offset < capacity;) {
        uint64_t end = 0;
        bool data = false;
        if (disk_extent(disk, offset, &end, &data) != 0) {
            (void)snprintf(text, size, "no extent at %llu", (unsigned long long)offset);
            return false;
        }
        uint32_t first = (uint32_t)(offset / MODEL_SECTOR);
        uint32_t count = (uint32_t)((end - offset) / MODEL_SECTOR);
        if (offset / MODEL_SECTOR >= MODEL_SECTORS)
            count = 0; /* a size that only the table has to bear */
        else if (count > MODEL_SECTORS - first)
            count = MODEL_SECTORS - first;
        if (!(data ? verify_data(model, disk, first, count, text, size)
                   : verify_hole(model, first, count, text, size)))
            return false;
        offset = end;
    }
    return true;
}
