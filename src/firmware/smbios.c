/*
 * System Management BIOS Reference Specification 3.0 (DMTF DSP0134): what a guest's inventory
 * shows. Section numbers are those of that text.
 */
#include "firmware/smbios.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/area.h"

enum {
    ENTRY_64_AT = 0, /* 16-byte steps: § 5.2 */
    ENTRY_64_SIZE = 0x18,
    ENTRY_32_AT = 0x20,
    ENTRY_32_SIZE = 0x1f,
    TABLE_AT = 0x40,
    AREA_SIZE = AREA_BIOS_CODE - AREA_SMBIOS,
    LONGEST = 0x30, /* formatted part of the longest structure here */
    STRINGS = 4,
};

enum structure_type {
    TYPE_BIOS = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MAPPED_ADDRESS = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

/* Handles tell type and instance; nothing but their being unique matters. */
#define HANDLE(type, instance) ((uint16_t)(((type) << 8) | (instance)))
#define NO_ERROR_HANDLE        0xfffe
#define NO_CACHE_HANDLE        0xffff

#define MANUFACTURER "Partita"
#define PRODUCT      "Partita Virtual Machine"
#define BIOS_DATE    "01/01/2025"

/* One structure: § 6.1.2. Strings are numbered from 1. */
struct structure {
    uint8_t bytes[LONGEST];
    size_t length;
    size_t string_count;
    const char *string[STRINGS];
};

struct table {
    size_t used; /* from the area's start */
    size_t count;
    size_t longest;
    uint8_t bytes[AREA_SIZE]; /* from 0xF0000 on */
};

static struct structure begin(enum structure_type type, uint8_t length, uint8_t instance)
{
    struct structure structure = {.length = length};
    structure.bytes[0] = (uint8_t)type;
    structure.bytes[1] = length;
    put_le16(structure.bytes + 2, HANDLE(type, instance));
    return structure;
}

/* Put the number of a string, which is 0 for one that is not there. */
static void put_string(struct structure *structure, size_t at, const char *string)
{
    if (string == NULL || string[0] == '\0')
        return;
    structure->string[structure->string_count++] = string;
    structure->bytes[at] = (uint8_t)structure->string_count;
}

static size_t strings_size(const struct structure *structure)
{
    size_t size = structure->string_count == 0 ? 2 : 1;
    for (size_t i = 0; i < structure->string_count; i++)
        size += strlen(structure->string[i]) + 1;
    return size;
}

static int append(struct table *table, const struct structure *structure)
{
    size_t size = structure->length + strings_size(structure);
    if (size > AREA_SIZE - table->used)
        return -ENOSPC;
    uint8_t *at = table->bytes + table->used;
    memcpy(at, structure->bytes, structure->length);
    at += structure->length;
    for (size_t i = 0; i < structure->string_count; i++) {
        size_t length = strlen(structure->string[i]) + 1;
        memcpy(at, structure->string[i], length);
        at += length;
    }
    table->used += size; /* the area was zeroed: the final zeroes are there */
    table->count++;
    table->longest = size > table->longest ? size : table->longest;
    return 0;
}

/* § 7.1 */
static int add_bios(struct table *table, const struct smbios_config *config)
{
    struct structure bios = begin(TYPE_BIOS, 0x18, 0);
    put_string(&bios, 0x04, MANUFACTURER);
    put_string(&bios, 0x05, config->version);
    put_string(&bios, 0x08, BIOS_DATE);
    put_le64(bios.bytes + 0x0a, 1 << 3); /* characteristics are not given */
    bios.bytes[0x13] = 1 << 4;           /* but one: this is a virtual machine */
    memset(bios.bytes + 0x14, 0xff, 4);  /* no release numbers */
    return append(table, &bios);
}

/* § 7.2 */
static int add_system(struct table *table, const struct smbios_config *config)
{
    struct structure system = begin(TYPE_SYSTEM, 0x1b, 0);
    put_string(&system, 0x04, MANUFACTURER);
    put_string(&system, 0x05, PRODUCT);
    put_string(&system, 0x06, config->version);
    memcpy(system.bytes + 0x08, config->uuid, sizeof(config->uuid));
    system.bytes[0x18] = 6; /* woken by the power switch */
    return append(table, &system);
}

/* § 7.4 */
static int add_chassis(struct table *table, const struct smbios_config *config)
{
    struct structure chassis = begin(TYPE_CHASSIS, 0x16, 0);
    put_string(&chassis, 0x04, MANUFACTURER);
    chassis.bytes[0x05] = 1; /* of a kind of its own */
    put_string(&chassis, 0x06, config->version);
    memset(chassis.bytes + 0x09, 3, 3); /* state, power supply, temperature: safe */
    chassis.bytes[0x0c] = 2;            /* security: unknown */
    return append(table, &chassis);
}

static uint8_t saturated(unsigned count)
{
    return count < 0xff ? (uint8_t)count : 0xff; /* then the 16-bit field counts */
}

/* § 7.5: one socket with all processors as its cores, as CPUID tells it. */
static int add_processor(struct table *table, const struct smbios_config *config)
{
    struct structure processor = begin(TYPE_PROCESSOR, 0x30, 0);
    uint8_t *bytes = processor.bytes;
    put_string(&processor, 0x04, "CPU 0");
    bytes[0x05] = 3; /* central processor */
    bytes[0x06] = 2; /* family: unknown, CPUID knows */
    put_string(&processor, 0x07, MANUFACTURER);
    bytes[0x18] = 0x41; /* populated, enabled */
    bytes[0x19] = 2;    /* socket: unknown */
    put_le16(bytes + 0x1a, NO_CACHE_HANDLE);
    put_le16(bytes + 0x1c, NO_CACHE_HANDLE);
    put_le16(bytes + 0x1e, NO_CACHE_HANDLE);
    memset(bytes + 0x23, saturated(config->cpu_count), 3);       /* cores, enabled, threads */
    put_le16(bytes + 0x26, config->cpu_count > 1 ? 0x0c : 0x04); /* 64-bit; several cores */
    put_le16(bytes + 0x28, 2);
    for (size_t at = 0x2a; at <= 0x2e; at += 2)
        put_le16(bytes + at, (uint16_t)config->cpu_count);
    return append(table, &processor);
}

/* § 7.17 */
static int add_memory_array(struct table *table, const struct mem *mem)
{
    struct structure array = begin(TYPE_MEMORY_ARRAY, 0x17, 0);
    array.bytes[0x04] = 1;                    /* on no board */
    array.bytes[0x05] = 3;                    /* system memory */
    array.bytes[0x06] = 3;                    /* no error correction */
    put_le32(array.bytes + 0x07, 0x80000000); /* see the 64-bit field */
    put_le16(array.bytes + 0x0b, NO_ERROR_HANDLE);
    put_le16(array.bytes + 0x0d, 1);
    put_le64(array.bytes + 0x0f, mem_size(mem));
    return append(table, &array);
}

/* § 7.18: from 32 GiB - 1 MiB on the size stands in the 32-bit field. */
static int add_memory_device(struct table *table, const struct mem *mem)
{
    struct structure device = begin(TYPE_MEMORY_DEVICE, 0x28, 0);
    uint64_t mib = mem_size(mem) >> 20;
    put_le16(device.bytes + 0x04, HANDLE(TYPE_MEMORY_ARRAY, 0));
    put_le16(device.bytes + 0x06, NO_ERROR_HANDLE);
    put_le16(device.bytes + 0x08, 0xffff); /* widths: unknown */
    put_le16(device.bytes + 0x0a, 0xffff);
    put_le16(device.bytes + 0x0c, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
    device.bytes[0x0e] = 9; /* DIMM */
    put_string(&device, 0x10, "DIMM 0");
    device.bytes[0x12] = 7;                /* RAM */
    put_le16(device.bytes + 0x13, 1 << 1); /* of another type */
    put_string(&device, 0x17, MANUFACTURER);
    put_le32(device.bytes + 0x1c, mib < 0x7fff ? 0 : (uint32_t)mib);
    return append(table, &device);
}

/* § 7.20; addresses in KiB, which reach 4 TiB */
static int add_mapped_addresses(struct table *table, const struct mem *mem)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < mem_range_count(mem); i++) {
        struct mem_range ram = mem_range_at(mem, i);
        struct structure mapped = begin(TYPE_MAPPED_ADDRESS, 0x1f, (uint8_t)i);
        put_le32(mapped.bytes + 0x04, (uint32_t)(ram.gpa >> 10));
        put_le32(mapped.bytes + 0x08, (uint32_t)((ram.gpa + ram.size - 1) >> 10));
        put_le16(mapped.bytes + 0x0c, HANDLE(TYPE_MEMORY_ARRAY, 0));
        mapped.bytes[0x0e] = 1;
        r = append(table, &mapped);
    }
    return r;
}

/* § 7.33 and 7.45 */
static int add_last(struct table *table)
{
    struct structure boot = begin(TYPE_BOOT, 0x0b, 0); /* all zero: no error */
    struct structure end = begin(TYPE_END, 0x04, 0);
    int r = append(table, &boot);
    return r < 0 ? r : append(table, &end);
}

static int add_all(struct table *table, const struct mem *mem, const struct smbios_config *config)
{
    int r = add_bios(table, config);
    if (r == 0)
        r = add_system(table, config);
    if (r == 0)
        r = add_chassis(table, config);
    if (r == 0)
        r = add_processor(table, config);
    if (r == 0)
        r = add_memory_array(table, mem);
    if (r == 0)
        r = add_memory_device(table, mem);
    if (r == 0)
        r = add_mapped_addresses(table, mem);
    return r < 0 ? r : add_last(table);
}

static uint8_t checksum(const uint8_t *bytes, size_t length)
{
    unsigned sum = 0;
    for (size_t i = 0; i < length; i++)
        sum += bytes[i];
    return (uint8_t)(0x100 - (sum & 0xff));
}

/* An anchor, which has no final zero. */
static void put_text(uint8_t *at, const char *text, size_t length)
{
    memcpy(at, text, length);
}

/* § 5.2.2 */
static void put_entry_64(struct table *table)
{
    uint8_t *entry = table->bytes + ENTRY_64_AT;
    put_text(entry, "_SM3_", 5);
    entry[0x06] = ENTRY_64_SIZE;
    entry[0x07] = 3; /* version 3.0 */
    entry[0x0a] = 1; /* revision of this entry point */
    put_le32(entry + 0x0c, (uint32_t)(table->used - TABLE_AT));
    put_le64(entry + 0x10, AREA_SMBIOS + TABLE_AT);
    entry[0x05] = checksum(entry, ENTRY_64_SIZE);
}

/* § 5.2.1, for guests that know no other; the inner sum must be made first. */
static void put_entry_32(struct table *table)
{
    uint8_t *entry = table->bytes + ENTRY_32_AT;
    put_text(entry, "_SM_", 4);
    entry[0x05] = ENTRY_32_SIZE;
    entry[0x06] = 2; /* version 2.8 */
    entry[0x07] = 8;
    put_le16(entry + 0x08, (uint16_t)table->longest);
    put_text(entry + 0x10, "_DMI_", 5);
    put_le16(entry + 0x16, (uint16_t)(table->used - TABLE_AT));
    put_le32(entry + 0x18, (uint32_t)(AREA_SMBIOS + TABLE_AT));
    put_le16(entry + 0x1c, (uint16_t)table->count);
    entry[0x1e] = 0x28;
    entry[0x15] = checksum(entry + 0x10, ENTRY_32_SIZE - 0x10);
    entry[0x04] = checksum(entry, ENTRY_32_SIZE);
}

static int build(struct mem *mem, const struct smbios_config *config, struct table *table,
                 struct reason *reason)
{
    table->used = TABLE_AT;
    int r = add_all(table, mem, config);
    if (r < 0)
        return reason_set(reason, r, "the SMBIOS tables do not fit their area");
    put_entry_64(table);
    put_entry_32(table);
    r = mem_write(mem, AREA_SMBIOS, table->bytes, table->used);
    if (r < 0)
        return reason_set(reason, r, "no memory at 0x%x for the SMBIOS tables",
                          (unsigned)AREA_SMBIOS);
    return 0;
}

int smbios_build(struct mem *mem, const struct smbios_config *config, struct reason *reason)
{
    if (config->cpu_count == 0 || config->cpu_count > UINT16_MAX)
        return reason_set(reason, -EINVAL, "SMBIOS tables are for 1 to %d processors, not %u",
                          UINT16_MAX, config->cpu_count);
    struct table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return reason_set(reason, -ENOMEM, "no memory to build the SMBIOS tables in");
    int r = build(mem, config, table, reason);
    free(table);
    return r;
}
