/* What is read and kept of large tables, and when memory is taken. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/image_fixture.h"
#include "disk/vhdx/vhdx.h"

enum { MIB = 1 << 20, SECTOR = 512 };
#define LARGE (UINT64_C(2) << 40) /* 16 MiB of table */

struct fixture {
    struct fixture_host host;
    struct disk *disk;
    uint8_t bytes[SECTOR];
};

static void open_disk(struct fixture *f, unsigned flags)
{
    struct reason reason = {""};

    if (disk_open_with(&f->host.host, "a.vhdx", flags, &f->disk, &reason) != 0)
        fail_msg("%s", reason.text);
}

static void reopen(struct fixture *f, unsigned flags)
{
    assert_int_equal(disk_close(f->disk), 0);
    open_disk(f, flags);
}

static int set_up(void **state)
{
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = LARGE, .block_size = MIB};
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    fixture_init(&f->host);
    assert_int_equal(image_create(&f->host.host, "a.vhdx", &layout, NULL), 0);
    open_disk(f, DISK_WRITABLE);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)disk_close(f->disk);
    fixture_release(&f->host);
    free(f);
    return 0;
}

static void put(struct fixture *f, uint64_t offset, uint8_t value)
{
    memset(f->bytes, value, SECTOR);
    assert_int_equal(disk_write(f->disk, f->bytes, SECTOR, offset), 0);
}

static void assert_there(struct fixture *f, uint64_t offset, uint8_t value)
{
    memset(f->bytes, (uint8_t)~value, SECTOR);
    assert_int_equal(disk_read(f->disk, f->bytes, SECTOR, offset), 0);
    assert_int_equal(f->bytes[0], value);
    assert_int_equal(f->bytes[SECTOR - 1], value);
}

/* The entries that vhdx_next_entry() finds. */
static unsigned count_entries(const struct vhdx *vhdx)
{
    unsigned count = 0;

    for (uint64_t i = 0; (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++) {
        assert_int_not_equal(vhdx->bat[i], 0);
        count++;
    }
    return count;
}

static void found_far_apart(void **state)
{
    struct fixture *f = *state;
    static const uint64_t places[] = {0, 511 * MIB, 512 * (uint64_t)MIB, LARGE / 2, LARGE - MIB};
    struct image_info info;

    for (unsigned i = 0; i < 5; i++)
        put(f, places[i], (uint8_t)(i + 1));
    assert_int_equal(count_entries(vhdx_of(f->disk)), 5);
    reopen(f, DISK_WRITABLE);
    assert_int_equal(count_entries(vhdx_of(f->disk)), 5);
    for (unsigned i = 0; i < 5; i++)
        assert_there(f, places[i], (uint8_t)(i + 1));
    assert_int_equal(image_describe(f->disk, &info), 0);
    assert_int_equal(info.blocks_present, 5);
    assert_int_equal(info.minimum, LARGE);
    assert_int_equal(disk_unmap(f->disk, LARGE - MIB, MIB), 0);
    assert_int_equal(disk_flush(f->disk), 0);
    assert_int_equal(image_describe(f->disk, &info), 0);
    assert_int_equal(info.minimum, LARGE / 2 + MIB);
}

static struct memory_file *memory_of_image(struct fixture *f)
{
    struct fixture_file *file = fixture_find(&f->host, "a.vhdx");

    if (file == NULL)
        abort();
    return &file->memory;
}

/* What the log has of a page that is a hole at home. */
static void found_in_the_log_alone(void **state)
{
    struct fixture *f = *state;
    const struct vhdx *vhdx = vhdx_of(f->disk);
    struct memory_file *memory = memory_of_image(f);

    put(f, 0, 1);
    assert_int_equal(disk_flush(f->disk), 0);
    put(f, LARGE / 2, 2);
    assert_int_equal(disk_flush(f->disk), 0);
    uint64_t home = vhdx->regions.bat.offset + vhdx_block_index(vhdx, LARGE / 2 / MIB) * 8;
    memset(memory->bytes + home / VHDX_PAGE * VHDX_PAGE, 0, VHDX_PAGE);
    vhdx_close(f->disk); /* as if it had been killed */
    open_disk(f, 0);
    assert_int_equal(count_entries(vhdx_of(f->disk)), 2);
    assert_there(f, LARGE / 2, 2);
    reopen(f, DISK_WRITABLE);
    assert_there(f, LARGE / 2, 2);
    assert_there(f, 0, 1);
}

static void gone_after_a_smaller_size(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1);
    put(f, LARGE - MIB, 2);
    assert_int_equal(disk_unmap(f->disk, LARGE - MIB, MIB), 0);
    assert_int_equal(image_resize(f->disk, 600 * (uint64_t)MIB, NULL), 0);
    assert_int_equal(count_entries(vhdx_of(f->disk)), 1);
    assert_int_equal(image_resize(f->disk, LARGE, NULL), 0);
    assert_int_equal(count_entries(vhdx_of(f->disk)), 1);
    put(f, LARGE - SECTOR, 3);
    assert_int_equal(count_entries(vhdx_of(f->disk)), 2);
}

static void a_log_takes_memory_with_the_first_change(void **state)
{
    struct fixture *f = *state;

    assert_null(vhdx_of(f->disk)->log.pages);
    assert_there(f, LARGE / 2, 0);
    assert_null(vhdx_of(f->disk)->log.pages);
    put(f, 0, 1);
    assert_non_null(vhdx_of(f->disk)->log.pages);
}

/* Items behind the first page of the metadata table, behind others that nobody knows. */
static void many_items_are_looked_at(void **state)
{
    enum { OTHERS = 200, ENTRY = 32 };
    struct fixture *f = *state;
    const struct memory_file *memory = memory_of_image(f);
    struct image_check check = {0};

    put(f, 0, 1);
    uint8_t *table = memory->bytes + vhdx_of(f->disk)->regions.metadata.offset;
    unsigned count = get_le16(table + 10);
    memmove(table + (OTHERS + 1) * ENTRY, table + ENTRY, (size_t)count * ENTRY);
    for (unsigned i = 0; i < OTHERS; i++) {
        memset(table + (i + 1) * ENTRY, 0x5a, ENTRY);
        put_le32(table + (i + 1) * ENTRY + 24, 1); /* a user's, and not required */
    }
    put_le16(table + 10, (uint16_t)(OTHERS + count));
    reopen(f, DISK_WRITABLE);
    assert_there(f, 0, 1);
    assert_int_equal(disk_close(TAKE_PTR(f->disk)), 0);
    assert_int_equal(image_check(&f->host.host, "a.vhdx", 0, false, &check, NULL), 0);
    assert_int_equal(check.damages, 0);
    put_le16(table + 10, OTHERS); /* none of those that must be there */
    assert_int_equal(disk_open_with(&f->host.host, "a.vhdx", 0, &f->disk, NULL), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(found_far_apart),
        TEST(found_in_the_log_alone),
        TEST(gone_after_a_smaller_size),
        TEST(a_log_takes_memory_with_the_first_change),
        TEST(many_items_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
