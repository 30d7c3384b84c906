#include "switchd/door.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/hello.h"
#include "net/socket.h"

enum { MOST_GUESTS = 32 };

/* Who has not said hello yet. */
struct guest {
    struct door *door;
    int fd; /* -1: a free place */
    uint64_t turn;
    struct loop_watch *watch;
};

struct door {
    struct registry *registry;
    struct control_listener listener;
    struct loop_watch *watch;
    struct loop_timer *retry; /* when the host had no descriptor for one */
    uint64_t turns;
    struct guest guests[MOST_GUESTS];
};

/* ---- welcome ---- */

/* The address that a card insists on becomes its port's. */
static int take_mac(struct hub_port *port, const struct net_hello *hello, struct reason *reason)
{
    struct port_settings settings = port->settings;

    if (!hello->has_mac || memcmp(settings.core.mac, hello->mac, sizeof(hello->mac)) == 0)
        return 0;
    memcpy(settings.core.mac, hello->mac, sizeof(hello->mac));
    int error = hub_change_port(port, &settings);
    return error < 0 ? reason_set(reason, error, "another port of switch %.64s has this address",
                                  hello->switch_name)
                     : 0;
}

static int find_port(struct registry *registry, const struct net_hello *hello,
                     struct hub_port **ret, struct reason *reason)
{
    struct hub *hub = registry_find(registry, hello->switch_name);

    if (hub == NULL)
        return reason_set(reason, -ENOENT, "there is no switch %.64s", hello->switch_name);
    if (!control_name_is_valid(hello->partition))
        return reason_set(reason, -EINVAL, "that is no name of a partition");
    struct hub_port *known = hub_find_port(hub, hello->partition, hello->card);
    if (known != NULL && hub_is_busy(known))
        return reason_set(reason, -EBUSY, "port %.64s:%u of switch %.64s is in use",
                          hello->partition, hello->card, hello->switch_name);
    int error = registry_take_port(hub, hello->partition, hello->card, ret, reason);
    if (error < 0)
        return error;
    const struct port_settings before = (*ret)->settings;
    error = take_mac(*ret, hello, reason);
    bool is_kept =
        known != NULL && memcmp(before.core.mac, (*ret)->settings.core.mac, FRAME_MAC_SIZE) == 0;
    /* One that is as it was comes back though nothing can be written. */
    if (error == 0 && !is_kept)
        error = store_save(registry, reason);
    if (error < 0 && known == NULL)
        hub_remove_port(*ret);
    else if (error < 0)
        (void)hub_change_port(*ret, &before);
    return error;
}

static bool say(int fd, const struct net_welcome *welcome)
{
    uint8_t bytes[WELCOME_SIZE];

    net_welcome_encode(welcome, bytes);
    return send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(bytes);
}

/* The welcome goes before any frame does. */
static void plug(struct hub_port *port, int fd)
{
    struct net_welcome welcome = {0};
    struct net_port *line = NULL;

    memcpy(welcome.mac, port->settings.core.mac, sizeof(welcome.mac));
    if (!say(fd, &welcome)) {
        (void)close(fd);
        return;
    }
    if (net_socket_create(port->hub->loop, NULL, fd, &line, NULL) < 0)
        return;
    if (hub_plug(port, line, fd) < 0)
        line->ops->destroy(line);
}

static void admit(struct registry *registry, int fd, const uint8_t *bytes, size_t length)
{
    struct net_hello hello;
    struct net_welcome welcome = {0};
    struct hub_port *port = NULL;

    welcome.error = net_hello_decode(bytes, length, &hello);
    if (welcome.error < 0)
        reason_fill(&welcome.reason, "that is no hello");
    else
        welcome.error = find_port(registry, &hello, &port, &welcome.reason);
    if (welcome.error == 0 && port != NULL) {
        plug(port, fd);
        return;
    }
    (void)say(fd, &welcome);
    (void)close(fd);
}

/* ---- who has not said hello yet ---- */

static int let_go(struct guest *guest)
{
    int fd = guest->fd;

    loop_watch_destroy(guest->watch);
    guest->watch = NULL;
    guest->fd = -1;
    return fd;
}

static void said(void *owner, uint32_t events)
{
    struct guest *guest = owner;
    uint8_t bytes[HELLO_SIZE + 1];
    ssize_t length = recv(guest->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    (void)events;
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    int fd = let_go(guest);
    if (length > 0)
        admit(guest->door->registry, fd, bytes, (size_t)length);
    else
        (void)close(fd);
}

static struct guest *find_place(struct door *door)
{
    struct guest *oldest = &door->guests[0];

    for (unsigned i = 0; i < MOST_GUESTS; i++) {
        struct guest *guest = &door->guests[i];
        if (guest->fd < 0)
            return guest;
        oldest = guest->turn < oldest->turn ? guest : oldest;
    }
    (void)close(let_go(oldest));
    return oldest;
}

static void knocked(void *owner, uint32_t events)
{
    struct door *door = owner;
    int fd = -1;
    int error = control_accept(&door->listener, &fd);

    (void)events;
    if (error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS) {
        /* It stays in the queue, which must not wake us without end. */
        (void)loop_watch_modify(door->watch, 0);
        loop_timer_set(door->retry, clock_monotonic_ns() + NS_PER_SECOND);
    }
    if (error < 0)
        return;
    struct guest *guest = find_place(door);
    *guest = (struct guest){.door = door, .fd = fd, .turn = ++door->turns};
    if (loop_watch_create(door->registry->loop, fd, EPOLLIN, said, guest, &guest->watch) < 0) {
        guest->watch = NULL;
        (void)close(let_go(guest));
    }
}

static void listen_again(void *owner)
{
    const struct door *door = owner;
    (void)loop_watch_modify(door->watch, EPOLLIN);
}

int door_create(struct registry *registry, const struct control_listener *listener,
                struct door **ret)
{
    struct door *door = calloc(1, sizeof(*door));

    if (door == NULL)
        return -ENOMEM;
    door->registry = registry;
    door->listener.fd = -1;
    for (unsigned i = 0; i < MOST_GUESTS; i++)
        door->guests[i].fd = -1;
    int error = loop_timer_create(registry->loop, listen_again, door, &door->retry);
    if (error == 0)
        error =
            loop_watch_create(registry->loop, listener->fd, EPOLLIN, knocked, door, &door->watch);
    if (error < 0) {
        door_destroy(door);
        return error;
    }
    door->listener = *listener;
    *ret = door;
    return 0;
}

void door_destroy(struct door *door)
{
    if (door == NULL)
        return;
    for (unsigned i = 0; i < MOST_GUESTS; i++) {
        if (door->guests[i].fd >= 0)
            (void)close(let_go(&door->guests[i]));
    }
    loop_watch_destroy(door->watch);
    loop_timer_destroy(door->retry);
    control_unlisten(&door->listener);
    free(door);
}
