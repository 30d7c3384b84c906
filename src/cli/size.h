/* Sizes as people write them: 512M, 2G, 1.5 is refused. */
#ifndef CLI_SIZE_H
#define CLI_SIZE_H

#include <stdint.h>

/* Bytes of "512M", "2GiB", "2GB" (all powers of 1024): 0, -EINVAL malformed, -ERANGE above 2^63. */
int size_parse(const char *text, uint64_t *ret);

#endif
