#include "disk/vhdx/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"

const uint8_t vhdx_signature[8] = {'v', 'h', 'd', 'x', 'f', 'i', 'l', 'e'};

/* GUIDs as they lie in the file. */
static const struct partition_guid bat_region = {{0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                                  0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}};
static const struct partition_guid metadata_region = {{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a,
                                                       0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f,
                                                       0x88, 0x6e}};

static bool same_guid(const uint8_t *bytes, const struct partition_guid *guid)
{
    return memcmp(bytes, guid->bytes, sizeof(guid->bytes)) == 0;
}

static bool refuse(struct reason *reason, const char *what)
{
    reason_fill(reason, "%s", what);
    return false;
}

/* The checksum covers the structure with its own four bytes, at 4, as zeroes. */
static uint32_t checksum(const uint8_t *bytes, size_t length)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c(0, bytes, 4);

    crc = crc32c(crc, zero, sizeof(zero));
    return crc32c(crc, bytes + 8, length - 8);
}

/* ---- headers ---- */

enum {
    HEADER_SEQUENCE = 8,
    HEADER_FILE_WRITE = 16,
    HEADER_DATA_WRITE = 32,
    HEADER_LOG = 48,
    HEADER_LOG_VERSION = 64,
    HEADER_VERSION = 66,
    HEADER_LOG_LENGTH = 68,
    HEADER_LOG_OFFSET = 72,
};

bool vhdx_decode_header(const uint8_t bytes[VHDX_HEADER_SIZE], struct vhdx_header *ret,
                        struct reason *reason)
{
    if (memcmp(bytes, "head", 4) != 0)
        return refuse(reason, "no 'head' there");
    if (get_le32(bytes + 4) != checksum(bytes, VHDX_HEADER_SIZE))
        return refuse(reason, "its checksum is wrong");
    if (get_le16(bytes + HEADER_VERSION) != 1 || get_le16(bytes + HEADER_LOG_VERSION) != 0)
        return refuse(reason, "of an unknown version");
    *ret = (struct vhdx_header){.sequence = get_le64(bytes + HEADER_SEQUENCE),
                                .log_length = get_le32(bytes + HEADER_LOG_LENGTH),
                                .log_offset = get_le64(bytes + HEADER_LOG_OFFSET)};
    memcpy(ret->file_write.bytes, bytes + HEADER_FILE_WRITE, 16);
    memcpy(ret->data_write.bytes, bytes + HEADER_DATA_WRITE, 16);
    memcpy(ret->log.bytes, bytes + HEADER_LOG, 16);
    if (ret->log_length == 0 || ret->log_length % VHDX_UNIT != 0 || ret->log_offset < VHDX_UNIT ||
        ret->log_offset % VHDX_UNIT != 0 || ret->log_offset > INT64_MAX - UINT32_MAX)
        return refuse(reason, "it places the log where none can be");
    if (ret->log_length > VHDX_MOST_LOG)
        return refuse(reason, "its log is larger than 64 MiB");
    return true;
}

void vhdx_encode_header(const struct vhdx_header *header, uint8_t ret[VHDX_HEADER_SIZE])
{
    memset(ret, 0, VHDX_HEADER_SIZE);
    vhdx_put_tag(ret, "head", 4);
    put_le64(ret + HEADER_SEQUENCE, header->sequence);
    memcpy(ret + HEADER_FILE_WRITE, header->file_write.bytes, 16);
    memcpy(ret + HEADER_DATA_WRITE, header->data_write.bytes, 16);
    memcpy(ret + HEADER_LOG, header->log.bytes, 16);
    put_le16(ret + HEADER_VERSION, 1);
    put_le32(ret + HEADER_LOG_LENGTH, header->log_length);
    put_le64(ret + HEADER_LOG_OFFSET, header->log_offset);
    put_le32(ret + 4, checksum(ret, VHDX_HEADER_SIZE));
}

/* ---- region tables ---- */

enum { REGION_ENTRIES = 16, REGION_ENTRY_SIZE = 32, MOST_REGIONS = 2047 };

static bool decode_region(const uint8_t *entry, struct vhdx_regions *regions, struct reason *reason)
{
    struct vhdx_range range = {.offset = get_le64(entry + 16), .length = get_le32(entry + 24)};
    bool required = (get_le32(entry + 28) & 1) != 0;
    struct vhdx_range *to = same_guid(entry, &bat_region)        ? &regions->bat
                            : same_guid(entry, &metadata_region) ? &regions->metadata
                                                                 : NULL;

    if (to == NULL)
        return required ? refuse(reason, "a region that must be understood is not known") : true;
    if (to->length != 0)
        return refuse(reason, "a region is there twice");
    if (range.offset < VHDX_UNIT || range.offset % VHDX_UNIT != 0 || range.length == 0 ||
        range.length % VHDX_UNIT != 0 || range.offset > INT64_MAX - UINT32_MAX)
        return refuse(reason, "a region lies where none can be");
    *to = range;
    return true;
}

bool vhdx_decode_regions(const uint8_t bytes[VHDX_TABLE_SIZE], struct vhdx_regions *ret,
                         struct reason *reason)
{
    *ret = (struct vhdx_regions){0};
    if (memcmp(bytes, "regi", 4) != 0)
        return refuse(reason, "no 'regi' there");
    if (get_le32(bytes + 4) != checksum(bytes, VHDX_TABLE_SIZE))
        return refuse(reason, "its checksum is wrong");
    uint32_t count = get_le32(bytes + 8);
    if (count > MOST_REGIONS)
        return refuse(reason, "it has too many entries");
    for (uint32_t i = 0; i < count; i++) {
        if (!decode_region(bytes + REGION_ENTRIES + (size_t)i * REGION_ENTRY_SIZE, ret, reason))
            return false;
    }
    if (ret->bat.length == 0 || ret->metadata.length == 0)
        return refuse(reason, "it names no allocation table or no metadata");
    return true;
}

static void encode_region(uint8_t *entry, const struct partition_guid *guid,
                          const struct vhdx_range *range)
{
    memcpy(entry, guid->bytes, 16);
    put_le64(entry + 16, range->offset);
    put_le32(entry + 24, (uint32_t)range->length);
    put_le32(entry + 28, 1);
}

void vhdx_encode_regions(const struct vhdx_regions *regions, uint8_t ret[VHDX_TABLE_SIZE])
{
    memset(ret, 0, VHDX_TABLE_SIZE);
    vhdx_put_tag(ret, "regi", 4);
    put_le32(ret + 8, 2);
    encode_region(ret + REGION_ENTRIES, &bat_region, &regions->bat);
    encode_region(ret + REGION_ENTRIES + REGION_ENTRY_SIZE, &metadata_region, &regions->metadata);
    put_le32(ret + 4, checksum(ret, VHDX_TABLE_SIZE));
}

/* ---- metadata ---- */

enum {
    ITEM_ENTRIES = 32,
    ITEM_ENTRY_SIZE = 32,
    MOST_ITEMS = 2047,
    ITEM_IS_USER = 1,
    ITEM_IS_DISK = 2,
    ITEM_IS_REQUIRED = 4,
};

struct item_kind {
    struct partition_guid guid;
    size_t member;   /* of struct vhdx_items */
    uint32_t length; /* 0: up to VHDX_MOST_LOCATOR */
    uint32_t flags;
};

#define ITEM(name) offsetof(struct vhdx_items, name)
static const struct item_kind item_kinds[] = {
    {{{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7,
       0x6b}},
     ITEM(parameters),
     8,
     ITEM_IS_REQUIRED},
    {{{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4,
       0xb8}},
     ITEM(capacity),
     8,
     ITEM_IS_DISK | ITEM_IS_REQUIRED},
    {{{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7,
       0x46}},
     ITEM(id),
     16,
     ITEM_IS_DISK | ITEM_IS_REQUIRED},
    {{{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab,
       0x5f}},
     ITEM(logical),
     4,
     ITEM_IS_DISK | ITEM_IS_REQUIRED},
    {{{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5,
       0x56}},
     ITEM(physical),
     4,
     ITEM_IS_DISK | ITEM_IS_REQUIRED},
    {{{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab,
       0x0c}},
     ITEM(locator),
     0,
     ITEM_IS_REQUIRED},
};
enum { ITEM_KINDS = sizeof(item_kinds) / sizeof(item_kinds[0]) };

static struct vhdx_range *item_of(struct vhdx_items *items, const struct item_kind *kind)
{
    return (struct vhdx_range *)(void *)((char *)items + kind->member);
}

static const struct item_kind *find_kind(const uint8_t *entry)
{
    for (unsigned i = 0; i < ITEM_KINDS; i++) {
        if (same_guid(entry, &item_kinds[i].guid))
            return &item_kinds[i];
    }
    return NULL;
}

static bool decode_item(const uint8_t *entry, uint64_t region_length, struct vhdx_items *items,
                        struct reason *reason)
{
    struct vhdx_range range = {.offset = get_le32(entry + 16), .length = get_le32(entry + 20)};
    uint32_t flags = get_le32(entry + 24);
    const struct item_kind *kind = (flags & ITEM_IS_USER) == 0 ? find_kind(entry) : NULL;

    if (kind == NULL)
        return (flags & ITEM_IS_REQUIRED) != 0
                   ? refuse(reason, "an item that must be understood is not known")
                   : true;
    struct vhdx_range *to = item_of(items, kind);
    if (to->length != 0)
        return refuse(reason, "an item is there twice");
    if (range.offset < VHDX_TABLE_SIZE || range.length == 0 || range.length > region_length ||
        range.offset > region_length - range.length)
        return refuse(reason, "an item lies outside its region");
    if (kind->length != 0 ? range.length != kind->length : range.length > VHDX_MOST_LOCATOR)
        return refuse(reason, "an item has an impossible length");
    *to = range;
    return true;
}

size_t vhdx_items_length(const uint8_t *bytes)
{
    return ITEM_ENTRIES + (size_t)get_le16(bytes + 10) * ITEM_ENTRY_SIZE;
}

bool vhdx_decode_items(const uint8_t bytes[VHDX_TABLE_SIZE], uint64_t region_length,
                       struct vhdx_items *ret, struct reason *reason)
{
    *ret = (struct vhdx_items){0};
    if (memcmp(bytes, "metadata", 8) != 0)
        return refuse(reason, "no 'metadata' there");
    uint32_t count = get_le16(bytes + 10);
    if (count > MOST_ITEMS)
        return refuse(reason, "it has too many entries");
    for (uint32_t i = 0; i < count; i++) {
        if (!decode_item(bytes + ITEM_ENTRIES + (size_t)i * ITEM_ENTRY_SIZE, region_length, ret,
                         reason))
            return false;
    }
    if (ret->parameters.length == 0 || ret->capacity.length == 0 || ret->logical.length == 0)
        return refuse(reason, "it names no block size, no disk size or no sector size");
    return true;
}

void vhdx_encode_metadata(const struct vhdx_metadata *metadata, uint32_t locator_length,
                          uint8_t table[VHDX_TABLE_SIZE], uint8_t items[VHDX_ITEMS_SIZE])
{
    unsigned count = locator_length != 0 ? ITEM_KINDS : ITEM_KINDS - 1;
    uint32_t at = VHDX_TABLE_SIZE;

    memset(table, 0, VHDX_TABLE_SIZE);
    memset(items, 0, VHDX_ITEMS_SIZE);
    vhdx_put_tag(table, "metadata", 8);
    put_le16(table + 10, (uint16_t)count);
    for (unsigned i = 0; i < count; i++) {
        const struct item_kind *kind = &item_kinds[i];
        uint8_t *entry = table + ITEM_ENTRIES + (size_t)i * ITEM_ENTRY_SIZE;
        memcpy(entry, kind->guid.bytes, 16);
        put_le32(entry + 16, kind->length != 0 ? at : (uint32_t)VHDX_LOCATOR_AT);
        put_le32(entry + 20, kind->length != 0 ? kind->length : locator_length);
        put_le32(entry + 24, kind->flags);
        at += kind->length;
    }
    put_le32(items, metadata->block_size);
    put_le32(items + 4, (metadata->fixed ? 1U : 0U) | (metadata->has_parent ? 2U : 0U));
    put_le64(items + 8, metadata->capacity);
    memcpy(items + 16, metadata->id.bytes, 16);
    put_le32(items + 32, metadata->logical_sector);
    put_le32(items + 36, metadata->physical_sector);
}

static bool is_sector(uint32_t size)
{
    return size == 512 || size == 4096;
}

bool vhdx_check_metadata(const struct vhdx_metadata *metadata, struct reason *reason)
{
    uint32_t block = metadata->block_size;

    if (block < VHDX_LEAST_BLOCK || block > VHDX_MOST_BLOCK || (block & (block - 1)) != 0)
        return refuse(reason, "the block size is no power of two from 1 MiB to 256 MiB");
    if (!is_sector(metadata->logical_sector) || !is_sector(metadata->physical_sector))
        return refuse(reason, "sectors have 512 or 4096 bytes");
    if (metadata->capacity == 0 || metadata->capacity > VHDX_MOST_CAPACITY ||
        metadata->capacity % metadata->logical_sector != 0)
        return refuse(reason, "the disk's size is no whole number of sectors up to 64 TiB");
    return true;
}
