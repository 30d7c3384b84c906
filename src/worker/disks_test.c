#include "worker/disks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"

static char folder[] = "/tmp/partita-disks-XXXXXX";
static char image[64];
static struct worker_config config;
static struct disks *disks;
static struct reason reason;

static int make_image(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(image, sizeof(image), "%s/image", folder);
    FILE *file = fopen(image, "w");
    return file == NULL || ftruncate(fileno(file), 1 << 20) != 0 || fclose(file) != 0;
}

static int remove_image(void **state)
{
    (void)state;
    return unlink(image) | rmdir(folder);
}

static int set_up(void **state)
{
    (void)state;
    memset(&config, 0, sizeof(config));
    disks = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return disks_close(disks, NULL);
}

static struct worker_disk *add(const char *path)
{
    struct worker_disk *disk = &config.disks[config.disk_count++];
    disk->path = path;
    disk->dvd = path == NULL;
    return disk;
}

static void place(struct worker_disk *disk, unsigned controller, unsigned lun)
{
    disk->placed = true;
    disk->controller = controller;
    disk->lun = lun;
}

static void assert_place(size_t index, unsigned controller, unsigned lun)
{
    size_t count = 0;
    const struct machine_disk *places = disks_places(disks, &count);
    assert_true(index < count);
    assert_int_equal(places[index].controller, controller);
    assert_int_equal(places[index].lun, lun);
}

static void ignore(struct disk_request *request, int error)
{
    (void)request;
    assert_int_equal(error, 0);
}

static void disks_without_a_place_go_around_the_others(void **state)
{
    (void)state;
    (void)add(NULL);
    place(add(NULL), 0, 0);
    place(add(NULL), 2, 5);
    (void)add(NULL);
    assert_int_equal(disks_open(&config, &disks, &reason), 0);
    assert_place(0, 0, 1);
    assert_place(1, 0, 0);
    assert_place(2, 2, 5);
    assert_place(3, 0, 2);
}

static void there_are_four_controllers_of_64(void **state)
{
    (void)state;
    for (int i = 0; i < WORKER_MAX_DISKS; i++)
        (void)add(NULL);
    assert_int_equal(disks_open(&config, &disks, &reason), 0);
    assert_place(63, 0, 63);
    assert_place(64, 1, 0);
    assert_place(255, 3, 63);
}

static void a_place_is_given_once(void **state)
{
    (void)state;
    place(add(image), 1, 1);
    place(add(image), 1, 1);
    assert_int_equal(disks_open(&config, &disks, &reason), -EEXIST);
    assert_non_null(strstr(reason.text, "1:1"));
    place(&config.disks[1], 4, 0);
    assert_int_equal(disks_open(&config, &disks, &reason), -EINVAL);
    place(&config.disks[1], 0, 64);
    assert_int_equal(disks_open(&config, &disks, &reason), -EINVAL);
}

static void images_are_writable_unless_asked(void **state)
{
    size_t count = 0;
    (void)state;
    add(image)->read_only = true;
    add(image)->read_only = true;
    assert_int_equal(disks_open(&config, &disks, &reason), 0);
    const struct machine_disk *places = disks_places(disks, &count);
    assert_int_equal(count, 2);
    assert_true(disk_geometry(places[1].disk)->read_only);
    assert_int_equal(disks_close(disks, &reason), 0);
    disks = NULL;
    config.disks[0].read_only = false;
    assert_int_equal(disks_open(&config, &disks, &reason), -EBUSY);
    config.disk_count = 1;
    assert_int_equal(disks_open(&config, &disks, &reason), 0);
    assert_false(disk_geometry(disks_places(disks, &count)->disk)->read_only);
}

static void what_is_told_is_what_is_there(void **state)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_STATUS};
    uint8_t bytes[4096];
    const struct iovec piece = {bytes, sizeof(bytes)};
    struct disk_request request = {
        .op = DISK_READ, .length = sizeof(bytes), .iov = &piece, .iov_count = 1, .done = ignore};
    size_t count = 0;
    (void)state;
    place(add(image), 1, 2);
    (void)add(NULL);
    assert_int_equal(disks_open(&config, &disks, &reason), 0);
    disk_submit(disks_places(disks, &count)->disk, &request);
    assert_int_equal(disks_describe(disks, &reply.status), 0);
    assert_int_equal(reply.status.disk_count, 2);
    const struct control_disk *told = reply.status.disks;
    assert_string_equal(told[0].path, image);
    assert_int_equal(told[0].controller, 1);
    assert_int_equal(told[0].lun, 2);
    assert_int_equal(told[0].capacity, 1 << 20);
    assert_int_equal(told[0].reads, 1);
    assert_int_equal(told[0].read_bytes, sizeof(bytes));
    assert_int_equal(told[0].writes, 0);
    assert_false(told[0].read_only);
    assert_null(told[1].path);
    assert_true(told[1].dvd);
    control_reply_release(&reply);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    (void)add(image);
    (void)add("/nowhere/disk");
    assert_true(disks_open(&config, &disks, &reason) < 0);
    assert_non_null(strstr(reason.text, "/nowhere/disk"));
}

#define DISKS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISKS_TEST(disks_without_a_place_go_around_the_others),
        DISKS_TEST(there_are_four_controllers_of_64),
        DISKS_TEST(a_place_is_given_once),
        DISKS_TEST(images_are_writable_unless_asked),
        DISKS_TEST(what_is_told_is_what_is_there),
        DISKS_TEST(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, make_image, remove_image);
}
