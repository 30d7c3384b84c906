/*
 * Requests of 4 KiB to a disk: at once, as tools do it, and through a queue, as a worker does.
 *
 *   partita-bench-disk FOLDER [REQUESTS]
 *
 * Prints requests a second for each, and what share of "at once" that is. The file is in the page
 * cache; the last rows drop it from there before each round.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "disk/queue.h"

enum { BLOCK = 4096, SIZE = 256 << 20, MOST_DEPTH = 32, ROUNDS = 7 };

struct worker {
    struct disk_request request; /* first */
    struct iovec piece;
    struct bench *bench;
};

struct bench {
    struct loop *loop;
    struct disk *disk;
    const char *path;
    enum disk_op op;
    unsigned depth, left, in_flight; /* in flight: until its worker's next turn */
    uint32_t random;
    struct worker workers[MOST_DEPTH];
};

static void die(const char *what, int error)
{
    (void)fprintf(stderr, "partita-bench-disk: %s: %s\n", what, strerrordesc_np(-error));
    exit(1); /* NOLINT(concurrency-mt-unsafe): what else runs does not matter now */
}

static uint64_t next_offset(struct bench *bench)
{
    bench->random = bench->random * 1664525 + 1013904223;
    return (uint64_t)(bench->random >> 8) % (SIZE / BLOCK) * BLOCK;
}

static void request_done(struct disk_request *request, int error);

static void submit(struct worker *worker)
{
    struct bench *bench = worker->bench;

    bench->left--;
    bench->in_flight++;
    worker->request = (struct disk_request){.op = bench->op,
                                            .offset = next_offset(bench),
                                            .length = BLOCK,
                                            .iov = &worker->piece,
                                            .iov_count = 1,
                                            .done = request_done};
    disk_submit(bench->disk, &worker->request);
}

/* The next one is submitted by a call of its own, as VMBus brings packets. */
static void turn(void *owner)
{
    struct worker *worker = owner;

    worker->bench->in_flight--;
    if (worker->bench->left > 0)
        submit(worker);
    else if (worker->bench->in_flight == 0)
        loop_stop(worker->bench->loop);
}

static void request_done(struct disk_request *request, int error)
{
    struct worker *worker = (struct worker *)(void *)request;

    if (error < 0)
        die("a request", error);
    if (loop_defer(worker->bench->loop, turn, worker) < 0)
        die("the loop", -ENOMEM);
}

static void drop_cache(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        die(path, -errno);
    (void)close(fd);
}

/* How long so many requests take. */
static uint64_t measure(struct bench *bench, unsigned requests)
{
    bench->left = requests;
    uint64_t start = clock_monotonic_ns();
    for (unsigned i = 0; i < bench->depth; i++)
        submit(&bench->workers[i]);
    int error = loop_run(bench->loop);
    if (error < 0)
        die("the loop", error);
    return clock_monotonic_ns() - start;
}

enum way { AT_ONCE, BY_URING, BY_THREADS, WAYS };

static uint64_t measure_way(struct bench *bench, enum way way, unsigned requests)
{
    struct disk_io *io = NULL;
    struct reason reason = {""};

    int error = disk_open(bench->path, DISK_WRITABLE, &bench->disk, &reason);
    if (error < 0)
        die(reason.text, error);
    if (way != AT_ONCE)
        error = disk_io_create(bench->loop, way == BY_URING ? DISK_IO_URING : DISK_IO_THREADS, &io);
    if (error == 0 && io != NULL)
        error = disk_queue_start(bench->disk, io);
    if (error < 0)
        die("a queue", error);
    uint64_t took = measure(bench, requests);
    error = disk_close(bench->disk);
    if (error < 0)
        die("closing", error);
    disk_io_destroy(io);
    return took;
}

/* The best of some rounds; in turn, so that what else the host does meets all alike. */
static void compare(struct bench *bench, unsigned requests, bool cold)
{
    uint64_t best[WAYS] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    double speed[WAYS];

    for (unsigned round = 0; round < ROUNDS * WAYS; round++) {
        if (cold)
            drop_cache(bench->path);
        uint64_t took = measure_way(bench, (enum way)(round % WAYS), requests);
        best[round % WAYS] = took < best[round % WAYS] ? took : best[round % WAYS];
    }
    for (unsigned way = 0; way < WAYS; way++)
        speed[way] = (double)requests * NS_PER_SECOND / (double)best[way];
    (void)printf("%-6s %-5s QD%-3u %9.0f/s  io_uring %9.0f/s %5.2f  threads %9.0f/s %5.2f\n",
                 cold ? "cold" : "cached", bench->op == DISK_READ ? "read" : "write", bench->depth,
                 speed[AT_ONCE], speed[BY_URING], speed[BY_URING] / speed[AT_ONCE],
                 speed[BY_THREADS], speed[BY_THREADS] / speed[AT_ONCE]);
    (void)fflush(stdout);
}

static void make_file(const char *path)
{
    static uint8_t bytes[1 << 20];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        die(path, -errno);
    for (unsigned i = 0; i < SIZE / sizeof(bytes); i++) {
        memset(bytes, (int)i, sizeof(bytes));
        if (write(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
            die(path, -errno);
    }
    (void)close(fd);
}

/* A worker has other threads; system calls and the allocator are quicker without any. */
static void *be_there(void *argument)
{
    for (;;)
        (void)pause();
    return argument;
}

int main(int argc, char **argv)
{
    static uint8_t buffers[MOST_DEPTH][BLOCK];
    static struct bench bench;
    char path[4096];
    unsigned requests = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100000;

    if (argc < 2 || requests == 0) {
        (void)fprintf(stderr, "usage: partita-bench-disk FOLDER [REQUESTS]\n");
        return 2;
    }
    (void)snprintf(path, sizeof(path), "%s/partita-bench-disk.raw", argv[1]);
    pthread_t other;
    if (pthread_create(&other, NULL, be_there, NULL) != 0)
        die("a thread", -EAGAIN);
    make_file(path);
    bench.path = path;
    int error = loop_create(&bench.loop);
    if (error < 0)
        die("the loop", error);
    for (unsigned i = 0; i < MOST_DEPTH; i++)
        bench.workers[i] = (struct worker){.bench = &bench, .piece = {buffers[i], BLOCK}};
    for (unsigned cold = 0; cold < 2; cold++) {
        for (unsigned write = 0; write < 2; write++) {
            bench.op = write ? DISK_WRITE : DISK_READ;
            bench.depth = 1;
            compare(&bench, cold ? requests / 20 : requests, cold);
            bench.depth = MOST_DEPTH;
            compare(&bench, cold ? requests / 20 : requests, cold);
        }
    }
    loop_destroy(bench.loop);
    (void)unlink(path);
    return 0;
}
