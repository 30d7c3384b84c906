/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/machine_fixture.h"
/* clang-format on */

#include "disk/disk.h"
#include "disk/memory_file.h"

static struct memory_file file;
static struct disk *disk;
static struct reason reason;
static unsigned removed;

static int setup(void **state)
{
    removed = 0;
    memory_file_init(&file, 1 << 20, 1 << 20);
    assert_int_equal(disk_open_file(&file.file, DISK_WRITABLE, &disk, &reason), 0);
    return fixture_setup(state);
}

static int teardown(void **state)
{
    int error = fixture_teardown(state);
    (void)disk_close(disk);
    free(file.bytes);
    return error;
}

static int create(const struct machine_disk *disks, size_t count)
{
    struct machine_config config = fixture_config(2);
    config.disks = disks;
    config.disk_count = count;
    return machine_create(&config, &fixture.machine, &reason);
}

static void disks_are_there_from_the_start(void **state)
{
    const struct machine_disk disks[] = {{.disk = disk, .lun = 5},
                                         {.controller = 3, .lun = 63, .dvd = true}};
    (void)state;
    assert_int_equal(create(disks, 2), 0);
    assert_non_null(fixture.machine->slots[0][5].target);
    assert_non_null(fixture.machine->slots[3][63].target);
    assert_non_null(fixture.machine->controllers[0]);
    assert_null(fixture.machine->controllers[1]);
    assert_non_null(fixture.machine->controllers[3]);
}

static void wrong_places_are_named(void **state)
{
    const struct machine_disk beyond = {.disk = disk, .controller = 4};
    const struct machine_disk high = {.disk = disk, .lun = 64};
    const struct machine_disk good = {.disk = disk, .lun = 1};
    (void)state;
    assert_int_equal(create(&beyond, 1), -EINVAL);
    assert_int_equal(create(NULL, 0), 0);
    assert_int_equal(machine_add_disk(fixture.machine, &high, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "0:64"));
    assert_int_equal(machine_add_disk(fixture.machine, &good, &reason), 0);
    assert_int_equal(machine_add_disk(fixture.machine, &good, &reason), -EEXIST);
}

static void note_removed(void *owner, struct disk *gone)
{
    assert_ptr_equal(owner, &removed);
    assert_ptr_equal(gone, disk);
    removed++;
}

static void a_removed_disk_comes_back_to_its_owner(void **state)
{
    const struct machine_disk good = {.disk = disk, .controller = 1, .lun = 2};
    (void)state;
    assert_int_equal(create(&good, 1), 0);
    assert_int_equal(machine_remove_disk(fixture.machine, 1, 3, note_removed, &removed), -ENOENT);
    assert_int_equal(machine_remove_disk(fixture.machine, 9, 2, note_removed, &removed), -ENOENT);
    assert_int_equal(machine_remove_disk(fixture.machine, 1, 2, note_removed, &removed), 0);
    assert_int_equal(removed, 1);
    assert_null(fixture.machine->slots[1][2].target);
    assert_int_equal(machine_add_disk(fixture.machine, &good, &reason), 0);
}

static void discs_are_changed_in_dvd_drives_only(void **state)
{
    const struct machine_disk places[] = {{.disk = disk, .lun = 1}, {.dvd = true, .lun = 2}};
    struct machine_disk disc = {.disk = disk, .lun = 2};
    (void)state;
    assert_int_equal(create(places, 2), 0);
    assert_int_equal(machine_change_disc(fixture.machine, &disc, note_removed, &removed), 0);
    assert_ptr_equal(fixture.machine->slots[0][2].disk, disk);
    assert_int_equal(removed, 0); /* there was none before */
    disc.disk = NULL;
    assert_int_equal(machine_change_disc(fixture.machine, &disc, note_removed, &removed), 0);
    assert_int_equal(removed, 1);
    disc.lun = 1;
    assert_int_equal(machine_change_disc(fixture.machine, &disc, note_removed, &removed), -ENOTSUP);
    disc.lun = 3;
    assert_int_equal(machine_change_disc(fixture.machine, &disc, note_removed, &removed), -ENOENT);
    disc.lun = 64;
    assert_int_equal(machine_change_disc(fixture.machine, &disc, note_removed, &removed), -ENOENT);
}

static void without_hyperv_there_are_no_disks(void **state)
{
    struct machine_config config = fixture_config(1);
    const struct machine_disk good = {.disk = disk};
    (void)state;
    config.hyperv = false;
    assert_int_equal(machine_create(&config, &fixture.machine, &reason), 0);
    assert_int_equal(machine_add_disk(fixture.machine, &good, &reason), -EINVAL);
}

#define STORAGE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORAGE_TEST(disks_are_there_from_the_start),
        STORAGE_TEST(wrong_places_are_named),
        STORAGE_TEST(a_removed_disk_comes_back_to_its_owner),
        STORAGE_TEST(discs_are_changed_in_dvd_drives_only),
        STORAGE_TEST(without_hyperv_there_are_no_disks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
