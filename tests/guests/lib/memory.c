/* What the compiler calls for by itself in a freestanding program. */
#include "types.h"

void *memset(void *to, int value, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

void *memset(void *to, int value, size_t size)
{
    char *at = to;
    while (size--)
        *at++ = (char)value;
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    char *at = to;
    const char *source = from;
    while (size--)
        *at++ = *source++;
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a;
    const unsigned char *y = b;
    for (; size; size--, x++, y++) {
        if (*x != *y)
            return *x - *y;
    }
    return 0;
}
