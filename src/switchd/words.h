/*
 * Switches, ports and rules as JSON: in orders, in answers and in the file that keeps them. All of
 * an object is checked before any of it is believed; a field that is not known is refused.
 */
#ifndef SWITCHD_WORDS_H
#define SWITCHD_WORDS_H

#include <jansson.h>

#include "base/reason.h"
#include "switchd/hub.h"

/* -EINVAL and a reason. What an object does not name stays as it is in `ret`. */
int words_take_config(json_t *object, struct hub_config *ret, struct reason *reason);
int words_take_settings(json_t *object, struct port_settings *ret, struct reason *reason);
int words_take_rule(json_t *object, struct acl_rule *ret, struct reason *reason);
/* "web" or "web:1". */
int words_take_port(const char *text, char ret_partition[HUB_NAME_SIZE], unsigned *ret_card,
                    struct reason *reason);

/* New references, or NULL. */
json_t *words_config(const struct hub_config *config);
json_t *words_settings(const struct port_settings *settings);
json_t *words_rule(const struct acl_rule *rule);

/* How a text field of an object is taken; the last of a table has no name. */
struct words_field {
    const char *name;
    int (*take)(json_t *value, void *to, struct reason *reason);
};
int words_take(json_t *object, const struct words_field *fields, void *to, struct reason *reason);

#endif
