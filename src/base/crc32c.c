/* CRC-32C by the host's own instruction where it has one, else by a table of nibbles. */
#include "base/crc32c.h"

#include <nmmintrin.h>

#include "base/bytes.h"
#include "base/coverage.h"

NO_COVERAGE __attribute__((target("sse4.2"))) static uint32_t crc32c_sse(uint32_t crc,
                                                                         const uint8_t *bytes,
                                                                         size_t length)
{
    uint64_t sum = ~crc;
    for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t), bytes += sizeof(uint64_t))
        sum = _mm_crc32_u64(sum, get_le64(bytes));
    uint32_t tail = (uint32_t)sum;
    for (; length > 0; length--, bytes++)
        tail = _mm_crc32_u8(tail, *bytes);
    return ~tail;
}

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t length)
{
    /* Remainders of the sixteen nibbles for the reflected polynomial 0x82f63b78. */
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *p = bytes;
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)
{
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse(crc, bytes, length);
    return crc32c_portable(crc, bytes, length);
}
