#include "disk/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/queue_fixture.h"

enum { MANY = 600 };

struct noted {
    struct disk_request request; /* first */
    struct iovec piece;
    uint8_t bytes[FAKE_BLOCK];
    bool ended;
    int error;
    unsigned turn; /* the how many-th of all that ended */
};

static struct loop *loop;
static struct disk_io *io;
static struct fake_format *fake;
static struct gated_file *gated; /* the disk's file, or NULL */
static struct noted requests[MANY];
static unsigned ended;

/* ---- calls of the allocator, by the linker's --wrap ---- */

static atomic_uint allocations;

void *__real_malloc(size_t size);               /* NOLINT(readability-identifier-naming) */
void *__real_calloc(size_t count, size_t size); /* NOLINT(readability-identifier-naming) */
void *__real_realloc(void *old, size_t size);   /* NOLINT(readability-identifier-naming) */
void *__wrap_malloc(size_t size);               /* NOLINT(readability-identifier-naming) */
void *__wrap_calloc(size_t count, size_t size); /* NOLINT(readability-identifier-naming) */
void *__wrap_realloc(void *old, size_t size);   /* NOLINT(readability-identifier-naming) */

void *__wrap_malloc(size_t size) /* NOLINT(readability-identifier-naming) */
{
    atomic_fetch_add(&allocations, 1);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) /* NOLINT(readability-identifier-naming) */
{
    atomic_fetch_add(&allocations, 1);
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) /* NOLINT(readability-identifier-naming) */
{
    atomic_fetch_add(&allocations, 1);
    return __real_realloc(old, size);
}

/* ---- the fixture ---- */

struct way {
    enum disk_io_kind kind;
    bool later; /* also what could be moved at once */
    bool gated;
};
static struct way uring = {DISK_IO_URING, true, false};
static struct way uring_at_once = {DISK_IO_URING, false, false};
static struct way uring_gated = {DISK_IO_URING, false, true};
static struct way threads = {DISK_IO_THREADS, true, false};
static struct way threads_at_once = {DISK_IO_THREADS, false, false};
static struct way threads_gated = {DISK_IO_THREADS, false, true};

static struct file *open_file(void)
{
    char path[] = "/tmp/partita-queue-XXXXXX";
    struct file *file = NULL;
    struct reason reason;
    int fd = mkstemp(path);

    if (fd < 0 || file_open(path, FILE_WRITABLE, &file, &reason) < 0)
        abort();
    (void)close(fd);
    (void)unlink(path);
    return file;
}

static int create(void **state)
{
    const struct way *way = *state;
    int error = loop_create(&loop);

    if (error == 0)
        error = disk_io_create(loop, way->kind, &io);
    if (error < 0)
        return error == -EPERM || error == -ENOSYS ? 0 : error;
    if (way->later)
        disk_io_move_later(io);
    ended = 0;
    memset(requests, 0, sizeof(requests));
    gated = way->gated ? gated_create(-1) : NULL;
    fake = fake_create(way->gated ? &gated->file : open_file());
    return disk_queue_start(&fake->disk, io);
}

static int destroy(void **state)
{
    (void)state;
    if (fake != NULL)
        (void)disk_close(&fake->disk);
    disk_io_destroy(io);
    loop_destroy(loop);
    fake = NULL;
    io = NULL;
    return 0;
}

/* A kernel that gives no io_uring is no fault of ours. */
static void need_io(void)
{
    if (io == NULL)
        skip();
}

static void note_end(struct disk_request *request, int error)
{
    struct noted *noted = (struct noted *)(void *)request;

    assert_false(noted->ended);
    noted->ended = true;
    noted->error = error;
    noted->turn = ++ended;
}

static struct noted *submit(unsigned index, enum disk_op op, uint64_t offset, uint64_t length)
{
    struct noted *noted = &requests[index];

    noted->ended = false;
    noted->piece = (struct iovec){noted->bytes, (size_t)length};
    noted->request = (struct disk_request){.op = op,
                                           .offset = offset,
                                           .length = length,
                                           .iov = &noted->piece,
                                           .iov_count = 1,
                                           .done = note_end};
    disk_submit(&fake->disk, &noted->request);
    return noted;
}

static struct noted *submit_block(unsigned index, enum disk_op op, unsigned block)
{
    return submit(index, op, (uint64_t)block * FAKE_BLOCK, FAKE_BLOCK);
}

static struct noted *submit_flush(unsigned index)
{
    return submit(index, DISK_FLUSH, 0, 0);
}

static int end_of(const struct noted *noted)
{
    while (!noted->ended)
        disk_io_turn(io);
    return noted->error;
}

/* ---- bytes ---- */

enum { LENGTH = 5 * FAKE_BLOCK, START = 3 * FAKE_BLOCK - 1024 };

/* Four of them. */
static struct noted *submit_pieces(unsigned index, enum disk_op op, const struct iovec *iov)
{
    struct noted *noted = &requests[index];

    noted->request = (struct disk_request){
        .op = op, .offset = START, .length = LENGTH, .iov = iov, .iov_count = 4, .done = note_end};
    disk_submit(&fake->disk, &noted->request);
    return noted;
}

static void pieces_are_cut_at_extents(void **state)
{
    static uint8_t from[LENGTH];
    static uint8_t to[LENGTH];
    struct iovec out[] = {
        {from, 512}, {from, 0}, {from + 512, 9728}, {from + 10240, LENGTH - 10240}};
    struct iovec in[] = {{to, 2 * FAKE_BLOCK},
                         {to + 2 * FAKE_BLOCK, 512},
                         {to, 0},
                         {to + 2 * FAKE_BLOCK + 512, LENGTH - 2 * FAKE_BLOCK - 512}};
    (void)state;
    need_io();
    for (unsigned i = 0; i < LENGTH; i++)
        from[i] = (uint8_t)(i / 512 + i);
    assert_int_equal(end_of(submit_pieces(0, DISK_WRITE, out)), 0);
    assert_int_equal(end_of(submit_pieces(1, DISK_READ, in)), 0);
    assert_memory_equal(from, to, LENGTH);
    assert_int_equal(fake->noted, 6);
    assert_int_equal(disk_counts(&fake->disk)->reads, 1);
    assert_int_equal(disk_counts(&fake->disk)->written_bytes, LENGTH);
}

static void what_was_not_written_reads_as_zeroes(void **state)
{
    (void)state;
    need_io();
    memset(requests[0].bytes, 7, FAKE_BLOCK);
    assert_int_equal(end_of(submit(0, DISK_WRITE, 1024, 512)), 0);
    memset(requests[1].bytes, 9, FAKE_BLOCK);
    assert_int_equal(end_of(submit_block(1, DISK_READ, 0)), 0);
    for (unsigned i = 0; i < FAKE_BLOCK; i++)
        assert_int_equal(requests[1].bytes[i], i >= 1024 && i < 1536 ? 7 : 0);
    /* A place that the file does not reach. */
    fake->place[9] = FAKE_PLACES - 1;
    fake->use[FAKE_PLACES - 1] = PLACE_USED;
    fake->present[9] = 0xff;
    memset(requests[1].bytes, 9, FAKE_BLOCK);
    assert_int_equal(end_of(submit_block(1, DISK_READ, 9)), 0);
    for (unsigned i = 0; i < FAKE_BLOCK; i++)
        assert_int_equal(requests[1].bytes[i], 0);
}

static void wrong_requests_are_refused_at_once(void **state)
{
    (void)state;
    need_io();
    assert_true(submit(0, DISK_READ, 1, 512)->ended);
    assert_int_equal(requests[0].error, -EINVAL);
    assert_int_equal(submit(0, DISK_UNMAP, FAKE_CAPACITY, 512)->error, -EINVAL);
    fake->disk.geometry.read_only = true;
    assert_int_equal(submit_block(0, DISK_WRITE, 0)->error, -EROFS);
    assert_int_equal(submit_flush(0)->error, 0);
    assert_int_equal(fake->commits, 0);
    fake->disk.geometry.read_only = false;
}

static void hundreds_are_in_flight(void **state)
{
    (void)state;
    need_io();
    for (unsigned i = 0; i < MANY; i++) {
        memset(requests[i].bytes, (int)(i % FAKE_BLOCKS), FAKE_BLOCK);
        (void)submit_block(i, DISK_WRITE, i % FAKE_BLOCKS);
    }
    disk_queue_drain(&fake->disk);
    assert_int_equal(ended, MANY);
    for (unsigned i = 0; i < FAKE_BLOCKS; i++)
        (void)submit_block(i, DISK_READ, i);
    disk_queue_drain(&fake->disk);
    for (unsigned i = 0; i < FAKE_BLOCKS; i++) {
        assert_int_equal(requests[i].error, 0);
        assert_int_equal(requests[i].bytes[100], i);
    }
    fake_check_places(fake);
    assert_int_equal(disk_counts(&fake->disk)->writes, MANY);
}

static void submitting_does_not_wait(void **state)
{
    (void)state;
    need_io();
    gate_set(&gated->gate, true);
    struct noted *write = submit_block(0, DISK_WRITE, 1);
    struct noted *read = submit_block(1, DISK_READ, 2); /* zeroes: overtakes */
    gate_await(&gated->gate, 1);
    assert_false(write->ended);
    assert_true(read->ended);
    gate_set(&gated->gate, false);
    assert_int_equal(end_of(write), 0);
}

/* Two writes to a new block: its room is taken once. */
static void writes_share_a_new_block(void **state)
{
    (void)state;
    need_io();
    gate_set(&gated->gate, true);
    memset(requests[0].bytes, 1, 512);
    memset(requests[1].bytes, 2, 512);
    struct noted *first = submit(0, DISK_WRITE, FAKE_BLOCK, 512);
    struct noted *second = submit(1, DISK_WRITE, FAKE_BLOCK + 512, 512);
    gate_await(&gated->gate, 2);
    gate_set(&gated->gate, false);
    assert_int_equal(end_of(first), 0);
    assert_int_equal(end_of(second), 0);
    fake_check_places(fake);
    assert_int_equal(end_of(submit(2, DISK_READ, FAKE_BLOCK, 1024)), 0);
    assert_int_equal(requests[2].bytes[0], 1);
    assert_int_equal(requests[2].bytes[512], 2);
}

/* ---- flushes ---- */

static void a_flush_covers_what_was_done_before(void **state)
{
    (void)state;
    need_io();
    assert_int_equal(end_of(submit_block(0, DISK_WRITE, 1)), 0);
    gate_set(&fake->commit_gate, true);
    struct noted *flush = submit_flush(1);
    gate_await(&fake->commit_gate, 1);
    assert_false(flush->ended);
    /* Reads and writes go on meanwhile. */
    assert_int_equal(end_of(submit_block(2, DISK_WRITE, 2)), 0);
    assert_int_equal(end_of(submit_block(3, DISK_READ, 1)), 0);
    assert_false(flush->ended);
    gate_set(&fake->commit_gate, false);
    assert_int_equal(end_of(flush), 0);
    assert_int_equal(fake->durable, 1);
    assert_int_equal(end_of(submit_flush(1)), 0);
    assert_int_equal(fake->durable, 2);
}

static void flushes_that_come_meanwhile_are_one(void **state)
{
    (void)state;
    need_io();
    gate_set(&fake->commit_gate, true);
    struct noted *first = submit_flush(0);
    gate_await(&fake->commit_gate, 1);
    assert_int_equal(end_of(submit_block(9, DISK_WRITE, 3)), 0);
    for (unsigned i = 1; i < 9; i++)
        (void)submit_flush(i);
    gate_set(&fake->commit_gate, false);
    assert_int_equal(end_of(first), 0);
    for (unsigned i = 1; i < 9; i++) {
        assert_int_equal(end_of(&requests[i]), 0);
        assert_true(requests[i].turn > first->turn);
    }
    assert_int_equal(fake->commits, 2);
    assert_int_equal(fake->durable, 1);
}

/* ---- unmap ---- */

static void an_unmap_is_a_barrier(void **state)
{
    (void)state;
    need_io();
    memset(requests[0].bytes, 5, FAKE_BLOCK);
    assert_int_equal(end_of(submit_block(0, DISK_WRITE, 1)), 0);
    gate_set(&gated->gate, true);
    struct noted *before = submit_block(0, DISK_READ, 1);
    struct noted *unmap = submit_block(1, DISK_UNMAP, 1);
    struct noted *after = submit_block(2, DISK_READ, 1);
    memset(after->bytes, 6, FAKE_BLOCK);
    gate_await(&gated->gate, 1);
    assert_false(before->ended || unmap->ended || after->ended);
    gate_set(&gated->gate, false);
    assert_int_equal(end_of(after), 0);
    assert_int_equal(before->bytes[0], 5);
    assert_int_equal(after->bytes[0], 0);
    assert_int_equal(unmap->error, 0);
    assert_true(before->turn < unmap->turn && unmap->turn < after->turn);
    fake_check_places(fake);
}

static void an_unmap_and_a_commit_take_turns(void **state)
{
    (void)state;
    need_io();
    assert_int_equal(end_of(submit_block(0, DISK_WRITE, 1)), 0);
    gate_set(&fake->commit_gate, true);
    struct noted *first = submit_flush(1);
    gate_await(&fake->commit_gate, 1);
    struct noted *unmap = submit_block(2, DISK_UNMAP, 1);
    struct noted *second = submit_flush(3);
    assert_false(first->ended || unmap->ended);
    gate_set(&fake->commit_gate, false);
    assert_int_equal(end_of(second), 0);
    assert_true(first->turn < unmap->turn && unmap->turn < second->turn);
    assert_int_equal(fake->commits, 2);
}

static void the_format_rests_while_an_unmap_works(void **state)
{
    (void)state;
    uint64_t end = 0;
    bool data = true;
    need_io();
    gate_set(&fake->unmap_gate, true);
    struct noted *unmap = submit_block(0, DISK_UNMAP, 1);
    gate_await(&fake->unmap_gate, 1);
    struct noted *flush = submit_flush(1);
    struct noted *write = submit_block(2, DISK_WRITE, 2);
    assert_false(unmap->ended || flush->ended || write->ended);
    gate_set(&fake->unmap_gate, false);
    /* Other users of the map wait for it. */
    assert_int_equal(disk_extent(&fake->disk, 0, &end, &data), 0);
    assert_false(data);
    assert_int_equal(end_of(write), 0);
    assert_int_equal(end_of(flush), 0);
    assert_true(unmap->ended);
}

/* ---- a format that is busy ---- */

static void busy_formats_get_their_commits(void **state)
{
    (void)state;
    need_io();
    fake->most_dirty = 3;
    for (unsigned i = 0; i < 100; i++) {
        memset(requests[i].bytes, (int)i + 1, FAKE_BLOCK);
        (void)submit_block(i, DISK_WRITE, i);
    }
    disk_queue_drain(&fake->disk);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(requests[i].error, 0);
    assert_true(fake->busy > 0);
    assert_true(fake->commits >= 200 / 3); /* each write makes two changes */
    unsigned commits = fake->commits;
    assert_int_equal(end_of(submit(0, DISK_UNMAP, 0, UINT64_C(50) * FAKE_BLOCK)), 0);
    assert_true(fake->commits >= commits + 50 / 3);
    assert_int_equal(fake->unmaps, 1);
    for (unsigned i = 0; i < 100; i++)
        (void)submit_block(i, DISK_READ, i);
    disk_queue_drain(&fake->disk);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(requests[i].bytes[i], i < 50 ? 0 : i + 1);
    fake_check_places(fake);
}

static void what_waits_for_a_commit_that_fails_fails_too(void **state)
{
    (void)state;
    need_io();
    fake->most_dirty = 0;
    fake->commit_error = -EIO;
    struct noted *write = submit_block(0, DISK_WRITE, 1);
    struct noted *unmap = submit_block(1, DISK_UNMAP, 2);
    struct noted *later = submit_block(2, DISK_WRITE, 3);
    struct noted *read = submit_block(3, DISK_READ, 3);
    assert_int_equal(end_of(write), -EIO);
    assert_int_equal(end_of(unmap), -EROFS);
    assert_int_equal(end_of(later), -EROFS);
    assert_int_equal(end_of(read), 0);
    assert_int_equal(fake->commits, 1);
}

/* ---- errors ---- */

static void nothing_changes_after_a_write_that_failed(void **state)
{
    struct gated_file *full = gated_create(open("/dev/full", O_RDWR | O_CLOEXEC));
    (void)state;
    need_io();
    assert_true(full->fd >= 0);
    fake->bad = &full->file;
    fake->bad_block = 2;
    memset(requests[0].bytes, 3, FAKE_BLOCK);
    assert_int_equal(end_of(submit_block(0, DISK_WRITE, 1)), 0);
    assert_int_equal(end_of(submit(1, DISK_WRITE, UINT64_C(2) * FAKE_BLOCK, FAKE_BLOCK)), -ENOSPC);
    assert_int_equal(end_of(submit_block(2, DISK_WRITE, 3)), -EROFS);
    assert_int_equal(end_of(submit_flush(2)), -EROFS);
    assert_int_equal(end_of(submit_block(2, DISK_UNMAP, 1)), -EROFS);
    assert_int_equal(end_of(submit_block(3, DISK_READ, 1)), 0);
    assert_int_equal(requests[3].bytes[9], 3);
    assert_int_equal(disk_counts(&fake->disk)->writes, 1);
    assert_int_equal(fake->commits, 0);
    (void)close(full->fd);
    gated_close(&full->file);
}

static void a_read_that_failed_is_no_reason_to_stop(void **state)
{
    (void)state;
    need_io();
    assert_int_equal(end_of(submit_block(0, DISK_WRITE, 1)), 0);
    gated->fail = -EBUSY; /* what formats say, but of a file it means nothing */
    assert_int_equal(end_of(submit_block(1, DISK_READ, 1)), -EIO);
    gated->fail = 0;
    assert_int_equal(end_of(submit_block(1, DISK_READ, 1)), 0);
    assert_int_equal(end_of(submit_block(2, DISK_WRITE, 1)), 0);
    assert_int_equal(disk_counts(&fake->disk)->reads, 1);
}

static void a_failed_flush_is_told_to_all_it_was_for(void **state)
{
    (void)state;
    need_io();
    fake->commit_error = -EIO;
    gate_set(&fake->commit_gate, true);
    struct noted *first = submit_flush(0);
    gate_await(&fake->commit_gate, 1);
    struct noted *second = submit_flush(1);
    gate_set(&fake->commit_gate, false);
    assert_int_equal(end_of(first), -EIO);
    assert_int_equal(end_of(second), -EROFS);
    assert_int_equal(fake->commits, 1);
}

/* ---- the end ---- */

static void closing_waits_for_all(void **state)
{
    (void)state;
    need_io();
    for (unsigned i = 0; i < 100; i++)
        (void)submit_block(i, i % 10 == 9 ? DISK_UNMAP : DISK_WRITE, i);
    (void)submit_flush(100);
    assert_int_equal(disk_close(&fake->disk), 0);
    fake = NULL;
    assert_int_equal(ended, 101);
}

static void at_once_waits_for_what_is_in_flight(void **state)
{
    uint8_t bytes[FAKE_BLOCK] = {1};
    (void)state;
    need_io();
    for (unsigned i = 0; i < 50; i++)
        (void)submit_block(i, DISK_WRITE, 1);
    assert_int_equal(disk_write(&fake->disk, bytes, sizeof(bytes), FAKE_BLOCK), 0);
    assert_int_equal(ended, 50);
    bytes[0] = 0;
    assert_int_equal(disk_read(&fake->disk, bytes, sizeof(bytes), FAKE_BLOCK), 0);
    assert_int_equal(bytes[0], 1);
    disk_queue_stop(&fake->disk);
    assert_true(submit_block(0, DISK_READ, 1)->ended); /* no queue any more */
}

/* ---- many at once, compared with a model ---- */

enum { STRESS = 20000, DEPTH = 48, MODEL_SECTORS = FAKE_CAPACITY / FAKE_SECTOR };

struct stress {
    uint8_t value[MODEL_SECTORS];
    bool in_use[MODEL_SECTORS]; /* by a request in flight: those do not overlap */
    uint64_t random;
    unsigned submitted;
    uint64_t noted_at_flush[MANY]; /* what a flush has to cover */
} stress;

static unsigned random_below(unsigned end)
{
    stress.random = stress.random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)((stress.random >> 33) % end);
}

static void set_use(const struct disk_request *request, bool use)
{
    for (uint64_t i = 0; i < request->length / FAKE_SECTOR; i++)
        stress.in_use[request->offset / FAKE_SECTOR + i] = use;
}

static void compare(const struct noted *noted)
{
    uint64_t first = noted->request.offset / FAKE_SECTOR;

    for (uint64_t i = 0; i < noted->request.length; i++)
        FAKE_CHECK(noted->bytes[i] == stress.value[first + i / FAKE_SECTOR]);
}

static void submit_random(unsigned index);

static void stress_ended(struct disk_request *request, int error)
{
    struct noted *noted = (struct noted *)(void *)request;
    uint64_t first = request->offset / FAKE_SECTOR;

    FAKE_CHECK(error == 0);
    set_use(request, false);
    if (request->op == DISK_READ)
        compare(noted);
    if (request->op == DISK_FLUSH)
        FAKE_CHECK(fake->durable >= stress.noted_at_flush[noted - requests]);
    for (uint64_t i = 0; i < request->length / FAKE_SECTOR; i++) {
        if (request->op == DISK_WRITE)
            stress.value[first + i] = noted->bytes[i * FAKE_SECTOR];
        else if (request->op == DISK_UNMAP)
            stress.value[first + i] = 0;
    }
    ended++;
    submit_random((unsigned)(noted - requests));
}

static bool is_free(uint64_t offset, uint64_t length)
{
    for (uint64_t i = 0; i < length / FAKE_SECTOR; i++) {
        if (stress.in_use[offset / FAKE_SECTOR + i])
            return false;
    }
    return true;
}

/* Up to a block's length, not aligned to one. */
static void choose_range(struct disk_request *request)
{
    do {
        request->length = (uint64_t)FAKE_SECTOR * (1 + random_below(FAKE_BLOCK / FAKE_SECTOR));
        request->offset =
            (uint64_t)FAKE_SECTOR *
            random_below((unsigned)(MODEL_SECTORS - request->length / FAKE_SECTOR + 1));
    } while (!is_free(request->offset, request->length));
}

static void submit_random(unsigned index)
{
    static const enum disk_op ops[] = {DISK_READ,  DISK_READ,  DISK_READ,  DISK_WRITE, DISK_WRITE,
                                       DISK_WRITE, DISK_WRITE, DISK_WRITE, DISK_UNMAP, DISK_FLUSH};
    struct noted *noted = &requests[index];

    if (stress.submitted == STRESS) {
        loop_stop(loop);
        return;
    }
    stress.submitted++;
    noted->request = (struct disk_request){
        .op = ops[random_below(10)], .iov = &noted->piece, .iov_count = 1, .done = stress_ended};
    if (noted->request.op == DISK_FLUSH)
        stress.noted_at_flush[index] = fake->noted;
    else
        choose_range(&noted->request);
    set_use(&noted->request, true);
    if (noted->request.op == DISK_WRITE) {
        for (uint64_t i = 0; i < noted->request.length; i += FAKE_SECTOR)
            memset(noted->bytes + i, (int)random_below(256), FAKE_SECTOR);
    }
    noted->piece = (struct iovec){noted->bytes, (size_t)noted->request.length};
    disk_submit(&fake->disk, &noted->request);
}

static void the_loop_alone_brings_all_to_its_end(void **state)
{
    uint8_t back[FAKE_SECTOR];
    (void)state;
    need_io();
    memset(&stress, 0, sizeof(stress));
    stress.random = 1;
    fake->most_dirty = 20;
    unsigned before = atomic_load(&allocations);
    for (unsigned i = 0; i < DEPTH; i++)
        submit_random(i);
    assert_int_equal(loop_run(loop), 0);
    disk_queue_drain(&fake->disk);
    assert_int_equal(atomic_load(&allocations), before); /* submitting allocates nothing */
    assert_int_equal(ended, STRESS);
    for (unsigned i = 0; i < MODEL_SECTORS; i++) {
        assert_int_equal(disk_read(&fake->disk, back, FAKE_SECTOR, (uint64_t)i * FAKE_SECTOR), 0);
        assert_int_equal(back[0], stress.value[i]);
        assert_int_equal(back[FAKE_SECTOR - 1], stress.value[i]);
    }
    fake_check_places(fake);
    assert_true(fake->busy > 0 && fake->unmaps > 0);
}

#define WITH(name, way)                                          \
    {                                                            \
#        name " by " #        way, name, create, destroy, &(way) \
    }
#define BOTH(name)  WITH(name, uring), WITH(name, threads)
#define GATED(name) WITH(name, uring_gated), WITH(name, threads_gated)
#define ALL(name)   BOTH(name), WITH(name, uring_at_once), WITH(name, threads_at_once), GATED(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(pieces_are_cut_at_extents),
        BOTH(what_was_not_written_reads_as_zeroes),
        BOTH(wrong_requests_are_refused_at_once),
        ALL(hundreds_are_in_flight),
        GATED(submitting_does_not_wait),
        GATED(writes_share_a_new_block),
        BOTH(a_flush_covers_what_was_done_before),
        BOTH(flushes_that_come_meanwhile_are_one),
        GATED(an_unmap_is_a_barrier),
        BOTH(an_unmap_and_a_commit_take_turns),
        BOTH(the_format_rests_while_an_unmap_works),
        ALL(busy_formats_get_their_commits),
        BOTH(what_waits_for_a_commit_that_fails_fails_too),
        BOTH(nothing_changes_after_a_write_that_failed),
        GATED(a_read_that_failed_is_no_reason_to_stop),
        BOTH(a_failed_flush_is_told_to_all_it_was_for),
        ALL(closing_waits_for_all),
        BOTH(at_once_waits_for_what_is_in_flight),
        ALL(the_loop_alone_brings_all_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
