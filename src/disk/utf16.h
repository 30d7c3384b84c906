/* UTF-16LE, as image formats of Windows have their texts, and UTF-8. */
#ifndef DISK_UTF16_H
#define DISK_UTF16_H

#include <stddef.h>
#include <stdint.h>

/*
 * `length` bytes of UTF-16LE, up to a zero; what is no character becomes U+FFFD, what does not fit
 * is left out. `size` is not 0; the text ends with a zero.
 */
void utf16_decode(const uint8_t *bytes, size_t length, char *ret, size_t size);

/* Without an ending zero; the bytes that were used, or -EILSEQ (not UTF-8) or -ENAMETOOLONG. */
int utf16_encode(const char *text, uint8_t *ret, size_t size);

#endif
