/* Opening: headers, log, regions, metadata, allocation table, parent, in this order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/vhdx/vhdx.h"

int vhdx_read(const struct vhdx *vhdx, void *bytes, size_t length, uint64_t offset)
{
    int error = file_read(vhdx->disk.file, bytes, length, offset);

    if (error == 0)
        vhdx_replay_patch(&vhdx->replay, bytes, length, offset);
    return error;
}

static int check_signature(struct file *file, struct reason *reason)
{
    uint8_t bytes[sizeof(vhdx_signature)];
    int error = file_read(file, bytes, sizeof(bytes), 0);

    if (error < 0)
        return reason_set(reason, error, "it cannot be read");
    if (memcmp(bytes, vhdx_signature, sizeof(bytes)) != 0)
        return reason_set(reason, -EINVAL, "not a VHDX file (no 'vhdxfile' at its beginning)");
    return 0;
}

static int load_header(struct vhdx *vhdx, struct reason *reason)
{
    struct reason why = {""};
    int error = vhdx_read_header(vhdx->disk.file, &vhdx->header, &vhdx->header_slot, &why);

    return error < 0 ? reason_set(reason, error, "no header is valid: %s", why.text) : 0;
}

/* A reader looks at the file as if the log had been carried out; a writer does it. */
static int carry_out_log(struct vhdx *vhdx, struct reason *reason)
{
    static const struct partition_guid none;
    struct reason why = {"it cannot be read"};

    if (memcmp(&vhdx->header.log, &none, sizeof(none)) == 0)
        return 0;
    int error = vhdx_replay_read(vhdx->disk.file, &vhdx->header, &vhdx->replay, &why);
    if (error < 0)
        return reason_set(reason, error, "its log: %s", why.text);
    if (vhdx->disk.geometry.read_only)
        return 0;
    error = vhdx_replay_apply(&vhdx->replay, vhdx->disk.file);
    vhdx_replay_release(&vhdx->replay);
    vhdx->header.log = none;
    if (error == 0)
        error = vhdx_write_header(vhdx);
    return error < 0 ? reason_set(reason, error, "its log cannot be carried out") : 0;
}

int vhdx_load_regions(struct vhdx *vhdx, struct reason *reason)
{
    static const uint64_t offsets[2] = {VHDX_REGIONS_0, VHDX_REGIONS_1};
    struct reason why = {"it cannot be read"};
    auto_free uint8_t *bytes = malloc(VHDX_TABLE_SIZE);
    int error = -EINVAL;

    if (bytes == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < 2; i++) {
        error = vhdx_read(vhdx, bytes, VHDX_TABLE_SIZE, offsets[i]);
        if (error == 0 && vhdx_decode_regions(bytes, &vhdx->regions, &why))
            return 0;
    }
    return reason_set(reason, error < 0 ? error : -EINVAL, "no region table is valid: %s",
                      why.text);
}

static int read_item(const struct vhdx *vhdx, const struct vhdx_range *item, uint8_t *ret)
{
    return item->length == 0 ? 0
                             : vhdx_read(vhdx, ret, (size_t)item->length,
                                         vhdx->regions.metadata.offset + item->offset);
}

static int read_items(struct vhdx *vhdx)
{
    const struct vhdx_items *items = &vhdx->items;
    struct vhdx_metadata *metadata = &vhdx->metadata;
    uint8_t parameters[8] = {0};
    uint8_t capacity[8] = {0};
    uint8_t logical[4] = {0};
    uint8_t physical[4] = {0};
    int error = read_item(vhdx, &items->parameters, parameters);

    if (error == 0)
        error = read_item(vhdx, &items->capacity, capacity);
    if (error == 0)
        error = read_item(vhdx, &items->logical, logical);
    if (error == 0)
        error = read_item(vhdx, &items->physical, physical);
    if (error == 0)
        error = read_item(vhdx, &items->id, metadata->id.bytes);
    metadata->block_size = get_le32(parameters);
    metadata->fixed = (get_le32(parameters + 4) & 1) != 0;
    metadata->has_parent = (get_le32(parameters + 4) & 2) != 0;
    metadata->capacity = get_le64(capacity);
    metadata->logical_sector = get_le32(logical);
    metadata->physical_sector =
        items->physical.length != 0 ? get_le32(physical) : metadata->logical_sector;
    return error;
}

/* The metadata table as far as it has entries: mostly its first page. */
static int read_table(const struct vhdx *vhdx, uint8_t bytes[VHDX_TABLE_SIZE])
{
    uint64_t offset = vhdx->regions.metadata.offset;
    int error = vhdx_read(vhdx, bytes, VHDX_PAGE, offset);

    if (error == 0 && vhdx_items_length(bytes) > VHDX_PAGE)
        error = vhdx_read(vhdx, bytes + VHDX_PAGE, VHDX_TABLE_SIZE - VHDX_PAGE, offset + VHDX_PAGE);
    return error;
}

int vhdx_load_metadata(struct vhdx *vhdx, struct reason *reason)
{
    const struct vhdx_range *region = &vhdx->regions.metadata;
    struct reason why = {"it cannot be read"};
    auto_free uint8_t *bytes = malloc(VHDX_TABLE_SIZE);

    if (bytes == NULL)
        return -ENOMEM;
    int error = read_table(vhdx, bytes);
    if (error == 0 && !vhdx_decode_items(bytes, region->length, &vhdx->items, &why))
        error = -EINVAL;
    if (error == 0)
        error = read_items(vhdx);
    if (error == 0 && !vhdx_check_metadata(&vhdx->metadata, &why))
        error = -EINVAL;
    return error < 0 ? reason_set(reason, error, "its metadata at %#llx: %s",
                                  (unsigned long long)region->offset, why.text)
                     : 0;
}

static void set_geometry(struct vhdx *vhdx)
{
    struct disk_geometry *geometry = &vhdx->disk.geometry;

    geometry->capacity = vhdx->metadata.capacity;
    geometry->logical_sector = vhdx->metadata.logical_sector;
    geometry->physical_sector = vhdx->metadata.physical_sector;
    memcpy(geometry->id, vhdx->metadata.id.bytes, sizeof(geometry->id));
    memcpy(vhdx->disk.identity, vhdx->header.data_write.bytes, sizeof(vhdx->disk.identity));
}

static int prepare_writing(struct vhdx *vhdx, struct reason *reason)
{
    int error = vhdx_load_room(vhdx, reason);

    vhdx_log_init(&vhdx->log, &vhdx->header);
    return error;
}

static int open_all(struct vhdx *vhdx, const struct disk_source *source, struct reason *reason)
{
    int error = check_signature(vhdx->disk.file, reason);

    if (error == 0)
        error = load_header(vhdx, reason);
    if (error == 0)
        error = carry_out_log(vhdx, reason);
    if (error == 0)
        error = file_size(vhdx->disk.file, &vhdx->file_size);
    if (error == 0)
        error = vhdx_load_regions(vhdx, reason);
    if (error == 0)
        error = vhdx_load_metadata(vhdx, reason);
    if (error < 0)
        return error;
    vhdx_lay_out(vhdx);
    set_geometry(vhdx);
    error = vhdx_load_bat(vhdx, reason);
    if (error == 0 && vhdx->metadata.has_parent && (source->flags & DISK_WITHOUT_PARENT) == 0)
        error = vhdx_open_parent(vhdx, source, reason);
    if (error == 0 && !vhdx->disk.geometry.read_only)
        error = prepare_writing(vhdx, reason);
    return error;
}

static const struct disk_ops vhdx_ops = {
    .map = vhdx_map,
    .written = vhdx_written,
    .unmap = vhdx_unmap,
    .commit_prepare = vhdx_commit_prepare,
    .commit_write = vhdx_commit_write,
    .commit_done = vhdx_commit_done,
    .finish = vhdx_finish,
    .close = vhdx_close,
    .describe = vhdx_describe,
    .resize = vhdx_resize,
    .compact = vhdx_compact,
    .set_parent = vhdx_set_parent,
};

int vhdx_open(const struct disk_source *source, struct disk **ret, struct reason *reason)
{
    struct vhdx *vhdx = calloc(1, sizeof(*vhdx));

    if (vhdx == NULL)
        return -ENOMEM;
    vhdx->disk.ops = &vhdx_ops;
    vhdx->disk.file = source->file;
    vhdx->disk.geometry.read_only = (source->flags & DISK_WRITABLE) == 0;
    int error = open_all(vhdx, source, reason);
    if (error < 0) {
        vhdx->disk.file = NULL; /* the caller's still */
        vhdx_close(&vhdx->disk);
        return error;
    }
    *ret = &vhdx->disk;
    return 0;
}

void vhdx_close(struct disk *disk)
{
    struct vhdx *vhdx = vhdx_of(disk);

    vhdx_replay_release(&vhdx->replay);
    vhdx_bitmap_release(vhdx);
    vhdx_release_bat(vhdx);
    vhdx_room_release_all(&vhdx->room);
    vhdx_log_release(&vhdx->log);
    free(vhdx->dirty);
    disk_free(disk);
}

const struct disk_format vhdx_format = {
    .name = "vhdx",
    .suffixes = {".vhdx", ".avhdx"},
    .flag = DISK_AS_VHDX,
    .open = vhdx_open,
    .create = vhdx_create,
    .check = vhdx_check,
};
