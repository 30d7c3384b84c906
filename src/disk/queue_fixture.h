/*
 * For tests of the queue: a format with small extents that checks what it is asked, and a file that
 * lets transfers end when the test says so.
 */
#ifndef DISK_QUEUE_FIXTURE_H
#define DISK_QUEUE_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk_private.h"
#include "disk/queue.h"

/* ---- something that threads wait for ---- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;
    unsigned waiting;
};

static inline void gate_init(struct gate *gate)
{
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_cond_init(&gate->changed, NULL);
    gate->closed = false;
    gate->waiting = 0;
}

static inline void gate_set(struct gate *gate, bool closed)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->closed = closed;
    (void)pthread_cond_broadcast(&gate->changed);
    (void)pthread_mutex_unlock(&gate->lock);
}

static inline void gate_pass(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    (void)pthread_cond_broadcast(&gate->changed);
    while (gate->closed)
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    gate->waiting--;
    (void)pthread_mutex_unlock(&gate->lock);
}

/* Until so many threads stand before it. */
static inline void gate_await(struct gate *gate, unsigned waiting)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (gate->waiting < waiting)
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    (void)pthread_mutex_unlock(&gate->lock);
}

/* ---- files ---- */

enum { FAKE_SECTOR = 512, FAKE_BLOCK = 4096, FAKE_BLOCKS = 256, FAKE_PLACES = 1024 };
enum { FAKE_CAPACITY = FAKE_BLOCK * FAKE_BLOCKS, FAKE_FILE = FAKE_BLOCK * FAKE_PLACES };

/* In memory; or, with a descriptor, by that alone. */
struct gated_file {
    struct file file; /* first */
    struct gate gate;
    int fd;
    int fail;
    uint8_t *bytes;
};

static inline struct gated_file *gated_of(struct file *file)
{
    return (struct gated_file *)(void *)file;
}

static int gated_read(struct file *file, void *bytes, size_t length, uint64_t offset)
{
    gate_pass(&gated_of(file)->gate);
    memcpy(bytes, gated_of(file)->bytes + offset, length);
    return gated_of(file)->fail;
}

static int gated_write(struct file *file, const void *bytes, size_t length, uint64_t offset)
{
    gate_pass(&gated_of(file)->gate);
    if (gated_of(file)->fail == 0)
        memcpy(gated_of(file)->bytes + offset, bytes, length);
    return gated_of(file)->fail;
}

static int gated_descriptor(struct file *file)
{
    return gated_of(file)->fd;
}

static void gated_close(struct file *file)
{
    free(gated_of(file)->bytes);
    free(gated_of(file));
}

static const struct file_ops gated_ops = {
    .read = gated_read,
    .write = gated_write,
    .descriptor = gated_descriptor,
    .close = gated_close,
};

static inline struct gated_file *gated_create(int fd)
{
    struct gated_file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        abort();
    file->file.ops = &gated_ops;
    file->fd = fd;
    file->bytes = calloc(1, FAKE_FILE);
    if (file->bytes == NULL)
        abort();
    gate_init(&file->gate);
    return file;
}

/* ---- the format ---- */

/*
 * Each block of the disk has a place in the file or none, and a bit for each sector that was
 * written. Places that an unmap sets free are free after a commit.
 */
struct fake_format {
    struct disk disk; /* first */
    pthread_t loop_thread;
    unsigned place[FAKE_BLOCKS]; /* 0: none */
    uint8_t present[FAKE_BLOCKS];
    enum { PLACE_FREE, PLACE_USED, PLACE_RELEASED, PLACE_COMMITTING } use[FAKE_PLACES];
    unsigned dirty, most_dirty; /* changes since the last commit was prepared */
    unsigned next_place;
    uint64_t noted, prepared, durable; /* writes */
    unsigned open_writes;              /* mapped and not noted */
    unsigned commits, unmaps, busy;
    struct gate commit_gate, unmap_gate;
    int commit_error;
    atomic_bool committing, unmapping;
    unsigned bad_block; /* its bytes are in `bad`; 0: there is none */
    struct file *bad;
};

#define FAKE_CHECK(condition)                                                     \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                              \
        }                                                                         \
    } while (0)

static inline struct fake_format *fake_of(struct disk *disk)
{
    return (struct fake_format *)(void *)disk;
}

/* On the loop's thread, and no unmap meanwhile. */
static inline void fake_check_call(const struct fake_format *fake)
{
    FAKE_CHECK(pthread_equal(pthread_self(), fake->loop_thread));
    FAKE_CHECK(!atomic_load(&fake->unmapping));
}

static inline bool fake_is_full(struct fake_format *fake)
{
    bool full = fake->dirty >= fake->most_dirty;
    fake->busy += full;
    return full;
}

/* Places far from each other, so that no two blocks are neighbours in the file. */
static inline unsigned fake_take_place(struct fake_format *fake)
{
    for (unsigned i = 0; i < FAKE_PLACES; i++) {
        fake->next_place = (fake->next_place + 389) % FAKE_PLACES;
        if (fake->next_place == 0 || fake->use[fake->next_place] != PLACE_FREE)
            continue;
        fake->use[fake->next_place] = PLACE_USED;
        return fake->next_place;
    }
    return 0;
}

static int fake_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
                    struct disk_extent *ret)
{
    struct fake_format *fake = fake_of(disk);
    unsigned block = (unsigned)(offset / FAKE_BLOCK);
    unsigned sector = offset % FAKE_BLOCK / FAKE_SECTOR;
    unsigned end = sector + 1;
    fake_check_call(fake);
    if (op == DISK_WRITE && fake->place[block] == 0) {
        if (fake_is_full(fake))
            return -EBUSY;
        fake->place[block] = fake_take_place(fake);
        if (fake->place[block] == 0)
            return -EBUSY;
        fake->dirty++;
    }
    bool here = op == DISK_WRITE || (fake->present[block] >> sector & 1) != 0;
    while (end < FAKE_BLOCK / FAKE_SECTOR &&
           (op == DISK_WRITE || (fake->present[block] >> end & 1) == here))
        end++;
    uint64_t run = (uint64_t)(end - sector) * FAKE_SECTOR;
    *ret = (struct disk_extent){.length = run < length ? run : length};
    if (here) {
        ret->file = block != 0 && block == fake->bad_block ? fake->bad : disk->file;
        ret->offset = (uint64_t)fake->place[block] * FAKE_BLOCK + offset % FAKE_BLOCK;
    }
    fake->open_writes += op == DISK_WRITE;
    return 0;
}

static uint8_t fake_bits(uint64_t offset, uint64_t length)
{
    unsigned first = offset % FAKE_BLOCK / FAKE_SECTOR;
    unsigned count = (unsigned)(length / FAKE_SECTOR);
    return (uint8_t)(((1U << count) - 1) << first);
}

static int fake_written(struct disk *disk, uint64_t offset, uint64_t length)
{
    struct fake_format *fake = fake_of(disk);
    unsigned block = (unsigned)(offset / FAKE_BLOCK);
    uint8_t bits = fake_bits(offset, length);
    fake_check_call(fake);
    FAKE_CHECK(offset % FAKE_BLOCK + length <= FAKE_BLOCK && length > 0);
    FAKE_CHECK(fake->place[block] != 0 && fake->open_writes > 0);
    if ((fake->present[block] & bits) != bits) {
        if (fake_is_full(fake))
            return -EBUSY;
        fake->dirty++;
    }
    fake->present[block] |= bits;
    fake->open_writes--;
    fake->noted++;
    return 0;
}

static int fake_unmap_block(struct fake_format *fake, uint64_t offset, uint64_t length)
{
    unsigned block = (unsigned)(offset / FAKE_BLOCK);
    uint8_t bits = fake_bits(offset, length);
    if (fake->place[block] == 0)
        return 0;
    if (fake_is_full(fake))
        return -EBUSY;
    fake->present[block] &= (uint8_t)~bits;
    fake->dirty++;
    if (fake->present[block] == 0) {
        fake->use[fake->place[block]] = PLACE_RELEASED;
        fake->place[block] = 0;
    }
    return 0;
}

static int fake_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    struct fake_format *fake = fake_of(disk);
    int error = 0;
    FAKE_CHECK(!atomic_exchange(&fake->unmapping, true));
    FAKE_CHECK(!atomic_load(&fake->committing));
    FAKE_CHECK(fake->open_writes == 0);
    gate_pass(&fake->unmap_gate);
    while (error == 0 && length > 0) {
        uint64_t rest = FAKE_BLOCK - offset % FAKE_BLOCK;
        uint64_t piece = length < rest ? length : rest;
        error = fake_unmap_block(fake, offset, piece);
        offset += piece;
        length -= piece;
    }
    fake->unmaps += error == 0;
    atomic_store(&fake->unmapping, false);
    return error;
}

static void fake_commit_prepare(struct disk *disk)
{
    struct fake_format *fake = fake_of(disk);
    fake_check_call(fake);
    FAKE_CHECK(!atomic_exchange(&fake->committing, true));
    fake->prepared = fake->noted;
    fake->dirty = 0;
    for (unsigned i = 0; i < FAKE_PLACES; i++) {
        if (fake->use[i] == PLACE_RELEASED)
            fake->use[i] = PLACE_COMMITTING;
    }
}

static int fake_commit_write(struct disk *disk)
{
    struct fake_format *fake = fake_of(disk);
    FAKE_CHECK(atomic_load(&fake->committing));
    gate_pass(&fake->commit_gate);
    return fake->commit_error;
}

static void fake_commit_done(struct disk *disk, int error)
{
    struct fake_format *fake = fake_of(disk);
    fake_check_call(fake);
    FAKE_CHECK(atomic_exchange(&fake->committing, false));
    fake->commits++;
    if (error < 0)
        return;
    fake->durable = fake->prepared;
    for (unsigned i = 0; i < FAKE_PLACES; i++) {
        if (fake->use[i] == PLACE_COMMITTING)
            fake->use[i] = PLACE_FREE;
    }
}

static const struct disk_ops fake_ops = {
    .map = fake_map,
    .written = fake_written,
    .unmap = fake_unmap,
    .commit_prepare = fake_commit_prepare,
    .commit_write = fake_commit_write,
    .commit_done = fake_commit_done,
    .close = disk_free,
};

/* An empty disk in `file`, which it closes. */
static inline struct fake_format *fake_create(struct file *file)
{
    struct fake_format *fake = calloc(1, sizeof(*fake));
    if (fake == NULL)
        abort();
    fake->disk.ops = &fake_ops;
    fake->disk.file = file;
    fake->disk.geometry = (struct disk_geometry){
        .capacity = FAKE_CAPACITY, .logical_sector = FAKE_SECTOR, .physical_sector = FAKE_SECTOR};
    fake->loop_thread = pthread_self();
    fake->most_dirty = UINT32_MAX;
    gate_init(&fake->commit_gate);
    gate_init(&fake->unmap_gate);
    return fake;
}

/* Each place belongs to one block, or to none. */
static inline void fake_check_places(const struct fake_format *fake)
{
    unsigned used = 0;
    for (unsigned i = 0; i < FAKE_PLACES; i++)
        used += fake->use[i] == PLACE_USED;
    for (unsigned block = 0; block < FAKE_BLOCKS; block++) {
        FAKE_CHECK(fake->place[block] == 0 || fake->use[fake->place[block]] == PLACE_USED);
        used -= fake->place[block] != 0;
    }
    FAKE_CHECK(used == 0);
}

#endif
