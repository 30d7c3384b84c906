/*
 * A frame on the stream is its length as u32, big-endian, and its bytes. What passt has sent lies
 * in the buffer from `at` to `end`; frames of it that the card has not taken are in the inbox.
 */
#include "net/passt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "net/headers.h"
#include "net/inbox.h"
#include "net/passt_end.h"

enum {
    PREFIX = 4,
    MOST_TURNS = 8, /* reads a turn of the loop */
    SOCKET_BUFFER = 1 << 20,
    MOST_FORWARDS = 32,
    CHILD_FD = 3, /* the socket, as the child sees it */
};

struct passt {
    struct net_port port; /* first */
    int fd, said;         /* socket; a file with what it said */
    pid_t child;
    struct loop *loop;
    struct loop_watch *watch;
    struct net_port_user user;
    bool wants_room; /* a send found none */
    struct inbox inbox;
    size_t at, end;
    /* the rest of a frame that the socket took a part of */
    uint8_t rest[PREFIX + NET_MOST_FRAME];
    size_t rest_at, rest_end;
};

static struct passt *passt_of(struct net_port *port)
{
    return (struct passt *)port;
}

static void hang_up(struct passt *passt)
{
    if (passt->watch == NULL)
        return;
    loop_watch_destroy(passt->watch);
    passt->watch = NULL;
    passt->user.link(passt->user.owner, false);
}

static void await(struct passt *passt)
{
    if (passt->watch != NULL)
        (void)loop_watch_modify(passt->watch, (passt->inbox.paused ? 0 : EPOLLIN) |
                                                  (passt->wants_room ? EPOLLOUT : 0));
}

/* ---- sending ---- */

static ssize_t send_pieces(const struct passt *passt, struct iovec *iov, unsigned count)
{
    const struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    return sendmsg(passt->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* False: there is still some. */
static bool send_rest(struct passt *passt)
{
    while (passt->rest_at < passt->rest_end) {
        struct iovec iov = {passt->rest + passt->rest_at, passt->rest_end - passt->rest_at};
        ssize_t part = send_pieces(passt, &iov, 1);
        if (part <= 0)
            return false;
        passt->rest_at += (size_t)part;
    }
    return true;
}

static void keep_rest(struct passt *passt, const struct iovec *iov, unsigned count, size_t sent,
                      size_t length)
{
    struct iovec pieces[NET_MOST_PIECES + 3];
    unsigned made = net_iov_range(iov, count, sent, length - sent, pieces, NET_MOST_PIECES + 3);

    passt->rest_at = 0;
    passt->rest_end = net_iov_copy(pieces, made, passt->rest, sizeof(passt->rest));
}

/* passt ends connections itself: segments need not be made, but checksums must be right. */
static bool send_frame(struct passt *passt, const struct net_frame *frame)
{
    uint8_t prefix[PREFIX];
    uint8_t head[NET_MOST_HEADERS];
    struct iovec iov[NET_MOST_PIECES + 3] = {{prefix, sizeof(prefix)}};
    size_t copied = net_iov_copy(frame->iov, frame->iov_count, head, sizeof(head));
    unsigned count = 2 + net_iov_range(frame->iov, frame->iov_count, copied, frame->length - copied,
                                       iov + 2, NET_MOST_PIECES + 1);
    struct net_frame finished = *frame;

    iov[1] = (struct iovec){head, copied};
    finished.iov = iov + 1;
    finished.iov_count = count - 1;
    if (frame->offload.wants_checksum && net_finish_checksum(&finished, head) < 0)
        return true; /* lost */
    put_be32(prefix, (uint32_t)frame->length);
    ssize_t sent = send_pieces(passt, iov, count);
    if (sent < 0)
        return errno != EAGAIN;
    if ((size_t)sent < PREFIX + frame->length)
        keep_rest(passt, iov, count, (size_t)sent, PREFIX + frame->length);
    return true;
}

static unsigned passt_send(struct net_port *port, const struct net_frame *frames, unsigned count)
{
    struct passt *passt = passt_of(port);

    for (unsigned i = 0; i < count; i++) {
        if (passt->watch == NULL)
            return count;
        if (!send_rest(passt) || !send_frame(passt, &frames[i])) {
            passt->wants_room = true;
            await(passt);
            return i;
        }
    }
    if (passt->rest_at < passt->rest_end) {
        passt->wants_room = true;
        await(passt);
    }
    return count;
}

/* ---- receiving ---- */

/* What is whole in the buffer, as far as a batch goes. False: this is no stream of frames. */
static bool split(struct passt *passt)
{
    static const struct net_offload finished = {.checksum_known = true};
    uint8_t *buffer = passt->inbox.buffer;

    while (passt->inbox.count < NET_BATCH && passt->end - passt->at >= PREFIX) {
        size_t length = get_be32(buffer + passt->at);
        if (length < NET_ETHERNET || length > NET_MOST_FRAME)
            return false;
        if (passt->end - passt->at < PREFIX + length)
            break;
        inbox_add_at(&passt->inbox, buffer + passt->at + PREFIX, length, &finished);
        passt->at += PREFIX + length;
    }
    return true;
}

/* Deliver all that is whole; false: paused, or it is over. */
static bool deliver(struct passt *passt)
{
    do {
        if (!inbox_deliver(&passt->inbox, &passt->user))
            return false;
        if (!split(passt)) {
            hang_up(passt);
            return false;
        }
    } while (passt->inbox.count > 0);
    memmove(passt->inbox.buffer, passt->inbox.buffer + passt->at, passt->end - passt->at);
    passt->end -= passt->at;
    passt->at = 0;
    return true;
}

static void receive(struct passt *passt)
{
    for (int i = 0; i < MOST_TURNS && passt->watch != NULL; i++) {
        size_t room = INBOX_BUFFER - passt->end;
        ssize_t part = recv(passt->fd, passt->inbox.buffer + passt->end, room, MSG_DONTWAIT);
        if (part < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (part <= 0) {
            hang_up(passt);
            return;
        }
        passt->end += (size_t)part;
        if (!deliver(passt))
            return;
    }
}

static void passt_resume(struct net_port *port)
{
    struct passt *passt = passt_of(port);

    if (passt->inbox.paused && deliver(passt))
        await(passt);
}

static void event(void *owner, uint32_t events)
{
    struct passt *passt = owner;

    if ((events & EPOLLOUT) != 0 && send_rest(passt)) {
        passt->wants_room = false;
        passt->user.writable(passt->user.owner);
    }
    if ((events & EPOLLIN) != 0 && !passt->inbox.paused)
        receive(passt);
    else if ((events & (EPOLLHUP | EPOLLERR)) != 0)
        hang_up(passt);
    await(passt);
}

/* ---- the rest of the seam ---- */

static void passt_start(struct net_port *port, const struct net_port_user *user)
{
    struct passt *passt = passt_of(port);

    passt->user = *user;
    if (loop_watch_create(passt->loop, passt->fd, EPOLLIN, event, passt, &passt->watch) < 0)
        passt->watch = NULL;
    user->link(user->owner, passt->watch != NULL);
}

static void passt_stop(struct net_port *port)
{
    struct passt *passt = passt_of(port);

    if (passt->watch != NULL)
        loop_watch_destroy(passt->watch);
    passt->watch = NULL;
}

static void passt_set_filter(struct net_port *port, const struct net_filter *filter)
{
    (void)port;
    (void)filter;
}

static void passt_set_offload(struct net_port *port, bool checksum, bool segmentation)
{
    (void)port;
    (void)checksum;
    (void)segmentation;
}

/* It ends when its socket does; SIGTERM is for one that is in the midst of something. */
static void passt_destroy(struct net_port *port)
{
    struct passt *passt = passt_of(port);

    passt_stop(port);
    if (passt->fd >= 0)
        (void)close(passt->fd);
    if (passt->child > 0) {
        (void)kill(passt->child, SIGTERM);
        (void)waitpid(passt->child, NULL, 0);
    }
    if (passt->said >= 0)
        (void)close(passt->said);
    inbox_destroy(&passt->inbox);
    free(passt);
}

static const struct net_port_ops passt_ops = {
    .name = "nat",
    .send = passt_send,
    .start = passt_start,
    .stop = passt_stop,
    .resume = passt_resume,
    .set_filter = passt_set_filter,
    .set_offload = passt_set_offload,
    .destroy = passt_destroy,
};

/* ---- its process ---- */

bool passt_is_installed(void)
{
    static const char *const places[] = {"/usr/bin/passt", "/usr/local/bin/passt", "/bin/passt"};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (access(places[i], X_OK) == 0)
            return true;
    }
    return false;
}

/*
 * Addresses are those that people know from other NATs: the guest is 10.0.2.15, the host is
 * 10.0.2.2. What asks 10.0.2.3 for a name asks the host's resolver, whose own address DHCP tells.
 */
static int spawn(const struct passt_config *config, int fd, int said, pid_t *ret)
{
    enum { FIXED = 17 };
    char mtu[16];
    const char *words[FIXED + MOST_FORWARDS * 2 + 1] = {"passt",
                                                        "-f",
                                                        "-q",
                                                        "-e",
                                                        "--fd",
                                                        "3",
                                                        "-a",
                                                        "10.0.2.15",
                                                        "-n",
                                                        "24",
                                                        "-g",
                                                        "10.0.2.2",
                                                        "--dns-forward",
                                                        "10.0.2.3",
                                                        "-m",
                                                        mtu,
                                                        "--no-dhcp-search"};
    unsigned count = FIXED;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;

    (void)snprintf(mtu, sizeof(mtu), "%u", config->mtu);
    for (unsigned i = 0; i < config->forward_count && i < MOST_FORWARDS; i++) {
        words[count++] = config->forwards[i].udp ? "-u" : "-t";
        words[count++] = config->forwards[i].ports;
    }
    (void)sigemptyset(&none);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, said, 2);
    (void)posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
    (void)posix_spawn_file_actions_addclosefrom_np(&actions, CHILD_FD + 1);
    int error = posix_spawnp(ret, "passt", &actions, &attributes,
                             (char *const *)(const void *)words, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return -error;
}

/* Descriptors that the child has numbers for must not be in each other's way. */
static int make_socket(int ret[2])
{
    enum { ABOVE = 10 };
    int pair[2];
    int size = SOCKET_BUFFER;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ret[0] = pair[0];
    ret[1] = fcntl(pair[1], F_DUPFD_CLOEXEC, ABOVE);
    (void)close(pair[1]);
    return ret[1] < 0 ? -errno : 0;
}

int passt_create(struct loop *loop, const struct passt_config *config, struct net_port **ret,
                 struct reason *reason)
{
    int pair[2] = {-1, -1};
    struct passt *passt = calloc(1, sizeof(*passt));

    if (passt == NULL || inbox_create(&passt->inbox) < 0) {
        free(passt);
        return reason_set(reason, -ENOMEM, "out of memory");
    }
    passt->port = (struct net_port){.ops = &passt_ops, .takes_offload = true, .mtu = config->mtu};
    passt->loop = loop;
    passt->said = memfd_create("passt", MFD_CLOEXEC);
    int error = make_socket(pair);
    passt->fd = pair[0];
    if (error == 0)
        error = spawn(config, pair[1], passt->said, &passt->child);
    if (pair[1] >= 0)
        (void)close(pair[1]);
    if (error < 0) {
        passt_destroy(&passt->port);
        return reason_set(reason, error, "passt cannot be started: %s%s", strerrordesc_np(-error),
                          error == -ENOENT ? "; the package 'passt' has it" : "");
    }
    *ret = &passt->port;
    return 0;
}

/* The last line that is no complaint about a missing system log. */
static void tell_end(const struct passt *passt, struct reason *reason)
{
    char text[2048] = "";
    const char *last = "";
    char *rest = text;

    ssize_t length = pread(passt->said, text, sizeof(text) - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (line[0] != '\0' && strstr(line, "syslog") == NULL)
            last = line;
    }
    passt_end_tell(last, reason);
}

int passt_check(struct net_port *port, struct reason *reason)
{
    struct passt *passt = passt_of(port);
    struct pollfd waits = {.fd = passt->fd};

    if (poll(&waits, 1, 0) <= 0 || (waits.revents & POLLHUP) == 0)
        return 0;
    tell_end(passt, reason);
    return -EIO;
}
