#include "cli/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

enum { BUFFER_SIZE = 64 << 10, LOOK_MS = 1000 };

/* Bytes on their way; `to` is told of the end when `from` has closed and all has gone. */
struct way {
    int from, to;
    bool ended, told;
    size_t at, end;
    uint8_t bytes[BUFFER_SIZE];
};

struct pair {
    struct way way[2]; /* there, and back */
};

struct relay {
    const struct relay_config *config;
    struct pair *pairs[RELAY_MOST];
    unsigned count;
    uint64_t
        look_ns; /* when what is behind is to be looked at; also when newcomers are let in again */
    bool closed; /* to newcomers: the host has no descriptor for them */
};

/* ---- bytes ---- */

/* False: the connection is of no use any more. */
static bool read_way(struct way *way)
{
    ssize_t count = recv(way->from, way->bytes, sizeof(way->bytes), MSG_DONTWAIT);

    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    way->at = 0;
    way->end = (size_t)count;
    way->ended = count == 0;
    return true;
}

static bool write_way(struct way *way)
{
    ssize_t count =
        send(way->to, way->bytes + way->at, way->end - way->at, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    way->at += (size_t)count;
    return true;
}

/* Nobody takes bytes there any more: this way is done, the other may have something yet. */
static void give_up(struct way *way)
{
    way->at = way->end;
    way->ended = way->told = true;
}

static bool move(struct way *way, const struct pollfd *from, const struct pollfd *to)
{
    bool sound = true;

    if ((to->revents & (POLLERR | POLLHUP)) != 0)
        give_up(way);
    if (way->at == way->end && !way->ended && from->revents != 0)
        sound = read_way(way);
    if (sound && way->at < way->end)
        sound = write_way(way);
    if (way->at == way->end && way->ended && !way->told) {
        (void)shutdown(way->to, SHUT_WR);
        way->told = true;
    }
    return sound;
}

static short wishes(const struct way *in, const struct way *out)
{
    bool reads = in->at == in->end && !in->ended;
    bool writes = out->at < out->end;
    return (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
}

/* ---- pairs ---- */

static void close_pair(struct relay *relay, unsigned index)
{
    struct pair *pair = relay->pairs[index];

    (void)close(pair->way[0].from);
    (void)close(pair->way[0].to);
    free(pair);
    relay->pairs[index] = relay->pairs[--relay->count];
}

static void set_up_pair(struct pair *pair, int front, int behind)
{
    for (unsigned i = 0; i < 2; i++) {
        struct way *way = &pair->way[i];
        way->from = i == 0 ? front : behind;
        way->to = i == 0 ? behind : front;
        way->ended = way->told = false;
        way->at = way->end = 0;
    }
}

/* For one that cannot be served the others do not suffer, unless nothing is behind any more. */
static int add_pair(struct relay *relay)
{
    auto_close int front =
        accept4(relay->config->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    auto_close int behind = -1;

    relay->closed = front < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR;
    if (front < 0 || !relay->config->admit(relay->config->owner, front))
        return 0;
    struct pair *pair = malloc(sizeof(*pair));
    int error = pair == NULL ? -ENOMEM : relay->config->connect(relay->config->owner, &behind);
    if (error < 0) {
        free(pair);
        return error == -ENOENT ? error : 0;
    }
    int there = take_fd(&front);
    int back = take_fd(&behind);
    set_up_pair(pair, there, back);
    relay->pairs[relay->count++] = pair;
    return 0;
}

/* Two of `fds` for each, in their order. From the last: what goes is replaced by the last. */
static void move_pairs(struct relay *relay, const struct pollfd *fds)
{
    for (unsigned i = relay->count; i-- > 0;) {
        struct way *way = relay->pairs[i]->way;
        const struct pollfd *front = &fds[2 * i];
        const struct pollfd *behind = &fds[2 * i + 1];
        bool there = move(&way[0], front, behind);
        bool back = move(&way[1], behind, front);
        if (!there || !back || (way[0].told && way[1].told))
            close_pair(relay, i);
    }
}

/* One that is waited for in no way must not wake us: not by its end either. */
static struct pollfd waiting_for(int fd, short events)
{
    return (struct pollfd){.fd = events != 0 ? fd : -1, .events = events};
}

static int look(struct relay *relay)
{
    uint64_t now = clock_monotonic_ns();

    if (now < relay->look_ns)
        return 0;
    relay->look_ns = now + LOOK_MS * (NS_PER_SECOND / 1000);
    relay->closed = false;
    return relay->config->look(relay->config->owner);
}

static int turn(struct relay *relay, bool *ret_stop)
{
    enum { STOP, LISTENER, PAIRS };
    bool open = relay->count < RELAY_MOST && !relay->closed;
    struct pollfd fds[PAIRS + 2 * RELAY_MOST] = {
        [STOP] = waiting_for(relay->config->stop_fd, POLLIN),
        [LISTENER] = waiting_for(relay->config->listener_fd, open ? POLLIN : 0),
    };
    unsigned count = relay->count;

    for (unsigned i = 0; i < count; i++) {
        const struct way *way = relay->pairs[i]->way;
        fds[PAIRS + 2 * i] = waiting_for(way[0].from, wishes(&way[0], &way[1]));
        fds[PAIRS + 2 * i + 1] = waiting_for(way[0].to, wishes(&way[1], &way[0]));
    }
    if (poll(fds, PAIRS + 2 * count, LOOK_MS) < 0)
        return errno == EINTR ? 0 : -errno;
    move_pairs(relay, fds + PAIRS);
    *ret_stop = fds[STOP].revents != 0;
    int error = (fds[LISTENER].revents & POLLIN) != 0 ? add_pair(relay) : 0;
    return error < 0 ? error : look(relay);
}

int relay_run(const struct relay_config *config)
{
    struct relay relay = {.config = config,
                          .look_ns = clock_monotonic_ns() + LOOK_MS * (NS_PER_SECOND / 1000)};
    bool stop = false;
    int error = 0;

    while (error == 0 && !stop)
        error = turn(&relay, &stop);
    while (relay.count > 0)
        close_pair(&relay, 0);
    return error;
}
