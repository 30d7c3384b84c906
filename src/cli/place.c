#include "cli/place.h"

#include <stddef.h>

/* The number that `text` begins with; what follows it, or NULL when there is none. */
static const char *parse_digits(const char *text, unsigned *ret)
{
    enum { MOST_DIGITS = 5 };
    unsigned value = 0;
    int digits = 0;

    for (; *text >= '0' && *text <= '9'; text++, digits++) {
        if (digits == MOST_DIGITS)
            return NULL;
        value = value * 10 + (unsigned)(*text - '0');
    }
    *ret = value;
    return digits > 0 ? text : NULL;
}

bool place_parse_number(const char *text, unsigned *ret)
{
    const char *end = parse_digits(text, ret);
    return end != NULL && *end == '\0';
}

bool place_parse_two(const char *text, char between, unsigned *ret_first, unsigned *ret_second)
{
    const char *end = parse_digits(text, ret_first);
    return end != NULL && *end == between && place_parse_number(end + 1, ret_second);
}

bool place_parse(const char *text, unsigned *ret_controller, unsigned *ret_lun)
{
    return place_parse_two(text, ':', ret_controller, ret_lun);
}
