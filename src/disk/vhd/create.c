/* A new image: what its footers will name is durable before they are there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/vhd/vhd.h"

static int check_layout(const struct image_layout *layout, struct reason *reason)
{
    uint32_t block = layout->block_size;

    if (layout->capacity > VHD_MOST_CAPACITY || layout->logical_sector != VHD_SECTOR)
        return reason_set(reason, -EINVAL, "a VHD has sectors of 512 bytes, up to 2040 GiB");
    if (block != 0 && layout->kind == IMAGE_FIXED)
        return reason_set(reason, -EINVAL, "a fixed VHD has no blocks");
    if (block != 0 && (block < VHD_LEAST_BLOCK || block > VHD_MOST_BLOCK || (block & (block - 1))))
        return reason_set(reason, -EINVAL,
                          "a block of a VHD is a power of two from 512 KiB to 256 MiB");
    return 0;
}

int vhd_write_empty_table(struct file *file, uint64_t offset, uint32_t entries)
{
    enum { PIECE = 1 << 16 };
    uint64_t end = offset + vhd_table_bytes(entries);
    uint8_t *bytes = malloc(PIECE);
    int error = bytes != NULL ? 0 : -ENOMEM;

    if (error == 0)
        memset(bytes, 0xff, PIECE);
    for (; error == 0 && offset < end; offset += PIECE)
        error =
            file_write(file, bytes, end - offset < PIECE ? (size_t)(end - offset) : PIECE, offset);
    free(bytes);
    return error;
}

static int create_fixed(struct file *file, const struct image_layout *layout)
{
    uint8_t footer[VHD_FOOTER];
    int error = vhd_make_footer(VHD_FIXED, layout->capacity, footer);

    if (error == 0 && layout->preallocate)
        error = file_allocate(file, 0, layout->capacity);
    return error < 0 ? error : file_write(file, footer, VHD_FOOTER, layout->capacity);
}

/* The parent's names lie at `*end`, which moves behind them. */
static int write_names(struct file *file, const struct image_layout *layout,
                       const struct disk *parent, uint8_t header[VHD_HEADER], uint64_t *end)
{
    auto_free uint8_t *names = malloc(VHD_NAMES);
    struct vhd_parent named;
    size_t length = 0;

    if (names == NULL)
        return -ENOMEM;
    int error = vhd_name_parent(parent, layout->parent, &named, names, &length);
    if (error < 0)
        return error;
    vhd_place_names(&named, *end);
    vhd_set_parent_name(header, &named);
    error = file_write(file, names, length, *end);
    *end += length;
    return error;
}

static int create_dynamic(struct file *file, const struct image_layout *layout,
                          const struct disk *parent)
{
    uint32_t block = layout->block_size != 0 ? layout->block_size : (uint32_t)VHD_DEFAULT_BLOCK;
    uint32_t entries = (uint32_t)((layout->capacity + block - 1) / block);
    uint64_t end = VHD_FOOTER + VHD_HEADER + vhd_table_bytes(entries);
    uint8_t header[VHD_HEADER];
    uint8_t footer[VHD_FOOTER];
    int error =
        vhd_make_footer(parent != NULL ? VHD_DIFFERENCING : VHD_DYNAMIC, layout->capacity, footer);

    vhd_make_header(block, header);
    vhd_set_table(header, VHD_FOOTER + VHD_HEADER, entries);
    if (error == 0)
        error = vhd_write_empty_table(file, VHD_FOOTER + VHD_HEADER, entries);
    if (error == 0 && parent != NULL)
        error = write_names(file, layout, parent, header, &end);
    if (error == 0)
        error = file_write(file, header, VHD_HEADER, VHD_FOOTER);
    if (error == 0)
        error = file_flush(file);
    if (error == 0)
        error = file_write(file, footer, VHD_FOOTER, end);
    return error < 0 ? error : file_write(file, footer, VHD_FOOTER, 0);
}

int vhd_create(struct file *file, const struct image_layout *layout, struct disk *parent,
               struct reason *reason)
{
    int error = check_layout(layout, reason);

    if (error < 0)
        return error;
    return layout->kind == IMAGE_FIXED ? create_fixed(file, layout)
                                       : create_dynamic(file, layout, parent);
}
