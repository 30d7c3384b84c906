/* For tests of partition tables: tables made by hand, independently of the reader. */
#ifndef DISK_PARTITION_FIXTURE_H
#define DISK_PARTITION_FIXTURE_H

#include "base/bytes.h"
#include "disk/disk_private.h"

static inline uint32_t fixture_crc32(const uint8_t *bytes, size_t length)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

/* A raw disk whose sectors are larger, as other formats have them. */
static inline void partition_fixture_sectors(struct disk *disk, uint32_t sector)
{
    disk->geometry.logical_sector = sector;
    disk->geometry.physical_sector = sector;
    disk->geometry.capacity &= ~(uint64_t)(sector - 1);
}

/* Make the checksums of the header at `lba` right, where the disk has room for what it names. */
static inline void partition_fixture_seal_header(uint8_t *disk, size_t size, uint32_t sector,
                                                 uint64_t lba)
{
    if (lba >= size / sector)
        return;
    uint8_t *header = disk + lba * sector;
    uint64_t entries = get_le64(header + 72);
    uint64_t length = (uint64_t)get_le32(header + 80) * get_le32(header + 84);
    uint32_t own = get_le32(header + 12);
    if (own < 92 || own > sector || entries >= size / sector || length > size - entries * sector)
        return;
    put_le32(header + 88, fixture_crc32(disk + entries * sector, (size_t)length));
    put_le32(header + 16, 0);
    put_le32(header + 16, fixture_crc32(header, own));
}

static inline void partition_fixture_seal(uint8_t *disk, size_t size, uint32_t sector)
{
    partition_fixture_seal_header(disk, size, sector, 1);
    partition_fixture_seal_header(disk, size, sector, get_le64(disk + sector + 32));
}

/* One header with 4 entries of 128 bytes, at `entries`; not sealed. */
static inline void partition_fixture_gpt(uint8_t *disk, uint32_t sector, uint64_t lba,
                                         uint64_t entries, uint64_t sectors)
{
    uint8_t *header = disk + lba * sector;

    memcpy(header, "EFI PART", 8);
    put_le32(header + 8, 0x10000);
    put_le32(header + 12, 92);
    put_le64(header + 24, lba);
    put_le64(header + 32, lba == 1 ? sectors - 1 : 1);
    put_le64(header + 40, 4);
    put_le64(header + 48, sectors - 4);
    memset(header + 56, 0xd1, 16);
    put_le64(header + 72, entries);
    put_le32(header + 80, 4);
    put_le32(header + 84, 128);
}

static inline void partition_fixture_gpt_entry(uint8_t *entry, uint8_t kind, uint64_t first,
                                               uint64_t last)
{
    memset(entry, kind, 16);
    memset(entry + 16, kind + 1, 16);
    put_le64(entry + 32, first);
    put_le64(entry + 40, last);
    put_le16(entry + 56, 'n');
}

static inline void partition_fixture_mbr_entry(uint8_t *table, unsigned slot, uint8_t type,
                                               uint32_t first, uint32_t count)
{
    uint8_t *entry = table + 446 + (size_t)slot * 16;

    entry[4] = type;
    put_le32(entry + 8, first);
    put_le32(entry + 12, count);
    table[510] = 0x55;
    table[511] = 0xaa;
}

#endif
