/*
 * The structures of a VHD file, byte by byte; all numbers are big-endian. (Microsoft, Virtual Hard
 * Disk Image Format Specification, 1.0.)
 *
 *   fixed     the disk, and a footer behind it
 *   others    a copy of the footer, the header, the table (an entry a block: its sector in the
 *             file), blocks (each behind its sector bitmap), the footer
 *
 * They are kept as the bytes that they are, so that what is not understood stays.
 */
#ifndef DISK_VHD_WIRE_H
#define DISK_VHD_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/reason.h"

enum {
    VHD_SECTOR = 512,
    VHD_FOOTER = 512,
    VHD_HEADER = 1024,
    VHD_LOCATORS = 8,
    VHD_PARENT_NAME = 512,
    VHD_EPOCH = 946684800, /* 2000-01-01 as Unix time */
    VHD_DEFAULT_BLOCK = 2 << 20,
    VHD_LEAST_BLOCK = 512 << 10,
    VHD_MOST_BLOCK = 256 << 20,
};
#define VHD_MOST_CAPACITY (UINT64_C(2040) << 30)
#define VHD_NO_BLOCK      UINT32_MAX /* an entry of the table: the block has no room */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* How a header names the parent in one way: "W2ku" an absolute path of Windows, "W2ru" a relative
 * one, both UTF-16LE; "MacX" a file URL.
 */
struct vhd_locator {
    char code[4];
    uint32_t room;   /* for the path; bytes, but sectors with some creators */
    uint32_t length; /* of the path, bytes */
    uint64_t offset; /* in the file */
};

/* ---- the footer: "Hard Disk Footer Format" ---- */

static inline enum vhd_type vhd_type(const uint8_t footer[VHD_FOOTER])
{
    return (enum vhd_type)get_be32(footer + 60);
}

static inline uint64_t vhd_capacity(const uint8_t footer[VHD_FOOTER])
{
    return get_be64(footer + 48);
}

static inline uint64_t vhd_header_offset(const uint8_t footer[VHD_FOOTER])
{
    return get_be64(footer + 16);
}

static inline const uint8_t *vhd_unique_id(const uint8_t footer[VHD_FOOTER])
{
    return footer + 68;
}

/* False: the reason says what is wrong with it. */
bool vhd_check_footer(const uint8_t footer[VHD_FOOTER], struct reason *reason);
/* With a new unique id. */
int vhd_make_footer(enum vhd_type type, uint64_t capacity, uint8_t ret[VHD_FOOTER]);
void vhd_set_capacity(uint8_t footer[VHD_FOOTER], uint64_t capacity);
void vhd_set_header_offset(uint8_t footer[VHD_FOOTER], uint64_t offset);
/* Where a fixed disk has zeroes and a footer lies (fixed.c); UINT64_MAX: nowhere. */
uint64_t vhd_stale(const uint8_t footer[VHD_FOOTER]);
void vhd_set_stale(uint8_t footer[VHD_FOOTER], uint64_t stale);
/* "win ", or what is readable of it. */
void vhd_creator(const uint8_t footer[VHD_FOOTER], char ret[5]);
int64_t vhd_created(const uint8_t footer[VHD_FOOTER]);

/* ---- the header: "Dynamic Disk Header Format" ---- */

static inline uint64_t vhd_table_offset(const uint8_t header[VHD_HEADER])
{
    return get_be64(header + 16);
}

static inline uint32_t vhd_table_entries(const uint8_t header[VHD_HEADER])
{
    return get_be32(header + 28);
}

static inline uint32_t vhd_block_size(const uint8_t header[VHD_HEADER])
{
    return get_be32(header + 32);
}

static inline const uint8_t *vhd_parent_id(const uint8_t header[VHD_HEADER])
{
    return header + 40;
}

bool vhd_check_header(const uint8_t header[VHD_HEADER], uint64_t capacity, struct reason *reason);
void vhd_make_header(uint32_t block_size, uint8_t ret[VHD_HEADER]);
void vhd_set_table(uint8_t header[VHD_HEADER], uint64_t offset, uint32_t entries);
struct vhd_locator vhd_get_locator(const uint8_t header[VHD_HEADER], unsigned index);

struct vhd_parent {
    uint8_t id[16];
    int64_t changed;                           /* Unix time */
    uint8_t name[VHD_PARENT_NAME];             /* UTF-16BE */
    struct vhd_locator locators[VHD_LOCATORS]; /* length 0: none */
};
void vhd_set_parent_name(uint8_t header[VHD_HEADER], const struct vhd_parent *parent);

#endif
