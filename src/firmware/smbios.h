/* SMBIOS 3.0 entry point and tables in 0xF0000–0xFFFFF: BIOS, system, chassis, processor, memory.
 */
#ifndef FIRMWARE_SMBIOS_H
#define FIRMWARE_SMBIOS_H

#include <stdint.h>

#include "base/reason.h"
#include "mem/mem.h"

struct smbios_config {
    unsigned cpu_count;
    uint8_t uuid[16]; /* in SMBIOS byte order */
    const char *version;
};

int smbios_build(struct mem *mem, const struct smbios_config *config, struct reason *reason);

#endif
