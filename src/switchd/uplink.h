/* What is behind a switch besides guests. */
#ifndef SWITCHD_UPLINK_H
#define SWITCHD_UPLINK_H

#include <net/if.h>

#include "switchd/hub.h"

/* Nothing for a private switch. The reason says what to mend. */
int uplink_open(struct hub *hub, struct reason *reason);
/* The host's device of an internal switch: "pt-NAME", unless it is named. -ENAMETOOLONG. */
int uplink_internal_name(const struct hub_config *config, char ret[IFNAMSIZ],
                         struct reason *reason);
/* The bridge that its device was put into has gone, which the device does not tell. */
bool uplink_is_lost(const struct hub *hub);
/* The switch is deleted: take away what was made for it. */
void uplink_forget(const struct hub *hub);

#endif
