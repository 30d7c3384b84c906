/*
 * Copying a disk: what is zero is not written, so that sparse stays sparse. A thread reads ahead
 * and looks for zeroes while the caller's writes, so that each disk is one thread's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk_private.h"

enum { PIECE = 1 << 20, GRAIN = 1 << 16, GRAINS = PIECE / GRAIN, AHEAD = 4 };

struct piece {
    uint8_t *bytes;
    uint64_t offset, end; /* the end within `from` */
    size_t length;        /* whole sectors of `to`; 0: a hole up to the end */
    bool zero[GRAINS];
};

struct copy {
    struct disk *from, *to;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct piece pieces[AHEAD];
    uint64_t read, written; /* pieces, since the beginning */
    int error;              /* of reading */
    bool ended, given_up;   /* nothing more comes; nothing more is wanted */
};

/* ---- the reader's thread ---- */

/* The next piece to fill; NULL: given up. */
static struct piece *wait_for_room(struct copy *copy)
{
    (void)pthread_mutex_lock(&copy->lock);
    while (copy->read - copy->written == AHEAD && !copy->given_up)
        (void)pthread_cond_wait(&copy->changed, &copy->lock);
    struct piece *piece = copy->given_up ? NULL : &copy->pieces[copy->read % AHEAD];
    (void)pthread_mutex_unlock(&copy->lock);
    return piece;
}

static void hand_over(struct copy *copy)
{
    (void)pthread_mutex_lock(&copy->lock);
    copy->read++;
    (void)pthread_cond_signal(&copy->changed);
    (void)pthread_mutex_unlock(&copy->lock);
}

static int read_data(const struct copy *copy, struct piece *piece)
{
    uint64_t sector = disk_geometry(copy->to)->logical_sector;
    size_t there = (size_t)(piece->end - piece->offset);

    int error = disk_read(copy->from, piece->bytes, there, piece->offset);
    if (error < 0)
        return error;
    piece->length = (there + sector - 1) & ~(size_t)(sector - 1);
    memset(piece->bytes + there, 0, piece->length - there); /* only behind the end of `from` */
    for (size_t at = 0; at < piece->length; at += GRAIN) {
        size_t grain = piece->length - at < GRAIN ? piece->length - at : GRAIN;
        piece->zero[at / GRAIN] = disk_is_zero(piece->bytes + at, grain);
    }
    return 0;
}

/* The end of the piece at `offset`: it ends on a multiple of PIECE, or with the disk. */
static uint64_t piece_end(uint64_t offset, uint64_t capacity)
{
    uint64_t end = (offset | (PIECE - 1)) + 1;
    return end < capacity ? end : capacity;
}

static int read_piece(const struct copy *copy, struct piece *piece, uint64_t offset)
{
    uint64_t capacity = disk_geometry(copy->from)->capacity;
    uint64_t end = 0;
    bool data = true;
    int error = disk_extent(copy->from, offset, &end, &data);

    if (error < 0)
        return error;
    piece->offset = offset;
    piece->end = piece_end(offset, capacity);
    piece->length = 0;
    if (data || end < piece->end)
        return read_data(copy, piece);
    piece->end = end == capacity ? end : end & ~(uint64_t)(PIECE - 1);
    return 0;
}

static void *read_all(void *owner)
{
    struct copy *copy = owner;
    uint64_t capacity = disk_geometry(copy->from)->capacity;
    int error = 0;

    for (uint64_t offset = 0; error == 0 && offset < capacity;) {
        struct piece *piece = wait_for_room(copy);
        if (piece == NULL)
            break;
        error = read_piece(copy, piece, offset);
        offset = piece->end;
        if (error == 0)
            hand_over(copy);
    }
    (void)pthread_mutex_lock(&copy->lock);
    copy->error = error;
    copy->ended = true;
    (void)pthread_cond_signal(&copy->changed);
    (void)pthread_mutex_unlock(&copy->lock);
    return NULL;
}

/* ---- the writer's ---- */

static const struct piece *wait_for_piece(struct copy *copy)
{
    (void)pthread_mutex_lock(&copy->lock);
    while (copy->read == copy->written && !copy->ended)
        (void)pthread_cond_wait(&copy->changed, &copy->lock);
    const struct piece *piece =
        copy->read != copy->written ? &copy->pieces[copy->written % AHEAD] : NULL;
    (void)pthread_mutex_unlock(&copy->lock);
    return piece;
}

static void give_back(struct copy *copy)
{
    (void)pthread_mutex_lock(&copy->lock);
    copy->written++;
    (void)pthread_cond_signal(&copy->changed);
    (void)pthread_mutex_unlock(&copy->lock);
}

/* Write the runs of grains that are not zero. */
static int write_data(struct disk *to, const struct piece *piece)
{
    for (size_t at = 0; at < piece->length;) {
        size_t end = at;
        while (end < piece->length && !piece->zero[end / GRAIN])
            end = end + GRAIN < piece->length ? end + GRAIN : piece->length;
        int error = end > at ? disk_write(to, piece->bytes + at, end - at, piece->offset + at) : 0;
        if (error < 0)
            return error;
        at = end > at ? end : at + GRAIN;
    }
    return 0;
}

static int write_all(struct copy *copy, disk_progress_fn progress, void *owner)
{
    uint64_t capacity = disk_geometry(copy->from)->capacity;
    const struct piece *piece = NULL;
    int error = 0;

    while (error == 0 && (piece = wait_for_piece(copy)) != NULL) {
        error = write_data(copy->to, piece);
        if (error == 0)
            error = progress(owner, piece->end, capacity);
        give_back(copy);
    }
    return error;
}

static int run(struct copy *copy, disk_progress_fn progress, void *owner)
{
    pthread_t reader;
    int error = -pthread_create(&reader, NULL, read_all, copy);

    if (error < 0)
        return error;
    error = write_all(copy, progress, owner);
    (void)pthread_mutex_lock(&copy->lock);
    copy->given_up = true;
    (void)pthread_cond_signal(&copy->changed);
    (void)pthread_mutex_unlock(&copy->lock);
    (void)pthread_join(reader, NULL);
    return error < 0 ? error : copy->error;
}

int disk_copy(struct disk *from, struct disk *to, disk_progress_fn progress, void *owner)
{
    struct copy copy = {.from = from,
                        .to = to,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER};

    if (disk_geometry(to)->capacity < disk_geometry(from)->capacity)
        return -ENOSPC;
    uint8_t *buffers = malloc((size_t)AHEAD * PIECE);
    if (buffers == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < AHEAD; i++)
        copy.pieces[i].bytes = buffers + (size_t)i * PIECE;
    int error = run(&copy, progress, owner);
    free(buffers);
    return error;
}
