/* The manager's side: one request, one reply. */
#ifndef CONTROL_CALL_H
#define CONTROL_CALL_H

#include "control/words.h"

/*
 * Ask the partition of this name. -ENOENT: none runs; -ETIMEDOUT when it does not answer within
 * `timeout_ms`; the partition's own refusal; always with a reason. `ret` is to be released by
 * control_reply_release(), also after an error.
 */
int control_call(const char *name, const struct control_request *request, int timeout_ms,
                 struct control_reply *ret, struct reason *reason);

#endif
