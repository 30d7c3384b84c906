/* VHDX images through the library's front: against a model, and what hostile files are told. */
#include "disk/vhdx/vhdx.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "disk/image_fixture.h"

enum { MIB = 1 << 20, SECTOR = 512, MODEL = 40 * MIB };

struct fixture {
    struct fixture_host host;
    struct disk *disk;
    uint8_t *model, *read;
    uint64_t seed;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    fixture_init(&f->host);
    f->model = calloc(1, MODEL);
    f->read = calloc(1, MODEL);
    f->seed = 1;
    *state = f;
    return f->model != NULL && f->read != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)disk_close(f->disk);
    fixture_release(&f->host);
    free(f->model);
    free(f->read);
    free(f);
    return 0;
}

static uint64_t next_random(struct fixture *f, uint64_t below)
{
    f->seed = f->seed * 6364136223846793005U + 1442695040888963407U;
    return (f->seed >> 33) % below;
}

static void create(struct fixture *f, const char *path, const struct image_layout *layout)
{
    struct reason reason = {""};
    int error = image_create(&f->host.host, path, layout, &reason);

    if (error != 0)
        fail_msg("%s", reason.text);
}

static void open_disk(struct fixture *f, const char *path, unsigned flags)
{
    struct reason reason = {""};
    int error = disk_open_with(&f->host.host, path, flags, &f->disk, &reason);

    if (error != 0)
        fail_msg("%s", reason.text);
}

static void close_disk(struct fixture *f)
{
    assert_int_equal(disk_close(f->disk), 0);
    f->disk = NULL;
}

static void reopen(struct fixture *f, const char *path)
{
    close_disk(f);
    open_disk(f, path, DISK_WRITABLE);
}

static struct memory_file *memory_named(struct fixture *f, const char *path)
{
    struct fixture_file *file = fixture_find(&f->host, path);

    if (file == NULL)
        abort();
    return &file->memory;
}

static void count_found(void *owner, enum image_severity severity, uint64_t offset,
                        const char *text)
{
    (void)owner;
    if (severity == IMAGE_DAMAGE)
        print_message("damage at %#llx: %s\n", (unsigned long long)offset, text);
}

static struct image_check check(struct fixture *f, const char *path, bool repair)
{
    struct image_check check = {.found = count_found};
    struct reason reason = {""};

    assert_int_equal(image_check(&f->host.host, path, 0, repair, &check, &reason), 0);
    return check;
}

static void assert_clean(struct fixture *f, const char *path)
{
    const struct image_check found = check(f, path, false);

    assert_int_equal(found.damages, 0);
}

static void compare(struct fixture *f, uint64_t length)
{
    assert_int_equal(disk_read(f->disk, f->read, length, 0), 0);
    for (uint64_t i = 0; i < length; i += SECTOR) {
        if (memcmp(f->read + i, f->model + i, SECTOR) != 0)
            fail_msg("sector %llu differs", (unsigned long long)(i / SECTOR));
    }
}

static void random_range(struct fixture *f, uint64_t capacity, uint32_t sector, uint64_t *offset,
                         uint64_t *length)
{
    uint64_t most = next_random(f, 8) == 0 ? 3 * MIB : 16 * sector;

    *offset = next_random(f, capacity / sector) * sector;
    *length = (next_random(f, most / sector) + 1) * sector;
    if (*length > capacity - *offset)
        *length = capacity - *offset;
}

static void random_step(struct fixture *f, uint64_t capacity, uint32_t sector)
{
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t kind = next_random(f, 20);

    random_range(f, capacity, sector, &offset, &length);
    if (kind < 12) {
        for (uint64_t i = 0; i < length; i += 8)
            put_le64(f->model + offset + i, f->seed + i);
        assert_int_equal(disk_write(f->disk, f->model + offset, length, offset), 0);
    } else if (kind < 16) {
        if (next_random(f, 2) == 0) {
            offset &= ~(uint64_t)(MIB - 1);
            length = capacity - offset < MIB ? capacity - offset : MIB;
        }
        memset(f->model + offset, 0, length);
        assert_int_equal(disk_unmap(f->disk, offset, length), 0);
    } else if (kind < 18) {
        assert_int_equal(disk_flush(f->disk), 0);
    } else {
        assert_int_equal(disk_read(f->disk, f->read, length, offset), 0);
        assert_memory_equal(f->read, f->model + offset, length);
    }
}

static void random_work(struct fixture *f, const char *path, uint64_t capacity, uint32_t sector)
{
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < 60; i++)
            random_step(f, capacity, sector);
        compare(f, capacity);
        reopen(f, path);
        compare(f, capacity);
        assert_clean(f, path);
    }
}

static void dynamic_disks_keep_what_is_written(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {.format = IMAGE_VHDX,
                                        .kind = IMAGE_DYNAMIC,
                                        .capacity = MODEL - 5 * SECTOR,
                                        .block_size = MIB};

    create(f, "a.vhdx", &layout);
    assert_clean(f, "a.vhdx");
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    random_work(f, "a.vhdx", layout.capacity, SECTOR);
}

static void large_sectors_and_blocks_do_too(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {.format = IMAGE_VHDX,
                                        .kind = IMAGE_DYNAMIC,
                                        .capacity = MODEL - 4096,
                                        .block_size = 8 * MIB,
                                        .logical_sector = 4096};

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    assert_int_equal(disk_geometry(f->disk)->logical_sector, 4096);
    random_work(f, "a.vhdx", layout.capacity, 4096);
}

static void fixed_disks_keep_what_is_written(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_FIXED, .capacity = MODEL, .block_size = 4 * MIB};

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    random_work(f, "a.vhdx", layout.capacity, SECTOR);
}

/* A child over a child over a base, each with something of its own. */
static void make_chain(struct fixture *f)
{
    const struct image_layout base = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = 24 * MIB, .block_size = 2 * MIB};
    const struct image_layout middle = {.format = IMAGE_VHDX,
                                        .kind = IMAGE_DIFFERENCING,
                                        .capacity = MODEL,
                                        .block_size = MIB,
                                        .parent = "base.vhdx"};
    const struct image_layout top = {.format = IMAGE_VHDX,
                                     .kind = IMAGE_DIFFERENCING,
                                     .block_size = 4 * MIB,
                                     .parent = "/srv/middle.avhdx"};

    create(f, "/srv/base.vhdx", &base);
    open_disk(f, "/srv/base.vhdx", DISK_WRITABLE);
    for (unsigned i = 0; i < 60; i++)
        random_step(f, base.capacity, SECTOR);
    close_disk(f);
    create(f, "/srv/middle.avhdx", &middle);
    open_disk(f, "/srv/middle.avhdx", DISK_WRITABLE);
    compare(f, MODEL);
    for (unsigned i = 0; i < 100; i++)
        random_step(f, MODEL, SECTOR);
    close_disk(f);
    create(f, "/srv/top.avhdx", &top);
}

static void chains_keep_what_is_written(void **state)
{
    struct fixture *f = *state;

    make_chain(f);
    open_disk(f, "/srv/top.avhdx", DISK_WRITABLE);
    assert_int_equal(disk_geometry(f->disk)->capacity, MODEL);
    compare(f, MODEL);
    random_work(f, "/srv/top.avhdx", MODEL, SECTOR);
    assert_clean(f, "/srv/middle.avhdx");
    assert_clean(f, "/srv/base.vhdx");
}

/* A look at other bitmaps while a commit is under way: what it writes must not be read anew. */
static void pages_under_way_are_kept(void **state)
{
    struct fixture *f = *state;
    uint8_t sector[SECTOR];
    uint8_t wanted[SECTOR];

    make_chain(f);
    open_disk(f, "/srv/top.avhdx", DISK_WRITABLE);
    memset(wanted, 0x42, sizeof(wanted));
    assert_int_equal(disk_write(f->disk, wanted, SECTOR, 0), 0);
    f->disk->ops->commit_prepare(f->disk);
    vhdx_of(f->disk)->bitmap_pages_loaded += UINT64_C(1) << 32; /* as if there were so many */
    assert_int_equal(disk_read(f->disk, sector, SECTOR, 0), 0);
    assert_memory_equal(sector, wanted, SECTOR);
    vhdx_of(f->disk)->bitmap_pages_loaded -= UINT64_C(1) << 32;
    int error = f->disk->ops->commit_write(f->disk);
    f->disk->ops->commit_done(f->disk, error);
    assert_int_equal(error, 0);
    assert_int_equal(disk_read(f->disk, sector, SECTOR, 0), 0);
    assert_memory_equal(sector, wanted, SECTOR);
}

static void a_parent_that_was_changed_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t sector[SECTOR] = {1};
    struct reason reason = {""};

    make_chain(f);
    open_disk(f, "/srv/base.vhdx", DISK_WRITABLE);
    close_disk(f);
    open_disk(f, "/srv/top.avhdx", 0); /* opening is no change */
    close_disk(f);
    open_disk(f, "/srv/base.vhdx", DISK_WRITABLE);
    assert_int_equal(disk_write(f->disk, sector, SECTOR, 0), 0);
    close_disk(f);
    assert_int_equal(disk_open_with(&f->host.host, "/srv/top.avhdx", 0, &f->disk, &reason),
                     -ESTALE);
    assert_non_null(strstr(reason.text, "changed since"));
    open_disk(f, "/srv/top.avhdx", DISK_ANY_PARENT);
}

static void a_child_gets_another_parent(void **state)
{
    struct fixture *f = *state;
    struct disk *base = NULL;
    uint8_t sector[SECTOR] = {1};

    make_chain(f);
    open_disk(f, "/srv/base.vhdx", DISK_WRITABLE);
    assert_int_equal(disk_write(f->disk, sector, SECTOR, 0), 0);
    close_disk(f);
    assert_int_equal(disk_open_with(&f->host.host, "/srv/base.vhdx", 0, &base, NULL), 0);
    open_disk(f, "/srv/middle.avhdx", DISK_WRITABLE | DISK_WITHOUT_PARENT);
    const struct image_parent parent = {.path = "../srv/base.vhdx", .disk = base};
    assert_int_equal(image_set_parent(f->disk, &parent, NULL), 0);
    (void)disk_close(base);
    reopen(f, "/srv/middle.avhdx");
    assert_string_equal(image_path(image_parent(f->disk)), "/srv/../srv/base.vhdx");
    assert_clean(f, "/srv/middle.avhdx");
}

static void unmap_gives_room_to_the_next(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MODEL, .block_size = MIB};
    struct image_info before;
    struct image_info after;

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    memset(f->model, 0x11, 8 * MIB);
    assert_int_equal(disk_write(f->disk, f->model, 8 * MIB, 0), 0);
    assert_int_equal(image_describe(f->disk, &before), 0);
    assert_int_equal(before.blocks_present, 8);
    assert_int_equal(before.runs, 1);
    assert_int_equal(disk_unmap(f->disk, 0, 8 * MIB), 0);
    assert_int_equal(disk_flush(f->disk), 0);
    assert_int_equal(disk_write(f->disk, f->model, 8 * MIB, 16 * MIB), 0);
    assert_int_equal(image_describe(f->disk, &after), 0);
    assert_int_equal(after.file_size, before.file_size);
    memset(f->model, 0, 8 * MIB);
    memset(f->model + 16 * MIB, 0x11, 8 * MIB);
    compare(f, MODEL);
}

/* Until the commit, what is on the medium still names the room. */
static void freed_room_waits_for_the_commit(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MODEL, .block_size = MIB};
    struct image_extent first;
    struct image_extent second;

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    memset(f->model, 0x11, MIB);
    assert_int_equal(disk_write(f->disk, f->model, MIB, 0), 0);
    assert_int_equal(disk_flush(f->disk), 0);
    assert_int_equal(image_map(f->disk, 0, &first), 0);
    assert_int_equal(disk_unmap(f->disk, 0, MIB), 0);
    assert_int_equal(disk_write(f->disk, f->model, MIB, 4 * MIB), 0);
    assert_int_equal(image_map(f->disk, 4 * MIB, &second), 0);
    assert_int_not_equal(first.file_offset, second.file_offset);
}

/* More pages of the table than one entry of the log can take. */
static void a_full_log_forces_a_commit(void **state)
{
    enum { PLACES = 200 };
    struct fixture *f = *state;
    const uint64_t stride = UINT64_C(1) << 30; /* two pages of the table */
    const struct image_layout layout = {.format = IMAGE_VHDX,
                                        .kind = IMAGE_DYNAMIC,
                                        .capacity = PLACES * stride,
                                        .block_size = MIB};

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    const struct memory_file *memory = memory_named(f, "a.vhdx");
    unsigned flushes = memory->flushes;
    for (uint64_t i = 0; i < PLACES; i++) {
        memset(f->model, (int)i + 1, SECTOR);
        assert_int_equal(disk_write(f->disk, f->model, SECTOR, i * stride), 0);
    }
    assert_true(memory->flushes > flushes + 4); /* that is more than the session's own */
    assert_int_equal(disk_unmap(f->disk, stride, (PLACES - 2) * stride), 0);
    reopen(f, "a.vhdx");
    for (uint64_t i = 0; i < PLACES; i++) {
        bool kept = i == 0 || i == PLACES - 1;
        assert_int_equal(disk_read(f->disk, f->read, SECTOR, i * stride), 0);
        assert_int_equal(f->read[SECTOR - 1], kept ? (int)i + 1 : 0);
    }
    assert_clean(f, "a.vhdx");
}

static void a_log_is_carried_out(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MODEL, .block_size = MIB};
    struct image_info info;

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    for (unsigned i = 0; i < 200; i++) /* more than once around the log */
        random_step(f, MODEL, SECTOR);
    assert_int_equal(disk_flush(f->disk), 0);
    /* The table at home is lost; the writer is gone. */
    struct memory_file *memory = memory_named(f, "a.vhdx");
    const struct vhdx *vhdx = vhdx_of(f->disk);
    memset(f->model, 0x77, SECTOR);
    assert_int_equal(disk_write(f->disk, f->model, SECTOR, 0), 0);
    memset(f->model + 39 * MIB, 0x78, SECTOR);
    assert_int_equal(disk_unmap(f->disk, 39 * MIB, MIB), 0);
    memset(f->model + 39 * MIB, 0, MIB);
    assert_int_equal(disk_flush(f->disk), 0);
    uint64_t bat = vhdx->regions.bat.offset;
    memset(memory->bytes + bat, 0, VHDX_PAGE);
    vhdx_close(f->disk);
    open_disk(f, "a.vhdx", 0);
    compare(f, MODEL);
    assert_int_equal(image_describe(f->disk, &info), 0);
    assert_true(info.dirty);
    close_disk(f);
    assert_int_equal(check(f, "a.vhdx", false).notes > 0, 1);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    compare(f, MODEL);
    reopen(f, "a.vhdx");
    compare(f, MODEL);
    assert_clean(f, "a.vhdx");
}

/* ---- other sizes ---- */

static void resize(struct fixture *f, uint64_t capacity)
{
    struct reason reason = {""};

    if (image_resize(f->disk, capacity, &reason) != 0)
        fail_msg("%s", reason.text);
}

static void disks_grow_and_shrink(void **state)
{
    static const enum image_kind kinds[] = {IMAGE_DYNAMIC, IMAGE_FIXED};
    struct fixture *f = *state;

    for (unsigned i = 0; i < 2; i++) {
        const struct image_layout layout = {.format = IMAGE_VHDX,
                                            .kind = kinds[i],
                                            .capacity = 10 * MIB + SECTOR,
                                            .block_size = MIB};
        char path[] = "0.vhdx";
        path[0] = (char)('0' + i);
        memset(f->model, 0, MODEL);
        create(f, path, &layout);
        open_disk(f, path, DISK_WRITABLE);
        for (unsigned j = 0; j < 50; j++)
            random_step(f, layout.capacity, SECTOR);
        resize(f, MODEL);
        assert_int_equal(disk_geometry(f->disk)->capacity, MODEL);
        random_work(f, path, MODEL, SECTOR);
        assert_int_equal(image_resize(f->disk, SECTOR, NULL), -ENOTEMPTY);
        memset(f->model + 7 * MIB, 0, MODEL - 7 * MIB);
        assert_int_equal(disk_unmap(f->disk, 7 * MIB, MODEL - 7 * MIB), 0);
        resize(f, 7 * MIB + 3 * SECTOR);
        compare(f, 7 * MIB + 3 * SECTOR);
        resize(f, 30 * MIB);
        compare(f, 30 * MIB);
        random_work(f, path, 30 * MIB, SECTOR);
        close_disk(f);
    }
}

static void a_table_that_is_too_small_moves(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MODEL, .block_size = MIB};

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    for (unsigned i = 0; i < 50; i++)
        random_step(f, MODEL, SECTOR);
    uint64_t before = vhdx_of(f->disk)->regions.bat.offset;
    resize(f, UINT64_C(1) << 40); /* 8 MiB of table */
    assert_int_not_equal(vhdx_of(f->disk)->regions.bat.offset, before);
    random_work(f, "a.vhdx", MODEL, SECTOR);
    memset(f->read, 0x42, SECTOR);
    assert_int_equal(disk_write(f->disk, f->read, SECTOR, (UINT64_C(1) << 40) - SECTOR), 0);
    reopen(f, "a.vhdx");
    memset(f->read, 0, SECTOR);
    assert_int_equal(disk_read(f->disk, f->read, SECTOR, (UINT64_C(1) << 40) - SECTOR), 0);
    assert_int_equal(f->read[SECTOR - 1], 0x42);
    assert_clean(f, "a.vhdx");
}

static void chains_grow(void **state)
{
    struct fixture *f = *state;

    make_chain(f);
    memset(f->model + 24 * MIB, 0, 16 * MIB);
    open_disk(f, "/srv/middle.avhdx", DISK_WRITABLE);
    assert_int_equal(image_resize(f->disk, 8 * MIB, NULL), -EINVAL);
    assert_int_equal(disk_unmap(f->disk, 24 * MIB, 16 * MIB), 0);
    resize(f, 24 * MIB);
    resize(f, MODEL);
    compare(f, MODEL);
    random_work(f, "/srv/middle.avhdx", MODEL, SECTOR);
}

static int count_progress(void *owner, uint64_t done, uint64_t total)
{
    ++*(unsigned *)owner;
    assert_true(done <= total);
    return 0;
}

static void compacting_makes_the_file_small(void **state)
{
    struct fixture *f = *state;
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MODEL, .block_size = MIB};
    struct image_info before;
    struct image_info after;
    unsigned calls = 0;

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    memset(f->model, 0x31, 20 * MIB);
    assert_int_equal(disk_write(f->disk, f->model, 20 * MIB, 0), 0);
    memset(f->model, 0, 15 * MIB);
    assert_int_equal(disk_write(f->disk, f->model, 10 * MIB, 0), 0); /* zeroes, not unmapped */
    assert_int_equal(disk_unmap(f->disk, 10 * MIB, 5 * MIB), 0);
    assert_int_equal(image_describe(f->disk, &before), 0);
    assert_int_equal(image_compact(f->disk, count_progress, &calls, NULL), 0);
    assert_int_equal(calls, 15 + 1 + 5); /* blocks with room, all others, those that are left */
    assert_int_equal(image_describe(f->disk, &after), 0);
    assert_int_equal(before.file_size - after.file_size, 15 * MIB);
    assert_int_equal(after.blocks_present, 5);
    compare(f, MODEL);
    random_work(f, "a.vhdx", MODEL, SECTOR);
}

static void compacting_a_child_keeps_it(void **state)
{
    struct fixture *f = *state;
    unsigned calls = 0;

    make_chain(f);
    open_disk(f, "/srv/middle.avhdx", DISK_WRITABLE);
    assert_int_equal(disk_unmap(f->disk, 0, 10 * MIB), 0);
    memset(f->model, 0, 10 * MIB);
    assert_int_equal(image_compact(f->disk, count_progress, &calls, NULL), 0);
    compare(f, MODEL);
    random_work(f, "/srv/middle.avhdx", MODEL, SECTOR);
}

/* ---- damage ---- */

static struct memory_file *make_damaged(struct fixture *f)
{
    const struct image_layout layout = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MODEL, .block_size = MIB};

    create(f, "a.vhdx", &layout);
    open_disk(f, "a.vhdx", DISK_WRITABLE);
    for (unsigned i = 0; i < 50; i++)
        random_step(f, MODEL, SECTOR);
    close_disk(f);
    return memory_named(f, "a.vhdx");
}

static void one_copy_of_each_is_enough(void **state)
{
    static const uint64_t places[] = {VHDX_HEADER_0, VHDX_HEADER_1, VHDX_REGIONS_0, VHDX_REGIONS_1};
    struct fixture *f = *state;
    struct memory_file *memory = make_damaged(f);

    for (unsigned i = 0; i < 4; i++) {
        memory->bytes[places[i] + 100] ^= 1;
        open_disk(f, "a.vhdx", 0);
        compare(f, MODEL);
        close_disk(f);
        struct image_check found = check(f, "a.vhdx", false);
        assert_int_equal(found.damages, 1);
        found = check(f, "a.vhdx", true);
        assert_int_equal(found.mended, 1);
        assert_int_equal(found.damages, 0);
        assert_clean(f, "a.vhdx");
    }
}

static void blocks_in_the_same_place_are_told(void **state)
{
    struct fixture *f = *state;
    struct memory_file *memory = make_damaged(f);
    struct reason reason = {""};

    open_disk(f, "a.vhdx", 0);
    uint64_t bat = vhdx_of(f->disk)->regions.bat.offset;
    close_disk(f);
    uint64_t at = bat;
    while (!vhdx_has_room(get_le64(memory->bytes + at)))
        at += 8;
    uint64_t entry = get_le64(memory->bytes + at);
    for (at += 8; !vhdx_has_room(get_le64(memory->bytes + at));)
        at += 8;
    put_le64(memory->bytes + at, entry);
    assert_int_equal(check(f, "a.vhdx", false).damages, 1);
    assert_int_equal(disk_open_with(&f->host.host, "a.vhdx", DISK_WRITABLE, &f->disk, &reason),
                     -EEXIST);
    put_le64(memory->bytes + at, UINT64_C(1) << 40 | VHDX_PRESENT);
    assert_int_equal(check(f, "a.vhdx", false).damages, 1);
    assert_int_equal(disk_open_with(&f->host.host, "a.vhdx", DISK_WRITABLE, &f->disk, &reason),
                     -ERANGE);
    open_disk(f, "a.vhdx", 0);
    assert_int_equal(disk_read(f->disk, f->read, SECTOR, (at - bat) / 8 * MIB), -EIO);
}

static void regions_outside_of_the_file_are_told(void **state)
{
    struct fixture *f = *state;
    struct memory_file *memory = make_damaged(f);
    struct reason reason = {""};
    struct vhdx_header header;

    for (uint64_t at = VHDX_HEADER_0; at <= VHDX_HEADER_1; at += VHDX_HEADER_1 - VHDX_HEADER_0) {
        assert_true(vhdx_decode_header(memory->bytes + at, &header, &reason));
        header.log_offset = UINT64_C(1) << 60;
        vhdx_encode_header(&header, memory->bytes + at);
    }
    assert_int_equal(disk_open_with(&f->host.host, "a.vhdx", DISK_WRITABLE, &f->disk, &reason),
                     -ERANGE);
    assert_non_null(strstr(reason.text, "the log at 0x1000000000000000 lies outside"));
    assert_int_equal(check(f, "a.vhdx", false).damages, 1);
}

static void a_file_that_is_none_is_told(void **state)
{
    struct fixture *f = *state;
    struct memory_file *memory = make_damaged(f);
    struct reason reason = {""};

    memory->bytes[VHDX_HEADER_0] = memory->bytes[VHDX_HEADER_1] = 'x';
    assert_int_equal(disk_open_with(&f->host.host, "a.vhdx", 0, &f->disk, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "a.vhdx: no header is valid"));
    memory->bytes[0] = 'x';
    assert_int_equal(disk_open_with(&f->host.host, "a.vhdx", 0, &f->disk, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "not a VHDX file"));
    assert_int_equal(check(f, "a.vhdx", false).damages, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(dynamic_disks_keep_what_is_written),
        TEST(large_sectors_and_blocks_do_too),
        TEST(fixed_disks_keep_what_is_written),
        TEST(chains_keep_what_is_written),
        TEST(pages_under_way_are_kept),
        TEST(a_parent_that_was_changed_is_refused),
        TEST(a_child_gets_another_parent),
        TEST(unmap_gives_room_to_the_next),
        TEST(freed_room_waits_for_the_commit),
        TEST(a_full_log_forces_a_commit),
        TEST(a_log_is_carried_out),
        TEST(disks_grow_and_shrink),
        TEST(a_table_that_is_too_small_moves),
        TEST(chains_grow),
        TEST(compacting_makes_the_file_small),
        TEST(compacting_a_child_keeps_it),
        TEST(one_copy_of_each_is_enough),
        TEST(blocks_in_the_same_place_are_told),
        TEST(regions_outside_of_the_file_are_told),
        TEST(a_file_that_is_none_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
