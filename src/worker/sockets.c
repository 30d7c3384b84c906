/* Who connects to whom: listener, links, and their bounds. What links do is theirs. */
#include "worker/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/socket.h"
#include "worker/link.h"

enum { MOST_LINKS = HVSOCK_MOST_STREAMS + 64 };

struct sockets {
    struct loop *loop;
    struct machine *machine;
    struct hvsock *hvsock;
    char name[CONTROL_NAME_SIZE];
    struct control_listener listener;
    struct loop_watch *watch;
    struct loop_timer *timer; /* while there are links: looks for those that wait in vain */
    struct link *links[MOST_LINKS];
    unsigned count;
};

/* ---- links ---- */

static void link_gone(void *owner, struct link *link)
{
    struct sockets *sockets = owner;

    for (unsigned i = 0; i < sockets->count; i++) {
        if (sockets->links[i] == link) {
            sockets->links[i] = sockets->links[--sockets->count];
            return;
        }
    }
}

static const char *why_not(int error)
{
    switch (error) {
    case -ENETDOWN:
        return "the guest does not use VMBus, or not yet";
    case -EMFILE:
        return "too many connections";
    default:
        return "out of memory";
    }
}

static void link_asked(void *owner, struct link *link, const uint8_t service[16])
{
    const struct sockets *sockets = owner;
    struct hvsock_stream *stream = NULL;
    int error = hvsock_connect(sockets->hvsock, service, link, &stream);

    if (error < 0)
        link_refuse(link, why_not(error));
    else
        link_connect(link, stream);
}

static int add_link(struct sockets *sockets, int fd, struct hvsock_stream *stream,
                    struct link **ret)
{
    const struct link_user user = {.owner = sockets, .asked = link_asked, .gone = link_gone};

    if (sockets->count == MOST_LINKS)
        return -EMFILE;
    int error = link_create(sockets->loop, fd, stream, &user, ret);
    if (error < 0)
        return error;
    sockets->links[sockets->count++] = *ret;
    loop_timer_set(sockets->timer, clock_monotonic_ns() + NS_PER_SECOND);
    return 0;
}

static void look_for_overdue(void *owner)
{
    struct sockets *sockets = owner;
    uint64_t now = clock_monotonic_ns();

    /* Backwards: what goes is replaced by the last. */
    for (unsigned i = sockets->count; i-- > 0;) {
        if (link_is_overdue(sockets->links[i], now))
            link_give_up(sockets->links[i]);
    }
    (void)loop_watch_modify(sockets->watch, EPOLLIN);
    if (sockets->count > 0)
        loop_timer_set(sockets->timer, now + NS_PER_SECOND);
}

/* ---- from the guest ---- */

/* A connect to a Unix socket is done, or not, at once. */
static int guest_connects(void *owner, const uint8_t service[16], struct hvsock_stream *stream,
                          void **ret_owner)
{
    struct sockets *sockets = owner;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[LINK_SERVICE_TEXT];
    struct link *link = NULL;

    link_service_text(service, text);
    int error = control_stream_path(sockets->name, text, address.sun_path, NULL);
    if (error < 0)
        return error;
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    error = add_link(sockets, fd, stream, &link);
    if (error < 0)
        return error;
    (void)take_fd(&fd);
    *ret_owner = link;
    return 0;
}

/* ---- from the host ---- */

static void newcomer(void *owner, uint32_t events)
{
    struct sockets *sockets = owner;
    struct link *link = NULL;
    auto_close int fd = -1;
    int error = control_accept(&sockets->listener, &fd);

    (void)events;
    if (error == 0 && add_link(sockets, fd, NULL, &link) == 0)
        (void)take_fd(&fd);
    if (error != -EMFILE && error != -ENFILE && error != -ENOBUFS && error != -ENOMEM)
        return;
    /* It stays in the queue, which must not wake us without end. */
    (void)loop_watch_modify(sockets->watch, 0);
    loop_timer_set(sockets->timer, clock_monotonic_ns() + NS_PER_SECOND);
}

/* ---- life ---- */

static int begin(struct sockets *sockets, struct reason *reason)
{
    const struct hvsock_user user = {
        .owner = sockets,
        .connect = guest_connects,
        .opened = link_opened,
        .readable = link_readable,
        .writable = link_writable,
        .closed = link_closed,
    };
    int error = loop_timer_create(sockets->loop, look_for_overdue, sockets, &sockets->timer);

    if (error == 0)
        error = loop_watch_create(sockets->loop, sockets->listener.fd, EPOLLIN, newcomer, sockets,
                                  &sockets->watch);
    if (error == 0)
        error = machine_serve_sockets(sockets->machine, &user, &sockets->hvsock);
    return error < 0 ? reason_set(reason, error, "the sockets of the guest cannot be served") : 0;
}

int sockets_create(const char *name, struct loop *loop, struct machine *machine,
                   struct sockets **ret, struct reason *reason)
{
    struct sockets *sockets = calloc(1, sizeof(*sockets));

    if (sockets == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    sockets->loop = loop;
    sockets->machine = machine;
    (void)strncpy(sockets->name, name, sizeof(sockets->name) - 1);
    sockets->listener.fd = -1;
    int error = control_listen_streams(name, &sockets->listener, reason);
    if (error == 0)
        error = begin(sockets, reason);
    if (error < 0)
        sockets_destroy(sockets);
    else
        *ret = sockets;
    return error;
}

void sockets_destroy(struct sockets *sockets)
{
    if (sockets == NULL)
        return;
    while (sockets->count > 0)
        link_destroy(sockets->links[0]);
    if (sockets->hvsock != NULL)
        machine_end_sockets(sockets->machine);
    if (sockets->watch != NULL)
        loop_watch_destroy(sockets->watch);
    if (sockets->timer != NULL)
        loop_timer_destroy(sockets->timer);
    control_unlisten_in_folder(&sockets->listener);
    free(sockets);
}
