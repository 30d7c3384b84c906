/* What requests and replies have in common: a line of JSON. */
#ifndef CONTROL_WORDS_PRIVATE_H
#define CONTROL_WORDS_PRIVATE_H

#include <jansson.h>

#include "control/words.h"

/* Takes the object, which may be NULL. -EINVAL, -ENOMEM, -EMSGSIZE. */
int words_finish_line(json_t *object, size_t most, char **ret, size_t *ret_length);
/* An object, or NULL and a reason. */
json_t *words_parse(const char *line, size_t length, struct reason *reason);

#endif
