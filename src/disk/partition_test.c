#include "disk/partition.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "disk/memory_file.h"
#include "disk/partition_fixture.h"

enum { SIZE = 1 << 18 };

static struct memory_file memory;
static struct disk *disk;
static struct partition_table table;

static int open_disk(void **state)
{
    (void)state;
    memory_file_init(&memory, SIZE, SIZE);
    return disk_open_file(&memory.file, 0, &disk, NULL);
}

static int close_disk(void **state)
{
    (void)state;
    (void)disk_close(disk);
    free(memory.bytes);
    return 0;
}

static void make_gpt(uint32_t sector)
{
    uint64_t sectors = SIZE / sector;

    partition_fixture_sectors(disk, sector);
    partition_fixture_mbr_entry(memory.bytes, 0, 0xee, 1, UINT32_MAX);
    partition_fixture_gpt(memory.bytes, sector, 1, 2, sectors);
    partition_fixture_gpt(memory.bytes, sector, sectors - 1, sectors - 2, sectors);
    for (unsigned copy = 0; copy < 2; copy++) {
        uint8_t *array = memory.bytes + (copy == 0 ? 2 : sectors - 2) * sector;
        partition_fixture_gpt_entry(array, 0x10, 5, 8);
        partition_fixture_gpt_entry(array + 256, 0x20, 9, sectors - 4);
        partition_fixture_gpt_entry(array + 384, 0x30, 9, sectors * 2); /* beyond the disk */
    }
    partition_fixture_seal(memory.bytes, SIZE, sector);
}

static void expect_gpt(uint32_t sector, bool primary, bool backup)
{
    char text[PARTITION_GUID_TEXT];

    assert_int_equal(partition_read(disk, &table, NULL), 0);
    assert_int_equal(table.scheme, PARTITION_GPT);
    assert_int_equal(table.primary_valid, primary);
    assert_int_equal(table.backup_valid, backup);
    assert_int_equal(table.backup_offset, SIZE - sector);
    assert_int_equal(table.count, 2);
    assert_int_equal(table.partitions[0].number, 1);
    assert_int_equal(table.partitions[0].offset, 5 * sector);
    assert_int_equal(table.partitions[0].length, 4 * sector);
    assert_int_equal(table.partitions[0].name[0], 'n');
    assert_int_equal(table.partitions[1].number, 3);
    assert_true(
        partition_guid_is(&table.partitions[1].type, "20202020-2020-2020-2020-202020202020"));
    partition_uuid_text(&table, &table.partitions[1], text);
    assert_string_equal(text, "21212121-2121-2121-2121-212121212121");
}

static void gpt_is_read_in_both_sector_sizes(void **state)
{
    (void)state;
    make_gpt(512);
    expect_gpt(512, true, true);
    memset(memory.bytes, 0, SIZE);
    make_gpt(4096);
    expect_gpt(4096, true, true);
}

static void either_copy_of_a_gpt_is_enough(void **state)
{
    (void)state;
    make_gpt(512);
    memory.bytes[512 + 60] ^= 1;
    expect_gpt(512, false, true);
    memory.bytes[512 + 60] ^= 1;
    memory.bytes[SIZE - 1024 + 3] ^= 1; /* an entry of the backup */
    expect_gpt(512, true, false);
}

static void gpt_with_two_damaged_copies_is_refused(void **state)
{
    struct reason reason = {0};
    (void)state;
    make_gpt(512);
    memory.bytes[512 + 60] ^= 1;
    memory.bytes[SIZE - 512] ^= 1;
    assert_int_equal(partition_read(disk, &table, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "both copies"));
}

/* Sealed again after each change, so that the checks behind the checksum are what refuses. */
static void gpt_that_leaves_its_bounds_is_refused(void **state)
{
    static const struct {
        unsigned at;
        uint64_t value;
    } bad[] = {{24, 2},
               {40, 1 << 20},
               {48, SIZE / 512},
               {72, SIZE / 512},
               {72, UINT64_MAX},
               {80, UINT64_C(128) << 32 | UINT32_MAX},
               {80, UINT64_C(129) << 32 | 4},
               {80, UINT64_C(64) << 32 | 4}};
    (void)state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(memory.bytes, 0, SIZE);
        make_gpt(512);
        memory.bytes[SIZE - 512] ^= 1;
        put_le64(memory.bytes + 512 + bad[i].at, bad[i].value);
        put_le32(memory.bytes + 512 + 16, 0);
        put_le32(memory.bytes + 512 + 16, fixture_crc32(memory.bytes + 512, 92));
        assert_int_equal(partition_read(disk, &table, NULL), -EINVAL);
    }
}

static void gpt_of_a_grown_disk_finds_its_backup(void **state)
{
    (void)state;
    make_gpt(512);
    disk->geometry.capacity = SIZE + 4096;
    expect_gpt(512, true, true);
}

static void mbr_partitions_are_numbered_as_linux_does(void **state)
{
    char text[PARTITION_GUID_TEXT];
    (void)state;

    put_le32(memory.bytes + 440, 0x1234abcd);
    partition_fixture_mbr_entry(memory.bytes, 0, 0x83, 8, 8);
    partition_fixture_mbr_entry(memory.bytes, 2, 0x05, 100, 100);
    partition_fixture_mbr_entry(memory.bytes + (size_t)100 * 512, 0, 0x83, 2, 10);
    partition_fixture_mbr_entry(memory.bytes + (size_t)100 * 512, 1, 0x05, 20, 20);
    partition_fixture_mbr_entry(memory.bytes + (size_t)120 * 512, 0, 0x82, 3, 4);
    assert_int_equal(partition_read(disk, &table, NULL), 0);
    assert_int_equal(table.scheme, PARTITION_MBR);
    assert_int_equal(table.count, 4);
    assert_int_equal(table.partitions[1].number, 3);
    assert_int_equal(table.partitions[2].number, 5);
    assert_int_equal(table.partitions[2].offset, 102 * 512);
    assert_int_equal(table.partitions[3].number, 6);
    assert_int_equal(table.partitions[3].offset, 123 * 512);
    assert_int_equal(table.partitions[3].mbr_type, 0x82);
    partition_uuid_text(&table, &table.partitions[2], text);
    assert_string_equal(text, "1234abcd-05");
}

static void chain_of_logical_partitions_that_loops_ends(void **state)
{
    (void)state;
    partition_fixture_mbr_entry(memory.bytes, 0, 0x0f, 100, 100);
    partition_fixture_mbr_entry(memory.bytes + (size_t)100 * 512, 0, 0x83, 1, 1);
    partition_fixture_mbr_entry(memory.bytes + (size_t)100 * 512, 1, 0x05, 0, 1);
    assert_int_equal(partition_read(disk, &table, NULL), 0);
    assert_int_equal(table.count, 129);
    for (unsigned slot = 1; slot < 4; slot++)
        partition_fixture_mbr_entry(memory.bytes, slot, 0x0f, 100, 100);
    assert_int_equal(partition_read(disk, &table, NULL), 0);
    assert_int_equal(table.count, PARTITION_MOST);
    assert_true(table.truncated);
}

static void disk_without_a_table_has_none(void **state)
{
    (void)state;
    assert_int_equal(partition_read(disk, &table, NULL), 0);
    assert_int_equal(table.scheme, PARTITION_NONE);
    /* A boot sector of a file system has the magic, and other bytes where a table is. */
    memset(memory.bytes + 446, 0x7e, 64);
    memory.bytes[510] = 0x55;
    memory.bytes[511] = 0xaa;
    assert_int_equal(partition_read(disk, &table, NULL), 0);
    assert_int_equal(table.scheme, PARTITION_NONE);
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, open_disk, close_disk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(gpt_is_read_in_both_sector_sizes),
        DISK_TEST(either_copy_of_a_gpt_is_enough),
        DISK_TEST(gpt_with_two_damaged_copies_is_refused),
        DISK_TEST(gpt_that_leaves_its_bounds_is_refused),
        DISK_TEST(gpt_of_a_grown_disk_finds_its_backup),
        DISK_TEST(mbr_partitions_are_numbered_as_linux_does),
        DISK_TEST(chain_of_logical_partitions_that_loops_ends),
        DISK_TEST(disk_without_a_table_has_none),
    };
    return cmocka_run_group_tests_name("partition", tests, NULL, NULL);
}
