/*
 * GPT as UEFI 2.10 § 5.3 has it, MBR as § 5.2.1; what is accepted is what Linux accepts, because
 * that is what a guest will see.
 *
 * 1. A GPT counts only when the MBR has an entry of type 0xee.
 * 2. Everything is bounded: an entry array by MOST_ARRAY, a chain of logical partitions by
 *    MOST_LINKS, whatever the disk says.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/partition_private.h"

enum {
    MBR_SIGNATURE = 440,
    MBR_ENTRIES = 446,
    MBR_ENTRY_SIZE = 16,
    MBR_ENTRY_COUNT = 4,
    MBR_MAGIC = 510,
    FIRST_LOGICAL = 5,
    MOST_LINKS = 128,
    GPT_HEADER_SIZE = 92,
    GPT_ENTRY_SIZE = 128,
    MOST_ARRAY = 1 << 20, /* bytes of a GPT's entries */
    MOST_SECTOR = 4096,
};

/* A disk in sectors, and room for one. */
struct reader {
    struct disk *disk;
    uint32_t sector;
    uint64_t sectors;
    uint8_t bytes[MOST_SECTOR];
};

static int read_sector(struct reader *reader, uint64_t lba)
{
    if (lba >= reader->sectors)
        return -EINVAL;
    return disk_read(reader->disk, reader->bytes, reader->sector, lba * reader->sector);
}

static bool add_partition(const struct reader *reader, struct partition_table *table,
                          const struct partition *kind, uint64_t first, uint64_t count)
{
    if (count == 0 || first >= reader->sectors || count > reader->sectors - first)
        return false;
    if (table->count == PARTITION_MOST) {
        table->truncated = true;
        return false;
    }
    struct partition *to = &table->partitions[table->count++];
    *to = *kind;
    to->offset = first * reader->sector;
    to->length = count * reader->sector;
    return true;
}

/* ---- MBR ---- */

struct mbr_entry {
    uint8_t type;
    uint32_t first, count; /* sectors */
};

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

/* False when the sector is no table: boot sectors of file systems have the same magic. */
static bool decode_mbr(const uint8_t *sector, struct mbr_entry ret[MBR_ENTRY_COUNT])
{
    if (sector[MBR_MAGIC] != 0x55 || sector[MBR_MAGIC + 1] != 0xaa)
        return false;
    for (unsigned i = 0; i < MBR_ENTRY_COUNT; i++) {
        const uint8_t *entry = sector + MBR_ENTRIES + (size_t)i * MBR_ENTRY_SIZE;
        if ((entry[0] & 0x7f) != 0)
            return false;
        ret[i] = (struct mbr_entry){entry[4], get_le32(entry + 8), get_le32(entry + 12)};
    }
    return true;
}

/*
 * A chain of tables: the first entry of each is a logical partition, relative to its table; the
 * next table's entry is relative to the extended partition.
 */
static int add_logical(struct reader *reader, struct partition_table *table,
                       const struct mbr_entry *extended, unsigned *number)
{
    uint64_t at = extended->first;

    for (unsigned links = 0; links < MOST_LINKS; links++) {
        struct mbr_entry entries[MBR_ENTRY_COUNT];
        uint64_t next = 0;
        if (at >= reader->sectors)
            return 0;
        int error = read_sector(reader, at);
        if (error < 0)
            return error;
        if (!decode_mbr(reader->bytes, entries))
            return 0;
        for (unsigned i = 0; i < MBR_ENTRY_COUNT; i++) {
            const struct mbr_entry *entry = &entries[i];
            struct partition kind = {.number = *number, .mbr_type = entry->type};
            if (is_extended(entry->type) && entry->count > 0 && next == 0)
                next = (uint64_t)extended->first + entry->first;
            else if (!is_extended(entry->type) &&
                     add_partition(reader, table, &kind, at + entry->first, entry->count))
                ++*number;
        }
        if (next == 0)
            return 0;
        at = next;
    }
    return 0;
}

static int read_mbr(struct reader *reader, const struct mbr_entry *entries,
                    struct partition_table *table)
{
    unsigned logical = FIRST_LOGICAL;
    int error = 0;

    for (unsigned i = 0; i < MBR_ENTRY_COUNT; i++) {
        struct partition kind = {.number = i + 1, .mbr_type = entries[i].type};
        (void)add_partition(reader, table, &kind, entries[i].first, entries[i].count);
    }
    for (unsigned i = 0; error == 0 && i < MBR_ENTRY_COUNT; i++) {
        if (is_extended(entries[i].type) && entries[i].count > 0)
            error = add_logical(reader, table, &entries[i], &logical);
    }
    if (table->count > 0)
        table->scheme = PARTITION_MBR;
    return error;
}

/* ---- GPT ---- */

struct gpt_header {
    uint64_t alternate, first_usable, last_usable;
    uint64_t entries; /* sector */
    uint32_t entry_count, entry_size, entries_crc;
    struct partition_guid disk_id;
};

/* CRC-32 of IEEE 802.3, four bits a step. */
uint32_t partition_crc32(uint32_t crc, const uint8_t *bytes, size_t length)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };

    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static bool header_is_whole(uint8_t *sector, uint32_t sector_size, uint64_t lba)
{
    uint32_t size = get_le32(sector + 12);
    uint32_t crc = get_le32(sector + 16);

    if (memcmp(sector, "EFI PART", 8) != 0 || size < GPT_HEADER_SIZE || size > sector_size)
        return false;
    put_le32(sector + 16, 0);
    return partition_crc32(0, sector, size) == crc && get_le64(sector + 24) == lba;
}

static bool decode_header(const struct reader *reader, struct gpt_header *ret)
{
    const uint8_t *sector = reader->bytes;

    *ret = (struct gpt_header){
        .alternate = get_le64(sector + 32),
        .first_usable = get_le64(sector + 40),
        .last_usable = get_le64(sector + 48),
        .entries = get_le64(sector + 72),
        .entry_count = get_le32(sector + 80),
        .entry_size = get_le32(sector + 84),
        .entries_crc = get_le32(sector + 88),
    };
    memcpy(ret->disk_id.bytes, sector + 56, sizeof(ret->disk_id.bytes));
    if (ret->first_usable > ret->last_usable || ret->last_usable >= reader->sectors)
        return false;
    if (ret->entry_size < GPT_ENTRY_SIZE || ret->entry_size > MOST_SECTOR ||
        (ret->entry_size & (ret->entry_size - 1)) != 0)
        return false;
    uint64_t length = (uint64_t)ret->entry_count * ret->entry_size;
    uint64_t sectors = (length + reader->sector - 1) / reader->sector;
    return length > 0 && length <= MOST_ARRAY && ret->entries < reader->sectors &&
           sectors <= reader->sectors - ret->entries;
}

/* `*ret_array` is the caller's to free. */
static int read_array(const struct reader *reader, const struct gpt_header *header,
                      uint8_t **ret_array)
{
    size_t length = (size_t)header->entry_count * header->entry_size;
    size_t room = (length + reader->sector - 1) / reader->sector * reader->sector;
    auto_free uint8_t *array = malloc(room);
    if (array == NULL)
        return -ENOMEM;
    int error = disk_read(reader->disk, array, room, header->entries * reader->sector);
    if (error < 0)
        return error;
    if (partition_crc32(0, array, length) != header->entries_crc)
        return -EINVAL;
    *ret_array = TAKE_PTR(array);
    return 0;
}

/* One copy of the table; -EINVAL when it is none or damaged. */
static int read_copy(struct reader *reader, uint64_t lba, struct gpt_header *ret,
                     uint8_t **ret_array)
{
    int error = read_sector(reader, lba);

    if (error < 0)
        return error;
    if (!header_is_whole(reader->bytes, reader->sector, lba) || !decode_header(reader, ret))
        return -EINVAL;
    return read_array(reader, ret, ret_array);
}

static void add_entries(const struct reader *reader, const struct gpt_header *header,
                        const uint8_t *array, struct partition_table *table)
{
    static const uint8_t unused[16];

    table->disk_id = header->disk_id;
    for (uint32_t i = 0; i < header->entry_count; i++) {
        const uint8_t *entry = array + (size_t)i * header->entry_size;
        struct partition kind = {.number = i + 1};
        uint64_t first = get_le64(entry + 32);
        uint64_t last = get_le64(entry + 40);
        if (memcmp(entry, unused, sizeof(unused)) == 0 || last < first || last >= reader->sectors)
            continue;
        memcpy(kind.type.bytes, entry, sizeof(kind.type.bytes));
        memcpy(kind.id.bytes, entry + 16, sizeof(kind.id.bytes));
        for (unsigned c = 0; c < PARTITION_NAME_LENGTH; c++) {
            kind.name[c] = get_le16(entry + 56 + (size_t)c * 2);
            if (kind.name[c] == 0)
                break;
        }
        (void)add_partition(reader, table, &kind, first, last - first + 1);
    }
}

static int read_gpt(struct reader *reader, struct partition_table *table, struct reason *reason)
{
    struct gpt_header primary = {0};
    struct gpt_header backup = {0};
    auto_free uint8_t *array = NULL;
    auto_free uint8_t *backup_array = NULL;
    uint64_t backup_lba = reader->sectors - 1;

    int error = read_copy(reader, 1, &primary, &array);
    if (error < 0 && error != -EINVAL)
        return error;
    table->primary_valid = error == 0;
    /* On a disk that has grown, the backup is still where its end was. */
    if (table->primary_valid && primary.alternate < reader->sectors)
        backup_lba = primary.alternate;
    error = read_copy(reader, backup_lba, &backup, &backup_array);
    if (error < 0 && error != -EINVAL)
        return error;
    table->backup_valid = error == 0;
    table->backup_offset = backup_lba * reader->sector;
    if (!table->primary_valid && !table->backup_valid)
        return reason_set(reason, -EINVAL, "both copies of its GPT are damaged");
    table->scheme = PARTITION_GPT;
    if (table->primary_valid)
        add_entries(reader, &primary, array, table);
    else
        add_entries(reader, &backup, backup_array, table);
    return 0;
}

/* ---- both ---- */

static int read_table(struct reader *reader, struct partition_table *table, struct reason *reason)
{
    struct mbr_entry entries[MBR_ENTRY_COUNT];
    int error = read_sector(reader, 0);

    if (error < 0)
        return error;
    if (!decode_mbr(reader->bytes, entries))
        return 0;
    table->mbr_signature = get_le32(reader->bytes + MBR_SIGNATURE);
    for (unsigned i = 0; i < MBR_ENTRY_COUNT; i++) {
        if (entries[i].type == PARTITION_MBR_PROTECTIVE)
            return read_gpt(reader, table, reason);
    }
    return read_mbr(reader, entries, table);
}

int partition_read(struct disk *disk, struct partition_table *ret, struct reason *reason)
{
    const struct disk_geometry *geometry = disk_geometry(disk);
    struct reader reader = {.disk = disk, .sector = geometry->logical_sector};
    struct reason why = {"its partition table cannot be read"};

    *ret = (struct partition_table){0};
    reader.sectors = geometry->capacity / reader.sector;
    int error = reader.sectors > 0 ? read_table(&reader, ret, &why) : 0;
    return error < 0 ? reason_set(reason, error, "%s", why.text) : 0;
}

void partition_guid_text(const struct partition_guid *guid, char ret[PARTITION_GUID_TEXT])
{
    const uint8_t *b = guid->bytes;

    (void)snprintf(ret, PARTITION_GUID_TEXT, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   get_le32(b), get_le16(b + 4), get_le16(b + 6), b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
}

bool partition_guid_is(const struct partition_guid *guid, const char *text)
{
    char own[PARTITION_GUID_TEXT];

    partition_guid_text(guid, own);
    return strcasecmp(own, text) == 0;
}

void partition_uuid_text(const struct partition_table *table, const struct partition *partition,
                         char ret[PARTITION_GUID_TEXT])
{
    if (table->scheme == PARTITION_GPT)
        partition_guid_text(&partition->id, ret);
    else
        (void)snprintf(ret, PARTITION_GUID_TEXT, "%08x-%02x", table->mbr_signature,
                       partition->number);
}
