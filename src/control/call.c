#include "control/call.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/socket.h"

enum { NS_PER_MS = 1000000, FIRST_ROOM = 8192 };

struct line {
    char *bytes;
    size_t length, room;
};

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = clock_monotonic_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        struct pollfd poll_fd = {.fd = fd, .events = events};
        if (poll(&poll_fd, 1, (int)((deadline_ns - now) / NS_PER_MS + 1)) > 0)
            return 0;
    }
}

static int send_line(int fd, const char *line, size_t length, uint64_t deadline_ns)
{
    while (length > 0) {
        int error = wait_for(fd, POLLOUT, deadline_ns);
        if (error < 0)
            return error;
        ssize_t part = send(fd, line, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (part > 0) {
            line += part;
            length -= (size_t)part;
        }
    }
    return 0;
}

static int make_room(struct line *line)
{
    if (line->length < line->room)
        return 0;
    if (line->room >= CONTROL_MOST_REPLY)
        return -EMSGSIZE;
    size_t room = line->room == 0 ? FIRST_ROOM : line->room * 2;
    char *bytes = realloc(line->bytes, room);
    if (bytes == NULL)
        return -ENOMEM;
    line->bytes = bytes;
    line->room = room;
    return 0;
}

/* Up to the newline, which is left out. */
static int receive_line(int fd, struct line *line, uint64_t deadline_ns)
{
    for (;;) {
        int error = make_room(line);
        if (error == 0)
            error = wait_for(fd, POLLIN, deadline_ns);
        if (error < 0)
            return error;
        char *to = line->bytes + line->length;
        ssize_t part = recv(fd, to, line->room - line->length, MSG_DONTWAIT);
        if (part == 0)
            return -ECONNRESET;
        if (part < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (part <= 0)
            continue;
        const char *end = memchr(to, '\n', (size_t)part);
        if (end != NULL) {
            line->length = (size_t)(end - line->bytes);
            return 0;
        }
        line->length += (size_t)part;
    }
}

static int exchange(int fd, const struct control_request *request, int timeout_ms, struct line *ret)
{
    auto_free char *line = NULL;
    size_t length = 0;
    uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;

    int error = control_encode_request(request, &line, &length);
    if (error == 0)
        error = send_line(fd, line, length, deadline);
    return error < 0 ? error : receive_line(fd, ret, deadline);
}

int control_call(const char *name, const struct control_request *request, int timeout_ms,
                 struct control_reply *ret, struct reason *reason)
{
    auto_close int fd = -1;
    struct line line = {0};

    *ret = (struct control_reply){0};
    int error = control_connect(name, &fd, reason);
    if (error < 0)
        return error;
    error = exchange(fd, request, timeout_ms, &line);
    if (error == -ETIMEDOUT)
        reason_fill(reason, "%s: no answer within %d seconds", name, timeout_ms / 1000);
    else if (error == -EINVAL)
        reason_fill(reason, "%s: a path must be UTF-8", name);
    else if (error < 0)
        reason_fill(reason, "%s: the connection broke: %s", name, strerrordesc_np(-error));
    else
        error = control_decode_reply(line.bytes, line.length, ret, reason);
    free(line.bytes);
    if (error == 0 && ret->error < 0)
        error = reason_set(reason, ret->error, "%s: %s", name, ret->reason.text);
    return error;
}

int control_await(const char *name, int timeout_ms, struct reason *reason)
{
    const struct control_request request = {.verb = CONTROL_STATUS};
    struct control_reply reply = {0};
    int error = control_call(name, &request, timeout_ms, &reply, reason);

    control_reply_release(&reply);
    return error;
}

int control_open_display(const char *name, int timeout_ms, int *ret_fd, struct reason *reason)
{
    int error = control_connect_display(name, ret_fd, reason);

    if (error != -ENOTSUP)
        return error;
    error = control_await(name, timeout_ms, reason);
    return error < 0 ? error : control_connect_display(name, ret_fd, reason);
}
