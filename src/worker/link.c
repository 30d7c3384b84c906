/*
 * 1. A link asks (its program's line comes), waits (for the guest, or for the sockets' owner), or
 *    flows. Only then bytes move.
 * 2. hvsock may tell of a stream's end within any call: while `busy`, the link only notes it.
 * 3. The watch is there while there is something to wait for: a socket whose peer has closed wakes
 *    without end.
 */
#include "worker/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    MOST_LINE = 64,
    TURN = 16, /* chunks each way before others have their turn */
};

/* A guest that listens answers in milliseconds, one that has too much to do in seconds. */
#define PATIENCE_NS (UINT64_C(10) * NS_PER_SECOND)

enum phase { LINK_ASKS, LINK_WAITS, LINK_FLOWS };

struct link {
    struct loop *loop;
    struct link_user user;
    int fd;
    struct loop_watch *watch; /* NULL: none */
    uint32_t events;
    struct hvsock_stream *stream; /* NULL: none yet, or it has ended */
    enum phase phase;
    uint64_t since_ns; /* when it came */
    bool busy, lost;   /* lost: to be freed when no more busy */
    bool of_guest;
    bool host_ended, finished; /* the program sends no more; the guest was told */
    bool guest_ended;          /* and the program was told */
    bool host_left;            /* the program reads no more */
    char line[MOST_LINE + 1];
    size_t line_length;
};

static void event_arrived(void *owner, uint32_t events);

/* ---- life ---- */

void link_destroy(struct link *link)
{
    if (link->stream != NULL)
        hvsock_close(link->stream);
    if (link->watch != NULL)
        loop_watch_destroy(link->watch);
    (void)close(link->fd);
    link->user.gone(link->user.owner, link);
    free(link);
}

static bool is_done(const struct link *link)
{
    return link->lost ||
           (link->host_ended && link->finished && (link->guest_ended || link->host_left));
}

static uint32_t wanted_events(const struct link *link)
{
    uint32_t events = 0;
    const uint8_t *bytes = NULL;
    size_t length = 0;

    if (link->phase == LINK_ASKS)
        return EPOLLIN;
    if (link->phase == LINK_WAITS)
        return 0;
    if (!link->host_ended && hvsock_room(link->stream) != NULL)
        events |= EPOLLIN;
    /* What is left of the last turn. */
    if (!link->guest_ended && !link->host_left && hvsock_peek(link->stream, &bytes, &length) == 0)
        events |= EPOLLOUT;
    return events;
}

static int watch(struct link *link, uint32_t events)
{
    if (events == 0 && link->host_left) {
        if (link->watch != NULL)
            loop_watch_destroy(link->watch);
        link->watch = NULL;
        return 0;
    }
    if (link->watch != NULL && link->events == events)
        return 0;
    link->events = events;
    if (link->watch != NULL)
        return loop_watch_modify(link->watch, events);
    return loop_watch_create(link->loop, link->fd, events, event_arrived, link, &link->watch);
}

/* The last thing that any entry into a link does. */
static void settle(struct link *link)
{
    uint32_t events = is_done(link) ? 0 : wanted_events(link);

    if (!is_done(link) && watch(link, events) < 0)
        link->lost = true;
    link->busy = false;
    if (is_done(link))
        link_destroy(link);
}

/* ---- bytes ---- */

static int read_host(const struct link *link, uint8_t *room, size_t *ret)
{
    ssize_t length = recv(link->fd, room, HVSOCK_CHUNK, MSG_DONTWAIT);

    *ret = length > 0 ? (size_t)length : 0;
    if (length >= 0)
        return 0;
    return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0; /* an error is an end, too */
}

static void end_to_guest(struct link *link)
{
    link->host_ended = true;
    link->finished = hvsock_finish(link->stream) == 0;
}

static void move_to_guest(struct link *link)
{
    for (int turn = 0; turn < TURN && !link->host_ended && !link->lost; turn++) {
        size_t length = 0;
        uint8_t *room = hvsock_room(link->stream);
        if (room == NULL || read_host(link, room, &length) < 0)
            return;
        if (length == 0)
            end_to_guest(link);
        else if (hvsock_send(link->stream, length) != 0)
            return;
    }
}

/* False: no more now. */
static bool write_host(struct link *link, const uint8_t *bytes, size_t length)
{
    ssize_t part = send(link->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (part < 0) {
        link->host_left |= errno != EAGAIN && errno != EINTR;
        return false;
    }
    hvsock_consume(link->stream, (size_t)part);
    return true;
}

static void move_to_host(struct link *link)
{
    for (int turn = 0; turn < TURN && !link->guest_ended && !link->host_left; turn++) {
        const uint8_t *bytes = NULL;
        size_t length = 0;
        if (hvsock_peek(link->stream, &bytes, &length) != 0)
            return;
        if (length == 0) {
            link->guest_ended = true;
            (void)shutdown(link->fd, SHUT_WR);
        } else if (!write_host(link, bytes, length)) {
            return;
        }
    }
}

/* ---- the first line ---- */

void link_refuse(struct link *link, const char *why)
{
    char text[128];
    int length = snprintf(text, sizeof(text), "ERROR %s\n", why);

    if (!link->of_guest && length > 0)
        (void)send(link->fd, text, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    link->lost = true;
}

static void take_line(struct link *link)
{
    uint8_t service[16];

    link->line[link->line_length] = '\0';
    link->phase = LINK_WAITS;
    if (link_parse(link->line, service))
        link->user.asked(link->user.owner, link, service);
    else
        link_refuse(link, "CONNECT and a port or a GUID is wanted");
}

/* Byte by byte: what follows the line is the guest's. */
static void read_line(struct link *link)
{
    for (;;) {
        char *to = &link->line[link->line_length];
        ssize_t length = recv(link->fd, to, 1, MSG_DONTWAIT);
        if (length < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        link->lost = length <= 0;
        if (link->lost)
            return;
        if (*to == '\n') {
            take_line(link);
            return;
        }
        if (++link->line_length == MOST_LINE) {
            link_refuse(link, "the line is too long");
            return;
        }
    }
}

/* ---- events ---- */

static void event_arrived(void *owner, uint32_t events)
{
    struct link *link = owner;

    link->busy = true;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0)
        link->host_left = true;
    if (link->phase == LINK_ASKS)
        read_line(link);
    else if (link->phase == LINK_WAITS)
        link->lost = link->host_left;
    if (link->phase == LINK_FLOWS && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        move_to_guest(link);
    if (link->phase == LINK_FLOWS && !link->lost && (events & EPOLLOUT) != 0)
        move_to_host(link);
    settle(link);
}

void link_opened(void *owner)
{
    struct link *link = owner;
    static const char ok[] = "OK 1\n";

    link->busy = true;
    link->phase = LINK_FLOWS;
    if (!link->of_guest && send(link->fd, ok, sizeof(ok) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        link->host_left = true;
    move_to_guest(link);
    if (!link->lost)
        move_to_host(link);
    settle(link);
}

void link_readable(void *owner)
{
    struct link *link = owner;

    link->busy = true;
    move_to_host(link);
    settle(link);
}

void link_writable(void *owner)
{
    struct link *link = owner;

    link->busy = true;
    if (link->host_ended)
        link->finished = true;
    move_to_guest(link);
    settle(link);
}

void link_closed(void *owner)
{
    struct link *link = owner;

    link->stream = NULL;
    link->lost = true;
    if (!link->busy)
        link_destroy(link);
}

/* ---- making ---- */

int link_create(struct loop *loop, int fd, struct hvsock_stream *stream,
                const struct link_user *user, struct link **ret)
{
    struct link *link = calloc(1, sizeof(*link));

    if (link == NULL)
        return -ENOMEM;
    link->loop = loop;
    link->user = *user;
    link->fd = fd;
    link->of_guest = stream != NULL;
    link->phase = link->of_guest ? LINK_WAITS : LINK_ASKS;
    link->since_ns = clock_monotonic_ns();
    int error = watch(link, wanted_events(link));
    if (error < 0) {
        free(link);
        return error;
    }
    link->stream = stream;
    *ret = link;
    return 0;
}

void link_connect(struct link *link, struct hvsock_stream *stream)
{
    link->stream = stream;
}

bool link_is_overdue(const struct link *link, uint64_t now_ns)
{
    return link->phase != LINK_FLOWS && now_ns > link->since_ns + PATIENCE_NS;
}

void link_give_up(struct link *link)
{
    if (link->phase == LINK_WAITS)
        link_refuse(link, "nobody listens in the guest");
    link_destroy(link);
}
