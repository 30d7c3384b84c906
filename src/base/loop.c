/*
 * 1. A timer is a timerfd of its own: arming it is one system call, which the kernel makes safe
 * from any thread, so that timers need no lock and no heap here.
 * 2. One event a turn: no batch is held that could name a watch destroyed meanwhile. epoll serves
 *    level-triggered descriptors in turn, so none starves.
 * 3. Nothing of a watch is touched after its callback was entered.
 */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

struct loop_watch {
    struct loop *loop;
    int fd;
    loop_watch_fn fn;
    void *owner;
};

struct loop_timer {
    struct loop_watch *watch;
    int fd;
    loop_timer_fn fn;
    void *owner;
};

struct loop_event {
    struct loop_watch *watch;
    int fd; /* an eventfd */
    atomic_bool raised;
    loop_timer_fn fn;
    void *owner;
};

struct deferred {
    struct deferred *next;
    loop_timer_fn fn;
    void *owner;
};

struct loop {
    int epoll;
    int wake; /* eventfd: `stopping` or `first` changed */
    struct loop_watch *wake_watch;
    atomic_bool stopping;

    pthread_mutex_t lock; /* guards the list */
    struct deferred *first;
    struct deferred **end;
};

static struct deferred *take_deferred(struct loop *loop)
{
    (void)pthread_mutex_lock(&loop->lock);
    struct deferred *list = loop->first;
    loop->first = NULL;
    loop->end = &loop->first;
    (void)pthread_mutex_unlock(&loop->lock);
    return list;
}

static void loop_woken(void *owner, uint32_t events)
{
    (void)events;
    struct loop *loop = owner;
    uint64_t count;
    /* Emptied before the list is taken: what is added later wakes once more. */
    if (read(loop->wake, &count, sizeof(count)) < 0)
        return;
    struct deferred *list = take_deferred(loop);
    while (list != NULL) {
        struct deferred call = *list;
        free(list);
        list = call.next;
        call.fn(call.owner);
    }
}

static void count_up(int fd)
{
    const uint64_t one = 1;
    ssize_t written;
    do
        written = write(fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR); /* EAGAIN: the counter is full, the loop is awake */
}

static void wake(struct loop *loop)
{
    count_up(loop->wake);
}

static int open_descriptors(struct loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return -errno;
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake < 0)
        return -errno;
    return loop_watch_create(loop, loop->wake, EPOLLIN, loop_woken, loop, &loop->wake_watch);
}

int loop_create(struct loop **ret)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return -ENOMEM;
    loop->epoll = -1;
    loop->wake = -1;
    loop->end = &loop->first;
    (void)pthread_mutex_init(&loop->lock, NULL);
    int error = open_descriptors(loop);
    if (error < 0) {
        loop_destroy(loop);
        return error;
    }
    *ret = loop;
    return 0;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    struct deferred *list = take_deferred(loop);
    while (list != NULL) {
        struct deferred *next = list->next;
        free(list);
        list = next;
    }
    loop_watch_destroy(loop->wake_watch);
    if (loop->wake >= 0)
        (void)close(loop->wake);
    if (loop->epoll >= 0)
        (void)close(loop->epoll);
    (void)pthread_mutex_destroy(&loop->lock);
    free(loop);
}

int loop_run(struct loop *loop)
{
    int error = 0;
    while (!atomic_load(&loop->stopping)) {
        struct epoll_event event;
        int count = epoll_wait(loop->epoll, &event, 1, -1);
        if (count < 0 && errno != EINTR) {
            error = -errno;
            break;
        }
        if (count > 0) {
            const struct loop_watch *watch = event.data.ptr;
            watch->fn(watch->owner, event.events);
        }
    }
    atomic_store(&loop->stopping, false);
    return error;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    wake(loop);
}

int loop_watch_create(struct loop *loop, int fd, uint32_t events, loop_watch_fn fn, void *owner,
                      struct loop_watch **ret)
{
    struct loop_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return -ENOMEM;
    *watch = (struct loop_watch){.loop = loop, .fd = fd, .fn = fn, .owner = owner};
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        int error = -errno;
        free(watch);
        return error;
    }
    *ret = watch;
    return 0;
}

int loop_watch_modify(struct loop_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(watch->loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_watch_destroy(struct loop_watch *watch)
{
    if (watch == NULL)
        return;
    (void)epoll_ctl(watch->loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    free(watch);
}

static void timer_expired(void *owner, uint32_t events)
{
    (void)events;
    const struct loop_timer *timer = owner;
    uint64_t count;
    /* Re-armed or disarmed from another thread since epoll reported it: EAGAIN, not due. */
    if (read(timer->fd, &count, sizeof(count)) == sizeof(count))
        timer->fn(timer->owner);
}

int loop_timer_create(struct loop *loop, loop_timer_fn fn, void *owner, struct loop_timer **ret)
{
    struct loop_timer *timer = calloc(1, sizeof(*timer));
    if (timer == NULL)
        return -ENOMEM;
    *timer = (struct loop_timer){.fn = fn, .owner = owner};
    timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int error = timer->fd < 0 ? -errno
                              : loop_watch_create(loop, timer->fd, EPOLLIN, timer_expired, timer,
                                                  &timer->watch);
    if (error < 0) {
        loop_timer_destroy(timer);
        return error;
    }
    *ret = timer;
    return 0;
}

void loop_timer_set(struct loop_timer *timer, uint64_t deadline_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(deadline_ns / NS_PER_SECOND),
                                           .tv_nsec = (long)(deadline_ns % NS_PER_SECOND)}};
    (void)timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void loop_timer_destroy(struct loop_timer *timer)
{
    if (timer == NULL)
        return;
    loop_watch_destroy(timer->watch);
    if (timer->fd >= 0)
        (void)close(timer->fd);
    free(timer);
}

static void event_raised(void *owner, uint32_t events)
{
    (void)events;
    struct loop_event *event = owner;
    uint64_t count;
    if (read(event->fd, &count, sizeof(count)) < 0)
        return;
    /* Before the call: what is raised later calls once more, what was raised before is seen. */
    (void)atomic_exchange(&event->raised, false);
    event->fn(event->owner);
}

int loop_event_create(struct loop *loop, loop_timer_fn fn, void *owner, struct loop_event **ret)
{
    struct loop_event *event = calloc(1, sizeof(*event));
    if (event == NULL)
        return -ENOMEM;
    *event = (struct loop_event){.fn = fn, .owner = owner};
    event->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = event->fd < 0 ? -errno
                              : loop_watch_create(loop, event->fd, EPOLLIN, event_raised, event,
                                                  &event->watch);
    if (error < 0) {
        loop_event_destroy(event);
        return error;
    }
    *ret = event;
    return 0;
}

void loop_event_raise(struct loop_event *event)
{
    if (!atomic_exchange(&event->raised, true))
        count_up(event->fd);
}

void loop_event_destroy(struct loop_event *event)
{
    if (event == NULL)
        return;
    loop_watch_destroy(event->watch);
    if (event->fd >= 0)
        (void)close(event->fd);
    free(event);
}

int loop_defer(struct loop *loop, loop_timer_fn fn, void *owner)
{
    struct deferred *call = malloc(sizeof(*call));
    if (call == NULL)
        return -ENOMEM;
    *call = (struct deferred){.fn = fn, .owner = owner};
    (void)pthread_mutex_lock(&loop->lock);
    *loop->end = call;
    loop->end = &call->next;
    (void)pthread_mutex_unlock(&loop->lock);
    wake(loop);
    return 0;
}
