#include "net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "net/inbox.h"
#include "net/virtio_header.h"

/* Batches a turn of the loop; then others have theirs. */
enum { MOST_BATCHES = 4 };

struct tap {
    struct net_port port; /* first */
    int fd;
    struct loop *loop;
    struct loop_watch *watch;
    struct net_port_user user;
    struct inbox inbox;
};

static struct tap *tap_of(struct net_port *port)
{
    return (struct tap *)port;
}

/* ---- to the device ---- */

static unsigned tap_send(struct net_port *port, const struct net_frame *frames, unsigned count)
{
    const struct tap *tap = tap_of(port);

    for (unsigned i = 0; i < count; i++) {
        uint8_t header[VIRTIO_HEADER];
        struct iovec iov[NET_MOST_PIECES + 1] = {{header, sizeof(header)}};
        virtio_header_encode(&frames[i].offload, header);
        memcpy(iov + 1, frames[i].iov, frames[i].iov_count * sizeof(iov[0]));
        /* What it refuses (it is down, the frame is damaged) is lost, as on a wire. */
        if (writev(tap->fd, iov, (int)frames[i].iov_count + 1) < 0 && errno == EAGAIN) {
            if (tap->watch != NULL)
                (void)loop_watch_modify(tap->watch, EPOLLIN | EPOLLOUT);
            return i;
        }
    }
    return count;
}

/* ---- from the device ---- */

static bool read_frame(struct tap *tap)
{
    struct inbox *inbox = &tap->inbox;
    struct net_offload offload;
    ssize_t length = read(tap->fd, inbox_end(inbox), VIRTIO_HEADER + NET_MOST_FRAME);

    if (length < 0)
        return false;
    if (length > VIRTIO_HEADER &&
        virtio_header_decode(inbox_end(inbox), (size_t)length - VIRTIO_HEADER, &offload) == 0)
        inbox_add(inbox, VIRTIO_HEADER, (size_t)length - VIRTIO_HEADER, &offload);
    return true;
}

/* False: there are no more for now. */
static bool read_batch(struct tap *tap)
{
    while (inbox_room(&tap->inbox) >= VIRTIO_HEADER + NET_MOST_FRAME) {
        if (!read_frame(tap))
            return false;
    }
    return true;
}

static void await(struct tap *tap)
{
    (void)loop_watch_modify(tap->watch, tap->inbox.paused ? 0 : EPOLLIN);
}

static void receive(struct tap *tap)
{
    bool more = inbox_deliver(&tap->inbox, &tap->user);

    for (int i = 0; more && i < MOST_BATCHES; i++) {
        more = read_batch(tap);
        more = inbox_deliver(&tap->inbox, &tap->user) && more;
    }
}

/* The device was deleted, which is an error that stays. */
static void end(struct tap *tap)
{
    loop_watch_destroy(tap->watch);
    tap->watch = NULL;
    tap->user.link(tap->user.owner, false);
}

static void event(void *owner, uint32_t events)
{
    struct tap *tap = owner;

    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        end(tap);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        await(tap);
        tap->user.writable(tap->user.owner);
    }
    if ((events & EPOLLIN) != 0 && !tap->inbox.paused) {
        receive(tap);
        await(tap);
    }
}

static void tap_resume(struct net_port *port)
{
    struct tap *tap = tap_of(port);

    if (!tap->inbox.paused || tap->watch == NULL)
        return;
    if (inbox_deliver(&tap->inbox, &tap->user))
        await(tap);
}

/* ---- the rest of the seam ---- */

static void tap_start(struct net_port *port, const struct net_port_user *user)
{
    struct tap *tap = tap_of(port);

    tap->user = *user;
    if (loop_watch_create(tap->loop, tap->fd, EPOLLIN, event, tap, &tap->watch) < 0)
        tap->watch = NULL;
    user->link(user->owner, tap->watch != NULL);
}

static void tap_stop(struct net_port *port)
{
    struct tap *tap = tap_of(port);

    if (tap->watch != NULL)
        loop_watch_destroy(tap->watch);
    tap->watch = NULL;
}

/* The host's bridge or stack may send anything: the card looks at each. */
static void tap_set_filter(struct net_port *port, const struct net_filter *filter)
{
    (void)port;
    (void)filter;
}

static void tap_set_offload(struct net_port *port, bool checksum, bool segmentation)
{
    unsigned flags = checksum ? TUN_F_CSUM : 0;

    if (checksum && segmentation)
        flags |= TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    (void)ioctl(tap_of(port)->fd, TUNSETOFFLOAD, flags);
}

static void tap_destroy(struct net_port *port)
{
    struct tap *tap = tap_of(port);

    tap_stop(port);
    inbox_destroy(&tap->inbox);
    if (tap->fd >= 0)
        (void)close(tap->fd);
    free(tap);
}

static const struct net_port_ops tap_ops = {
    .name = "tap",
    .send = tap_send,
    .start = tap_start,
    .stop = tap_stop,
    .resume = tap_resume,
    .set_filter = tap_set_filter,
    .set_offload = tap_set_offload,
    .destroy = tap_destroy,
};

/* ---- opening ---- */

static int open_named(const char *name, int *ret, struct reason *reason)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    if (strlen(name) == 0 || strlen(name) >= sizeof(request.ifr_name))
        return reason_set(reason, -EINVAL, "'%s' is no name of a network device", name);
    auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return reason_set(reason, -errno, "/dev/net/tun: %s",
                          errno == EACCES ? "only root may use it" : strerrordesc_np(errno));
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        int error = errno;
        return error == EPERM
                   ? reason_set(
                         reason, -error,
                         "TAP device '%s' is not yours; 'ip tuntap add %s mode tap user NAME'"
                         " makes it so",
                         name, name)
                   : reason_set(reason, -error, "TAP device '%s': %s", name,
                                error == EBUSY ? "another program has it" : strerrordesc_np(error));
    }
    *ret = take_fd(&fd);
    return 0;
}

/* One that was handed to us may have been made without the header that frames are to have. */
static int set_header(int fd, struct reason *reason)
{
    struct ifreq request;
    int size = VIRTIO_HEADER;

    if (ioctl(fd, TUNGETIFF, &request) < 0)
        return reason_set(reason, -EINVAL, "descriptor %d is no TAP device", fd);
    if ((request.ifr_flags & IFF_TAP) == 0 || (request.ifr_flags & IFF_VNET_HDR) == 0)
        return reason_set(reason, -EINVAL, "descriptor %d is no TAP device with vnet_hdr", fd);
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
        return reason_set(reason, -errno, "the TAP device takes no header of %d bytes", size);
    return 0;
}

static unsigned mtu_of(int fd)
{
    enum { USUAL = 1500 };
    struct ifreq request;
    auto_close int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (socket_fd < 0 || ioctl(fd, TUNGETIFF, &request) < 0 ||
        ioctl(socket_fd, SIOCGIFMTU, &request) < 0 || request.ifr_mtu < 0)
        return USUAL;
    return (unsigned)request.ifr_mtu;
}

int tap_create(struct loop *loop, const char *name, int fd, struct net_port **ret,
               struct reason *reason)
{
    auto_close int own = fd;
    int error = fd < 0 ? open_named(name, &own, reason) : 0;

    if (error == 0)
        error = set_header(own, reason);
    if (error < 0)
        return error;
    int flags = fcntl(own, F_GETFL);
    if (flags < 0 || fcntl(own, F_SETFL, flags | O_NONBLOCK) < 0)
        return reason_set(reason, -errno, "the TAP device cannot be read");
    struct tap *tap = calloc(1, sizeof(*tap));
    if (tap == NULL || inbox_create(&tap->inbox) < 0) {
        free(tap);
        return reason_set(reason, -ENOMEM, "out of memory");
    }
    tap->port = (struct net_port){.ops = &tap_ops, .takes_offload = true, .mtu = mtu_of(own)};
    tap->loop = loop;
    tap->fd = take_fd(&own);
    *ret = &tap->port;
    return 0;
}
