/* Merging chains of VHDX images, with files in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk/image_fixture.h"

enum { MIB = 1 << 20, CAPACITY = 16 * MIB };

struct fixture {
    struct fixture_host host;
    uint8_t *model, *read;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    fixture_init(&f->host);
    f->model = calloc(1, CAPACITY);
    f->read = calloc(1, CAPACITY);
    *state = f;
    return f->model != NULL && f->read != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    fixture_release(&f->host);
    free(f->model);
    free(f->read);
    free(f);
    return 0;
}

static struct disk *open_disk(struct fixture *f, const char *path, unsigned flags)
{
    struct disk *disk = NULL;
    struct reason reason = {""};

    if (disk_open_with(&f->host.host, path, flags, &disk, &reason) != 0)
        fail_msg("%s", reason.text);
    return disk;
}

static void put(struct fixture *f, struct disk *disk, uint8_t value, uint64_t offset,
                uint64_t length)
{
    memset(f->model + offset, value, length);
    if (value != 0)
        assert_int_equal(disk_write(disk, f->model + offset, length, offset), 0);
    else
        assert_int_equal(disk_unmap(disk, offset, length), 0);
}

static void make(struct fixture *f, const char *path, const char *parent, uint64_t capacity)
{
    const struct image_layout layout = {.format = IMAGE_VHDX,
                                        .kind = parent != NULL ? IMAGE_DIFFERENCING : IMAGE_DYNAMIC,
                                        .capacity = capacity,
                                        .block_size = MIB,
                                        .parent = parent};

    assert_int_equal(image_create(&f->host.host, path, &layout, NULL), 0);
}

/* base, a, b: each writes, and takes something away that is below it. */
static void make_chain(struct fixture *f)
{
    make(f, "base.vhdx", NULL, CAPACITY - 4 * MIB);
    struct disk *disk = open_disk(f, "base.vhdx", DISK_WRITABLE);
    put(f, disk, 1, 0, 10 * MIB);
    assert_int_equal(disk_close(disk), 0);
    make(f, "a.vhdx", "base.vhdx", CAPACITY);
    disk = open_disk(f, "a.vhdx", DISK_WRITABLE);
    put(f, disk, 2, MIB + 4096, 8192);
    put(f, disk, 0, 4 * MIB, 2 * MIB);
    put(f, disk, 0, 7 * MIB + 512, 512);
    put(f, disk, 2, 14 * MIB, 512);
    assert_int_equal(disk_close(disk), 0);
    make(f, "b.vhdx", "a.vhdx", 0);
    disk = open_disk(f, "b.vhdx", DISK_WRITABLE);
    put(f, disk, 3, 4 * MIB, 1536);
    put(f, disk, 0, MIB, MIB);
    put(f, disk, 3, 15 * MIB, MIB);
    assert_int_equal(disk_close(disk), 0);
}

static void compare(struct fixture *f, const char *path)
{
    struct disk *disk = open_disk(f, path, 0);

    assert_int_equal(disk_geometry(disk)->capacity, CAPACITY);
    assert_int_equal(disk_read(disk, f->read, CAPACITY, 0), 0);
    assert_memory_equal(f->read, f->model, CAPACITY);
    assert_int_equal(disk_close(disk), 0);
}

static int count_progress(void *owner, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    *(uint64_t *)owner = done;
    return 0;
}

static void a_child_goes_into_its_parent(void **state)
{
    struct fixture *f = *state;
    uint64_t done = 0;

    make_chain(f);
    assert_int_equal(image_merge(&f->host.host, "b.vhdx", 1, count_progress, &done, NULL), 0);
    assert_int_equal(done, CAPACITY);
    compare(f, "a.vhdx");
    compare(f, "b.vhdx"); /* its parent is another, and it knows it */
}

static void a_chain_goes_into_its_base(void **state)
{
    struct fixture *f = *state;
    uint64_t done = 0;

    make_chain(f);
    assert_int_equal(image_merge(&f->host.host, "b.vhdx", 2, count_progress, &done, NULL), 0);
    compare(f, "base.vhdx");
    compare(f, "b.vhdx");
    assert_int_equal(image_merge(&f->host.host, "b.vhdx", 2, count_progress, &done, NULL), 0);
    compare(f, "base.vhdx");
}

static int give_up(void *owner, uint64_t done, uint64_t total)
{
    (void)owner;
    return done > total / 2 ? -ECANCELED : 0;
}

static void a_merge_that_was_given_up_is_made_again(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};
    uint64_t done = 0;

    make_chain(f);
    assert_int_equal(image_merge(&f->host.host, "b.vhdx", 2, give_up, NULL, &reason), -ECANCELED);
    compare(f, "b.vhdx");
    assert_int_equal(image_merge(&f->host.host, "b.vhdx", 2, count_progress, &done, &reason), 0);
    compare(f, "base.vhdx");
}

static void what_cannot_be_is_refused(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};

    make_chain(f);
    assert_int_equal(image_merge(&f->host.host, "base.vhdx", 1, give_up, NULL, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "no parent"));
    assert_int_equal(image_merge(&f->host.host, "b.vhdx", 3, give_up, NULL, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "fewer parents"));
    assert_int_equal(image_merge(&f->host.host, "c.vhdx", 1, give_up, NULL, &reason), -ENOENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_child_goes_into_its_parent),
        TEST(a_chain_goes_into_its_base),
        TEST(a_merge_that_was_given_up_is_made_again),
        TEST(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
