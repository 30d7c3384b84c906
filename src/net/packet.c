/*
 * packet(7). A frame stands behind the first 10 bytes of a struct virtio_net_hdr. The kernel takes
 * VLAN tags out of frames and tells them beside; here they are put back.
 */
#include "net/packet.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/headers.h"
#include "net/inbox.h"
#include "net/virtio_header.h"

enum {
    SHORT_HEADER = 10, /* without num_buffers */
    ADDRESSES = 12,    /* of a frame, before the tag */
    VLAN = 0x8100,
    ALL = 0x0003, /* ETH_P_ALL */
    MOST_BATCHES = 4,
    BUFFER_BYTES = 4 << 20,
};

#ifndef PACKET_IGNORE_OUTGOING
#    define PACKET_IGNORE_OUTGOING 23
#endif

struct packet {
    struct net_port port; /* first */
    int fd;
    struct loop *loop;
    struct loop_watch *watch;
    struct loop_timer *look; /* whether an interface that went down is deleted */
    bool is_looking;
    struct net_port_user user;
    struct inbox inbox;
};

static struct packet *packet_of(struct net_port *port)
{
    return (struct packet *)port;
}

/*
 * The kernel tells that an interface goes down, and nothing when one that is down is deleted; that
 * of a deleted one comes before the socket shows it. So such a one is looked at again and again.
 */
static void look_soon(struct packet *packet)
{
    if (!packet->is_looking)
        loop_timer_set(packet->look, clock_monotonic_ns() + NS_PER_SECOND);
    packet->is_looking = true;
}

/* ---- to the interface ---- */

static unsigned packet_send(struct net_port *port, const struct net_frame *frames, unsigned count)
{
    struct packet *packet = packet_of(port);

    for (unsigned i = 0; i < count; i++) {
        uint8_t header[VIRTIO_HEADER];
        struct iovec iov[NET_MOST_PIECES + 1] = {{header, SHORT_HEADER}};
        const struct msghdr message = {.msg_iov = iov, .msg_iovlen = frames[i].iov_count + 1};
        virtio_header_encode(&frames[i].offload, header);
        memcpy(iov + 1, frames[i].iov, frames[i].iov_count * sizeof(iov[0]));
        /* What it refuses (it is down, the frame is too large) is lost, as on a wire. */
        if (sendmsg(packet->fd, &message, MSG_DONTWAIT) >= 0)
            continue;
        if (errno == EAGAIN || errno == ENOBUFS) {
            if (packet->watch != NULL)
                (void)loop_watch_modify(packet->watch, EPOLLIN | EPOLLOUT);
            return i;
        }
        if (errno == ENETDOWN || errno == ENXIO)
            look_soon(packet);
    }
    return count;
}

/* ---- from the interface ---- */

enum tag_kind { TAG_NONE, TAG_VLAN, TAG_OTHER };

/* The tag that was taken out of the frame. */
static enum tag_kind find_tag(struct msghdr *message, uint16_t *ret)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL; at = CMSG_NXTHDR(message, at)) {
        struct tpacket_auxdata extra;
        if (at->cmsg_level != SOL_PACKET || at->cmsg_type != PACKET_AUXDATA ||
            at->cmsg_len < CMSG_LEN(sizeof(extra)))
            continue;
        memcpy(&extra, CMSG_DATA(at), sizeof(extra));
        *ret = extra.tp_vlan_tci;
        if ((extra.tp_status & TP_STATUS_VLAN_VALID) == 0)
            return TAG_NONE;
        bool other =
            (extra.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 && extra.tp_vlan_tpid != VLAN;
        return other ? TAG_OTHER : TAG_VLAN;
    }
    return TAG_NONE;
}

/* The frame stands a tag's room behind the end of the inbox. */
static void add(struct inbox *inbox, size_t length, const uint8_t header[VIRTIO_HEADER],
                struct msghdr *message)
{
    struct net_offload offload;
    uint8_t *at = inbox_end(inbox);
    uint16_t tag = 0;

    enum tag_kind kind = find_tag(message, &tag);
    if (virtio_header_decode(header, length, &offload) < 0 || kind == TAG_OTHER)
        return;
    if (kind == TAG_NONE) {
        inbox_add(inbox, NET_VLAN_TAG, length, &offload);
        return;
    }
    memmove(at, at + NET_VLAN_TAG, ADDRESSES);
    put_be16(at + ADDRESSES, VLAN);
    put_be16(at + ADDRESSES + 2, tag);
    if (offload.wants_checksum)
        offload.checksum_start = (uint16_t)(offload.checksum_start + NET_VLAN_TAG);
    if (offload.segmentation != NET_WHOLE)
        offload.headers_length = (uint16_t)(offload.headers_length + NET_VLAN_TAG);
    inbox_add(inbox, 0, length + NET_VLAN_TAG, &offload);
}

static bool read_frame(struct packet *packet, struct inbox *inbox)
{
    uint8_t header[VIRTIO_HEADER] = {0};
    struct iovec iov[] = {{header, SHORT_HEADER},
                          {inbox_end(inbox) + NET_VLAN_TAG, NET_MOST_FRAME}};
    char extra[CMSG_SPACE(sizeof(struct tpacket_auxdata))] __attribute__((aligned(8)));
    struct msghdr message = {
        .msg_iov = iov, .msg_iovlen = 2, .msg_control = extra, .msg_controllen = sizeof(extra)};
    ssize_t length = recvmsg(packet->fd, &message, MSG_DONTWAIT);

    if (length < 0 && errno == ENETDOWN)
        look_soon(packet);
    if (length < 0)
        return false;
    if (length >= SHORT_HEADER + NET_ETHERNET && (message.msg_flags & MSG_TRUNC) == 0)
        add(inbox, (size_t)length - SHORT_HEADER, header, &message);
    return true;
}

/* False: there are no more for now. */
static bool read_batch(struct packet *packet)
{
    while (inbox_room(&packet->inbox) >= NET_VLAN_TAG + NET_MOST_FRAME) {
        if (!read_frame(packet, &packet->inbox))
            return false;
    }
    return true;
}

static void await(struct packet *packet)
{
    (void)loop_watch_modify(packet->watch, packet->inbox.paused ? 0 : EPOLLIN);
}

static void receive(struct packet *packet)
{
    bool more = inbox_deliver(&packet->inbox, &packet->user);

    for (int i = 0; more && i < MOST_BATCHES; i++) {
        more = read_batch(packet);
        more = inbox_deliver(&packet->inbox, &packet->user) && more;
    }
}

/* The interface went down, and may come up again: the error is taken, no more. */
static void clear_error(const struct packet *packet)
{
    int error = 0;
    socklen_t length = sizeof(error);

    (void)getsockopt(packet->fd, SOL_SOCKET, SO_ERROR, &error, &length);
}

/* The kernel takes the interface from the socket when it is deleted; another of its name is not it.
 */
static bool is_gone(const struct packet *packet)
{
    struct sockaddr_ll address = {0};
    socklen_t length = sizeof(address);

    return getsockname(packet->fd, (struct sockaddr *)&address, &length) < 0 ||
           address.sll_ifindex <= 0;
}

static void end(struct packet *packet)
{
    loop_watch_destroy(packet->watch);
    packet->watch = NULL;
    packet->user.link(packet->user.owner, false);
}

static bool is_up(const struct packet *packet)
{
    struct sockaddr_ll address = {0};
    socklen_t length = sizeof(address);
    struct ifreq request = {0};

    if (getsockname(packet->fd, (struct sockaddr *)&address, &length) < 0)
        return false;
    request.ifr_ifindex = address.sll_ifindex;
    return ioctl(packet->fd, SIOCGIFNAME, &request) == 0 &&
           ioctl(packet->fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

static void look(void *owner)
{
    struct packet *packet = owner;

    packet->is_looking = false;
    if (packet->watch == NULL)
        return;
    if (is_gone(packet))
        end(packet);
    else if (!is_up(packet))
        look_soon(packet);
}

static void event(void *owner, uint32_t events)
{
    struct packet *packet = owner;

    if ((events & EPOLLERR) != 0) {
        clear_error(packet);
        if (is_gone(packet)) {
            end(packet);
            return;
        }
        look_soon(packet);
    }
    if ((events & EPOLLOUT) != 0) {
        await(packet);
        packet->user.writable(packet->user.owner);
    }
    if ((events & EPOLLIN) != 0 && !packet->inbox.paused) {
        receive(packet);
        await(packet);
    }
}

static void packet_resume(struct net_port *port)
{
    struct packet *packet = packet_of(port);

    if (packet->watch != NULL && packet->inbox.paused &&
        inbox_deliver(&packet->inbox, &packet->user))
        await(packet);
}

/* ---- the rest of the seam ---- */

static void packet_start(struct net_port *port, const struct net_port_user *user)
{
    struct packet *packet = packet_of(port);

    packet->user = *user;
    if (loop_watch_create(packet->loop, packet->fd, EPOLLIN, event, packet, &packet->watch) < 0)
        packet->watch = NULL;
    user->link(user->owner, packet->watch != NULL);
}

static void packet_stop(struct net_port *port)
{
    struct packet *packet = packet_of(port);

    loop_watch_destroy(packet->watch);
    packet->watch = NULL;
}

static void packet_set_filter(struct net_port *port, const struct net_filter *filter)
{
    (void)port;
    (void)filter;
}

static void packet_set_offload(struct net_port *port, bool checksum, bool segmentation)
{
    (void)port;
    (void)checksum;
    (void)segmentation;
}

static void packet_destroy(struct net_port *port)
{
    struct packet *packet = packet_of(port);

    packet_stop(port);
    loop_timer_destroy(packet->look);
    inbox_destroy(&packet->inbox);
    (void)close(packet->fd);
    free(packet);
}

static const struct net_port_ops packet_ops = {
    .name = "packet",
    .send = packet_send,
    .start = packet_start,
    .stop = packet_stop,
    .resume = packet_resume,
    .set_filter = packet_set_filter,
    .set_offload = packet_set_offload,
    .destroy = packet_destroy,
};

/* ---- opening ---- */

static int set(int fd, int option, int value)
{
    return setsockopt(fd, SOL_PACKET, option, &value, sizeof(value));
}

static int bind_to(int fd, unsigned index)
{
    const struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ALL), .sll_ifindex = (int)index};
    const struct packet_mreq all = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};
    int size = BUFFER_BYTES;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    return set(fd, PACKET_VNET_HDR, 1) < 0 || set(fd, PACKET_AUXDATA, 1) < 0 ||
                   set(fd, PACKET_IGNORE_OUTGOING, 1) < 0 ||
                   bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
                   setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0
               ? -errno
               : 0;
}

static unsigned mtu_of(int fd, const char *interface)
{
    enum { USUAL = 1500 };
    struct ifreq request = {0};

    memcpy(request.ifr_name, interface, strnlen(interface, sizeof(request.ifr_name) - 1));
    return ioctl(fd, SIOCGIFMTU, &request) < 0 || request.ifr_mtu < 0 ? USUAL
                                                                      : (unsigned)request.ifr_mtu;
}

int packet_create(struct loop *loop, const char *interface, struct net_port **ret,
                  struct reason *reason)
{
    unsigned index = if_nametoindex(interface);

    if (index == 0)
        return reason_set(reason, -ENODEV, "there is no network interface %s", interface);
    auto_close int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return reason_set(reason, -errno, "network interface %s: %s", interface,
                          errno == EPERM ? "only root gets its frames" : strerrordesc_np(errno));
    int error = bind_to(fd, index);
    if (error < 0)
        return reason_set(reason, error, "network interface %s: %s", interface,
                          strerrordesc_np(-error));
    struct packet *packet = calloc(1, sizeof(*packet));
    if (packet == NULL || loop_timer_create(loop, look, packet, &packet->look) < 0 ||
        inbox_create(&packet->inbox) < 0) {
        if (packet != NULL)
            loop_timer_destroy(packet->look);
        free(packet);
        return reason_set(reason, -ENOMEM, "out of memory");
    }
    packet->port =
        (struct net_port){.ops = &packet_ops, .takes_offload = true, .mtu = mtu_of(fd, interface)};
    packet->loop = loop;
    packet->fd = take_fd(&fd);
    *ret = &packet->port;
    return 0;
}
