/*
 * One pattern of requests to an image, through the worker's queue; the same that qemu-img bench
 * makes.
 *
 *   partita-bench-image FILE read|write DEPTH LENGTH COUNT STEP
 *
 * Request n begins at n * STEP, modulo the disk's size. Prints the seconds that all took; the flush
 * at the end is not among them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "disk/queue.h"

enum { MOST_DEPTH = 64 };

struct worker {
    struct disk_request request; /* first */
    struct iovec piece;
    struct pattern *pattern;
};

struct pattern {
    struct loop *loop;
    struct disk *disk;
    enum disk_op op;
    uint64_t offset, step, length, left;
    unsigned in_flight;
    struct worker workers[MOST_DEPTH];
};

static void die(const char *what, int error)
{
    (void)fprintf(stderr, "partita-bench-image: %s: %s\n", what, strerrordesc_np(-error));
    exit(1); /* NOLINT(concurrency-mt-unsafe): what else runs does not matter now */
}

static void request_done(struct disk_request *request, int error);

static void submit(struct worker *worker)
{
    struct pattern *pattern = worker->pattern;
    uint64_t capacity = disk_geometry(pattern->disk)->capacity;

    pattern->left--;
    pattern->in_flight++;
    worker->request = (struct disk_request){.op = pattern->op,
                                            .offset = pattern->offset,
                                            .length = pattern->length,
                                            .iov = &worker->piece,
                                            .iov_count = 1,
                                            .done = request_done};
    pattern->offset = (pattern->offset + pattern->step) % (capacity - pattern->length + 1);
    pattern->offset -= pattern->offset % disk_geometry(pattern->disk)->logical_sector;
    disk_submit(pattern->disk, &worker->request);
}

static void turn(void *owner)
{
    struct worker *worker = owner;

    worker->pattern->in_flight--;
    if (worker->pattern->left > 0)
        submit(worker);
    else if (worker->pattern->in_flight == 0)
        loop_stop(worker->pattern->loop);
}

static void request_done(struct disk_request *request, int error)
{
    struct worker *worker = (struct worker *)(void *)request;

    if (error < 0)
        die("a request", error);
    if (loop_defer(worker->pattern->loop, turn, worker) < 0)
        die("the loop", -ENOMEM);
}

/* One buffer for all, as qemu-img has it: in large pages, as a guest's memory is. */
static void make_buffers(struct pattern *pattern, unsigned depth)
{
    enum { LARGE_PAGE = 2 << 20 };
    size_t size = (depth * pattern->length + LARGE_PAGE - 1) & ~(size_t)(LARGE_PAGE - 1);
    uint8_t *buffers = aligned_alloc(LARGE_PAGE, size);

    if (buffers == NULL)
        die("memory", -ENOMEM);
    (void)madvise(buffers, size, MADV_HUGEPAGE);
    memset(buffers, 1, size);
    for (unsigned i = 0; i < depth; i++)
        pattern->workers[i] = (struct worker){
            .pattern = pattern, .piece = {buffers + i * pattern->length, pattern->length}};
}

static uint64_t run(struct pattern *pattern, unsigned depth)
{
    uint64_t start = clock_monotonic_ns();

    for (unsigned i = 0; i < depth; i++)
        submit(&pattern->workers[i]);
    int error = loop_run(pattern->loop);
    if (error < 0)
        die("the loop", error);
    return clock_monotonic_ns() - start;
}

int main(int argc, char **argv)
{
    static struct pattern pattern;
    struct disk_io *io = NULL;
    struct reason reason = {""};

    if (argc != 7) {
        (void)fputs("usage: partita-bench-image FILE read|write DEPTH LENGTH COUNT STEP\n", stderr);
        return 2;
    }
    unsigned depth = (unsigned)strtoul(argv[3], NULL, 10);
    pattern.op = strcmp(argv[2], "read") == 0 ? DISK_READ : DISK_WRITE;
    pattern.length = strtoull(argv[4], NULL, 10);
    pattern.left = strtoull(argv[5], NULL, 10);
    pattern.step = strtoull(argv[6], NULL, 10);
    if (depth == 0 || depth > MOST_DEPTH || pattern.left < depth || pattern.length == 0)
        die("the pattern", -EINVAL);
    int error = disk_open(argv[1], DISK_WRITABLE, &pattern.disk, &reason);
    if (error < 0)
        die(reason.text, error);
    error = loop_create(&pattern.loop);
    if (error == 0)
        error = disk_io_create(pattern.loop, DISK_IO_BEST, &io);
    if (error == 0)
        error = disk_queue_start(pattern.disk, io);
    if (error < 0)
        die("a queue", error);
    make_buffers(&pattern, depth);
    uint64_t took = run(&pattern, depth);
    error = disk_close(pattern.disk);
    if (error < 0)
        die("closing", error);
    disk_io_destroy(io);
    loop_destroy(pattern.loop);
    (void)printf("%.6f\n", (double)took / NS_PER_SECOND);
    return 0;
}
