/* Network cards in the words of a status. */
#ifndef CONTROL_CARDS_H
#define CONTROL_CARDS_H

#include <jansson.h>

#include "control/words.h"

/* An array; a new reference, or NULL. */
json_t *control_cards_json(const struct control_status *status);
/* -EINVAL; NULL, of a worker that knows none, is accepted. */
int control_cards_take(const json_t *array, struct control_status *ret);

#endif
