/* Tables with the common ACPI header, built one behind the other in a buffer for one area of RAM.
 */
#ifndef FIRMWARE_ACPI_TABLE_H
#define FIRMWARE_ACPI_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ACPI_OEM_ID "PARTTA"

enum { ACPI_HEADER_SIZE = 36, ACPI_AREA_SIZE = 0x10000 };

struct acpi_area {
    uint64_t gpa; /* of bytes[0] */
    size_t used;
    uint8_t bytes[ACPI_AREA_SIZE];
};

/* `size` zeroed bytes, aligned to 64 as the FACS needs; NULL when the area is full. */
uint8_t *acpi_area_add(struct acpi_area *area, size_t size);

/* Guest-physical address of a pointer into the area. */
uint64_t acpi_area_gpa(const struct acpi_area *area, const uint8_t *at);

/* Signature, length, identity; the checksum is for acpi_table_finish, when all is filled in. */
void acpi_table_begin(uint8_t *table, const char *signature, uint8_t revision, size_t size);
void acpi_table_finish(uint8_t *table, size_t size);

/* A field of characters, which has no final zero. */
static inline void acpi_put_text(uint8_t *at, const char *text, size_t length)
{
    memcpy(at, text, length);
}

/* Make the sum of `length` bytes zero by setting the byte at `at`. */
void acpi_set_checksum(uint8_t *bytes, size_t length, size_t at);

/* Size and contents of the table that lists the processors' devices in \_SB: AML, ACPI 6.3 § 20. */
size_t acpi_processors_size(unsigned count);
void acpi_processors_fill(uint8_t *table, unsigned count);

#endif
