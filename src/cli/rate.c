#include "cli/rate.h"

#include <stdio.h>
#include <string.h>

enum { THOUSAND = 1000, MOST_DIGITS = 15, LEAST = 8 };

static const char units[] = "kMG";

/* What a letter multiplies by; 0: it is none. */
static uint64_t unit_of(const char *text)
{
    uint64_t ret = 1;

    if (*text == '\0')
        return 1;
    const char *unit = text[0] == 'K' ? units : strchr(units, text[0]);
    if (unit == NULL || text[1] != '\0')
        return 0;
    for (; unit >= units; unit--)
        ret *= THOUSAND;
    return ret;
}

bool rate_parse(const char *text, uint64_t *ret)
{
    enum { MOST_FRACTION = 3 };
    uint64_t value = 0;
    uint64_t divisor = 1;
    int digits = 0;
    int fraction = 0;

    for (; *text >= '0' && *text <= '9' && digits < MOST_DIGITS; text++, digits++)
        value = value * 10 + (uint64_t)(*text - '0');
    if (*text == '.') {
        text++;
        for (; *text >= '0' && *text <= '9' && fraction < MOST_FRACTION; text++, fraction++) {
            value = value * 10 + (uint64_t)(*text - '0');
            divisor *= 10;
        }
    }
    uint64_t unit = unit_of(text);
    if (digits == 0 || unit == 0 || (divisor > 1 && unit == 1) || value > UINT64_MAX / unit)
        return false;
    *ret = value * unit / divisor;
    return *ret == 0 || *ret >= LEAST;
}

void rate_print(uint64_t rate, char ret[RATE_SIZE])
{
    const char *unit = NULL;

    for (const char *next = units; *next != '\0' && rate != 0 && rate % THOUSAND == 0; next++) {
        rate /= THOUSAND;
        unit = next;
    }
    (void)snprintf(ret, RATE_SIZE, "%llu%.1s", (unsigned long long)rate, unit != NULL ? unit : "");
}
