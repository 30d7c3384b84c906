#include "cli/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Nothing, "B", or a letter followed by nothing, "B" or "iB". */
static int unit_shift(const char *unit, unsigned *ret)
{
    static const char letters[] = "KMGTPE";

    *ret = 0;
    if (*unit == '\0' || strcasecmp(unit, "B") == 0)
        return 0;
    const char *letter = strchr(letters, toupper((unsigned char)*unit));
    if (letter == NULL)
        return -EINVAL;
    *ret = 10 * (unsigned)(letter - letters + 1);
    unit++;
    return *unit == '\0' || strcasecmp(unit, "B") == 0 || strcasecmp(unit, "iB") == 0 ? 0 : -EINVAL;
}

int size_parse(const char *text, uint64_t *ret)
{
    char *unit = NULL;
    unsigned shift = 0;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    uint64_t number = strtoull(text, &unit, 10);
    if (errno != 0)
        return -ERANGE;
    if (unit_shift(unit, &shift) < 0)
        return -EINVAL;
    if (number > (UINT64_C(1) << 63) >> shift)
        return -ERANGE;
    *ret = number << shift;
    return 0;
}

struct size_text size_text(uint64_t bytes)
{
    static const char units[] = "KMGTP";
    struct size_text ret;
    unsigned unit = 0;

    if (bytes < 1024) {
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64, bytes);
        return ret;
    }
    for (; bytes >= UINT64_C(1024) * 1024 && unit < sizeof(units) - 2; unit++)
        bytes /= 1024;
    uint64_t tenths = bytes * 10 / 1024;
    if (tenths % 10 == 0)
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64 "%c", tenths / 10, units[unit]);
    else
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64 ".%" PRIu64 "%c", tenths / 10,
                       tenths % 10, units[unit]);
    return ret;
}
