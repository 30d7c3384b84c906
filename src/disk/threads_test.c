#include "disk/threads.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct loop *loop;
static struct disk_threads *threads;
static pthread_barrier_t meeting;

struct noted_job {
    struct disk_job job; /* first */
    pthread_t worker, ender;
    sigset_t blocked;
    unsigned turn;
};

static unsigned ended, to_end;

static struct noted_job *noted(struct disk_job *job)
{
    return (struct noted_job *)(void *)job;
}

static void work(struct disk_job *job)
{
    noted(job)->worker = pthread_self();
    (void)pthread_sigmask(SIG_SETMASK, NULL, &noted(job)->blocked);
}

static void meet(struct disk_job *job)
{
    work(job);
    (void)pthread_barrier_wait(&meeting);
}

static void done(struct disk_job *job)
{
    noted(job)->ender = pthread_self();
    noted(job)->turn = ++ended;
    if (ended == to_end)
        loop_stop(loop);
}

static void create(unsigned count)
{
    ended = 0;
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(disk_threads_create(loop, count, &threads), 0);
}

static int destroy(void **state)
{
    (void)state;
    disk_threads_destroy(threads);
    loop_destroy(loop);
    threads = NULL;
    return 0;
}

static void start(struct noted_job *job, void (*fn)(struct disk_job *))
{
    job->job = (struct disk_job){.work = fn, .done = done};
    disk_threads_start(threads, &job->job);
}

static void a_job_works_elsewhere_and_ends_on_the_loop(void **state)
{
    struct noted_job job = {0};
    (void)state;
    create(1);
    to_end = 1;
    start(&job, work);
    assert_int_equal(ended, 0);
    assert_int_equal(loop_run(loop), 0);
    assert_false(pthread_equal(job.worker, pthread_self()));
    assert_true(pthread_equal(job.ender, pthread_self()));
    assert_true(sigismember(&job.blocked, SIGTERM));
}

static void jobs_work_side_by_side(void **state)
{
    struct noted_job jobs[4] = {0};
    (void)state;
    create(4);
    to_end = 4;
    (void)pthread_barrier_init(&meeting, NULL, 4);
    for (unsigned i = 0; i < 4; i++)
        start(&jobs[i], meet);
    assert_int_equal(loop_run(loop), 0);
    (void)pthread_barrier_destroy(&meeting);
    assert_int_equal(ended, 4);
}

static void one_thread_keeps_the_order(void **state)
{
    static struct noted_job jobs[500];
    (void)state;
    create(1);
    to_end = 500;
    for (unsigned i = 0; i < 500; i++)
        start(&jobs[i], work);
    assert_int_equal(loop_run(loop), 0);
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(jobs[i].turn, i + 1);
}

static void an_awaited_job_has_worked_and_ends_later(void **state)
{
    struct noted_job job = {0};
    (void)state;
    create(2);
    to_end = 2; /* the loop is not run */
    start(&job, work);
    disk_threads_await(threads, &job.job);
    assert_false(pthread_equal(job.worker, pthread_self()));
    assert_int_equal(ended, 0);
    disk_threads_reap(threads);
    assert_int_equal(ended, 1);
    disk_threads_reap(threads); /* there is nothing */
    assert_int_equal(ended, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_job_works_elsewhere_and_ends_on_the_loop, destroy),
        cmocka_unit_test_teardown(jobs_work_side_by_side, destroy),
        cmocka_unit_test_teardown(one_thread_keeps_the_order, destroy),
        cmocka_unit_test_teardown(an_awaited_job_has_worked_and_ends_later, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
