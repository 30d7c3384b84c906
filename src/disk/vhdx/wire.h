/*
 * The structures of a VHDX file, checked and made comfortable (MS-VHDX § 2). Nothing here does
 * I/O. Bytes are hostile; decoders check what can be checked without the rest of the file.
 */
#ifndef DISK_VHDX_WIRE_H
#define DISK_VHDX_WIRE_H

#include <string.h>

#include "base/reason.h"
#include "disk/partition.h"

enum {
    VHDX_UNIT = 1 << 20,        /* regions and blocks lie on multiples of it */
    VHDX_HEADER_SIZE = 4 << 10, /* also of a log sector, and of what the log changes at once */
    VHDX_TABLE_SIZE = 64 << 10, /* region tables, metadata table */
    VHDX_HEADER_0 = 64 << 10,   /* offsets in the file: two headers, two region tables */
    VHDX_HEADER_1 = 128 << 10,
    VHDX_REGIONS_0 = 192 << 10,
    VHDX_REGIONS_1 = 256 << 10,
    VHDX_LEAST_BLOCK = 1 << 20,
    VHDX_MOST_BLOCK = 256 << 20,
    VHDX_CREATOR = 8, /* offset of the creator's name, and its length */
    VHDX_CREATOR_LENGTH = 512,
    VHDX_MOST_LOG = 64 << 20,
    VHDX_MOST_LOCATOR = 1 << 20,
};
#define VHDX_MOST_CAPACITY (UINT64_C(64) << 40)

extern const uint8_t vhdx_signature[8];

/* A tag of four or eight letters, without an ending zero. */
static inline void vhdx_put_tag(uint8_t *to, const char *tag, size_t length)
{
    memcpy(to, tag, length);
}

/* ---- headers, § 2.2.2 ---- */

struct vhdx_header {
    uint64_t sequence, log_offset;
    struct partition_guid file_write, data_write, log; /* log: zero, nothing is to be replayed */
    uint32_t log_length;
};

/* False with a reason: not a header that counts. */
bool vhdx_decode_header(const uint8_t bytes[VHDX_HEADER_SIZE], struct vhdx_header *ret,
                        struct reason *reason);
void vhdx_encode_header(const struct vhdx_header *header, uint8_t ret[VHDX_HEADER_SIZE]);

/* ---- region tables, § 2.2.3 ---- */

struct vhdx_range {
    uint64_t offset, length;
};

struct vhdx_regions {
    struct vhdx_range bat, metadata;
};

bool vhdx_decode_regions(const uint8_t bytes[VHDX_TABLE_SIZE], struct vhdx_regions *ret,
                         struct reason *reason);
void vhdx_encode_regions(const struct vhdx_regions *regions, uint8_t ret[VHDX_TABLE_SIZE]);

/* ---- metadata, § 2.6 ---- */

/* The known items; offsets are within the region, lengths 0 when one is not there. */
struct vhdx_items {
    struct vhdx_range parameters, capacity, id, logical, physical, locator;
};

struct vhdx_metadata {
    uint64_t capacity;
    uint32_t block_size, logical_sector, physical_sector;
    bool fixed, has_parent;
    struct partition_guid id;
};

/* How much of the table is looked at, by its beginning; perhaps more than it can have. */
size_t vhdx_items_length(const uint8_t *bytes);
bool vhdx_decode_items(const uint8_t bytes[VHDX_TABLE_SIZE], uint64_t region_length,
                       struct vhdx_items *ret, struct reason *reason);

/* The table and the items behind it but the locator, whose `locator_length` is 0 without one. */
enum { VHDX_ITEMS_SIZE = 64, VHDX_LOCATOR_AT = VHDX_TABLE_SIZE + 4096 };
void vhdx_encode_metadata(const struct vhdx_metadata *metadata, uint32_t locator_length,
                          uint8_t table[VHDX_TABLE_SIZE], uint8_t items[VHDX_ITEMS_SIZE]);
bool vhdx_check_metadata(const struct vhdx_metadata *metadata, struct reason *reason);

/* ---- block allocation table, § 2.5 ---- */

enum vhdx_state {
    VHDX_NOT_PRESENT = 0,
    VHDX_UNDEFINED = 1,
    VHDX_ZERO = 2,
    VHDX_UNMAPPED = 3,
    VHDX_PRESENT = 6,
    VHDX_PARTIAL = 7, /* of a block of data only: the sector bitmap tells */
};
#define VHDX_STATE_MASK  UINT64_C(7)
#define VHDX_OFFSET_MASK (~(uint64_t)(VHDX_UNIT - 1))

static inline enum vhdx_state vhdx_state(uint64_t entry)
{
    return (enum vhdx_state)(entry & VHDX_STATE_MASK);
}

static inline bool vhdx_has_room(uint64_t entry)
{
    return vhdx_state(entry) >= VHDX_PRESENT;
}

static inline uint64_t vhdx_entry_offset(uint64_t entry)
{
    return entry & VHDX_OFFSET_MASK;
}

#endif
