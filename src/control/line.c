/* A line of JSON, written and read. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/words_private.h"

int words_finish_line(json_t *object, size_t most, char **ret, size_t *ret_length)
{
    if (object == NULL)
        return -EINVAL; /* a text that is not UTF-8; or out of memory */
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        return -ENOMEM;
    size_t length = strlen(text);
    char *line = length + 1 <= most ? realloc(text, length + 2) : NULL;
    if (line == NULL) {
        free(text);
        return length + 1 > most ? -EMSGSIZE : -ENOMEM;
    }
    line[length++] = '\n';
    line[length] = '\0';
    *ret = line;
    *ret_length = length;
    return 0;
}

json_t *words_parse(const char *line, size_t length, struct reason *reason)
{
    json_error_t error;
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);

    if (object == NULL)
        reason_fill(reason, "not a line of JSON");
    else if (!json_is_object(object))
        reason_fill(reason, "not an object of JSON");
    else
        return object;
    json_decref(object);
    return NULL;
}
