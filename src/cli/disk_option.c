#include "cli/disk_option.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool refuse(struct reason *reason, const char *word, const char *why)
{
    reason_fill(reason, "'%s': %s", word, why);
    return false;
}

static bool parse_number(const char **at, unsigned *ret)
{
    char *end = NULL;

    if (**at < '0' || **at > '9')
        return false;
    unsigned long value = strtoul(*at, &end, 10);
    *at = end;
    *ret = (unsigned)value;
    return value < WORKER_MAX_DISKS;
}

static bool parse_place(const char *text, struct worker_disk *ret)
{
    ret->placed = true;
    if (!parse_number(&text, &ret->controller) || *text++ != ':')
        return false;
    return parse_number(&text, &ret->lun) && *text == '\0';
}

static bool parse_word(char *word, struct worker_disk *ret, struct reason *reason)
{
    if (strcmp(word, "ro") == 0) {
        ret->read_only = true;
        return true;
    }
    if (strncmp(word, "at=", 3) == 0)
        return parse_place(word + 3, ret) ||
               refuse(reason, word, "a place is wanted, CONTROLLER:LUN as in at=0:3");
    if (strncmp(word, "serial=", 7) == 0 && word[7] != '\0') {
        ret->serial = word + 7;
        return true;
    }
    return refuse(reason, word, "the words behind the file are ro, at= and serial=");
}

bool disk_option_parse(char *words, bool dvd, struct worker_disk *ret, struct reason *reason)
{
    char *rest = words;
    char *path = strsep(&rest, ",");

    *ret = (struct worker_disk){.dvd = dvd};
    if (*path != '\0')
        ret->path = path;
    else if (!dvd)
        return refuse(reason, words, "the name of a file is wanted first");
    while (rest != NULL) {
        if (!parse_word(strsep(&rest, ","), ret, reason))
            return false;
    }
    return true;
}
