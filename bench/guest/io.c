/*
 * Disk I/O inside a guest: patterns of direct reads and writes on one disk, many in flight by
 * Linux's native AIO. Each pattern stands between two lines on standard output,
 *
 *   @@BEGIN name
 *   @@END name bytes ns wrong
 *
 * so that the host's clock can measure it; ns is the guest's own. Every block says where it
 * belongs: `wrong` counts those that a read did not find as they were written.
 *
 *   io DEVICE SCALE
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST_DEPTH = 32, MIB = 1 << 20 };
static const uint64_t area = UINT64_C(512) * MIB;

struct pattern {
    const char *name;
    bool write, random, flush; /* flush: after each write */
    unsigned depth;
    size_t length;
    unsigned count; /* at scale 1 */
};

static const struct pattern patterns[] = {
    {.name = "write-1m", .write = true, .depth = 4, .length = MIB, .count = 512},
    {.name = "read-1m", .depth = 4, .length = MIB, .count = 512},
    {.name = "write-4k-1", .write = true, .random = true, .depth = 1, .length = BLOCK, .count = 8000},
    {.name = "read-4k-1", .random = true, .depth = 1, .length = BLOCK, .count = 8000},
    {.name = "write-4k-32", .write = true, .random = true, .depth = 32, .length = BLOCK, .count = 40000},
    {.name = "read-4k-32", .random = true, .depth = 32, .length = BLOCK, .count = 40000},
    {.name = "write-4k-flush", .write = true, .random = true, .flush = true, .depth = 1, .length = BLOCK,
     .count = 500},
};

struct state {
    int fd;
    aio_context_t context;
    uint8_t *buffers; /* MOST_DEPTH of 1 MiB */
    uint64_t seed, next, wrong;
};

static void die(const char *what)
{
    (void)printf("@@FAILED %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t next_offset(struct state *state, const struct pattern *pattern)
{
    if (!pattern->random) {
        uint64_t offset = state->next;
        state->next = (offset + pattern->length) % area;
        return offset;
    }
    state->seed = state->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (state->seed >> 33) % (area / BLOCK) * BLOCK;
}

static void mark(uint8_t *bytes, size_t length, uint64_t offset)
{
    for (size_t at = 0; at < length; at += BLOCK) {
        uint64_t place = offset + at;
        memcpy(bytes + at, &place, sizeof(place));
    }
}

static uint64_t count_wrong(const uint8_t *bytes, size_t length, uint64_t offset)
{
    uint64_t wrong = 0;

    for (size_t at = 0; at < length; at += BLOCK) {
        uint64_t place = 0;
        memcpy(&place, bytes + at, sizeof(place));
        wrong += place != offset + at;
    }
    return wrong;
}

static void submit(struct state *state, const struct pattern *pattern, struct iocb *block, unsigned slot)
{
    uint8_t *bytes = state->buffers + (size_t)slot * MIB;
    uint64_t offset = next_offset(state, pattern);

    if (pattern->write)
        mark(bytes, pattern->length, offset);
    *block = (struct iocb){.aio_data = slot,
                           .aio_lio_opcode = pattern->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                           .aio_fildes = (uint32_t)state->fd,
                           .aio_buf = (uint64_t)(uintptr_t)bytes,
                           .aio_nbytes = pattern->length,
                           .aio_offset = (int64_t)offset};
    if (syscall(SYS_io_submit, state->context, 1, &block) != 1)
        die("io_submit");
}

static void end_one(struct state *state, const struct pattern *pattern, const struct iocb *block, int64_t result)
{
    if (result != (int64_t)pattern->length) {
        errno = result < 0 ? (int)-result : EIO;
        die(pattern->name);
    }
    if (!pattern->write)
        state->wrong += count_wrong((const uint8_t *)(uintptr_t)block->aio_buf, pattern->length,
                                    (uint64_t)block->aio_offset);
    if (pattern->flush && fdatasync(state->fd) != 0)
        die("fdatasync");
}

static void perform(struct state *state, const struct pattern *pattern, unsigned count)
{
    struct iocb blocks[MOST_DEPTH];
    struct io_event events[MOST_DEPTH];
    unsigned begun = 0;
    unsigned ended = 0;

    for (; begun < pattern->depth && begun < count; begun++)
        submit(state, pattern, &blocks[begun], begun);
    while (ended < count) {
        long got = syscall(SYS_io_getevents, state->context, 1, MOST_DEPTH, events, NULL);
        if (got < 1)
            die("io_getevents");
        for (long i = 0; i < got; i++, ended++) {
            unsigned slot = (unsigned)events[i].data;
            end_one(state, pattern, &blocks[slot], events[i].res);
            if (begun < count) {
                submit(state, pattern, &blocks[slot], slot);
                begun++;
            }
        }
    }
}

/* The random patterns read what the sequence wrote, and others wrote the same there. */
static void run(struct state *state, const struct pattern *pattern, double scale)
{
    unsigned count = (unsigned)(pattern->count * scale);

    count = count > 0 ? count : 1;
    state->next = state->wrong = 0;
    state->seed = 1;
    (void)printf("@@BEGIN %s\n", pattern->name);
    uint64_t start = now();
    perform(state, pattern, count);
    (void)printf("@@END %s %llu %llu %llu\n", pattern->name, (unsigned long long)count * pattern->length,
                 (unsigned long long)(now() - start), (unsigned long long)state->wrong);
}

int main(int argc, char **argv)
{
    struct state state = {.fd = argc == 3 ? open(argv[1], O_RDWR | O_DIRECT) : -1};
    double scale = argc == 3 ? strtod(argv[2], NULL) : 0;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (state.fd < 0)
        die("open");
    state.buffers = mmap(NULL, (size_t)MOST_DEPTH * MIB, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (state.buffers == MAP_FAILED)
        die("mmap");
    if (syscall(SYS_io_setup, MOST_DEPTH, &state.context) != 0)
        die("io_setup");
    /* All of the area is written once, so that reads find what belongs there. */
    const struct pattern fill = {.name = "fill", .write = true, .depth = 4, .length = MIB};
    perform(&state, &fill, (unsigned)(area / MIB));
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
        run(&state, &patterns[i], scale);
    (void)printf("@@DONE\n");
    return 0;
}
