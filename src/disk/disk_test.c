/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "disk/disk.h"

#include <unistd.h>

#include "disk/memory_file.h"

enum { SIZE = 64 << 10 };

struct fixture {
    struct memory_file memory;
    struct disk *disk;
};

static int open_disk(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    memory_file_init(&f->memory, SIZE, SIZE);
    assert_int_equal(disk_open_file(&f->memory.file, DISK_WRITABLE, &f->disk, NULL), 0);
    *state = f;
    return 0;
}

static int close_disk(void **state)
{
    struct fixture *f = *state;
    (void)disk_close(f->disk);
    assert_true(f->memory.closed);
    free(f->memory.bytes);
    free(f);
    return 0;
}

struct counted_request {
    struct disk_request request; /* first */
    int calls, error;
};

static void count_done(struct disk_request *request, int error)
{
    struct counted_request *counted = (struct counted_request *)(void *)request;
    counted->calls++;
    counted->error = error;
}

/* Submit; done must be called once, and its error is returned. */
static int submit(struct disk *disk, struct disk_request request)
{
    struct counted_request counted = {.request = request};
    counted.request.done = count_done;
    disk_submit(disk, &counted.request);
    assert_int_equal(counted.calls, 1);
    return counted.error;
}

static void geometry_is_that_of_the_file(void **state)
{
    struct fixture *f = *state;
    const struct disk_geometry *geometry = disk_geometry(f->disk);
    assert_int_equal(geometry->capacity, SIZE);
    assert_int_equal(geometry->logical_sector, 512);
    assert_false(geometry->read_only);
}

/* 2048 bytes at 1024. */
static int transfer(struct disk *disk, enum disk_op op, const struct iovec *iov, unsigned count)
{
    return submit(disk,
                  (struct disk_request){
                      .op = op, .offset = 1024, .length = 2048, .iov = iov, .iov_count = count});
}

static void a_request_scatters_what_another_gathered(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[2048];
    uint8_t back[2048] = {0};
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i / 512 + 1);
    struct iovec out[] = {{bytes, 512}, {bytes + 512, 1536}};
    struct iovec in[] = {{back, 1024}, {back + 1024, 512}, {back + 1536, 512}};
    assert_int_equal(transfer(f->disk, DISK_WRITE, out, 2), 0);
    assert_memory_equal(f->memory.bytes + 1024, bytes, sizeof(bytes));
    assert_int_equal(transfer(f->disk, DISK_READ, in, 3), 0);
    assert_memory_equal(back, bytes, sizeof(bytes));
}

static void flush_and_unmap_reach_the_file(void **state)
{
    struct fixture *f = *state;
    memset(f->memory.bytes, 7, SIZE);
    assert_int_equal(submit(f->disk, (struct disk_request){.op = DISK_FLUSH}), 0);
    assert_int_equal(f->memory.flushes, 1);
    assert_int_equal(
        submit(f->disk, (struct disk_request){.op = DISK_UNMAP, .offset = 512, .length = 512}), 0);
    assert_int_equal(f->memory.bytes[511], 7);
    assert_int_equal(f->memory.bytes[512], 0);
    assert_int_equal(f->memory.bytes[1023], 0);
    assert_int_equal(f->memory.bytes[1024], 7);
}

static void requests_outside_or_unaligned_are_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[1024] = {0};
    const struct {
        uint64_t offset, length;
        size_t piece;
    } bad[] = {
        {SIZE, 512, 512},
        {SIZE - 512, 1024, 1024},
        {1, 512, 512},
        {0, 511, 511},
        {UINT64_MAX - 511, 512, 512},
        {0, 512, 1024},
        {0, 1024, 512},
        {0, 1024, 100},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct iovec piece = {bytes, bad[i].piece};
        struct disk_request request = {.op = DISK_WRITE,
                                       .offset = bad[i].offset,
                                       .length = bad[i].length,
                                       .iov = &piece,
                                       .iov_count = 1};
        assert_int_equal(submit(f->disk, request), -EINVAL);
        request.op = DISK_READ;
        assert_int_equal(submit(f->disk, request), -EINVAL);
    }
    assert_int_equal(disk_unmap(f->disk, UINT64_MAX - 1023, 2048), -EINVAL);
    assert_int_equal(f->memory.writes + f->memory.punches, 0);
    assert_int_equal(disk_write(f->disk, bytes, 512, SIZE - 512), 0);
}

static void nothing_changes_after_an_error(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[512] = {1};
    f->memory.fail = -EIO;
    assert_int_equal(disk_flush(f->disk), -EIO);
    f->memory.fail = 0;
    assert_int_equal(disk_write(f->disk, bytes, 512, 0), -EROFS);
    assert_int_equal(disk_unmap(f->disk, 0, 512), -EROFS);
    assert_int_equal(disk_flush(f->disk), -EROFS);
    assert_int_equal(f->memory.writes + f->memory.punches + f->memory.flushes, 0);
    assert_int_equal(disk_read(f->disk, bytes, 512, 0), 0);
    assert_int_equal(bytes[0], 0);
}

static void closing_flushes_and_says_when_it_cannot(void **state)
{
    struct fixture *f = *state;
    f->memory.fail = -EIO;
    assert_int_equal(disk_close(f->disk), -EIO);
    f->memory.fail = 0;
    assert_int_equal(disk_open_file(&f->memory.file, DISK_WRITABLE, &f->disk, NULL), 0);
    assert_int_equal(disk_close(f->disk), 0);
    assert_int_equal(f->memory.flushes, 1);
    f->disk = NULL;
}

static void a_read_only_disk_is_not_changed(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[512] = {1};
    assert_int_equal(disk_close(f->disk), 0);
    f->memory.flushes = 0;
    assert_int_equal(disk_open_file(&f->memory.file, 0, &f->disk, NULL), 0);
    assert_true(disk_geometry(f->disk)->read_only);
    assert_int_equal(disk_write(f->disk, bytes, 512, 0), -EROFS);
    assert_int_equal(disk_unmap(f->disk, 0, 512), -EROFS);
    assert_int_equal(disk_flush(f->disk), 0);
    assert_int_equal(f->memory.writes + f->memory.punches + f->memory.flushes, 0);
}

static void an_empty_file_is_refused_with_its_name(void **state)
{
    (void)state;
    char path[] = "/tmp/partita-disk-XXXXXX";
    struct disk *disk = NULL;
    struct reason reason = {""};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(disk_open(path, 0, &disk, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, path));
    assert_non_null(strstr(reason.text, "an empty file is no disk"));
    /* A last sector in part is a sector. */
    assert_int_equal(ftruncate(fd, 1000), 0);
    assert_int_equal(disk_open(path, 0, &disk, &reason), 0);
    assert_int_equal(disk_geometry(disk)->capacity, 1024);
    assert_int_equal(disk_close(disk), 0);
    (void)close(fd);
    (void)unlink(path);
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, open_disk, close_disk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(geometry_is_that_of_the_file),
        DISK_TEST(a_request_scatters_what_another_gathered),
        DISK_TEST(flush_and_unmap_reach_the_file),
        DISK_TEST(requests_outside_or_unaligned_are_refused),
        DISK_TEST(nothing_changes_after_an_error),
        DISK_TEST(closing_flushes_and_says_when_it_cannot),
        DISK_TEST(a_read_only_disk_is_not_changed),
        cmocka_unit_test(an_empty_file_is_refused_with_its_name),
    };
    return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
