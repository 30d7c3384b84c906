#include "disk/vhd/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    VERSION_1 = 0x10000,
    /* of the footer */
    FEATURES = 8,
    VERSION = 12,
    DATA_OFFSET = 16,
    TIME_STAMP = 24,
    CREATOR = 28,
    CREATOR_VERSION = 32,
    CREATOR_HOST = 36,
    ORIGINAL_SIZE = 40,
    CURRENT_SIZE = 48,
    GEOMETRY = 56,
    DISK_TYPE = 60,
    FOOTER_CHECKSUM = 64,
    UNIQUE_ID = 68,
    STALE = 96, /* of the reserved bytes: ours, "prtS" and an offset */
    /* of the header */
    NEXT_OFFSET = 8,
    TABLE_OFFSET = 16,
    HEADER_VERSION = 24,
    ENTRIES = 28,
    BLOCK_SIZE = 32,
    HEADER_CHECKSUM = 36,
    PARENT_ID = 40,
    PARENT_TIME = 56,
    PARENT_NAME = 64,
    LOCATORS = 576,
    LOCATOR = 24,
};

static uint32_t sum_of(const uint8_t *bytes, unsigned size, unsigned checksum_at)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < size; i++)
        sum += i >= checksum_at && i < checksum_at + 4 ? 0 : bytes[i];
    return ~sum;
}

static void seal_footer(uint8_t footer[VHD_FOOTER])
{
    put_be32(footer + FOOTER_CHECKSUM, sum_of(footer, VHD_FOOTER, FOOTER_CHECKSUM));
}

static void seal_header(uint8_t header[VHD_HEADER])
{
    put_be32(header + HEADER_CHECKSUM, sum_of(header, VHD_HEADER, HEADER_CHECKSUM));
}

static void put_tag(uint8_t *to, const char *tag)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)tag[i];
}

/* ---- the footer ---- */

/* "CHS Calculation" of the appendix. */
static void put_geometry(uint8_t *to, uint64_t capacity)
{
    const uint64_t most = UINT64_C(65535) * 16 * 255;
    uint64_t sectors = capacity / VHD_SECTOR < most ? capacity / VHD_SECTOR : most;
    uint64_t per_track = 255;
    uint64_t heads = 16;
    uint64_t tracks = sectors / per_track;

    if (sectors < UINT64_C(65535) * 16 * 63) {
        per_track = 17;
        tracks = sectors / per_track;
        heads = (tracks + 1023) / 1024;
        heads = heads < 4 ? 4 : heads;
        if (tracks >= heads * 1024 || heads > 16) {
            per_track = 31;
            heads = 16;
            tracks = sectors / per_track;
        }
        if (tracks >= heads * 1024) {
            per_track = 63;
            heads = 16;
            tracks = sectors / per_track;
        }
    }
    put_be16(to, (uint16_t)(tracks / heads));
    to[2] = (uint8_t)heads;
    to[3] = (uint8_t)per_track;
}

bool vhd_check_footer(const uint8_t footer[VHD_FOOTER], struct reason *reason)
{
    enum vhd_type type = vhd_type(footer);
    uint64_t capacity = vhd_capacity(footer);
    const char *wrong = NULL;

    if (memcmp(footer, "conectix", 8) != 0)
        wrong = "not a VHD file (no 'conectix' at its end)";
    else if (get_be32(footer + FOOTER_CHECKSUM) != sum_of(footer, VHD_FOOTER, FOOTER_CHECKSUM))
        wrong = "the checksum of its footer is wrong";
    else if ((type != VHD_FIXED && type != VHD_DYNAMIC && type != VHD_DIFFERENCING) ||
             get_be32(footer + VERSION) >> 16 != VERSION_1 >> 16)
        wrong = "its footer is of an unknown type or version";
    else if (capacity == 0 || capacity % VHD_SECTOR != 0 || capacity > VHD_MOST_CAPACITY)
        wrong = "the disk's size in its footer is none that a VHD can have";
    if (wrong != NULL)
        reason_fill(reason, "%s", wrong);
    return wrong == NULL;
}

int vhd_make_footer(enum vhd_type type, uint64_t capacity, uint8_t ret[VHD_FOOTER])
{
    memset(ret, 0, VHD_FOOTER);
    put_tag(ret, "cone");
    put_tag(ret + 4, "ctix");
    put_be32(ret + FEATURES, 2); /* the reserved bit that is always set */
    put_be32(ret + VERSION, VERSION_1);
    put_be64(ret + DATA_OFFSET, type == VHD_FIXED ? UINT64_MAX : VHD_FOOTER);
    put_be32(ret + TIME_STAMP, (uint32_t)(time(NULL) - VHD_EPOCH));
    /* Others believe the size of a few creators only, of all else the geometry, which is rounded.
     */
    put_tag(ret + CREATOR, "win ");
    put_be32(ret + CREATOR_VERSION, VERSION_1);
    put_tag(ret + CREATOR_HOST, "Wi2k"); /* the specification knows this and "Mac " */
    put_be64(ret + ORIGINAL_SIZE, capacity);
    put_be32(ret + DISK_TYPE, (uint32_t)type);
    if (getrandom(ret + UNIQUE_ID, 16, 0) != 16)
        return -EIO;
    vhd_set_capacity(ret, capacity);
    return 0;
}

void vhd_set_capacity(uint8_t footer[VHD_FOOTER], uint64_t capacity)
{
    put_be64(footer + CURRENT_SIZE, capacity);
    put_geometry(footer + GEOMETRY, capacity);
    seal_footer(footer);
}

void vhd_set_header_offset(uint8_t footer[VHD_FOOTER], uint64_t offset)
{
    put_be64(footer + DATA_OFFSET, offset);
    seal_footer(footer);
}

uint64_t vhd_stale(const uint8_t footer[VHD_FOOTER])
{
    uint64_t stale = get_be64(footer + STALE + 4);
    bool named = memcmp(footer + STALE, "prtS", 4) == 0;

    return named && stale % VHD_SECTOR == 0 && stale < vhd_capacity(footer) ? stale : UINT64_MAX;
}

void vhd_set_stale(uint8_t footer[VHD_FOOTER], uint64_t stale)
{
    memset(footer + STALE, 0, 12);
    if (stale != UINT64_MAX) {
        put_tag(footer + STALE, "prtS");
        put_be64(footer + STALE + 4, stale);
    }
    seal_footer(footer);
}

void vhd_creator(const uint8_t footer[VHD_FOOTER], char ret[5])
{
    memcpy(ret, footer + CREATOR, 4);
    for (unsigned i = 0; i < 4; i++) {
        if (ret[i] < ' ' || ret[i] > '~')
            ret[i] = '\0';
    }
    ret[4] = '\0';
}

int64_t vhd_created(const uint8_t footer[VHD_FOOTER])
{
    return (int64_t)get_be32(footer + TIME_STAMP) + VHD_EPOCH;
}

/* ---- the header ---- */

bool vhd_check_header(const uint8_t header[VHD_HEADER], uint64_t capacity, struct reason *reason)
{
    uint32_t block = vhd_block_size(header);
    uint64_t blocks = block != 0 ? (capacity + block - 1) / block : 0;
    const char *wrong = NULL;

    if (memcmp(header, "cxsparse", 8) != 0)
        wrong = "no 'cxsparse' there";
    else if (get_be32(header + HEADER_CHECKSUM) != sum_of(header, VHD_HEADER, HEADER_CHECKSUM))
        wrong = "the checksum is wrong";
    else if (get_be32(header + HEADER_VERSION) >> 16 != VERSION_1 >> 16)
        wrong = "the version is unknown";
    else if (block < VHD_LEAST_BLOCK || block > VHD_MOST_BLOCK || (block & (block - 1)) != 0)
        wrong = "the size of a block is no power of two from 512 KiB to 256 MiB";
    else if (blocks > vhd_table_entries(header))
        wrong = "the table has too few entries for the disk's size";
    else if (vhd_table_offset(header) % VHD_SECTOR != 0)
        wrong = "the table does not begin at a sector";
    if (wrong != NULL)
        reason_fill(reason, "%s", wrong);
    return wrong == NULL;
}

void vhd_make_header(uint32_t block_size, uint8_t ret[VHD_HEADER])
{
    memset(ret, 0, VHD_HEADER);
    put_tag(ret, "cxsp");
    put_tag(ret + 4, "arse");
    put_be64(ret + NEXT_OFFSET, UINT64_MAX);
    put_be32(ret + HEADER_VERSION, VERSION_1);
    put_be32(ret + BLOCK_SIZE, block_size);
    seal_header(ret);
}

void vhd_set_table(uint8_t header[VHD_HEADER], uint64_t offset, uint32_t entries)
{
    put_be64(header + TABLE_OFFSET, offset);
    put_be32(header + ENTRIES, entries);
    seal_header(header);
}

struct vhd_locator vhd_get_locator(const uint8_t header[VHD_HEADER], unsigned index)
{
    const uint8_t *bytes = header + LOCATORS + (size_t)index * LOCATOR;
    struct vhd_locator locator = {
        .room = get_be32(bytes + 4), .length = get_be32(bytes + 8), .offset = get_be64(bytes + 16)};

    memcpy(locator.code, bytes, sizeof(locator.code));
    return locator;
}

void vhd_set_parent_name(uint8_t header[VHD_HEADER], const struct vhd_parent *parent)
{
    memcpy(header + PARENT_ID, parent->id, sizeof(parent->id));
    put_be32(header + PARENT_TIME, (uint32_t)(parent->changed - VHD_EPOCH));
    memcpy(header + PARENT_NAME, parent->name, VHD_PARENT_NAME);
    memset(header + LOCATORS, 0, (size_t)VHD_LOCATORS * LOCATOR);
    for (unsigned i = 0; i < VHD_LOCATORS; i++) {
        const struct vhd_locator *locator = &parent->locators[i];
        uint8_t *bytes = header + LOCATORS + (size_t)i * LOCATOR;
        if (locator->length == 0)
            continue;
        memcpy(bytes, locator->code, sizeof(locator->code));
        put_be32(bytes + 4, locator->room);
        put_be32(bytes + 8, locator->length);
        put_be64(bytes + 16, locator->offset);
    }
    seal_header(header);
}
