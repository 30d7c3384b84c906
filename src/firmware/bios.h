/* What a BIOS leaves in low memory. */
#ifndef FIRMWARE_BIOS_H
#define FIRMWARE_BIOS_H

#include "mem/mem.h"

/* Interrupt vectors, the code that they lead to, and the data areas. */
int bios_write(struct mem *mem);

#endif
