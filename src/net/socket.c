#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "net/inbox.h"
#include "net/virtio_header.h"

enum {
    MOST_BATCHES = 4,       /* a turn of the loop; then others have theirs */
    READ_AHEAD = 8,         /* messages of a system call */
    BUFFER_BYTES = 4 << 20, /* asked of the kernel for what is under way */
    MESSAGE = VIRTIO_HEADER + NET_MOST_FRAME,
};

struct net_socket {
    struct net_port port; /* first */
    int fd;
    struct loop *loop;
    struct loop_watch *watch;
    struct net_port_user user;
    struct inbox inbox;
};

static struct net_socket *socket_of(struct net_port *port)
{
    return (struct net_socket *)port;
}

/* The other end has gone: there is no cable any more. */
static void hang_up(struct net_socket *s)
{
    if (s->watch == NULL)
        return;
    loop_watch_destroy(s->watch);
    s->watch = NULL;
    s->user.link(s->user.owner, false);
}

/* ---- sending ---- */

struct outbox {
    struct mmsghdr messages[NET_BATCH];
    uint8_t headers[NET_BATCH][VIRTIO_HEADER];
    struct iovec iov[NET_BATCH * 4];
};

/* As many frames as the outbox has pieces for. */
static unsigned fill(struct outbox *outbox, const struct net_frame *frames, unsigned count)
{
    enum { ROOM = sizeof(outbox->iov) / sizeof(outbox->iov[0]) };
    unsigned used = 0;
    unsigned i = 0;

    for (; i < count && used + frames[i].iov_count + 1 <= ROOM; i++) {
        struct iovec *iov = &outbox->iov[used];
        virtio_header_encode(&frames[i].offload, outbox->headers[i]);
        iov[0] = (struct iovec){outbox->headers[i], VIRTIO_HEADER};
        memcpy(iov + 1, frames[i].iov, frames[i].iov_count * sizeof(iov[0]));
        used += frames[i].iov_count + 1;
        outbox->messages[i] =
            (struct mmsghdr){.msg_hdr = {.msg_iov = iov, .msg_iovlen = frames[i].iov_count + 1}};
    }
    return i;
}

static unsigned socket_send(struct net_port *port, const struct net_frame *frames, unsigned count)
{
    struct net_socket *s = socket_of(port);
    struct outbox outbox;
    unsigned done = 0;

    while (done < count && s->watch != NULL) {
        unsigned filled = fill(&outbox, frames + done, count - done);
        int sent = sendmmsg(s->fd, outbox.messages, filled, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            done += (unsigned)sent;
            continue;
        }
        if (errno == EAGAIN || errno == ENOBUFS) {
            (void)loop_watch_modify(s->watch, EPOLLOUT | (s->inbox.paused ? 0 : EPOLLIN));
            return done;
        }
        done++; /* a frame that cannot be sent is lost, as on a wire */
    }
    return count;
}

/* ---- receiving ---- */

/* False: there are no more for now. */
static bool read_messages(struct net_socket *s)
{
    struct inbox *inbox = &s->inbox;
    struct mmsghdr messages[READ_AHEAD] = {0};
    struct iovec iov[READ_AHEAD] = {0};
    unsigned room = NET_BATCH - inbox->count;
    unsigned most = room < READ_AHEAD ? room : READ_AHEAD;
    uint8_t *at = inbox_end(inbox);

    for (unsigned i = 0; i < most; i++) {
        iov[i] = (struct iovec){at + (size_t)i * MESSAGE, MESSAGE};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    int got = recvmmsg(s->fd, messages, most, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        struct net_offload offload;
        size_t length = messages[i].msg_len;
        if (length == 0) { /* the end of a SEQPACKET connection */
            hang_up(s);
            return false;
        }
        if (length > VIRTIO_HEADER && (messages[i].msg_hdr.msg_flags & MSG_TRUNC) == 0 &&
            virtio_header_decode(iov[i].iov_base, length - VIRTIO_HEADER, &offload) == 0)
            inbox_add_at(inbox, (uint8_t *)iov[i].iov_base + VIRTIO_HEADER, length - VIRTIO_HEADER,
                         &offload);
    }
    if (got > 0)
        inbox->used += (size_t)got * MESSAGE;
    return got == (int)most;
}

static bool read_batch(struct net_socket *s)
{
    while (s->watch != NULL && inbox_room(&s->inbox) >= (size_t)READ_AHEAD * MESSAGE) {
        if (!read_messages(s))
            return false;
    }
    return s->watch != NULL;
}

static void await(struct net_socket *s)
{
    if (s->watch != NULL)
        (void)loop_watch_modify(s->watch, s->inbox.paused ? 0 : EPOLLIN);
}

static void receive(struct net_socket *s)
{
    bool more = inbox_deliver(&s->inbox, &s->user);

    for (int i = 0; more && i < MOST_BATCHES; i++) {
        more = read_batch(s);
        more = inbox_deliver(&s->inbox, &s->user) && more;
    }
}

static void event(void *owner, uint32_t events)
{
    struct net_socket *s = owner;

    if ((events & EPOLLOUT) != 0) {
        await(s);
        s->user.writable(s->user.owner);
    }
    if ((events & EPOLLIN) != 0 && !s->inbox.paused) {
        receive(s);
        await(s);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        hang_up(s);
    }
}

static void socket_resume(struct net_port *port)
{
    struct net_socket *s = socket_of(port);

    if (s->inbox.paused && inbox_deliver(&s->inbox, &s->user))
        await(s);
}

/* ---- the rest of the seam ---- */

static void socket_start(struct net_port *port, const struct net_port_user *user)
{
    struct net_socket *s = socket_of(port);

    s->user = *user;
    if (loop_watch_create(s->loop, s->fd, EPOLLIN, event, s, &s->watch) < 0)
        s->watch = NULL;
    user->link(user->owner, s->watch != NULL);
}

static void socket_stop(struct net_port *port)
{
    struct net_socket *s = socket_of(port);

    if (s->watch != NULL)
        loop_watch_destroy(s->watch);
    s->watch = NULL;
}

/* The other end knows nothing of either: the card does what it does not take. */
static void socket_set_filter(struct net_port *port, const struct net_filter *filter)
{
    (void)port;
    (void)filter;
}

static void socket_set_offload(struct net_port *port, bool checksum, bool segmentation)
{
    (void)port;
    (void)checksum;
    (void)segmentation;
}

static void socket_destroy(struct net_port *port)
{
    struct net_socket *s = socket_of(port);

    socket_stop(port);
    inbox_destroy(&s->inbox);
    (void)close(s->fd);
    free(s);
}

static const struct net_port_ops socket_ops = {
    .name = "socket",
    .send = socket_send,
    .start = socket_start,
    .stop = socket_stop,
    .resume = socket_resume,
    .set_filter = socket_set_filter,
    .set_offload = socket_set_offload,
    .destroy = socket_destroy,
};

static int connect_to(const char *path, int *ret, struct reason *reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path))
        return reason_set(reason, -ENAMETOOLONG, "%s: too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return reason_set(reason, -errno, "%s: %s", path, strerrordesc_np(errno));
    *ret = take_fd(&fd);
    return 0;
}

int net_socket_create(struct loop *loop, const char *path, int fd, struct net_port **ret,
                      struct reason *reason)
{
    enum { MOST_MTU = 9000 };
    auto_close int own = fd;
    int size = BUFFER_BYTES;
    int error = fd < 0 ? connect_to(path, &own, reason) : 0;

    if (error < 0)
        return error;
    struct net_socket *s = calloc(1, sizeof(*s));
    if (s == NULL || inbox_create(&s->inbox) < 0) {
        free(s);
        return reason_set(reason, -ENOMEM, "out of memory");
    }
    /* Large frames are larger than the usual buffer takes; what the kernel grants is enough. */
    (void)setsockopt(own, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    s->port = (struct net_port){.ops = &socket_ops, .takes_offload = true, .mtu = MOST_MTU};
    s->loop = loop;
    s->fd = take_fd(&own);
    *ret = &s->port;
    return 0;
}
