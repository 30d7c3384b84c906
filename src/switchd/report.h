/* What switches have to tell, as JSON: new references, or NULL. */
#ifndef SWITCHD_REPORT_H
#define SWITCHD_REPORT_H

#include <jansson.h>

#include "switchd/registry.h"

json_t *report_list(const struct registry *registry);
json_t *report_switch(const struct hub *hub); /* with ports, rules and counters */
json_t *report_rules(const struct hub_port *port);
json_t *report_meters(const struct hub *hub);

#endif
