/*
 * Event loop of a worker: descriptors and timers, on epoll.
 *
 * 1. Callbacks run on the thread that is in loop_run (the loop thread), one at a time.
 * 2. loop_timer_set, loop_event_raise, loop_defer and loop_stop may be called from any thread; all
 *    else is for the loop thread, or for before loop_run.
 * 3. A callback may destroy any watch, timer or event, its own included; it is not called again.
 * 4. Watches, timers and events are destroyed before their loop. Creation returns 0 or a negative
 *    errno.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdint.h>

struct loop;
struct loop_watch;
struct loop_timer;
struct loop_event;

/* `events` are EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as epoll gives them. */
typedef void (*loop_watch_fn)(void *owner, uint32_t events);
typedef void (*loop_timer_fn)(void *owner);

int loop_create(struct loop **ret);
void loop_destroy(struct loop *loop);

/*
 * Serve callbacks until loop_stop; returns 0, or a negative errno when epoll itself failed. A stop
 * that came before is not lost: the next loop_run returns at once.
 */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/*
 * The descriptor stays the caller's and must outlive the watch; -EEXIST when it is watched already,
 * -EPERM when epoll cannot watch its kind (a regular file or /dev/null: always ready).
 */
int loop_watch_create(struct loop *loop, int fd, uint32_t events, loop_watch_fn fn, void *owner,
                      struct loop_watch **ret);
int loop_watch_modify(struct loop_watch *watch, uint32_t events);
void loop_watch_destroy(struct loop_watch *watch);

int loop_timer_create(struct loop *loop, loop_timer_fn fn, void *owner, struct loop_timer **ret);
/* Fire once at `deadline_ns` on CLOCK_MONOTONIC (at once when past); 0 disarms. Any thread. */
void loop_timer_set(struct loop_timer *timer, uint64_t deadline_ns);
void loop_timer_destroy(struct loop_timer *timer);

int loop_event_create(struct loop *loop, loop_timer_fn fn, void *owner, struct loop_event **ret);
/*
 * Call its function on the loop thread, soon; once for all that is raised before it is entered. Any
 * thread. Cheaper than a timer in the past: the kernel's clocks have no part in it.
 */
void loop_event_raise(struct loop_event *event);
void loop_event_destroy(struct loop_event *event);

/*
 * Call `fn(owner)` once on the loop thread, soon, in the order of the calls. Any thread. Returns 0
 * or -ENOMEM. What was not called when the loop is destroyed never is.
 */
int loop_defer(struct loop *loop, loop_timer_fn fn, void *owner);

#endif
