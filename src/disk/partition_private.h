/* What the readers and writers of partition tables share. */
#ifndef DISK_PARTITION_PRIVATE_H
#define DISK_PARTITION_PRIVATE_H

#include "disk/partition.h"

/* CRC-32 as UEFI has it (§ 5.3.1), of `bytes` behind those whose sum is `crc`; start with 0. */
uint32_t partition_crc32(uint32_t crc, const uint8_t *bytes, size_t length);

#endif
