/* VHD images, with files in memory. */
#include "disk/vhd/vhd.h"

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

static void a_resize_that_failed_is_the_last_change(void **state)
{
    struct fixture *f = *state;
    uint8_t sector[SECTOR] = {0};

    f->memory->fail = -EIO;
    assert_int_equal(image_resize(f->disk, 8 * MIB, NULL), -EIO);
    f->memory->fail = 0;
    assert_int_equal(disk_write(f->disk, sector, SECTOR, 0), -EROFS);
    assert_int_equal(reopen(f, DISK_WRITABLE, NULL), 0);
    assert_int_equal(disk_write(f->disk, sector, SECTOR, 0), 0);
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

/* ---- dynamic and differencing ---- */

enum { BLOCK = 512 << 10, HEADER = 512, TABLE = 1536 };

static const struct image_layout dynamic_layout = {
    .format = IMAGE_VHD, .kind = IMAGE_DYNAMIC, .capacity = 16 * MIB, .block_size = BLOCK};
static const struct image_layout child_layout = {
    .format = IMAGE_VHD, .kind = IMAGE_DIFFERENCING, .block_size = BLOCK, .parent = "a.vhd"};

static int open_image(struct fixture *f, const char *name, unsigned flags, struct reason *reason)
{
    (void)disk_close(f->disk);
    f->disk = NULL;
    int error = disk_open_with(&f->host.host, name, flags, &f->disk, reason);
    struct fixture_file *file = fixture_find(&f->host, name);
    if (file == NULL)
        abort();
    f->memory = &file->memory;
    return error;
}

static int set_up_dynamic(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    fixture_init(&f->host);
    *state = f;
    if (image_create(&f->host.host, "a.vhd", &dynamic_layout, NULL) != 0)
        return -1;
    return open_image(f, "a.vhd", DISK_WRITABLE, NULL);
}

static int set_up_child(void **state)
{
    if (set_up_dynamic(state) != 0)
        return -1;
    struct fixture *f = *state;
    uint8_t sector[SECTOR];
    memset(sector, 0x11, sizeof(sector));
    for (unsigned i = 0; i < 4; i++) {
        if (disk_write(f->disk, sector, SECTOR, (uint64_t)i * BLOCK) != 0)
            return -1;
    }
    (void)disk_close(f->disk);
    f->disk = NULL;
    if (image_create(&f->host.host, "b.avhd", &child_layout, NULL) != 0)
        return -1;
    return open_image(f, "b.avhd", DISK_WRITABLE, NULL);
}

static void write_sector(struct fixture *f, uint64_t offset, uint8_t value)
{
    uint8_t sector[SECTOR];

    memset(sector, value, sizeof(sector));
    assert_int_equal(disk_write(f->disk, sector, SECTOR, offset), 0);
}

static void assert_sector(struct fixture *f, uint64_t offset, uint8_t value)
{
    uint8_t sector[SECTOR];
    uint8_t wanted[SECTOR];

    memset(wanted, value, sizeof(wanted));
    assert_int_equal(disk_read(f->disk, sector, SECTOR, offset), 0);
    assert_memory_equal(sector, wanted, SECTOR);
}

static void count_damage(void *owner, enum image_severity severity, uint64_t offset,
                         const char *text)
{
    (void)offset;
    if (severity == IMAGE_DAMAGE)
        (void)snprintf(owner, 256, "%s", text);
}

static void assert_clean(struct fixture *f, const char *name)
{
    char text[256] = "";
    struct image_check check = {.found = count_damage, .owner = text};

    assert_int_equal(image_check(&f->host.host, name, 0, false, &check, NULL), 0);
    assert_string_equal(text, "");
    assert_int_equal(check.damages, 0);
    assert_int_equal(check.notes, 0);
}

static void assert_damage(struct fixture *f, const char *name, const char *wanted)
{
    char text[256] = "";
    struct image_check check = {.found = count_damage, .owner = text};

    assert_int_equal(image_check(&f->host.host, name, 0, false, &check, NULL), 0);
    if (strstr(text, wanted) == NULL)
        fail_msg("'%s' is not '%s'", text, wanted);
}

static void a_dynamic_image_is_small(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(f->memory->size, TABLE + 512 + FOOTER);
    assert_memory_equal(f->memory->bytes, f->memory->bytes + TABLE + 512, FOOTER);
    assert_memory_equal(f->memory->bytes + HEADER, "cxsparse", 8);
    assert_int_equal(disk_geometry(f->disk)->capacity, 16 * MIB);
    assert_sector(f, 16 * MIB - SECTOR, 0);
}

static void blocks_come_with_writes(void **state)
{
    struct fixture *f = *state;
    struct image_info info;

    write_sector(f, 5 * BLOCK + 1024, 0x42);
    write_sector(f, 16 * MIB - SECTOR, 0x43);
    assert_int_equal(open_image(f, "a.vhd", 0, NULL), 0);
    assert_sector(f, 5 * BLOCK + 1024, 0x42);
    assert_sector(f, 5 * BLOCK + 512, 0);
    assert_sector(f, 16 * MIB - SECTOR, 0x43);
    assert_int_equal(image_describe(f->disk, &info), 0);
    assert_int_equal(info.kind, IMAGE_DYNAMIC);
    assert_int_equal(info.blocks, 32);
    assert_int_equal(info.blocks_present, 2);
    /* Closed: the room for more blocks is given back, the footer is at the end. */
    assert_int_equal(f->memory->size, 2048 + 2 * (BLOCK + 512) + FOOTER);
    assert_memory_equal(f->memory->bytes + f->memory->size - FOOTER, "conectix", 8);
    assert_int_equal(get_be32(f->memory->bytes + TABLE + 5 * 4), 4);
    assert_int_equal(f->memory->bytes[2048], 0xff); /* for those who do not look at the bitmap */
    assert_clean(f, "a.vhd");
}

static void an_unmapped_block_is_used_again(void **state)
{
    struct fixture *f = *state;

    write_sector(f, 0, 0x42);
    write_sector(f, BLOCK + 512, 0x43);
    assert_int_equal(disk_flush(f->disk), 0);
    assert_int_equal(disk_unmap(f->disk, 0, BLOCK), 0);
    assert_int_equal(disk_flush(f->disk), 0);
    assert_sector(f, 0, 0);
    write_sector(f, 3 * BLOCK + 512, 0x44);
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, NULL), 0);
    assert_int_equal(f->memory->size, 2048 + 2 * (BLOCK + 512) + FOOTER);
    assert_sector(f, 3 * BLOCK, 0);
    assert_sector(f, 3 * BLOCK + 512, 0x44);
    assert_sector(f, BLOCK + 512, 0x43);
    assert_int_equal(disk_unmap(f->disk, BLOCK, 1024), 0);
    assert_sector(f, BLOCK + 512, 0);
    assert_clean(f, "a.vhd");
}

/* More blocks than one growth of the file has, and more than one commit can name. */
static void many_blocks(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 300 };

    assert_int_equal(image_resize(f->disk, (uint64_t)COUNT * BLOCK, NULL), 0);
    for (unsigned i = 0; i < COUNT; i++)
        write_sector(f, (uint64_t)(COUNT - 1 - i) * BLOCK, (uint8_t)i);
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, NULL), 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_sector(f, (uint64_t)(COUNT - 1 - i) * BLOCK, (uint8_t)i);
    assert_clean(f, "a.vhd");
}

static void a_child_keeps_its_own_sectors(void **state)
{
    struct fixture *f = *state;
    struct image_info info;

    assert_sector(f, BLOCK, 0x11);
    write_sector(f, BLOCK + 512, 0x22);
    assert_sector(f, BLOCK, 0x11);
    assert_int_equal(open_image(f, "b.avhd", DISK_WRITABLE, NULL), 0);
    assert_sector(f, BLOCK, 0x11);
    assert_sector(f, BLOCK + 512, 0x22);
    assert_int_equal(disk_unmap(f->disk, 0, 2 * BLOCK), 0);
    assert_int_equal(open_image(f, "b.avhd", 0, NULL), 0);
    assert_sector(f, 0, 0);
    assert_sector(f, BLOCK, 0);
    assert_sector(f, BLOCK + 512, 0);
    assert_sector(f, 2 * BLOCK, 0x11);
    assert_int_equal(image_describe(f->disk, &info), 0);
    assert_int_equal(info.kind, IMAGE_DIFFERENCING);
    assert_true(info.parent_found);
    assert_clean(f, "b.avhd");
}

static void a_child_finds_its_parent_by_its_id(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};
    struct fixture_file *parent = fixture_find(&f->host, "a.vhd");

    (void)disk_close(f->disk);
    f->disk = NULL;
    (void)strcpy(parent->name, "c.vhd");
    assert_int_equal(open_image(f, "b.avhd", 0, &reason), -ENOENT);
    assert_int_equal(image_create(&f->host.host, "a.vhd", &dynamic_layout, NULL), 0);
    assert_int_equal(open_image(f, "b.avhd", 0, &reason), -ESTALE);
    assert_non_null(strstr(reason.text, "another image"));

    struct disk *renamed = NULL;
    assert_int_equal(disk_open_with(&f->host.host, "c.vhd", 0, &renamed, NULL), 0);
    assert_int_equal(open_image(f, "b.avhd", DISK_WRITABLE | DISK_WITHOUT_PARENT, &reason), 0);
    const struct image_parent named = {.path = "c.vhd", .disk = renamed};
    assert_int_equal(image_set_parent(f->disk, &named, &reason), 0);
    (void)disk_close(renamed);
    assert_int_equal(open_image(f, "b.avhd", DISK_WRITABLE, &reason), 0);
    assert_sector(f, BLOCK, 0x11);
    write_sector(f, BLOCK, 0x33);
    assert_int_equal(open_image(f, "b.avhd", 0, NULL), 0);
    assert_sector(f, BLOCK, 0x33);
    assert_clean(f, "b.avhd");
}

/* Many pages are read while a commit is under way; those that it writes must not be read anew. */
static void pages_under_way_are_kept(void **state)
{
    struct fixture *f = *state;

    write_sector(f, 3 * BLOCK, 0x21);
    write_sector(f, 0, 0x20);
    assert_int_equal(open_image(f, "b.avhd", DISK_WRITABLE, NULL), 0);
    write_sector(f, 512, 0x42);
    f->disk->ops->commit_prepare(f->disk);
    vhd_of(f->disk)->pages_loaded += UINT64_C(1) << 32; /* as if there were so many */
    assert_sector(f, 3 * BLOCK, 0x21);
    assert_sector(f, 512, 0x42);
    int error = f->disk->ops->commit_write(f->disk);
    f->disk->ops->commit_done(f->disk, error);
    assert_int_equal(error, 0);
    assert_sector(f, 512, 0x42);
    vhd_of(f->disk)->pages_loaded -= UINT64_C(1) << 32;
}

static int go_on(void *owner, uint64_t done, uint64_t total)
{
    (void)owner;
    assert_true(done <= total);
    return 0;
}

static void a_child_is_merged(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};

    write_sector(f, 512, 0x22);
    write_sector(f, 9 * BLOCK, 0x23);
    assert_int_equal(disk_unmap(f->disk, 2 * BLOCK, SECTOR), 0);
    (void)disk_close(f->disk);
    f->disk = NULL;
    assert_int_equal(image_merge(&f->host.host, "b.avhd", 1, go_on, NULL, &reason), 0);
    assert_int_equal(open_image(f, "a.vhd", 0, NULL), 0);
    assert_sector(f, 0, 0x11);
    assert_sector(f, 512, 0x22);
    assert_sector(f, 2 * BLOCK, 0);
    assert_sector(f, 9 * BLOCK, 0x23);
    assert_clean(f, "a.vhd");
}

static void another_size(void **state)
{
    struct fixture *f = *state;
    enum { LARGE = 200 * MIB };

    write_sector(f, 0, 0x42);
    assert_int_equal(image_resize(f->disk, LARGE, NULL), 0);
    /* QEMU would put a block behind the table, so that nothing may lie there. */
    uint64_t header_at = get_be64(f->memory->bytes + 16);
    assert_true(header_at < get_be64(f->memory->bytes + header_at + 16));
    write_sector(f, LARGE - SECTOR, 0x43);
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, NULL), 0);
    assert_int_equal(disk_geometry(f->disk)->capacity, LARGE);
    assert_sector(f, 0, 0x42);
    assert_sector(f, LARGE - SECTOR, 0x43);
    assert_int_equal(image_resize(f->disk, MIB, NULL), -ENOTEMPTY);
    assert_int_equal(disk_unmap(f->disk, LARGE - BLOCK, BLOCK), 0);
    assert_int_equal(image_resize(f->disk, MIB, NULL), 0);
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, NULL), 0);
    assert_int_equal(disk_geometry(f->disk)->capacity, MIB);
    assert_int_equal(image_resize(f->disk, LARGE, NULL), 0); /* the table is still large */
    assert_sector(f, LARGE - SECTOR, 0);
    assert_sector(f, 0, 0x42);
    assert_clean(f, "a.vhd");
    assert_int_equal(image_resize(f->disk, UINT64_C(3) << 40, NULL), -EFBIG);
}

static void compacting_moves_blocks_down(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 8; i++)
        write_sector(f, (uint64_t)i * BLOCK, (uint8_t)(i < 6 ? 0 : i));
    assert_int_equal(disk_flush(f->disk), 0);
    assert_int_equal(image_compact(f->disk, go_on, NULL, NULL), 0);
    assert_int_equal(f->memory->size, 2048 + 2 * (BLOCK + 512) + FOOTER);
    assert_sector(f, 6 * BLOCK, 6);
    assert_sector(f, 7 * BLOCK, 7);
    write_sector(f, 0, 0x55);
    assert_int_equal(open_image(f, "a.vhd", 0, NULL), 0);
    assert_sector(f, 0, 0x55);
    assert_sector(f, 6 * BLOCK, 6);
    assert_sector(f, 7 * BLOCK, 7);
    assert_clean(f, "a.vhd");
}

/* The end of the file is not known then: a footer written elsewhere would not count. */
static void a_compacting_that_failed_is_the_last_change(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 8; i++)
        write_sector(f, (uint64_t)i * BLOCK, (uint8_t)i);
    assert_int_equal(disk_unmap(f->disk, 0, 6 * BLOCK), 0);
    assert_int_equal(disk_flush(f->disk), 0);
    f->memory->fail_truncate = -EIO;
    assert_int_equal(image_compact(f->disk, go_on, NULL, NULL), -EIO);
    f->memory->fail_truncate = 0;
    assert_int_equal(image_resize(f->disk, 200 * MIB, NULL), -EROFS);
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, NULL), 0);
    assert_sector(f, 7 * BLOCK, 7);
    assert_int_equal(disk_geometry(f->disk)->capacity, 16 * MIB);
}

/* As after a cut: what is behind the copy of the footer must do. */
static void a_lost_footer_has_a_copy(void **state)
{
    struct fixture *f = *state;

    write_sector(f, 0, 0x42);
    assert_int_equal(open_image(f, "a.vhd", 0, NULL), 0);
    memset(f->memory->bytes + f->memory->size - FOOTER, 0xaa, 100);
    assert_damage(f, "a.vhd", "footer: ");
    assert_int_equal(open_image(f, "a.vhd", 0, NULL), 0);
    assert_sector(f, 0, 0x42);
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, NULL), 0);
    assert_memory_equal(f->memory->bytes + f->memory->size - FOOTER, f->memory->bytes, FOOTER);
    assert_sector(f, 0, 0x42);
    write_sector(f, BLOCK, 0x43);
    assert_int_equal(open_image(f, "a.vhd", 0, NULL), 0);
    assert_sector(f, BLOCK, 0x43);
    assert_clean(f, "a.vhd");
}

static void hostile_tables_are_refused(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};
    uint8_t *table = f->memory->bytes + TABLE;

    write_sector(f, 0, 0x42);
    write_sector(f, BLOCK, 0x43);
    assert_int_equal(open_image(f, "a.vhd", 0, NULL), 0);
    put_be32(table + 4, get_be32(table));
    assert_damage(f, "a.vhd", "over something else");
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "over something else"));
    put_be32(table + 4, 0xfffffff0);
    assert_damage(f, "a.vhd", "block 1: it lies outside");
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, &reason), -EINVAL);
    assert_int_equal(open_image(f, "a.vhd", 0, &reason), 0);
    uint8_t sector[SECTOR];
    assert_int_equal(disk_read(f->disk, sector, SECTOR, BLOCK), -EIO);
    assert_sector(f, 0, 0x42);
    put_be32(table, 0); /* the copy of the footer */
    assert_int_equal(open_image(f, "a.vhd", DISK_WRITABLE, &reason), -EINVAL);
}

static void hostile_headers_are_refused(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {""};
    uint8_t *header = f->memory->bytes + HEADER;
    uint8_t sound[1024];

    memcpy(sound, header, sizeof(sound));
    header[33] = 0x11; /* the size of a block */
    assert_damage(f, "a.vhd", "its header at 0x200: the checksum");
    assert_int_equal(open_image(f, "a.vhd", 0, &reason), -EINVAL);
    memcpy(header, sound, sizeof(sound));
    header[0] = 'x';
    assert_int_equal(open_image(f, "a.vhd", 0, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "cxsparse"));
    memcpy(header, sound, sizeof(sound));
    assert_int_equal(open_image(f, "a.vhd", 0, &reason), 0);
}

static void layouts_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    struct image_layout layout = dynamic_layout;

    layout.block_size = 3 * MIB;
    assert_int_equal(image_create(&f->host.host, "c.vhd", &layout, NULL), -EINVAL);
    layout = dynamic_layout;
    layout.kind = IMAGE_FIXED;
    assert_int_equal(image_create(&f->host.host, "d.vhd", &layout, NULL), -EINVAL);
    layout = dynamic_layout;
    layout.capacity = UINT64_C(3) << 40;
    assert_int_equal(image_create(&f->host.host, "e.vhd", &layout, NULL), -EINVAL);
}

int main(void)
{
#define FIXED(name)   cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define DYNAMIC(name) cmocka_unit_test_setup_teardown(name, set_up_dynamic, tear_down)
#define CHILD(name)   cmocka_unit_test_setup_teardown(name, set_up_child, tear_down)
    const struct CMUnitTest tests[] = {
        FIXED(the_footer_is_behind_the_disk),
        FIXED(it_keeps_what_is_written),
        FIXED(it_grows_and_shrinks),
        FIXED(a_resize_that_failed_is_the_last_change),
        FIXED(a_stale_footer_reads_as_zeroes),
        FIXED(damage_is_told),
        DYNAMIC(a_dynamic_image_is_small),
        DYNAMIC(blocks_come_with_writes),
        DYNAMIC(an_unmapped_block_is_used_again),
        DYNAMIC(many_blocks),
        DYNAMIC(another_size),
        DYNAMIC(compacting_moves_blocks_down),
        DYNAMIC(a_compacting_that_failed_is_the_last_change),
        DYNAMIC(a_lost_footer_has_a_copy),
        DYNAMIC(hostile_tables_are_refused),
        DYNAMIC(hostile_headers_are_refused),
        DYNAMIC(layouts_that_cannot_be),
        CHILD(a_child_keeps_its_own_sectors),
        CHILD(a_child_finds_its_parent_by_its_id),
        CHILD(pages_under_way_are_kept),
        CHILD(a_child_is_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
