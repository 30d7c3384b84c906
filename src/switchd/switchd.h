/* The process that holds all switches of this user, and how others speak to it. */
#ifndef SWITCHD_SWITCHD_H
#define SWITCHD_SWITCHD_H

#include <jansson.h>
#include <stdbool.h>

#include "base/reason.h"

/*
 * Serve until SIGTERM or SIGINT, or until no switch is left and nobody has asked for a while.
 * -EEXIST: it runs already. No other threads may be there.
 */
int switchd_run(struct reason *reason);

bool switchd_is_running(void);
/* Start that process if it does not run, and wait until it answers. */
int switchd_start(struct reason *reason);
/*
 * Ask it; it is started when it does not run. Takes the request. The result, which may be NULL, is
 * the caller's.
 */
int switchd_call(json_t *request, json_t **ret, struct reason *reason);

#endif
