/* Rates as people write them: bits a second, with a k, M or G of a thousand each. */
#ifndef CLI_RATE_H
#define CLI_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum { RATE_SIZE = 24 };

/* "100M", "1.5G", "64000". False: it is none, or below 8 and not 0. */
bool rate_parse(const char *text, uint64_t *ret);
void rate_print(uint64_t rate, char ret[RATE_SIZE]);

#endif
