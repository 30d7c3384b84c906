#include "switchd/desk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "switchd/orders.h"

enum { MOST_CLIENTS = 16 };

struct client {
    struct desk *desk;
    int fd; /* -1: a free place */
    uint64_t turn;
    struct loop_watch *watch;
    char *output; /* NULL: the order is still being read */
    size_t output_length, output_done, input_length;
    char input[DESK_MOST_ORDER];
};

struct desk {
    struct registry *registry;
    struct control_listener listener;
    struct loop_watch *watch;
    struct loop_timer *retry;
    uint64_t turns;
    void (*idle)(void *owner);
    void *owner;
    struct client clients[MOST_CLIENTS];
};

static bool is_idle(const struct desk *desk)
{
    for (unsigned i = 0; i < MOST_CLIENTS; i++) {
        if (desk->clients[i].fd >= 0)
            return false;
    }
    return true;
}

static void drop(struct client *client)
{
    loop_watch_destroy(client->watch);
    (void)close(client->fd);
    free(client->output);
    client->watch = NULL;
    client->output = NULL;
    client->fd = -1;
    if (client->desk->idle != NULL && is_idle(client->desk))
        client->desk->idle(client->desk->owner);
}

static void write_output(struct client *client)
{
    while (client->output_done < client->output_length) {
        ssize_t part =
            send(client->fd, client->output + client->output_done,
                 client->output_length - client->output_done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part < 0 && errno == EAGAIN) {
            (void)loop_watch_modify(client->watch, EPOLLOUT);
            return;
        }
        if (part <= 0)
            break;
        client->output_done += (size_t)part;
    }
    drop(client);
}

static void answer(struct client *client, size_t length)
{
    client->output = orders_answer(client->desk->registry, client->input, length);
    if (client->output == NULL) {
        drop(client);
        return;
    }
    client->output_length = strlen(client->output);
    client->output_done = 0;
    write_output(client);
}

/* A line that is too long has no answer. */
static void read_input(struct client *client)
{
    char *to = client->input + client->input_length;
    size_t room = sizeof(client->input) - client->input_length;
    ssize_t part = recv(client->fd, to, room, MSG_DONTWAIT);

    if (part < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (part <= 0) {
        drop(client);
        return;
    }
    const char *end = memchr(to, '\n', (size_t)part);
    client->input_length += (size_t)part;
    if (end != NULL)
        answer(client, (size_t)(end - client->input));
    else if (client->input_length == sizeof(client->input))
        drop(client);
}

static void client_event(void *owner, uint32_t events)
{
    struct client *client = owner;

    if (client->output != NULL && (events & EPOLLOUT) != 0)
        write_output(client);
    else if (client->output == NULL && (events & EPOLLIN) != 0)
        read_input(client);
    else if ((events & (EPOLLHUP | EPOLLERR)) != 0)
        drop(client);
}

static struct client *find_place(struct desk *desk)
{
    struct client *oldest = &desk->clients[0];

    for (unsigned i = 0; i < MOST_CLIENTS; i++) {
        struct client *client = &desk->clients[i];
        if (client->fd < 0)
            return client;
        oldest = client->turn < oldest->turn ? client : oldest;
    }
    drop(oldest);
    return oldest;
}

static void newcomer(void *owner, uint32_t events)
{
    struct desk *desk = owner;
    int fd = -1;
    int error = control_accept(&desk->listener, &fd);

    (void)events;
    if (error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS) {
        /* It stays in the queue, which must not wake us without end. */
        (void)loop_watch_modify(desk->watch, 0);
        loop_timer_set(desk->retry, clock_monotonic_ns() + NS_PER_SECOND);
    }
    if (error < 0)
        return;
    struct client *client = find_place(desk);
    client->fd = fd;
    client->turn = ++desk->turns;
    client->input_length = 0;
    if (loop_watch_create(desk->registry->loop, fd, EPOLLIN, client_event, client, &client->watch) <
        0) {
        client->watch = NULL;
        drop(client);
    }
}

static void listen_again(void *owner)
{
    const struct desk *desk = owner;
    (void)loop_watch_modify(desk->watch, EPOLLIN);
}

int desk_create(struct registry *registry, const struct control_listener *listener,
                void (*idle)(void *owner), void *owner, struct desk **ret)
{
    struct desk *desk = calloc(1, sizeof(*desk));

    if (desk == NULL)
        return -ENOMEM;
    desk->registry = registry;
    desk->idle = idle;
    desk->owner = owner;
    desk->listener.fd = -1;
    for (unsigned i = 0; i < MOST_CLIENTS; i++) {
        desk->clients[i].desk = desk;
        desk->clients[i].fd = -1;
    }
    int error = loop_timer_create(registry->loop, listen_again, desk, &desk->retry);
    if (error == 0)
        error =
            loop_watch_create(registry->loop, listener->fd, EPOLLIN, newcomer, desk, &desk->watch);
    if (error < 0) {
        desk_destroy(desk);
        return error;
    }
    desk->listener = *listener;
    *ret = desk;
    return 0;
}

void desk_destroy(struct desk *desk)
{
    if (desk == NULL)
        return;
    desk->idle = NULL;
    for (unsigned i = 0; i < MOST_CLIENTS; i++) {
        if (desk->clients[i].fd >= 0)
            drop(&desk->clients[i]);
    }
    loop_watch_destroy(desk->watch);
    loop_timer_destroy(desk->retry);
    control_unlisten(&desk->listener);
    free(desk);
}
