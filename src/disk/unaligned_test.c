/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "disk/unaligned.h"

#include "disk/memory_file.h"

enum { SIZE = 16 << 10, SECTOR = 512 };

struct fixture {
    struct memory_file memory;
    struct disk *disk;
    uint8_t wanted[SIZE]; /* what the disk must hold */
};

static int open_disk(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    memory_file_init(&f->memory, SIZE, SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        f->wanted[i] = f->memory.bytes[i] = (uint8_t)(i * 7 + i / 256 + 1);
    assert_int_equal(disk_open_file(&f->memory.file, DISK_WRITABLE, &f->disk, NULL), 0);
    *state = f;
    return 0;
}

static int close_disk(void **state)
{
    struct fixture *f = *state;

    (void)disk_close(f->disk);
    free(f->memory.bytes);
    free(f);
    return 0;
}

/* Around the ends of sectors, and some sectors long. */
static const uint64_t offsets[] = {0, 1, 511, 512, 513, 1024, 4095, 4096, SIZE - 1537};
static const size_t lengths[] = {0, 1, 2, 510, 511, 512, 513, 1024, 1025, 1537};
enum {
    OFFSETS = sizeof(offsets) / sizeof(offsets[0]),
    LENGTHS = sizeof(lengths) / sizeof(lengths[0]),
};

static void each_range(struct fixture *f, void (*check)(struct fixture *f, uint64_t, size_t))
{
    for (unsigned i = 0; i < OFFSETS * LENGTHS; i++) {
        check(f, offsets[i / LENGTHS], lengths[i % LENGTHS]);
        assert_memory_equal(f->memory.bytes, f->wanted, SIZE);
    }
}

static void check_read(struct fixture *f, uint64_t offset, size_t length)
{
    uint8_t bytes[2048];

    memset(bytes, 0xee, sizeof(bytes));
    assert_int_equal(disk_unaligned_read(f->disk, bytes, length, offset), 0);
    assert_memory_equal(bytes, f->wanted + offset, length);
    assert_int_equal(bytes[length], 0xee);
}

static void reads_any_range(void **state)
{
    each_range(*state, check_read);
}

static void check_write(struct fixture *f, uint64_t offset, size_t length)
{
    uint8_t bytes[2048];

    memset(bytes, (int)(offset + length + 1), sizeof(bytes));
    memcpy(f->wanted + offset, bytes, length);
    assert_int_equal(disk_unaligned_write(f->disk, bytes, length, offset), 0);
}

static void writes_any_range_and_nothing_beside(void **state)
{
    each_range(*state, check_write);
}

static void check_unmap(struct fixture *f, uint64_t offset, size_t length)
{
    check_write(f, offset & ~(uint64_t)(SECTOR - 1), SECTOR);
    memset(f->wanted + offset, 0, length);
    assert_int_equal(disk_unaligned_unmap(f->disk, offset, length), 0);
}

static void unmaps_any_range_and_nothing_beside(void **state)
{
    each_range(*state, check_unmap);
}

static void whole_sectors_go_at_once(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[8 * SECTOR] = {0};

    assert_int_equal(disk_unaligned_write(f->disk, bytes, sizeof(bytes), SECTOR), 0);
    assert_int_equal(f->memory.writes, 1);
    assert_int_equal(disk_unaligned_unmap(f->disk, SECTOR - 1, sizeof(bytes)), 0);
    assert_int_equal(f->memory.punches, 1);
    assert_int_equal(f->memory.writes, 3);
}

static void a_range_that_leaves_the_disk_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[1024] = {0};

    assert_int_equal(disk_unaligned_write(f->disk, bytes, 1000, SIZE - 999), -EINVAL);
    assert_int_equal(disk_unaligned_read(f->disk, bytes, 2, SIZE - 1), -EINVAL);
    assert_int_equal(disk_unaligned_unmap(f->disk, SIZE - 999, UINT64_MAX), -EINVAL);
    assert_int_equal(disk_unaligned_unmap(f->disk, UINT64_MAX, 2), -EINVAL);
    assert_memory_equal(f->memory.bytes, f->wanted, SIZE);
}

static void errors_of_the_disk_are_passed_on(void **state)
{
    struct fixture *f = *state;
    uint8_t byte = 0;

    f->memory.fail = -ENOSPC;
    assert_int_equal(disk_unaligned_write(f->disk, &byte, 1, 1), -ENOSPC);
    assert_int_equal(disk_unaligned_unmap(f->disk, 1, 1), -EROFS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_any_range, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(writes_any_range_and_nothing_beside, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(unmaps_any_range_and_nothing_beside, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(whole_sectors_go_at_once, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(a_range_that_leaves_the_disk_changes_nothing, open_disk,
                                        close_disk),
        cmocka_unit_test_setup_teardown(errors_of_the_disk_are_passed_on, open_disk, close_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
