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

/*
 * Until the partition answers anything. One that starts has its name first; its other sockets, for
 * streams and the screen, are there when it answers. Errors as above.
 */
int control_await(const char *name, int timeout_ms, struct reason *reason);
/* control_connect_display(), also while it starts. */
int control_open_display(const char *name, int timeout_ms, int *ret_fd, struct reason *reason);

#endif
