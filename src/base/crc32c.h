/* CRC-32C (Castagnoli), RFC 3720 § 12.1: what guards saved state and disk metadata. Any thread. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Checksum of `bytes` behind those whose checksum is `crc`; start with 0. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);
/* The same without SSE4.2, for hosts that lack it. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t length);

#endif
