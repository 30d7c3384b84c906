#include "disk/io.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/file.h"
#include "disk/memory_file.h"

static struct loop *loop;
static struct disk_io *io;
static struct file *file;
static struct disk_pace pace;
static unsigned ended;

static enum disk_io_kind uring = DISK_IO_URING;
static enum disk_io_kind threads = DISK_IO_THREADS;

static int create(void **state)
{
    const enum disk_io_kind *kind = *state;
    char path[] = "/tmp/partita-io-XXXXXX";
    struct reason reason;
    int fd = mkstemp(path);

    ended = 0;
    pace = (struct disk_pace){0};
    if (fd < 0 || pwrite(fd, "abcdefgh", 8, 0) != 8 || close(fd) != 0 || loop_create(&loop) < 0 ||
        file_open(path, FILE_WRITABLE, &file, &reason) < 0)
        return -1;
    (void)unlink(path);
    int error = disk_io_create(loop, *kind, &io);
    return error == -EPERM || error == -ENOSYS ? 0 : error;
}

static int destroy(void **state)
{
    (void)state;
    disk_io_destroy(io);
    loop_destroy(loop);
    file_close(file);
    io = NULL;
    return 0;
}

/* A kernel that gives no io_uring is no fault of ours. */
static void need_io(void)
{
    if (io == NULL)
        skip();
}

static void note_end(struct disk_transfer *transfer)
{
    (void)transfer;
    ended++;
    loop_stop(loop);
}

static struct disk_transfer of(struct file *in, bool write, const struct iovec *piece)
{
    return (struct disk_transfer){.file = in,
                                  .fd = disk_io_descriptor(in),
                                  .write = write,
                                  .iov = piece,
                                  .iov_count = 1,
                                  .ended = note_end};
}

static void what_is_cached_is_read_at_once(void **state)
{
    char bytes[8];
    const struct iovec piece = {bytes, sizeof(bytes)};
    struct disk_transfer read = of(file, false, &piece);
    (void)state;
    need_io();
    if (!disk_io_start(io, &read, &pace)) { /* by a file system that cannot tell */
        assert_true(pace.reads_wait);
        assert_int_equal(loop_run(loop), 0);
    }
    assert_int_equal(read.result, 8);
    assert_memory_equal(bytes, "abcdefgh", 8);
}

static void writes_do_not_make_the_loop_wait_twice(void **state)
{
    char bytes[] = "zyxw";
    char back[4];
    const struct iovec piece = {bytes, 4};
    struct disk_transfer write = of(file, true, &piece);
    (void)state;
    need_io();
    pace.writes_wait = true;
    pace.others_until = UINT64_MAX; /* as after one that took long */
    assert_false(disk_io_start(io, &write, &pace));
    assert_int_equal(ended, 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(write.result, 4);
    pace.others_until = 0;
    bytes[0] = 'Z';
    assert_true(disk_io_start(io, &write, &pace));
    assert_int_equal(write.result, 4);
    assert_int_equal(file_read(file, back, 4, 0), 0);
    assert_memory_equal(back, "Zyxw", 4);
    assert_int_equal(ended, 1);
}

static void a_file_without_a_descriptor_is_served_too(void **state)
{
    struct memory_file memory;
    uint8_t bytes[512];
    const struct iovec piece = {bytes, sizeof(bytes)};
    (void)state;
    need_io();
    memory_file_init(&memory, 4096, 4096);
    memset(bytes, 5, sizeof(bytes));
    struct disk_transfer write = of(&memory.file, true, &piece);
    assert_false(disk_io_start(io, &write, &pace));
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(write.result, sizeof(bytes));
    assert_memory_equal(memory.bytes, bytes, sizeof(bytes));
    memory.fail = -EIO;
    write = of(&memory.file, true, &piece);
    assert_false(disk_io_start(io, &write, &pace));
    disk_io_turn(io);
    while (ended < 2)
        disk_io_turn(io);
    assert_int_equal(write.result, -EIO);
    free(memory.bytes);
}

static void errors_of_the_file_are_told(void **state)
{
    char byte = 0;
    const struct iovec piece = {&byte, 1};
    struct disk_transfer write = of(file, true, &piece);
    (void)state;
    need_io();
    write.fd = INT_MAX;
    if (!disk_io_start(io, &write, &pace))
        assert_int_equal(loop_run(loop), 0);
    assert_int_equal(write.result, -EBADF);
}

static void the_best_is_one_of_them(void **state)
{
    struct disk_io *best = NULL;
    (void)state;
    assert_int_equal(disk_io_create(loop, DISK_IO_BEST, &best), 0);
    assert_int_equal(disk_io_kind(best), io != NULL ? DISK_IO_URING : DISK_IO_THREADS);
    disk_io_destroy(best);
}

/* The tables of cmocka take what the test may change. */
#define WITH(name, kind)                                           \
    {                                                              \
#        name " by " #        kind, name, create, destroy, &(kind) \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(what_is_cached_is_read_at_once, uring),
        WITH(what_is_cached_is_read_at_once, threads),
        WITH(writes_do_not_make_the_loop_wait_twice, uring),
        WITH(writes_do_not_make_the_loop_wait_twice, threads),
        WITH(a_file_without_a_descriptor_is_served_too, uring),
        WITH(a_file_without_a_descriptor_is_served_too, threads),
        WITH(errors_of_the_file_are_told, uring),
        WITH(errors_of_the_file_are_told, threads),
        WITH(the_best_is_one_of_them, uring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
