#include "disk/threads.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job_list {
    struct disk_job *first, **end;
};

struct disk_threads {
    int descriptor; /* eventfd: jobs have ended */
    struct loop_watch *watch;
    pthread_mutex_t lock; /* guards all below but `count` and `thread` */
    pthread_cond_t come, worked;
    struct job_list waiting, ended;
    unsigned idle; /* threads that wait for a job */
    bool stopping;
    unsigned count;
    pthread_t thread[];
};

static void append(struct job_list *list, struct disk_job *job)
{
    job->next = NULL;
    *list->end = job;
    list->end = &job->next;
}

static void empty(struct job_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

/* ---- the threads ---- */

/* The lock is held; NULL: leave. */
static struct disk_job *next_job(struct disk_threads *threads)
{
    while (threads->waiting.first == NULL && !threads->stopping) {
        threads->idle++;
        (void)pthread_cond_wait(&threads->come, &threads->lock);
        threads->idle--;
    }
    struct disk_job *job = threads->waiting.first;
    if (job == NULL)
        return NULL;
    threads->waiting.first = job->next;
    if (job->next == NULL)
        empty(&threads->waiting);
    return job;
}

/* The lock is held. The first of those that the loop has not taken yet wakes it. */
static void tell_ended(struct disk_threads *threads, struct disk_job *job)
{
    const uint64_t one = 1;
    bool first = threads->ended.first == NULL;

    job->worked = true;
    append(&threads->ended, job);
    (void)pthread_cond_broadcast(&threads->worked);
    /* The counter is far from full, and signals are blocked here. */
    if (first && write(threads->descriptor, &one, sizeof(one)) != sizeof(one))
        abort();
}

static void *serve(void *argument)
{
    struct disk_threads *threads = argument;
    struct disk_job *job;

    (void)pthread_mutex_lock(&threads->lock);
    while ((job = next_job(threads)) != NULL) {
        (void)pthread_mutex_unlock(&threads->lock);
        job->work(job);
        (void)pthread_mutex_lock(&threads->lock);
        tell_ended(threads, job);
    }
    (void)pthread_mutex_unlock(&threads->lock);
    return NULL;
}

/* Signals are for the threads that know what to do with them. */
static int create_threads(struct disk_threads *threads, unsigned count)
{
    sigset_t all;
    sigset_t before;
    int error = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (error == 0 && threads->count < count) {
        error = pthread_create(&threads->thread[threads->count], NULL, serve, threads);
        threads->count += error == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

/* ---- the loop's thread ---- */

int disk_threads_descriptor(const struct disk_threads *threads)
{
    return threads->descriptor;
}

void disk_threads_reap(struct disk_threads *threads)
{
    uint64_t count;

    /* Emptied before the list is taken: what ends later wakes once more. */
    if (read(threads->descriptor, &count, sizeof(count)) < 0)
        return;
    (void)pthread_mutex_lock(&threads->lock);
    struct disk_job *job = threads->ended.first;
    empty(&threads->ended);
    (void)pthread_mutex_unlock(&threads->lock);
    while (job != NULL) {
        struct disk_job *next = job->next;
        job->done(job);
        job = next;
    }
}

static void jobs_ended(void *owner, uint32_t events)
{
    (void)events;
    disk_threads_reap(owner);
}

void disk_threads_start(struct disk_threads *threads, struct disk_job *job)
{
    (void)pthread_mutex_lock(&threads->lock);
    job->worked = false;
    append(&threads->waiting, job);
    if (threads->idle > 0)
        (void)pthread_cond_signal(&threads->come);
    (void)pthread_mutex_unlock(&threads->lock);
}

void disk_threads_await(struct disk_threads *threads, const struct disk_job *job)
{
    (void)pthread_mutex_lock(&threads->lock);
    while (!job->worked)
        (void)pthread_cond_wait(&threads->worked, &threads->lock);
    (void)pthread_mutex_unlock(&threads->lock);
}

/* ---- life ---- */

void disk_threads_destroy(struct disk_threads *threads)
{
    if (threads == NULL)
        return;
    (void)pthread_mutex_lock(&threads->lock);
    threads->stopping = true;
    (void)pthread_cond_broadcast(&threads->come);
    (void)pthread_mutex_unlock(&threads->lock);
    for (unsigned i = 0; i < threads->count; i++)
        (void)pthread_join(threads->thread[i], NULL);
    loop_watch_destroy(threads->watch);
    if (threads->descriptor >= 0)
        (void)close(threads->descriptor);
    (void)pthread_cond_destroy(&threads->worked);
    (void)pthread_cond_destroy(&threads->come);
    (void)pthread_mutex_destroy(&threads->lock);
    free(threads);
}

int disk_threads_create(struct loop *loop, unsigned count, struct disk_threads **ret)
{
    struct disk_threads *threads = calloc(1, sizeof(*threads) + count * sizeof(threads->thread[0]));

    if (threads == NULL)
        return -ENOMEM;
    (void)pthread_mutex_init(&threads->lock, NULL);
    (void)pthread_cond_init(&threads->come, NULL);
    (void)pthread_cond_init(&threads->worked, NULL);
    empty(&threads->waiting);
    empty(&threads->ended);
    threads->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = threads->descriptor < 0 ? -errno
                                        : loop_watch_create(loop, threads->descriptor, EPOLLIN,
                                                            jobs_ended, threads, &threads->watch);
    if (error == 0)
        error = create_threads(threads, count);
    if (error < 0) {
        disk_threads_destroy(threads);
        return error;
    }
    *ret = threads;
    return 0;
}
