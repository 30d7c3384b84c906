/* What tools do to images, on raw files and VHDX ones in memory. */
#include "disk/image.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk/image_fixture.h"

enum { MIB = 1 << 20, SECTOR = 512 };

static int set_up(void **state)
{
    struct fixture_host *host = calloc(1, sizeof(*host));

    if (host == NULL)
        return -1;
    fixture_init(host);
    *state = host;
    return 0;
}

static int tear_down(void **state)
{
    fixture_release(*state);
    free(*state);
    return 0;
}

static struct disk *make(struct fixture_host *host, const char *path,
                         const struct image_layout *layout)
{
    struct disk *disk = NULL;
    struct reason reason = {""};

    if (image_create(&host->host, path, layout, &reason) != 0 ||
        disk_open_with(&host->host, path, DISK_WRITABLE, &disk, &reason) != 0)
        fail_msg("%s", reason.text);
    return disk;
}

static void what_cannot_be_made_is_refused(void **state)
{
    struct fixture_host *host = *state;
    struct image_layout layout = {.format = IMAGE_RAW, .capacity = 1000};
    struct reason reason = {""};

    assert_int_equal(image_create(&host->host, "a.raw", &layout, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "multiple of 512"));
    layout.capacity = 0;
    assert_int_equal(image_create(&host->host, "a.raw", &layout, &reason), -EINVAL);
    layout.kind = IMAGE_DIFFERENCING;
    assert_int_equal(image_create(&host->host, "a.raw", &layout, &reason), -EINVAL);
    layout = (struct image_layout){
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MIB, .block_size = 3 * MIB};
    assert_int_equal(image_create(&host->host, "b.vhdx", &layout, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "b.vhdx: the block size"));
}

static void a_name_that_is_taken_is_refused(void **state)
{
    struct fixture_host *host = *state;
    const struct image_layout layout = {.format = IMAGE_RAW, .capacity = MIB};

    assert_int_equal(disk_close(make(host, "a.raw", &layout)), 0);
    assert_int_equal(image_create(&host->host, "a.raw", &layout, NULL), -EEXIST);
}

static void a_child_has_the_format_of_its_parent(void **state)
{
    struct fixture_host *host = *state;
    const struct image_layout raw = {.format = IMAGE_RAW, .capacity = MIB};
    const struct image_layout child = {
        .format = IMAGE_VHDX, .kind = IMAGE_DIFFERENCING, .parent = "a.raw"};
    struct reason reason = {""};

    assert_int_equal(disk_close(make(host, "a.raw", &raw)), 0);
    assert_int_equal(image_create(&host->host, "b.vhdx", &child, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "format of its parent, raw"));
}

static void a_map_tells_who_has_what(void **state)
{
    struct fixture_host *host = *state;
    const struct image_layout base = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = 4 * MIB, .block_size = MIB};
    const struct image_layout child = {
        .format = IMAGE_VHDX, .kind = IMAGE_DIFFERENCING, .block_size = MIB, .parent = "base.vhdx"};
    static uint8_t bytes[MIB];
    struct image_extent extent;

    memset(bytes, 7, sizeof(bytes));
    struct disk *disk = make(host, "base.vhdx", &base);
    assert_int_equal(disk_write(disk, bytes, MIB, 0), 0);
    assert_int_equal(disk_close(disk), 0);
    disk = make(host, "child.vhdx", &child);
    assert_int_equal(disk_write(disk, bytes, 4096, 8192), 0);
    assert_int_equal(disk_unmap(disk, 2 * MIB, MIB), 0);

    assert_int_equal(image_map(disk, 0, &extent), 0);
    assert_true(extent.data && extent.layer == 1 && extent.length == 8192);
    assert_int_equal(image_map(disk, 8192, &extent), 0);
    assert_true(extent.data && extent.layer == 0 && extent.length == 4096);
    assert_int_equal(image_map(disk, MIB, &extent), 0);
    assert_true(!extent.data && extent.absent && extent.layer == 1 && extent.length == MIB);
    assert_int_equal(image_map(disk, 2 * MIB, &extent), 0);
    assert_true(!extent.data && !extent.absent && extent.layer == 0 && extent.length == MIB);
    assert_int_equal(image_map(disk, 4 * MIB, &extent), -EINVAL);
    assert_int_equal(image_map(disk, 1, &extent), -EINVAL);
    assert_int_equal(disk_close(disk), 0);
}

static void raw_disks_change_their_size(void **state)
{
    struct fixture_host *host = *state;
    const struct image_layout layout = {.format = IMAGE_RAW, .capacity = 4 * MIB};
    const uint8_t sector[SECTOR] = {1};
    struct reason reason = {""};
    struct disk *disk = make(host, "a.raw", &layout);

    assert_int_equal(image_resize(disk, 8 * MIB, NULL), 0);
    assert_int_equal(disk_geometry(disk)->capacity, 8 * MIB);
    assert_int_equal(disk_write(disk, sector, SECTOR, 6 * MIB), 0);
    assert_int_equal(image_resize(disk, 6 * MIB, &reason), -ENOTEMPTY);
    assert_non_null(strstr(reason.text, "data behind the new end"));
    assert_int_equal(image_resize(disk, 6 * MIB + SECTOR, NULL), 0);
    assert_int_equal(image_resize(disk, 100, &reason), -EINVAL);
    assert_int_equal(image_compact(disk, NULL, NULL, &reason), -ENOTSUP);
    assert_int_equal(disk_close(disk), 0);
}

static void what_is_read_only_stays_as_it_is(void **state)
{
    struct fixture_host *host = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = 4 * MIB};
    struct disk *disk = make(host, "a.vhdx", &layout);

    assert_int_equal(disk_close(disk), 0);
    assert_int_equal(disk_open_with(&host->host, "a.vhdx", 0, &disk, NULL), 0);
    assert_int_equal(image_resize(disk, 8 * MIB, NULL), -EROFS);
    assert_int_equal(image_compact(disk, NULL, NULL, NULL), -EROFS);
    assert_int_equal(image_set_parent(disk, NULL, NULL), -EROFS);
    assert_int_equal(disk_close(disk), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_made_is_refused),
        TEST(a_name_that_is_taken_is_refused),
        TEST(a_child_has_the_format_of_its_parent),
        TEST(a_map_tells_who_has_what),
        TEST(raw_disks_change_their_size),
        TEST(what_is_read_only_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
