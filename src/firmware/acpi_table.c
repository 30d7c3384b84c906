#include "firmware/acpi_table.h"

#include <string.h>

#include "base/bytes.h"

enum { ALIGNMENT = 64 };

/* Offsets of the header, ACPI 6.3 § 5.2.6. */
enum {
    HEADER_LENGTH = 4,
    HEADER_REVISION = 8,
    HEADER_CHECKSUM = 9,
    HEADER_OEM_ID = 10,
    HEADER_OEM_TABLE_ID = 16,
    HEADER_OEM_REVISION = 24,
    HEADER_CREATOR_ID = 28,
    HEADER_CREATOR_REVISION = 32,
};

uint8_t *acpi_area_add(struct acpi_area *area, size_t size)
{
    size_t at = (area->used + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (at > ACPI_AREA_SIZE || size > ACPI_AREA_SIZE - at)
        return NULL;
    memset(area->bytes + at, 0, size);
    area->used = at + size;
    return area->bytes + at;
}

uint64_t acpi_area_gpa(const struct acpi_area *area, const uint8_t *at)
{
    return area->gpa + (uint64_t)(at - area->bytes);
}

void acpi_set_checksum(uint8_t *bytes, size_t length, size_t at)
{
    unsigned sum = 0;
    bytes[at] = 0;
    for (size_t i = 0; i < length; i++)
        sum += bytes[i];
    bytes[at] = (uint8_t)(0x100 - (sum & 0xff));
}

void acpi_table_begin(uint8_t *table, const char *signature, uint8_t revision, size_t size)
{
    acpi_put_text(table, signature, 4);
    put_le32(table + HEADER_LENGTH, (uint32_t)size);
    table[HEADER_REVISION] = revision;
    acpi_put_text(table + HEADER_OEM_ID, ACPI_OEM_ID, 6);
    acpi_put_text(table + HEADER_OEM_TABLE_ID, "PARTITA", 8);
    put_le32(table + HEADER_OEM_REVISION, 1);
    acpi_put_text(table + HEADER_CREATOR_ID, "PRTA", 4);
    put_le32(table + HEADER_CREATOR_REVISION, 1);
}

void acpi_table_finish(uint8_t *table, size_t size)
{
    acpi_set_checksum(table, size, HEADER_CHECKSUM);
}
