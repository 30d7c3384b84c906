/*
 * Where firmware keeps its own things in the first MiB. What the memory map calls reserved, what
 * loaders keep clear of, and where ACPI and SMBIOS write must be the same places.
 */
#ifndef FIRMWARE_AREA_H
#define FIRMWARE_AREA_H

#include <stdint.h>

#define AREA_BIOS_DATA_END UINT64_C(0x1000)  /* interrupt vectors and BIOS data area */
#define AREA_LOW_TOP       UINT64_C(0x9fc00) /* conventional memory ends, the EBDA begins */
#define AREA_LOW_END       UINT64_C(0xa0000)
#define AREA_ACPI          UINT64_C(0xe0000)
#define AREA_ACPI_END      UINT64_C(0xf0000)
#define AREA_SMBIOS        UINT64_C(0xf0000)
#define AREA_BIOS_CODE     UINT64_C(0xffe00) /* behind the SMBIOS tables, in the same segment */
#define AREA_HIGH          UINT64_C(0x100000)
#define AREA_4_GIB         UINT64_C(0x100000000)

#endif
