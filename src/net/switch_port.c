/*
 * 1. `line` is the connection while it is up: a port of its own, of net/socket.c. It is never
 *    destroyed from within its own callbacks: a timer sees to that.
 * 2. With no line, `knocking` is a connection that has said hello and waits for its welcome, or -1.
 */
#include "net/switch_port.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/socket.h"

enum { ANSWER_SECONDS = 10, AGAIN_NS = NS_PER_SECOND / 4 };

struct switch_port {
    struct net_port port; /* first */
    struct loop *loop;
    struct loop_timer *timer; /* when to knock again, or for how long to wait for the welcome */
    struct net_port *line;
    bool started, gone; /* gone: the line has hung up */
    int knocking;
    struct loop_watch *watch;
    struct net_port_user user;
    struct net_hello hello;
    struct sockaddr_un address;
};

static struct switch_port *port_of(struct net_port *port)
{
    return (struct switch_port *)port;
}

/* ---- connecting ---- */

static int say_hello(const struct sockaddr_un *address, const struct net_hello *hello, int flags,
                     int *ret)
{
    uint8_t bytes[HELLO_SIZE];
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);

    net_hello_encode(hello, bytes);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
        send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != (ssize_t)sizeof(bytes))
        return -errno;
    *ret = take_fd(&fd);
    return 0;
}

/* What the switch says to the hello. The address that it gives stays the card's. */
static int take_welcome(int fd, struct net_hello *hello, struct reason *reason)
{
    uint8_t bytes[WELCOME_SIZE + 1];
    struct net_welcome welcome;
    ssize_t length = recv(fd, bytes, sizeof(bytes), 0);

    if (length < 0)
        return reason_set(reason, -errno, "the switch does not answer: %s", strerrordesc_np(errno));
    if (net_welcome_decode(bytes, (size_t)length, &welcome) < 0)
        return reason_set(reason, -EPROTO, "what answers is no switch");
    if (welcome.error < 0)
        return reason_set(reason, welcome.error, "%s", welcome.reason.text);
    memcpy(hello->mac, welcome.mac, sizeof(hello->mac));
    hello->has_mac = true;
    return 0;
}

static void knock_later(struct switch_port *s)
{
    loop_timer_set(s->timer, clock_monotonic_ns() + AGAIN_NS);
}

static void stop_knocking(struct switch_port *s)
{
    loop_watch_destroy(s->watch);
    s->watch = NULL;
    (void)close(s->knocking);
    s->knocking = -1;
}

/* ---- a line ---- */

static unsigned receive(void *owner, const struct net_frame *frames, unsigned count)
{
    const struct switch_port *s = owner;
    return s->user.receive(s->user.owner, frames, count);
}

static void writable(void *owner)
{
    const struct switch_port *s = owner;
    s->user.writable(s->user.owner);
}

static void link_changed(void *owner, bool up)
{
    struct switch_port *s = owner;

    s->gone = !up;
    s->user.link(s->user.owner, up);
    if (!up) {
        s->user.writable(s->user.owner); /* what waits for room is lost */
        knock_later(s);
    }
}

static void start_line(struct switch_port *s)
{
    const struct net_port_user own = {s, receive, writable, link_changed};
    s->line->ops->start(s->line, &own);
}

static void drop_line(struct switch_port *s)
{
    s->line->ops->destroy(s->line);
    s->line = NULL;
    s->gone = false;
}

static void take_line(struct switch_port *s)
{
    int fd = fcntl(s->knocking, F_DUPFD_CLOEXEC, 0);

    stop_knocking(s);
    if (fd < 0 || net_socket_create(s->loop, NULL, fd, &s->line, NULL) < 0) {
        s->line = NULL;
        knock_later(s);
        return;
    }
    loop_timer_set(s->timer, 0);
    if (s->started)
        start_line(s);
}

static void answered(void *owner, uint32_t events)
{
    struct switch_port *s = owner;

    (void)events;
    if (take_welcome(s->knocking, &s->hello, NULL) == 0) {
        take_line(s);
        return;
    }
    stop_knocking(s);
    knock_later(s);
}

static void knock(void *owner)
{
    struct switch_port *s = owner;

    if (s->line != NULL && !s->gone)
        return;
    if (s->line != NULL)
        drop_line(s);
    if (s->knocking >= 0)
        stop_knocking(s); /* no answer came */
    if (say_hello(&s->address, &s->hello, SOCK_NONBLOCK, &s->knocking) < 0) {
        s->knocking = -1;
        knock_later(s);
        return;
    }
    loop_timer_set(s->timer, clock_monotonic_ns() + (uint64_t)ANSWER_SECONDS * NS_PER_SECOND);
    if (loop_watch_create(s->loop, s->knocking, EPOLLIN, answered, s, &s->watch) < 0) {
        (void)close(s->knocking);
        s->knocking = -1;
        knock_later(s);
    }
}

/* ---- the seam ---- */

/* Without a switch frames are lost, as without a cable. */
static unsigned switch_port_send(struct net_port *port, const struct net_frame *frames,
                                 unsigned count)
{
    const struct switch_port *s = port_of(port);
    return s->line == NULL ? count : s->line->ops->send(s->line, frames, count);
}

static void switch_port_start(struct net_port *port, const struct net_port_user *user)
{
    struct switch_port *s = port_of(port);

    s->user = *user;
    s->started = true;
    if (s->line != NULL)
        start_line(s);
    else
        user->link(user->owner, false);
}

static void switch_port_stop(struct net_port *port)
{
    struct switch_port *s = port_of(port);

    s->started = false;
    if (s->line != NULL)
        s->line->ops->stop(s->line);
}

static void switch_port_resume(struct net_port *port)
{
    const struct switch_port *s = port_of(port);

    if (s->line != NULL)
        s->line->ops->resume(s->line);
}

static void switch_port_set_filter(struct net_port *port, const struct net_filter *filter)
{
    (void)port;
    (void)filter;
}

static void switch_port_set_offload(struct net_port *port, bool checksum, bool segmentation)
{
    (void)port;
    (void)checksum;
    (void)segmentation;
}

static void switch_port_destroy(struct net_port *port)
{
    struct switch_port *s = port_of(port);

    if (s->line != NULL)
        drop_line(s);
    if (s->knocking >= 0)
        stop_knocking(s);
    loop_timer_destroy(s->timer);
    free(s);
}

static const struct net_port_ops switch_port_ops = {
    .name = "switch",
    .send = switch_port_send,
    .start = switch_port_start,
    .stop = switch_port_stop,
    .resume = switch_port_resume,
    .set_filter = switch_port_set_filter,
    .set_offload = switch_port_set_offload,
    .destroy = switch_port_destroy,
};

static struct switch_port *make(struct loop *loop, const struct sockaddr_un *address,
                                const struct net_hello *hello)
{
    struct switch_port *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->port = (struct net_port){.ops = &switch_port_ops, .takes_offload = true};
    s->loop = loop;
    s->address = *address;
    s->hello = *hello;
    s->knocking = -1;
    if (loop_timer_create(loop, knock, s, &s->timer) == 0)
        return s;
    free(s);
    return NULL;
}

/* Takes the descriptor. */
static int make_with_line(struct loop *loop, const struct sockaddr_un *address,
                          const struct net_hello *hello, int fd, struct net_port **ret)
{
    struct switch_port *s = make(loop, address, hello);

    if (s == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    int error = net_socket_create(loop, NULL, fd, &s->line, NULL);
    if (error < 0) {
        switch_port_destroy(&s->port);
        return error;
    }
    s->port.mtu = s->line->mtu;
    *ret = &s->port;
    return 0;
}

int switch_port_create(struct loop *loop, const char *path, struct net_hello *hello,
                       struct net_port **ret, struct reason *reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_close int fd = -1;

    if (strlen(path) >= sizeof(address.sun_path))
        return reason_set(reason, -ENAMETOOLONG, "%s: too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int error = say_hello(&address, hello, 0, &fd);
    if (error < 0)
        return reason_set(reason, error, "no switch can be reached: %s: %s", path,
                          strerrordesc_np(-error));
    error = take_welcome(fd, hello, reason);
    if (error < 0)
        return error;
    error = make_with_line(loop, &address, hello, take_fd(&fd), ret);
    return error < 0 ? reason_set(reason, error, "out of memory or descriptors") : 0;
}
