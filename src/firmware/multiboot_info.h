/* What a multiboot kernel is told: modules, command line and memory (specification § 3.3). */
#ifndef FIRMWARE_MULTIBOOT_INFO_H
#define FIRMWARE_MULTIBOOT_INFO_H

#include <stdint.h>

#include "firmware/loading.h"

/* Load the initrd and the modules, then the boot information; its address goes to EBX. */
int multiboot_info_load(struct loading *loading, uint64_t *ret_gpa);

#endif
