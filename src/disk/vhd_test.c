/* Fixed VHD images, with files in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "disk/image_fixture.h"

enum { MIB = 1 << 20, SECTOR = 512, FOOTER = 512 };

struct fixture {
    struct fixture_host host;
    struct disk *disk;
    struct memory_file *memory;
};

static int set_up(void **state)
{
    static const struct image_layout layout = {.format = IMAGE_VHD, .capacity = 4 * MIB};
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    fixture_init(&f->host);
    *state = f;
    if (image_create(&f->host.host, "a.vhd", &layout, NULL) != 0)
        return -1;
    struct fixture_file *file = fixture_find(&f->host, "a.vhd");
    if (file == NULL)
        return -1;
    f->memory = &file->memory;
    return disk_open_with(&f->host.host, "a.vhd", DISK_WRITABLE, &f->disk, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)disk_close(f->disk);
    fixture_release(&f->host);
    free(f);
    return 0;
}

static int reopen(struct fixture *f, unsigned flags, struct reason *reason)
{
    (void)disk_close(f->disk);
    f->disk = NULL;
    return disk_open_with(&f->host.host, "a.vhd", flags, &f->disk, reason);
}

static void the_footer_is_behind_the_disk(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(f->memory->size, 4 * MIB + FOOTER);
    assert_memory_equal(f->memory->bytes + 4 * MIB, "conectix", 8);
    assert_int_equal(disk_geometry(f->disk)->capacity, 4 * MIB);
    assert_int_equal(get_be16(f->memory->bytes + 4 * MIB + 56), 120); /* 8192 / 17 / 4 */
}

static void it_keeps_what_is_written(void **state)
{
    struct fixture *f = *state;
    uint8_t sector[SECTOR];
    struct image_info info;

    memset(sector, 0x42, sizeof(sector));
    assert_int_equal(disk_write(f->disk, sector, SECTOR, 4 * MIB - SECTOR), 0);
    assert_int_equal(disk_write(f->disk, sector, SECTOR, 4 * MIB), -EINVAL);
    assert_int_equal(reopen(f, 0, NULL), 0);
    memset(sector, 0, sizeof(sector));
    assert_int_equal(disk_read(f->disk, sector, SECTOR, 4 * MIB - SECTOR), 0);
    assert_int_equal(sector[SECTOR - 1], 0x42);
    assert_int_equal(image_describe(f->disk, &info), 0);
    assert_string_equal(info.creator, "win ");
    assert_int_equal(info.kind, IMAGE_FIXED);
}

static void it_grows_and_shrinks(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeroes[SECTOR];
    uint8_t sector[SECTOR];

    assert_int_equal(image_resize(f->disk, 8 * MIB, NULL), 0);
    assert_int_equal(reopen(f, DISK_WRITABLE, NULL), 0);
    assert_int_equal(disk_geometry(f->disk)->capacity, 8 * MIB);
    assert_int_equal(disk_read(f->disk, sector, SECTOR, 4 * MIB), 0);
    assert_memory_equal(sector, zeroes, SECTOR);
    assert_int_equal(image_resize(f->disk, 2 * MIB, NULL), 0);
    assert_int_equal(f->memory->size, 2 * MIB + FOOTER);
    assert_int_equal(reopen(f, DISK_WRITABLE, NULL), 0);
    assert_int_equal(disk_geometry(f->disk)->capacity, 2 * MIB);
}

/* The power failed between the new footer and the zeroes over the old one. */
static void a_stale_footer_reads_as_zeroes(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeroes[SECTOR];
    uint8_t old[FOOTER];
    uint8_t bytes[3 * SECTOR];

    memcpy(old, f->memory->bytes + 4 * MIB, FOOTER);
    assert_int_equal(image_resize(f->disk, 8 * MIB, NULL), 0);
    uint8_t *footer = f->memory->bytes + 8 * MIB;
    memcpy(f->memory->bytes + 4 * MIB, old, FOOTER);
    put_be32(footer + 96, 0x70727453); /* "prtS" */
    put_be64(footer + 100, 4 * MIB);
    uint32_t sum = 0;
    put_be32(footer + 64, 0);
    for (unsigned i = 0; i < FOOTER; i++)
        sum += footer[i];
    put_be32(footer + 64, ~sum);

    assert_int_equal(reopen(f, 0, NULL), 0);
    assert_int_equal(disk_read(f->disk, bytes, sizeof(bytes), 4 * MIB - SECTOR), 0);
    assert_memory_equal(bytes + SECTOR, zeroes, SECTOR);
    assert_memory_equal(f->memory->bytes + 4 * MIB, old, FOOTER);
    assert_int_equal(reopen(f, DISK_WRITABLE, NULL), 0);
    assert_memory_equal(f->memory->bytes + 4 * MIB, zeroes, FOOTER);
    assert_memory_equal(footer + 96, zeroes, 4);
}

static void damage_is_told(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};

    f->memory->bytes[4 * MIB + 50] ^= 1;
    assert_int_equal(reopen(f, 0, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "checksum"));
    f->memory->bytes[4 * MIB] = 'x';
    assert_int_equal(reopen(f, 0, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "not a VHD"));
    f->memory->size = 100;
    assert_int_equal(reopen(f, 0, &reason), -EINVAL);
}

static void what_is_not_fixed_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHD, .kind = IMAGE_DYNAMIC, .capacity = MIB};
    struct reason reason = {""};

    assert_int_equal(image_create(&f->host.host, "b.vhd", &layout, &reason), -ENOTSUP);
    assert_non_null(strstr(reason.text, "only fixed"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_footer_is_behind_the_disk),
        TEST(it_keeps_what_is_written),
        TEST(it_grows_and_shrinks),
        TEST(a_stale_footer_reads_as_zeroes),
        TEST(damage_is_told),
        TEST(what_is_not_fixed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
