/* The process of the switches, from its start to its end. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "switchd/desk.h"
#include "switchd/door.h"
#include "switchd/registry.h"
#include "switchd/switchd.h"

enum { LINGER_SECONDS = 3 };

struct switchd {
    struct loop *loop;
    struct registry registry;
    struct desk *desk;
    struct door *door;
    struct loop_timer *linger;
    int signals;
    struct loop_watch *signal_watch;
};

static void signalled(void *owner, uint32_t events)
{
    (void)events;
    loop_stop(((const struct switchd *)owner)->loop);
}

static void linger(void *owner)
{
    const struct switchd *s = owner;
    loop_timer_set(s->linger, clock_monotonic_ns() + (uint64_t)LINGER_SECONDS * NS_PER_SECOND);
}

static void leave_if_empty(void *owner)
{
    const struct switchd *s = owner;

    if (s->registry.count == 0)
        loop_stop(s->loop);
}

static int take_signals(struct switchd *s)
{
    const struct sigaction ignored = {.sa_handler = SIG_IGN};
    sigset_t set;

    (void)sigaction(SIGCHLD, &ignored, NULL); /* what a NAT's process leaves is of no interest */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (error != 0)
        return -error;
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return -errno;
    return loop_watch_create(s->loop, s->signals, EPOLLIN, signalled, s, &s->signal_watch);
}

/* Each port has a line and a timer. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int open_desk(struct switchd *s, struct reason *reason)
{
    struct control_listener listener = {.fd = -1};
    int error = control_listen_switch("control", SOCK_STREAM, &listener, reason);

    if (error < 0)
        return error;
    error = desk_create(&s->registry, &listener, linger, s, &s->desk);
    if (error < 0)
        control_unlisten(&listener);
    return error < 0 ? reason_set(reason, error, "%s", strerrordesc_np(-error)) : 0;
}

static int open_door(struct switchd *s, struct reason *reason)
{
    struct control_listener listener = {.fd = -1};
    int error = control_listen_switch("ports", SOCK_SEQPACKET, &listener, reason);

    if (error < 0)
        return error;
    error = door_create(&s->registry, &listener, &s->door);
    if (error < 0)
        control_unlisten(&listener);
    return error < 0 ? reason_set(reason, error, "%s", strerrordesc_np(-error)) : 0;
}

/* The desk before the switches: it is what no two processes can have. */
static int set_up(struct switchd *s, struct reason *reason)
{
    int error = loop_create(&s->loop);

    if (error == 0)
        error = take_signals(s);
    if (error == 0)
        error = loop_timer_create(s->loop, leave_if_empty, s, &s->linger);
    if (error < 0)
        return reason_set(reason, error, "%s", strerrordesc_np(-error));
    s->registry.loop = s->loop;
    error = open_desk(s, reason);
    if (error == 0)
        error = registry_create(s->loop, &s->registry, reason);
    return error < 0 ? error : open_door(s, reason);
}

static void tear_down(struct switchd *s)
{
    door_destroy(s->door);
    desk_destroy(s->desk);
    registry_destroy(&s->registry);
    loop_timer_destroy(s->linger);
    loop_watch_destroy(s->signal_watch);
    if (s->signals >= 0)
        (void)close(s->signals);
    loop_destroy(s->loop);
}

int switchd_run(struct reason *reason)
{
    struct switchd s = {.signals = -1};

    (void)prctl(PR_SET_NAME, "partita-switch"); /* for top and ss; started as /proc/self/exe */
    raise_limit();
    int error = set_up(&s, reason);
    if (error == 0) {
        linger(&s);
        error = loop_run(s.loop);
    }
    tear_down(&s);
    return error;
}
