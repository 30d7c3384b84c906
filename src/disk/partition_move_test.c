/* The backup of a GPT follows the disk's end; all is read back by the reader of tables. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk/image.h"
#include "disk/memory_file.h"
#include "disk/partition.h"
#include "disk/partition_fixture.h"

enum { SECTOR = 512, SECTORS = 400, ROOM = 1 << 20 };

struct fixture {
    struct memory_file memory;
    struct disk *disk;
    struct partition_table table;
};

/* A primary with its array at 2, a backup with its array at the end, and one partition. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    memory_file_init(&f->memory, (uint64_t)SECTORS * SECTOR, ROOM);
    uint8_t *bytes = f->memory.bytes;
    partition_fixture_mbr_entry(bytes, 0, PARTITION_MBR_PROTECTIVE, 1, SECTORS - 1);
    partition_fixture_gpt(bytes, SECTOR, 1, 2, SECTORS);
    partition_fixture_gpt(bytes, SECTOR, SECTORS - 1, SECTORS - 2, SECTORS);
    partition_fixture_gpt_entry(bytes + 2 * SECTOR, 7, 40, 99);
    partition_fixture_gpt_entry(bytes + (SECTORS - 2) * SECTOR, 7, 40, 99);
    partition_fixture_seal(bytes, (size_t)SECTORS * SECTOR, SECTOR);
    *state = f;
    return disk_open_file(&f->memory.file, DISK_WRITABLE, &f->disk, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)disk_close(f->disk);
    free(f->memory.bytes);
    free(f);
    return 0;
}

static void assert_table(struct fixture *f, uint64_t sectors)
{
    assert_int_equal(partition_read(f->disk, &f->table, NULL), 0);
    assert_int_equal(f->table.scheme, PARTITION_GPT);
    assert_true(f->table.primary_valid);
    assert_true(f->table.backup_valid);
    assert_int_equal(f->table.backup_offset, (sectors - 1) * SECTOR);
    assert_int_equal(f->table.count, 1);
    assert_int_equal(f->table.partitions[0].offset, 40 * SECTOR);
}

static void it_goes_to_the_end_of_a_larger_disk(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeroes[2 * SECTOR];

    assert_table(f, SECTORS);
    assert_int_equal(image_resize(f->disk, (uint64_t)2 * SECTORS * SECTOR, NULL), 0);
    assert_int_equal(partition_move_backup(f->disk, (uint64_t)2 * SECTORS * SECTOR, NULL), 0);
    assert_table(f, 2 * SECTORS);
    assert_memory_equal(f->memory.bytes + (SECTORS - 2) * SECTOR, zeroes, sizeof(zeroes));
    assert_int_equal(get_le32(f->memory.bytes + 446 + 12), 2 * SECTORS - 1);
}

static void it_makes_room_for_a_smaller_disk(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(partition_move_backup(f->disk, 200 * SECTOR, NULL), 0);
    assert_int_equal(image_resize(f->disk, 200 * SECTOR, NULL), 0);
    assert_table(f, 200);
}

static void a_partition_is_not_cut(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};

    assert_int_equal(partition_move_backup(f->disk, 101 * SECTOR, &reason), -ENOTEMPTY);
    assert_table(f, SECTORS);
    assert_int_equal(partition_move_backup(f->disk, 102 * SECTOR, NULL), 0);
}

static void where_old_and_new_meet_the_new_stays(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(partition_move_backup(f->disk, (SECTORS - 1) * SECTOR, NULL), 0);
    assert_int_equal(image_resize(f->disk, (SECTORS - 1) * SECTOR, NULL), 0);
    assert_table(f, SECTORS - 1);
}

static void a_disk_without_a_table_is_left_alone(void **state)
{
    struct fixture *f = *state;
    uint8_t before[SECTOR];

    memset(f->memory.bytes, 0, SECTOR);
    memcpy(before, f->memory.bytes + SECTOR, SECTOR);
    assert_int_equal(partition_move_backup(f->disk, 200 * SECTOR, NULL), 0);
    assert_memory_equal(before, f->memory.bytes + SECTOR, SECTOR);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(it_goes_to_the_end_of_a_larger_disk),
        TEST(it_makes_room_for_a_smaller_disk),
        TEST(a_partition_is_not_cut),
        TEST(where_old_and_new_meet_the_new_stays),
        TEST(a_disk_without_a_table_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
