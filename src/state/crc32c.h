/* CRC-32C (Castagnoli), RFC 3720 § 12.1: what guards each section of saved state. Any thread. */
#ifndef STATE_CRC32C_H
#define STATE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Checksum of `bytes` behind those whose checksum is `crc`; start with 0. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);
/* The same without SSE4.2, for hosts that lack it. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t length);

#endif
