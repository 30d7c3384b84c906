/* Looking at all structures of one image, and mending what has a good copy. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/vhdx/vhdx.h"

struct checker {
    struct vhdx vhdx; /* as opening would fill it, without a parent */
    struct image_check *check;
    bool repair;
};

static int damage(struct checker *checker, uint64_t offset, const char *what, const char *why)
{
    image_found(checker->check, IMAGE_DAMAGE, offset, "%s: %s", what, why);
    return -EUCLEAN;
}

/* ---- headers ---- */

static int check_signature(struct checker *checker)
{
    uint8_t bytes[sizeof(vhdx_signature)];
    int error = file_read(checker->vhdx.disk.file, bytes, sizeof(bytes), 0);

    if (error == 0 && memcmp(bytes, vhdx_signature, sizeof(bytes)) != 0)
        return damage(checker, 0, "file type identifier", "no 'vhdxfile' there");
    return error;
}

/* A damaged one is of no harm now, but the next damage would be. */
static int check_headers(struct checker *checker)
{
    static const uint64_t offsets[2] = {VHDX_HEADER_0, VHDX_HEADER_1};
    struct vhdx *vhdx = &checker->vhdx;
    struct reason why = {""};
    unsigned damaged = 0;

    for (unsigned i = 0; i < 2; i++) {
        uint8_t bytes[VHDX_HEADER_SIZE];
        struct vhdx_header header;
        int error = file_read(vhdx->disk.file, bytes, sizeof(bytes), offsets[i]);
        if (error < 0)
            return error;
        if (vhdx_decode_header(bytes, &header, &why))
            continue;
        damaged++;
        image_found(checker->check, checker->repair ? IMAGE_MENDED : IMAGE_DAMAGE, offsets[i],
                    "header %u: %s", i + 1, why.text);
    }
    int error = vhdx_read_header(vhdx->disk.file, &vhdx->header, &vhdx->header_slot, &why);
    if (error < 0)
        return damage(checker, VHDX_HEADER_0, "headers", "none is valid");
    return damaged != 0 && checker->repair ? vhdx_write_header(vhdx) : 0;
}

static int check_log(struct checker *checker)
{
    static const struct partition_guid none;
    struct vhdx *vhdx = &checker->vhdx;
    struct reason why = {"it cannot be read"};
    int error = vhdx_replay_read(vhdx->disk.file, &vhdx->header, &vhdx->replay, &why);

    if (error == -EINVAL)
        return damage(checker, vhdx->header.log_offset, "log", why.text);
    if (error < 0 || memcmp(&vhdx->header.log, &none, sizeof(none)) == 0)
        return error;
    if (vhdx->replay.count != 0)
        image_found(checker->check, checker->repair ? IMAGE_MENDED : IMAGE_NOTE,
                    vhdx->header.log_offset, "log: %zu changes are to be carried out",
                    vhdx->replay.count);
    if (!checker->repair)
        return 0;
    error = vhdx_replay_apply(&vhdx->replay, vhdx->disk.file);
    vhdx_replay_release(&vhdx->replay);
    vhdx->header.log = none;
    return error < 0 ? error : vhdx_write_header(vhdx);
}

/* ---- regions and metadata ---- */

static int copy_region_table(const struct vhdx *vhdx, uint8_t *bytes, uint64_t from, uint64_t to)
{
    int error = vhdx_read(vhdx, bytes, VHDX_TABLE_SIZE, from);

    return error < 0 ? error : file_write(vhdx->disk.file, bytes, VHDX_TABLE_SIZE, to);
}

static int check_region_tables(struct checker *checker)
{
    static const uint64_t offsets[2] = {VHDX_REGIONS_0, VHDX_REGIONS_1};
    struct vhdx *vhdx = &checker->vhdx;
    auto_free uint8_t *bytes = malloc(VHDX_TABLE_SIZE);
    bool valid[2] = {false, false};
    struct reason why[2] = {{""}, {""}};
    struct vhdx_regions regions[2];
    int error = bytes != NULL ? 0 : -ENOMEM;

    for (unsigned i = 0; error == 0 && i < 2; i++) {
        error = vhdx_read(vhdx, bytes, VHDX_TABLE_SIZE, offsets[i]);
        if (error == 0)
            valid[i] = vhdx_decode_regions(bytes, &regions[i], &why[i]);
    }
    if (error < 0)
        return error;
    if (!valid[0] && !valid[1])
        return damage(checker, VHDX_REGIONS_0, "region tables", why[0].text);
    for (unsigned i = 0; error == 0 && i < 2; i++) {
        if (valid[i])
            continue;
        image_found(checker->check, checker->repair ? IMAGE_MENDED : IMAGE_DAMAGE, offsets[i],
                    "region table %u: %s", i + 1, why[i].text);
        if (checker->repair)
            error = copy_region_table(vhdx, bytes, offsets[1 - i], offsets[i]);
    }
    vhdx->regions = regions[valid[0] ? 0 : 1];
    return error;
}

static int check_metadata(struct checker *checker)
{
    struct vhdx *vhdx = &checker->vhdx;
    struct reason why = {"it cannot be read"};
    struct vhdx_locator locator;
    int error = vhdx_load_metadata(vhdx, &why);

    if (error == -EINVAL)
        return damage(checker, vhdx->regions.metadata.offset, "metadata", why.text);
    if (error == 0 && vhdx->metadata.has_parent)
        error = vhdx_read_locator(vhdx, &locator, &why);
    if (error == -EINVAL)
        return damage(checker, vhdx->regions.metadata.offset + vhdx->items.locator.offset,
                      "parent locator", why.text);
    return error;
}

/* ---- allocation table ---- */

static void take(struct checker *checker, const char *what, const struct vhdx_range *range)
{
    struct vhdx *vhdx = &checker->vhdx;
    uint64_t end = (vhdx->file_size + VHDX_UNIT - 1) & VHDX_OFFSET_MASK;

    if (range->offset >= end || range->length > end - range->offset)
        (void)damage(checker, range->offset, what, "it lies outside of the file");
    else if (vhdx_room_take(&vhdx->room, range->offset / VHDX_UNIT, range->length / VHDX_UNIT) < 0)
        (void)damage(checker, range->offset, what, "it lies over something else");
}

/* The name of an entry: "block 17", "sector bitmap 0". */
static void name_entry(const struct vhdx *vhdx, uint64_t index, char *ret, size_t size)
{
    uint64_t ratio = UINT64_C(1) << vhdx->ratio_shift;
    uint64_t chunk = index / (ratio + 1);

    if (vhdx_is_bitmap_entry(vhdx, index))
        (void)snprintf(ret, size, "sector bitmap %llu", (unsigned long long)chunk);
    else
        (void)snprintf(ret, size, "block %llu", (unsigned long long)(index - chunk));
}

static const char *wrong_with_entry(const struct vhdx *vhdx, uint64_t index)
{
    uint64_t entry = vhdx->bat[index];
    enum vhdx_state state = vhdx_state(entry);
    bool parent = vhdx->metadata.has_parent;

    if (vhdx_is_bitmap_entry(vhdx, index)) {
        bool known = state == VHDX_NOT_PRESENT || (parent && state == VHDX_PRESENT);
        return known ? NULL : "its state is none that a bitmap may have";
    }
    if (state == VHDX_PARTIAL && !parent)
        return "there in part, though the disk has no parent";
    if (state != VHDX_PARTIAL)
        return state == 4 || state == 5 ? "its state is unknown" : NULL;
    uint64_t block = vhdx_block_of(vhdx, index);
    uint64_t bitmap = vhdx->bat[vhdx_bitmap_index(vhdx, block >> vhdx->ratio_shift)];
    return vhdx_state(bitmap) == VHDX_PRESENT ? NULL : "there in part, and without a bitmap";
}

static void check_entry(struct checker *checker, uint64_t index)
{
    const struct vhdx *vhdx = &checker->vhdx;
    const uint64_t entry = vhdx->bat[index];
    const char *wrong = wrong_with_entry(vhdx, index);
    char name[64];

    if (entry == 0)
        return;
    name_entry(vhdx, index, name, sizeof(name));
    if (wrong != NULL)
        (void)damage(checker, vhdx->regions.bat.offset + index * 8, name, wrong);
    if (!vhdx_has_room(entry))
        return;
    const struct vhdx_range range = {.offset = vhdx_entry_offset(entry),
                                     .length = vhdx_entry_length(vhdx, index)};
    take(checker, name, &range);
}

static int check_bat(struct checker *checker)
{
    struct vhdx *vhdx = &checker->vhdx;
    const struct vhdx_range beginning = {.length = VHDX_UNIT};
    const struct vhdx_range log = {.offset = vhdx->header.log_offset,
                                   .length = vhdx->header.log_length};
    struct reason why = {"it cannot be read"};

    vhdx_lay_out(vhdx);
    int error = vhdx_load_bat(vhdx, &why);
    if (error == -EINVAL)
        return damage(checker, vhdx->regions.bat.offset, "allocation table", why.text);
    if (error == 0)
        error = vhdx_room_init(&vhdx->room, (vhdx->file_size + VHDX_UNIT - 1) / VHDX_UNIT);
    if (error < 0)
        return error;
    take(checker, "beginning", &beginning);
    take(checker, "log", &log);
    take(checker, "metadata", &vhdx->regions.metadata);
    take(checker, "allocation table", &vhdx->regions.bat);
    for (uint64_t i = 0; (i = vhdx_next_entry(vhdx, i)) < vhdx->entries; i++)
        check_entry(checker, i);
    uint64_t unused = vhdx->room.units - vhdx->room.in_use;
    if (unused != 0)
        image_found(checker->check, IMAGE_NOTE, 0, "%llu MiB of the file are not in use",
                    (unsigned long long)unused);
    return 0;
}

static int check_all(struct checker *checker)
{
    int error = check_signature(checker);

    if (error == 0)
        error = check_headers(checker);
    if (error == 0)
        error = check_log(checker);
    if (error == 0)
        error = file_size(checker->vhdx.disk.file, &checker->vhdx.file_size);
    if (error == 0 && checker->vhdx.file_size < checker->vhdx.replay.file_end)
        checker->vhdx.file_size = checker->vhdx.replay.file_end;
    if (error == 0)
        error = check_region_tables(checker);
    if (error == 0)
        error = check_metadata(checker);
    return error < 0 ? error : check_bat(checker);
}

int vhdx_check(struct file *file, bool repair, struct image_check *check)
{
    auto_free struct checker *checker = calloc(1, sizeof(*checker));

    if (checker == NULL)
        return -ENOMEM;
    checker->vhdx.disk.file = file;
    checker->check = check;
    checker->repair = repair;
    int error = check_all(checker);
    vhdx_replay_release(&checker->vhdx.replay);
    vhdx_release_bat(&checker->vhdx);
    vhdx_bitmap_release(&checker->vhdx);
    vhdx_room_release_all(&checker->vhdx.room);
    return error == -EUCLEAN ? 0 : error; /* what cannot be looked at further was told */
}
