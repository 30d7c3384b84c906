#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

#define MS UINT64_C(1000000)

struct fixture {
    struct loop *loop;
    struct loop_timer *timer;
    struct loop_timer *other;
    struct loop_event *event;
    struct loop_watch *watch;
    struct loop_watch *second;
    int pipe[2];
    int calls;
    uint64_t fired_at;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL || loop_create(&f->loop) < 0 || pipe(f->pipe) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_watch_destroy(f->watch);
    loop_watch_destroy(f->second);
    loop_timer_destroy(f->timer);
    loop_timer_destroy(f->other);
    loop_event_destroy(f->event);
    loop_destroy(f->loop);
    (void)close(f->pipe[0]);
    (void)close(f->pipe[1]);
    free(f);
    return 0;
}

static void stop(void *owner)
{
    struct fixture *f = owner;
    f->calls++;
    f->fired_at = clock_monotonic_ns();
    loop_stop(f->loop);
}

static void count(void *owner)
{
    struct fixture *f = owner;
    f->calls++;
}

static void count_readable(void *owner, uint32_t events)
{
    struct fixture *f = owner;
    char byte;
    assert_int_equal(events & EPOLLIN, EPOLLIN);
    assert_int_equal(read(f->pipe[0], &byte, 1), 1);
    if (++f->calls == 3)
        loop_stop(f->loop);
}

static void watch_is_called_while_readable(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_watch_create(f->loop, f->pipe[0], EPOLLIN, count_readable, f, &f->watch),
                     0);
    assert_int_equal(write(f->pipe[1], "abc", 3), 3);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 3);
}

static void watch_of_no_events_is_silent(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_watch_create(f->loop, f->pipe[0], EPOLLIN, count_readable, f, &f->watch),
                     0);
    assert_int_equal(loop_watch_modify(f->watch, 0), 0);
    assert_int_equal(write(f->pipe[1], "abc", 3), 3);
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->timer), 0);
    loop_timer_set(f->timer, clock_monotonic_ns() + 10 * MS);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
}

static void watch_refuses_what_epoll_refuses(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_watch_create(f->loop, -1, EPOLLIN, count_readable, f, &f->watch), -EBADF);
    assert_int_equal(loop_watch_create(f->loop, f->pipe[0], EPOLLIN, count_readable, f, &f->watch),
                     0);
    assert_int_equal(loop_watch_create(f->loop, f->pipe[0], EPOLLIN, count_readable, f, &f->second),
                     -EEXIST);
    assert_null(f->second);
}

static void destroy_both(void *owner, uint32_t events)
{
    (void)events;
    struct fixture *f = owner;
    f->calls++;
    loop_watch_destroy(f->watch);
    loop_watch_destroy(f->second);
    f->watch = NULL;
    f->second = NULL;
    loop_timer_set(f->timer, clock_monotonic_ns() + 5 * MS);
}

static void watch_destroyed_by_a_callback_is_not_called(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->timer), 0);
    assert_int_equal(loop_watch_create(f->loop, f->pipe[0], EPOLLIN, destroy_both, f, &f->watch),
                     0);
    assert_int_equal(loop_watch_create(f->loop, f->pipe[1], EPOLLOUT, destroy_both, f, &f->second),
                     0);
    assert_int_equal(write(f->pipe[1], "a", 1), 1); /* both are ready in the same turn */
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 2); /* one of the watches, and the timer */
}

static void timer_fires_once_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_timer_create(f->loop, count, f, &f->timer), 0);
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->other), 0);
    uint64_t start = clock_monotonic_ns();
    loop_timer_set(f->timer, start + 5 * MS);
    loop_timer_set(f->other, start + 20 * MS);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 2);
    assert_true(f->fired_at >= start + 20 * MS);
}

static void timer_in_the_past_fires_at_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->timer), 0);
    loop_timer_set(f->timer, 1);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
}

static void timer_set_again_forgets_the_first_deadline(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->timer), 0);
    loop_timer_set(f->timer, 1); /* due already */
    uint64_t later = clock_monotonic_ns() + 10 * MS;
    loop_timer_set(f->timer, later);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
    assert_true(f->fired_at >= later);
}

static void timer_disarmed_does_not_fire(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_timer_create(f->loop, count, f, &f->timer), 0);
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->other), 0);
    loop_timer_set(f->timer, 1);
    loop_timer_set(f->timer, 0);
    loop_timer_set(f->other, clock_monotonic_ns() + 10 * MS);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
}

static void timer_at_the_end_of_time_does_not_fire(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_timer_create(f->loop, count, f, &f->timer), 0);
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->other), 0);
    loop_timer_set(f->timer, UINT64_MAX);
    loop_timer_set(f->other, clock_monotonic_ns() + 5 * MS);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
}

static void destroy_own_timer(void *owner)
{
    struct fixture *f = owner;
    f->calls++;
    loop_timer_destroy(f->timer);
    f->timer = NULL;
    loop_stop(f->loop);
}

static void timer_may_destroy_itself(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_timer_create(f->loop, destroy_own_timer, f, &f->timer), 0);
    loop_timer_set(f->timer, 1);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
}

struct order {
    struct loop *loop;
    char text[8];
    size_t length;
};

static void say_a(void *owner)
{
    struct order *o = owner;
    o->text[o->length++] = 'a';
}

static void say_b_then_stop(void *owner)
{
    struct order *o = owner;
    o->text[o->length++] = 'b';
    loop_stop(o->loop);
}

static void say_c_and_defer_b(void *owner)
{
    struct order *o = owner;
    o->text[o->length++] = 'c';
    assert_int_equal(loop_defer(o->loop, say_b_then_stop, o), 0);
}

static void deferred_calls_keep_their_order(void **state)
{
    struct fixture *f = *state;
    struct order order = {.loop = f->loop};
    assert_int_equal(loop_defer(f->loop, say_c_and_defer_b, &order), 0);
    assert_int_equal(loop_defer(f->loop, say_a, &order), 0);
    assert_int_equal(loop_run(f->loop), 0);
    assert_string_equal(order.text, "cab");
}

static void deferred_call_left_over_is_released(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_defer(f->loop, count, f), 0);
    loop_destroy(f->loop); /* the leak checker would tell */
    assert_int_equal(loop_create(&f->loop), 0);
    assert_int_equal(f->calls, 0);
}

static void stop_before_run_is_remembered_once(void **state)
{
    struct fixture *f = *state;
    loop_stop(f->loop);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(loop_defer(f->loop, stop, f), 0);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
}

enum { THREADS = 4, ROUNDS = 2000 };

struct swarm {
    struct loop *loop;
    struct loop_timer *timer;
    int deferred; /* loop thread only */
    atomic_int finished;
};

static void swarm_deferred(void *owner)
{
    struct swarm *s = owner;
    s->deferred++;
}

static void swarm_timer(void *owner)
{
    const struct swarm *s = owner;
    if (s->deferred == THREADS * ROUNDS)
        loop_stop(s->loop);
    else
        loop_timer_set(s->timer, clock_monotonic_ns() + MS);
}

static void *swarm_thread(void *owner)
{
    struct swarm *s = owner;
    for (int i = 0; i < ROUNDS; i++) {
        loop_timer_set(s->timer, (uint64_t)(i % 3));
        if (loop_defer(s->loop, swarm_deferred, s) < 0)
            return NULL;
    }
    loop_timer_set(s->timer, 1);
    atomic_fetch_add(&s->finished, 1);
    return NULL;
}

static void other_threads_may_arm_and_defer(void **state)
{
    struct fixture *f = *state;
    struct swarm swarm = {.loop = f->loop};
    pthread_t threads[THREADS];
    assert_int_equal(loop_timer_create(f->loop, swarm_timer, &swarm, &swarm.timer), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, swarm_thread, &swarm), 0);
    assert_int_equal(loop_run(f->loop), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    loop_timer_destroy(swarm.timer);
    assert_int_equal(swarm.deferred, THREADS * ROUNDS);
    assert_int_equal(atomic_load(&swarm.finished), THREADS);
}

static void event_raised_often_is_called_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_event_create(f->loop, count, f, &f->event), 0);
    assert_int_equal(loop_timer_create(f->loop, stop, f, &f->timer), 0);
    for (int i = 0; i < 5; i++)
        loop_event_raise(f->event);
    loop_timer_set(f->timer, clock_monotonic_ns() + 20 * MS);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 2); /* it, and the timer */
}

static void raise_until_third(void *owner)
{
    struct fixture *f = owner;
    if (++f->calls == 3)
        loop_stop(f->loop);
    else
        loop_event_raise(f->event);
}

static void event_raised_by_its_callback_is_called_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_event_create(f->loop, raise_until_third, f, &f->event), 0);
    loop_event_raise(f->event);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 3);
}

static void destroy_event_and_stop(void *owner)
{
    struct fixture *f = owner;
    f->calls++;
    loop_event_destroy(f->event);
    f->event = NULL;
    loop_stop(f->loop);
}

static void event_may_destroy_itself(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_event_create(f->loop, destroy_event_and_stop, f, &f->event), 0);
    loop_event_raise(f->event);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->calls, 1);
}

struct rally {
    struct loop *loop;
    struct loop_event *event;
    atomic_int asked; /* raises that were announced */
    int seen;
};

static void see(void *owner)
{
    struct rally *rally = owner;
    rally->seen = atomic_load(&rally->asked);
    if (rally->seen == THREADS * ROUNDS)
        loop_stop(rally->loop);
}

static void *rally_thread(void *argument)
{
    struct rally *rally = argument;
    for (int i = 0; i < ROUNDS; i++) {
        (void)atomic_fetch_add(&rally->asked, 1);
        loop_event_raise(rally->event);
    }
    return NULL;
}

/* What came before a raise is seen by a call after it: none is lost. */
static void the_last_raise_of_any_thread_is_seen(void **state)
{
    struct fixture *f = *state;
    struct rally rally = {.loop = f->loop};
    pthread_t threads[THREADS];
    assert_int_equal(loop_event_create(f->loop, see, &rally, &rally.event), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rally_thread, &rally), 0);
    assert_int_equal(loop_run(f->loop), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    loop_event_destroy(rally.event);
    assert_int_equal(rally.seen, THREADS * ROUNDS);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(watch_is_called_while_readable),
        LOOP_TEST(watch_of_no_events_is_silent),
        LOOP_TEST(watch_refuses_what_epoll_refuses),
        LOOP_TEST(watch_destroyed_by_a_callback_is_not_called),
        LOOP_TEST(timer_fires_once_at_its_deadline),
        LOOP_TEST(timer_in_the_past_fires_at_once),
        LOOP_TEST(timer_set_again_forgets_the_first_deadline),
        LOOP_TEST(timer_disarmed_does_not_fire),
        LOOP_TEST(timer_at_the_end_of_time_does_not_fire),
        LOOP_TEST(timer_may_destroy_itself),
        LOOP_TEST(deferred_calls_keep_their_order),
        LOOP_TEST(deferred_call_left_over_is_released),
        LOOP_TEST(stop_before_run_is_remembered_once),
        LOOP_TEST(other_threads_may_arm_and_defer),
        LOOP_TEST(event_raised_often_is_called_once),
        LOOP_TEST(event_raised_by_its_callback_is_called_again),
        LOOP_TEST(event_may_destroy_itself),
        LOOP_TEST(the_last_raise_of_any_thread_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
