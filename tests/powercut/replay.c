#include "replay.h"

#include <stdlib.h>

void replay_init(struct replay *replay, const struct cut_host *host, const struct cut_host *base)
{
    *replay = (struct replay){.recorded = host};
    for (unsigned i = 0; i < CUT_FILES; i++) {
        if (base != NULL && i < base->count)
            content_clone(cut_host_content(base, i), &replay->durable[i]);
        else
            content_init(&replay->durable[i]);
    }
}

void replay_release(struct replay *replay)
{
    for (unsigned i = 0; i < CUT_FILES; i++)
        content_release(&replay->durable[i]);
    free(replay->pending);
}

static void apply(struct content *content, const struct cut_event *event)
{
    if (event->kind == CUT_WRITE)
        content_write(content, event->bytes, event->length, event->offset);
    else if (event->kind == CUT_TRUNCATE)
        content_truncate(content, event->offset);
    else if (event->kind == CUT_PUNCH)
        content_punch(content, event->offset, event->length);
}

/* What is pending for a file is durable now. */
static void flush_pending(struct replay *replay, unsigned file)
{
    size_t kept = 0;

    for (size_t i = 0; i < replay->pending_count; i++) {
        const struct cut_event *event = &replay->recorded->log.events[replay->pending[i]];
        if (event->file == file)
            apply(&replay->durable[file], event);
        else
            replay->pending[kept++] = replay->pending[i];
    }
    replay->pending_count = kept;
}

void replay_step(struct replay *replay)
{
    const struct cut_event *event = &replay->recorded->log.events[replay->at];

    if (event->kind == CUT_FLUSH) {
        replay->flushes++;
        if (replay->forget_flush == 0 || replay->flushes % replay->forget_flush != 0)
            flush_pending(replay, event->file);
    } else if (event->kind != CUT_MARK) {
        if (replay->pending_count == replay->pending_room) {
            replay->pending_room = replay->pending_room * 2 + 64;
            replay->pending = content_must(
                reallocarray(replay->pending, replay->pending_room, sizeof(*replay->pending)));
        }
        replay->pending[replay->pending_count++] = replay->at;
    }
    replay->at++;
}

/* Each sector of a write reaches the medium, or not. */
static void apply_torn(struct content *content, const struct cut_event *event, uint64_t sector,
                       uint64_t *seed)
{
    for (uint64_t at = 0; at < event->length;) {
        uint64_t left = sector - (event->offset + at) % sector;
        uint64_t piece = event->length - at < left ? event->length - at : left;
        if (cut_random(seed, 2) == 0)
            content_write(content, event->bytes + at, piece, event->offset + at);
        at += piece;
    }
}

/* Is change `index` of those that are pending lost? `chosen`: the one of LOSE_ONE and KEEP_ONE. */
static bool is_lost(enum replay_loss loss, size_t index, size_t chosen, uint64_t *seed)
{
    switch (loss) {
    case REPLAY_LOSE_NOTHING:
        return false;
    case REPLAY_LOSE_ALL:
        return true;
    case REPLAY_LOSE_ONE:
        return index == chosen;
    case REPLAY_KEEP_ONE:
        return index != chosen;
    case REPLAY_LOSE_SOME:
    case REPLAY_TEAR:
    case REPLAY_TEAR_COARSE:
        break;
    }
    return cut_random(seed, 2) == 0;
}

void replay_cut(const struct replay *replay, enum replay_loss loss, uint64_t *seed,
                struct cut_host *ret)
{
    enum { FINE = 512, COARSE = 4096 };
    size_t chosen = replay->pending_count != 0 ? cut_random(seed, replay->pending_count) : 0;
    uint64_t sector = loss == REPLAY_TEAR ? FINE : loss == REPLAY_TEAR_COARSE ? COARSE : 0;

    cut_host_init(ret);
    for (unsigned i = 0; i < replay->recorded->count; i++)
        content_clone(&replay->durable[i], cut_host_add(ret, cut_host_name(replay->recorded, i)));
    for (size_t i = 0; i < replay->pending_count; i++) {
        const struct cut_event *event = &replay->recorded->log.events[replay->pending[i]];
        struct content *content = cut_host_content(ret, event->file);
        if (is_lost(loss, i, chosen, seed))
            continue;
        if (sector != 0 && event->kind == CUT_WRITE)
            apply_torn(content, event, sector, seed);
        else
            apply(content, event);
    }
}
