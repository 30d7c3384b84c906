#include "control/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/socket.h"

enum { NS_PER_MS = 1000000, MOST_LINE = 160 };

static int open_socket(const char *name, int *ret_fd, struct reason *reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_close int control = -1;
    /* Whether it runs, its control socket knows; a vsock of one that was killed may be left. */
    int error = control_connect(name, &control, reason);

    if (error == 0)
        error = control_stream_path(name, NULL, address.sun_path, reason);
    if (error < 0)
        return error;
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return reason_set(reason, -ENOTSUP,
                          "%s: no sockets lead into its guest, which has no Hyper-V", name);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* No byte behind the newline is taken. */
static int read_line(int fd, char ret[MOST_LINE], uint64_t deadline_ns)
{
    size_t length = 0;

    while (length + 1 < MOST_LINE) {
        uint64_t now = clock_monotonic_ns();
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        if (poll(&poll_fd, 1, (int)((deadline_ns - now) / NS_PER_MS + 1)) <= 0)
            continue;
        ssize_t part = recv(fd, ret + length, 1, 0);
        if (part < 0 && errno == EINTR)
            continue;
        if (part <= 0)
            return -ECONNRESET;
        if (ret[length] == '\n')
            break;
        length++;
    }
    ret[length] = '\0';
    return 0;
}

int control_connect_stream(const char *name, unsigned port, int timeout_ms, int *ret_fd,
                           struct reason *reason)
{
    char line[MOST_LINE];
    auto_close int fd = -1;
    int error = open_socket(name, &fd, reason);

    if (error < 0)
        return error;
    int length = snprintf(line, sizeof(line), "CONNECT %u\n", port);
    if (send(fd, line, (size_t)length, MSG_NOSIGNAL) != length)
        error = -ECONNRESET;
    if (error == 0)
        error = read_line(fd, line, clock_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS);
    if (error == -ETIMEDOUT)
        return reason_set(reason, error, "%s: no answer within %d seconds", name,
                          timeout_ms / 1000);
    if (error < 0)
        return reason_set(reason, -ECONNREFUSED, "%s: the connection broke", name);
    if (strncmp(line, "OK ", 3) != 0)
        return reason_set(reason, -ECONNREFUSED, "%s: %s", name,
                          strncmp(line, "ERROR ", 6) == 0 ? line + 6 : "not a partition's socket");
    *ret_fd = take_fd(&fd);
    return 0;
}
