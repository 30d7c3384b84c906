/*
 * One picture of a screen, taken as a viewer by the remote framebuffer protocol (RFC 6143). The
 * server is not trusted: what it sends is checked.
 */
#ifndef DISPLAY_PICTURE_H
#define DISPLAY_PICTURE_H

#include "base/reason.h"
#include "display/screen.h"

/*
 * `fd` is a connected socket, and the caller's. 0; -ETIMEDOUT; -EPROTO: it speaks something else,
 * or wants a password; -ECONNRESET: it closed; -ENOMEM; always with a reason.
 */
int picture_take(int fd, int timeout_ms, struct screen **ret, struct reason *reason);

#endif
