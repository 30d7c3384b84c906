/*
 * The control socket of a partition, served on the loop thread: requests in, replies out.
 *
 * A client may be slow, silent or hostile; it holds nobody up. Each has one request at a time: more
 * is not read from it before its reply is taken. There are few places for clients, and one that has
 * nothing under way gives way to a newcomer. After a line that is no request the client is left.
 */
#ifndef WORKER_SERVE_H
#define WORKER_SERVE_H

#include "base/loop.h"
#include "control/socket.h"
#include "control/words.h"

struct serve;
struct serve_call;

enum { SERVE_MOST_CLIENTS = 16 };

/*
 * Carry a request out and answer it by serve_answer(), now or later, once, on the loop thread. The
 * request is valid until this returns.
 */
typedef void (*serve_fn)(void *owner, const struct control_request *request,
                         struct serve_call *call);

/* What a partition can do; a verb without a function is refused as unsupported. */
struct serve_verbs {
    serve_fn perform[CONTROL_VERB_COUNT];
};

/* The listener is the server's on success. The verbs are constant. */
int serve_create(struct loop *loop, const struct control_listener *listener,
                 const struct serve_verbs *verbs, void *owner, struct serve **ret);
/* Calls that were not answered are forgotten, and may not be answered any more. NULL is accepted.
 */
void serve_destroy(struct serve *serve);

/* The reply stays the caller's; when its client has gone, nothing happens. */
void serve_answer(struct serve_call *call, const struct control_reply *reply);
/* The same for an error, and for a success that has nothing to say. */
void serve_refuse(struct serve_call *call, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void serve_confirm(struct serve_call *call);

#endif
