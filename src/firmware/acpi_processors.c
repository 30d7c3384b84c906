/*
 * Scope (\_SB) { Device (C000) { Name (_HID, "ACPI0007") Name (_UID, 0) } … }
 *
 * One device a processor, so that a guest finds what the MADT lists in its name space too. All
 * devices have the same length, hence no general AML writer.
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/acpi_table.h"

static const uint8_t scope_start[] = {0x10}; /* ScopeOp, then its length */
static const uint8_t scope_name[] = {'\\', '_', 'S', 'B', '_'};
static const uint8_t device[] = {
    0x5b, 0x82, 30,                                  /* DeviceOp, 30 bytes from here */
    'C',  '0',  '0', '0',                            /* name: filled in */
    0x08, '_',  'H', 'I', 'D', 0x0d,                 /* NameOp, string */
    'A',  'C',  'P', 'I', '0', '0',  '0', '7', 0,    /* processor device: § 8.4 */
    0x08, '_',  'U', 'I', 'D', 0x0c, 0,   0,   0, 0, /* NameOp, 32 bits: filled in */
};

enum {
    DEVICE_NAME = 3,
    DEVICE_UID = 28,
    SCOPE_LENGTH_SIZE = 3,
    SCOPE_SIZE = sizeof(scope_start) + SCOPE_LENGTH_SIZE + sizeof(scope_name),
};

_Static_assert(sizeof(device) == DEVICE_UID + 4, "the identifier ends the device");
_Static_assert(sizeof(device) - 2 == 30, "a device's length counts itself and what follows");

/* A package length of three bytes counts its own bytes: ACPI 6.3 § 20.2.4. */
static void put_package_length(uint8_t *at, size_t length)
{
    at[0] = (uint8_t)(0x80 | (length & 0x0f));
    at[1] = (uint8_t)(length >> 4);
    at[2] = (uint8_t)(length >> 12);
}

static void put_device(uint8_t *at, unsigned index)
{
    char name[5];
    (void)snprintf(name, sizeof(name), "C%03X", index & 0xfffU);
    memcpy(at, device, sizeof(device));
    memcpy(at + DEVICE_NAME, name, 4);
    put_le32(at + DEVICE_UID, index);
}

size_t acpi_processors_size(unsigned count)
{
    return ACPI_HEADER_SIZE + SCOPE_SIZE + (size_t)count * sizeof(device);
}

void acpi_processors_fill(uint8_t *table, unsigned count)
{
    size_t size = acpi_processors_size(count);
    acpi_table_begin(table, "SSDT", 2, size);
    uint8_t *scope = table + ACPI_HEADER_SIZE;
    memcpy(scope, scope_start, sizeof(scope_start));
    put_package_length(scope + sizeof(scope_start), size - ACPI_HEADER_SIZE - sizeof(scope_start));
    memcpy(scope + sizeof(scope_start) + SCOPE_LENGTH_SIZE, scope_name, sizeof(scope_name));
    for (unsigned i = 0; i < count; i++)
        put_device(scope + SCOPE_SIZE + (size_t)i * sizeof(device), i);
    acpi_table_finish(table, size);
}
