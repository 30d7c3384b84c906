/* Sizes as people write them: 512M, 2G, 1.5 is refused. */
#ifndef CLI_SIZE_H
#define CLI_SIZE_H

#include <stdint.h>

/* Bytes of "512M", "2GiB", "2GB" (all powers of 1024): 0, -EINVAL malformed, -ERANGE above 2^63. */
int size_parse(const char *text, uint64_t *ret);

struct size_text {
    char text[32];
};

/* "512M", "1.5G" */
struct size_text size_text(uint64_t bytes);

#endif
