/*
 * The process itself: one loop around poll(), as libslirp wants it. Each guest has a libslirp of
 * its own, so that what one does with its connections is not the others' matter, and a share of the
 * sockets that this process may have.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/headers.h"
#include "net/hello.h"
#include "net/virtio_header.h"
#include "switchd/nat.h"
#include "switchd/nat_fragments.h"
#include "switchd/nat_guests.h"
#include "switchd/nat_lease.h"

enum {
    SHARES = 64,     /* more guests than that a switch has no ports for */
    OWN_FILES = 256, /* forwards among them */
    MOST_POLLED = SHARES * NAT_SOCKETS,
    MOST_TIMERS = NAT_PLACES,
    MOST_BATCH = 64,
    MS = 1000000,
    USUAL_MTU = 1500,
    NOBODY = 65534,
    FROM_GUEST = VIRTIO_HEADER + NET_MOST_FRAME,
};

#define MOST_MEMORY (UINT64_C(2) << 30)

struct timer {
    SlirpTimerCb fn;
    void *owner;
    int64_t due_ms; /* 0: not set */
};

static struct nat {
    struct nat_guests guests;
    Slirp *slirp[NAT_PLACES]; /* NULL: not yet */
    struct nat_fragments fragments[NAT_PLACES];
    unsigned share;
    struct pollfd polled[MOST_POLLED];
    unsigned count;
    struct timer timers[MOST_TIMERS];
    uint8_t message[FROM_GUEST];
} nat;

/* ---- what libslirp asks for ---- */

static ssize_t send_packet(const void *bytes, size_t length, void *owner)
{
    static const struct net_offload finished = {.checksum_known = true};
    uint8_t header[VIRTIO_HEADER];
    struct iovec iov[] = {
        {header, sizeof(header)},
        {(void *)(uintptr_t)bytes /* NOLINT(performance-no-int-to-ptr) */, length}};
    const struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

    (void)owner;
    virtio_header_encode(&finished, header);
    (void)sendmsg(NAT_FD, &message, MSG_NOSIGNAL | MSG_DONTWAIT); /* TCP sends again */
    return (ssize_t)length;
}

static void guest_error(const char *message, void *owner)
{
    (void)message;
    (void)owner;
}

static int64_t clock_now(void *owner)
{
    (void)owner;
    return (int64_t)clock_monotonic_ns();
}

static void *timer_new(SlirpTimerCb fn, void *timer_owner, void *owner)
{
    (void)owner;
    for (unsigned i = 0; i < MOST_TIMERS; i++) {
        if (nat.timers[i].fn == NULL) {
            nat.timers[i] = (struct timer){.fn = fn, .owner = timer_owner};
            return &nat.timers[i];
        }
    }
    abort();
}

static void timer_free(void *timer, void *owner)
{
    (void)owner;
    *(struct timer *)timer = (struct timer){0};
}

static void timer_mod(void *timer, int64_t due_ms, void *owner)
{
    (void)owner;
    ((struct timer *)timer)->due_ms = due_ms;
}

static void poll_fd(int fd, void *owner)
{
    (void)fd;
    (void)owner;
}

static void notify(void *owner)
{
    (void)owner;
}

/* ---- polling ---- */

static const struct {
    int theirs;
    short ours;
} events[] = {{SLIRP_POLL_IN, POLLIN},
              {SLIRP_POLL_OUT, POLLOUT},
              {SLIRP_POLL_PRI, POLLPRI},
              {SLIRP_POLL_ERR, POLLERR},
              {SLIRP_POLL_HUP, POLLHUP}};
enum { EVENTS = sizeof(events) / sizeof(events[0]) };

static int add_poll(int fd, int wanted, void *owner)
{
    struct pollfd *at = &nat.polled[nat.count];

    (void)owner;
    if (nat.count == MOST_POLLED)
        return -1;
    *at = (struct pollfd){.fd = fd};
    for (unsigned i = 0; i < EVENTS; i++)
        at->events = (short)(at->events | ((wanted & events[i].theirs) != 0 ? events[i].ours : 0));
    return (int)nat.count++;
}

static int get_events(int index, void *owner)
{
    int ret = 0;

    (void)owner;
    if (index < 0 || (unsigned)index >= nat.count)
        return 0;
    for (unsigned i = 0; i < EVENTS; i++)
        ret |= (nat.polled[index].revents & events[i].ours) != 0 ? events[i].theirs : 0;
    return ret;
}

static uint32_t until_timer(uint32_t timeout)
{
    int64_t now = clock_now(NULL) / MS;

    for (unsigned i = 0; i < MOST_TIMERS; i++) {
        int64_t due = nat.timers[i].due_ms;
        if (due != 0 && due - now < (int64_t)timeout)
            timeout = due > now ? (uint32_t)(due - now) : 0;
    }
    return timeout;
}

static void fire_timers(void)
{
    int64_t now = clock_now(NULL) / MS;

    for (unsigned i = 0; i < MOST_TIMERS; i++) {
        struct timer *timer = &nat.timers[i];
        if (timer->due_ms == 0 || timer->due_ms > now)
            continue;
        timer->due_ms = 0;
        timer->fn(timer->owner);
    }
}

/* ---- guests ---- */

static Slirp *make_slirp(unsigned place)
{
    static const SlirpCb callbacks = {
        .send_packet = send_packet,
        .guest_error = guest_error,
        .clock_get_ns = clock_now,
        .timer_new = timer_new,
        .timer_free = timer_free,
        .timer_mod = timer_mod,
        .register_poll_fd = poll_fd,
        .unregister_poll_fd = poll_fd,
        .notify = notify,
    };
    SlirpConfig config = {
        .version = 1, .in_enabled = true, .if_mtu = USUAL_MTU, .if_mru = USUAL_MTU};

    (void)inet_pton(AF_INET, "10.0.2.0", &config.vnetwork);
    (void)inet_pton(AF_INET, "255.255.255.0", &config.vnetmask);
    (void)inet_pton(AF_INET, "10.0.2.2", &config.vhost);
    (void)inet_pton(AF_INET, "10.0.2.3", &config.vnameserver);
    config.vdhcp_start.s_addr = config.vnetwork.s_addr | htonl(place);
    return slirp_new(&config, &callbacks, NULL);
}

/* One who is new in a place gets none of the old one's connections. */
static bool settle(unsigned place, bool is_new)
{
    if (is_new)
        nat_fragments_release(&nat.fragments[place]);
    if (is_new && nat.slirp[place] != NULL && !nat.guests.guest[place].pinned) {
        slirp_cleanup(nat.slirp[place]);
        nat.slirp[place] = NULL;
    }
    if (nat.slirp[place] == NULL)
        nat.slirp[place] = make_slirp(place);
    return nat.slirp[place] != NULL;
}

/* A line each, behind one of headings. */
static unsigned count_sockets(void *owner)
{
    char *lines = slirp_connection_info(*(Slirp **)owner);
    unsigned count = 0;

    for (const char *at = lines; at != NULL && (at = strchr(at, '\n')) != NULL; at++)
        count++;
    free(lines);
    return count > 0 ? count - 1 : 0;
}

/* ---- frames of guests ---- */

static void answer_lease(const struct nat_ask *ask)
{
    uint8_t answer[NAT_LEASE_SIZE];
    bool is_new = false;

    if (ask->type == NAT_DECLINE) {
        nat_guests_decline(&nat.guests, ask->mac, nat_place_of(ask->wish));
        return;
    }
    int place = nat_guests_place(&nat.guests, ask->mac, nat_place_of(ask->wish),
                                 clock_monotonic_ns(), &is_new);

    if (place >= 0 && settle((unsigned)place, is_new) &&
        nat_lease_answer(ask, (uint8_t)place, answer))
        (void)send_packet(answer, sizeof(answer), NULL);
}

static void forward(const uint8_t *bytes, size_t length, const struct nat_frame *frame)
{
    bool is_new = false;
    uint64_t now = clock_monotonic_ns();

    nat_guests_claim(&nat.guests, bytes + NET_MAC_SIZE, frame->place, now);
    int place = nat_guests_place(&nat.guests, bytes + NET_MAC_SIZE, frame->place, now, &is_new);

    if (place < 0 || !settle((unsigned)place, is_new))
        return;
    if (frame->kind == NAT_IP)
        bytes = nat_fragments_take(&nat.fragments[place], bytes, length, &length);
    if (bytes == NULL)
        return;
    if (!frame->opens || nat_guest_may_open(&nat.guests.guest[place], nat.share, now, count_sockets,
                                            &nat.slirp[place]))
        slirp_input(nat.slirp[place], bytes, (int)length);
}

/* Segments need not be made: libslirp ends connections itself. Checksums must be right. */
static void take_frame(size_t length)
{
    uint8_t *bytes = nat.message + VIRTIO_HEADER;
    const struct iovec iov = {bytes, length};
    struct net_frame frame = {.iov = &iov, .iov_count = 1, .length = length};

    if (virtio_header_decode(nat.message, length, &frame.offload) < 0 ||
        (frame.offload.wants_checksum && net_finish_checksum(&frame, bytes) < 0))
        return;
    const struct nat_frame seen = nat_frame_parse(bytes, length);
    struct nat_ask ask;
    if (seen.kind == NAT_LEASE && nat_lease_parse(bytes, length, &ask))
        answer_lease(&ask);
    else if (seen.kind == NAT_ARP || seen.kind == NAT_IP)
        forward(bytes, length, &seen);
}

/* False: the switch has gone. */
static bool read_frames(void)
{
    for (int i = 0; i < MOST_BATCH; i++) {
        ssize_t length = recv(NAT_FD, nat.message, sizeof(nat.message), MSG_DONTWAIT);
        if (length < 0)
            return errno == EAGAIN || errno == EINTR;
        if (length == 0)
            return false;
        if (length >= VIRTIO_HEADER + NET_ETHERNET)
            take_frame((size_t)length - VIRTIO_HEADER);
    }
    return true;
}

static void serve(void)
{
    for (;;) {
        uint32_t timeout = UINT32_MAX;
        nat.count = 0;
        (void)add_poll(NAT_FD, SLIRP_POLL_IN, NULL);
        for (unsigned i = 0; i < NAT_PLACES; i++) {
            if (nat.slirp[i] != NULL)
                slirp_pollfds_fill(nat.slirp[i], &timeout, add_poll, NULL);
        }
        timeout = until_timer(timeout);
        int got = poll(nat.polled, nat.count, timeout > INT32_MAX ? -1 : (int)timeout);
        for (unsigned i = 0; i < NAT_PLACES; i++) {
            if (nat.slirp[i] != NULL)
                slirp_pollfds_poll(nat.slirp[i], got < 0, get_events, NULL);
        }
        fire_timers();
        if (got > 0 && nat.polled[0].revents != 0 && !read_frames())
            return;
    }
}

/* ---- start ---- */

static int add_forward(const char *text, struct reason *reason)
{
    struct nat_forward forward;
    struct in_addr host;
    struct in_addr guest;

    if (!nat_parse_forward(text, &forward))
        return reason_set(reason, -EINVAL, "'%.64s': a forward is as tcp:2222:10.0.2.15:22", text);
    memcpy(&host, forward.host, sizeof(host));
    memcpy(&guest, forward.guest, sizeof(guest));
    unsigned place = forward.guest[3];
    nat.guests.guest[place].pinned = true;
    if (!settle(place, false))
        return reason_set(reason, -ENOMEM, "no memory for a NAT");
    if (slirp_add_hostfwd(nat.slirp[place], forward.udp, host, forward.host_port, guest,
                          forward.guest_port) < 0)
        return reason_set(reason, -EADDRINUSE, "forward %.64s: %s", text, strerrordesc_np(errno));
    return 0;
}

/* Sockets are files. Where those that it may have are few, a full switch may run out of them. */
static unsigned find_share(void)
{
    enum { FEW = 64 };
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return FEW;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < OWN_FILES + SHARES * FEW)
        return FEW;
    rlim_t share = (limit.rlim_max - OWN_FILES) / SHARES;
    return share < NAT_SOCKETS ? (unsigned)share : NAT_SOCKETS;
}

/*
 * What guests send out of order, and what nobody takes from them, libslirp keeps without a bound.
 * It ends when there is no memory; then this process does, which is started again, not one of those
 * that the host's kernel would choose.
 */
static void limit_memory(void)
{
#ifndef __SANITIZE_ADDRESS__ /* has terabytes */
    const struct rlimit limit = {MOST_MEMORY, MOST_MEMORY};

    (void)setrlimit(RLIMIT_DATA, &limit);
#endif
}

/* From here on it opens sockets and reads resolv.conf, as anybody may. */
static int drop_rights(struct reason *reason)
{
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                           setresuid(NOBODY, NOBODY, NOBODY) < 0))
        return reason_set(reason, -errno, "rights cannot be dropped: %s", strerrordesc_np(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return reason_set(reason, -errno, "rights cannot be dropped: %s", strerrordesc_np(errno));
    return 0;
}

int nat_run(const char *const *forwards, unsigned count)
{
    const struct sigaction ignored = {.sa_handler = SIG_IGN};
    struct net_welcome welcome = {0};
    uint8_t bytes[WELCOME_SIZE];

    (void)prctl(PR_SET_NAME, "partita-nat"); /* for top and ss */
    /* libslirp writes to connections whose other end may have gone. */
    (void)sigaction(SIGPIPE, &ignored, NULL);
    limit_memory();
    nat.share = find_share();
    for (unsigned i = 0; welcome.error == 0 && i < count; i++)
        welcome.error = add_forward(forwards[i], &welcome.reason);
    if (welcome.error == 0)
        welcome.error = drop_rights(&welcome.reason);
    net_welcome_encode(&welcome, bytes);
    if (send(NAT_FD, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0 || welcome.error < 0)
        return EXIT_FAILURE;
    serve();
    return 0;
}
