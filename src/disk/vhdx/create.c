/*
 * Making a VHDX file. Its beginning, which makes it one, is written last: what was cut off before
 * is no VHDX file.
 *
 *   0 beginning · 1 MiB log · metadata · allocation table · blocks of a fixed disk
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/utf16.h"
#include "disk/vhdx/vhdx.h"

enum { DEFAULT_BLOCK = 32 << 20, DEFAULT_PHYSICAL = 4096 };

struct plan {
    const struct image_layout *layout;
    struct vhdx_metadata metadata;
    struct vhdx_header header;
    struct vhdx_regions regions;
    uint64_t blocks, first_block; /* offset of the first, and the file's end when it is not fixed */
    unsigned ratio_shift;
    uint32_t locator_length;
    uint8_t locator[3 * IMAGE_PARENT_SIZE];
};

static uint64_t round_up(uint64_t value)
{
    return (value + VHDX_UNIT - 1) & VHDX_OFFSET_MASK;
}

static int plan_metadata(struct plan *plan, const struct disk *parent, struct reason *reason)
{
    const struct image_layout *layout = plan->layout;
    struct vhdx_metadata *metadata = &plan->metadata;

    *metadata = (struct vhdx_metadata){
        .capacity = layout->capacity,
        .block_size = layout->block_size != 0 ? layout->block_size : (uint32_t)DEFAULT_BLOCK,
        .logical_sector = layout->logical_sector,
        .physical_sector =
            layout->physical_sector != 0 ? layout->physical_sector : (uint32_t)DEFAULT_PHYSICAL,
        .fixed = layout->kind == IMAGE_FIXED,
        .has_parent = parent != NULL,
    };
    vhdx_new_guid(&metadata->id);
    if (parent != NULL) /* for its guest it is the same disk */
        memcpy(metadata->id.bytes, parent->geometry.id, sizeof(metadata->id.bytes));
    return vhdx_check_metadata(metadata, reason) ? 0 : -EINVAL;
}

static int plan_locator(struct plan *plan, const struct disk *parent, struct reason *reason)
{
    struct vhdx_locator locator;

    if (parent == NULL)
        return 0;
    int error = vhdx_make_locator(parent, plan->layout->parent, &locator);
    int length =
        error == 0 ? vhdx_encode_locator(&locator, plan->locator, sizeof(plan->locator)) : error;
    if (length < 0)
        return reason_set(reason, length, "the parent's path is too long, or no UTF-8");
    plan->locator_length = (uint32_t)length;
    return 0;
}

/* Hyper-V's own images have a log of 1 MiB; a child's commits are larger. */
static void plan_places(struct plan *plan)
{
    const struct vhdx_metadata *metadata = &plan->metadata;
    uint32_t log = metadata->has_parent ? 4 * VHDX_UNIT : VHDX_UNIT;

    plan->ratio_shift = vhdx_ratio_shift(metadata);
    plan->blocks = (metadata->capacity + metadata->block_size - 1) / metadata->block_size;
    plan->header = (struct vhdx_header){.sequence = 1, .log_offset = VHDX_UNIT, .log_length = log};
    vhdx_new_guid(&plan->header.file_write);
    vhdx_new_guid(&plan->header.data_write);
    plan->regions.metadata = (struct vhdx_range){.offset = VHDX_UNIT + log, .length = VHDX_UNIT};
    plan->regions.bat = (struct vhdx_range){
        .offset = 2 * VHDX_UNIT + log,
        .length =
            round_up(vhdx_entry_count(plan->blocks, plan->ratio_shift, metadata->has_parent) * 8)};
    plan->first_block = plan->regions.bat.offset + plan->regions.bat.length;
}

static int write_metadata(struct file *file, const struct plan *plan)
{
    uint64_t base = plan->regions.metadata.offset;
    uint8_t items[VHDX_ITEMS_SIZE];
    auto_free uint8_t *table = malloc(VHDX_TABLE_SIZE);

    if (table == NULL)
        return -ENOMEM;
    vhdx_encode_metadata(&plan->metadata, plan->locator_length, table, items);
    int error = file_write(file, table, VHDX_TABLE_SIZE, base);
    if (error == 0)
        error = file_write(file, items, sizeof(items), base + VHDX_TABLE_SIZE);
    if (error == 0 && plan->locator_length != 0)
        error = file_write(file, plan->locator, plan->locator_length, base + VHDX_LOCATOR_AT);
    return error;
}

/* All blocks of a fixed disk, one behind the other. */
static int write_fixed_bat(struct file *file, const struct plan *plan)
{
    enum { PIECE = 8192 };
    uint64_t ratio = UINT64_C(1) << plan->ratio_shift;
    uint64_t entries = vhdx_entry_count(plan->blocks, plan->ratio_shift, false);
    uint8_t *bytes = malloc((size_t)PIECE * 8);
    int error = bytes != NULL ? 0 : -ENOMEM;

    for (uint64_t at = 0; error == 0 && at < entries; at += PIECE) {
        uint64_t count = entries - at < PIECE ? entries - at : PIECE;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t index = at + i;
            uint64_t block = index - index / (ratio + 1);
            bool bitmap = index % (ratio + 1) == ratio;
            uint64_t offset = plan->first_block + block * plan->metadata.block_size;
            put_le64(bytes + i * 8, bitmap ? 0 : offset | VHDX_PRESENT);
        }
        error = file_write(file, bytes, count * 8, plan->regions.bat.offset + at * 8);
    }
    free(bytes);
    return error;
}

static int write_blocks(struct file *file, const struct plan *plan)
{
    uint64_t length = plan->blocks * plan->metadata.block_size;

    if (!plan->metadata.fixed)
        return file_truncate(file, plan->first_block);
    int error = file_truncate(file, plan->first_block + length);
    if (error == 0 && plan->layout->preallocate)
        error = file_allocate(file, plan->first_block, length);
    return error < 0 ? error : write_fixed_bat(file, plan);
}

static int write_beginning(struct file *file, const struct plan *plan)
{
    uint8_t first[VHDX_CREATOR + VHDX_CREATOR_LENGTH] = {0};
    uint8_t header[VHDX_HEADER_SIZE];
    struct vhdx_header second = plan->header;
    auto_free uint8_t *table = malloc(VHDX_TABLE_SIZE);

    if (table == NULL)
        return -ENOMEM;
    vhdx_encode_regions(&plan->regions, table);
    int error = file_write(file, table, VHDX_TABLE_SIZE, VHDX_REGIONS_0);
    if (error == 0)
        error = file_write(file, table, VHDX_TABLE_SIZE, VHDX_REGIONS_1);
    vhdx_encode_header(&plan->header, header);
    if (error == 0)
        error = file_write(file, header, sizeof(header), VHDX_HEADER_0);
    second.sequence++;
    vhdx_encode_header(&second, header);
    if (error == 0)
        error = file_write(file, header, sizeof(header), VHDX_HEADER_1);
    if (error == 0)
        error = file_flush(file);
    memcpy(first, vhdx_signature, sizeof(vhdx_signature));
    (void)utf16_encode("Partita " PARTITA_VERSION, first + VHDX_CREATOR, VHDX_CREATOR_LENGTH);
    if (error == 0)
        error = file_write(file, first, sizeof(first), 0);
    return error < 0 ? error : file_flush(file);
}

int vhdx_create(struct file *file, const struct image_layout *layout, struct disk *parent,
                struct reason *reason)
{
    auto_free struct plan *plan = calloc(1, sizeof(*plan));

    if (plan == NULL)
        return -ENOMEM;
    plan->layout = layout;
    int error = plan_metadata(plan, parent, reason);
    if (error == 0)
        error = plan_locator(plan, parent, reason);
    if (error < 0)
        return error;
    plan_places(plan);
    error = write_blocks(file, plan);
    if (error == 0)
        error = write_metadata(file, plan);
    return error < 0 ? error : write_beginning(file, plan);
}
