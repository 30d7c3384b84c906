/*
 * Disk requests of a guest, past its page cache, by io_uring; bench/guest-io runs it.
 *
 *   requests DEVICE SECONDS [TEST...]
 *
 * A line before and a line after each test: the host dates them, so the guest's clock is only a
 * second opinion. The first word of each 4 KiB block is its number: what is read is checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST_DEPTH = 32, MOST_LENGTH = 1 << 20 };

struct test {
    const char *name;
    bool write, random;
    unsigned length, depth;
};

/* The first fills the disk with the numbers that the others look for. */
static const struct test fill = {"fill-1m-d4", true, false, MOST_LENGTH, 4};
static const struct test tests[] = {
    {"read-1m-d1", false, false, MOST_LENGTH, 1}, {"read-1m-d4", false, false, MOST_LENGTH, 4},
    {"write-1m-d1", true, false, MOST_LENGTH, 1}, {"write-1m-d4", true, false, MOST_LENGTH, 4},
    {"read-4k-d1", false, true, BLOCK, 1},        {"read-4k-d32", false, true, BLOCK, MOST_DEPTH},
    {"write-4k-d1", true, true, BLOCK, 1},        {"write-4k-d32", true, true, BLOCK, MOST_DEPTH},
};

struct ring {
    int fd;
    _Atomic uint32_t *submit_tail, *complete_head, *complete_tail;
    uint32_t submit_mask, complete_mask, *array;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *done;
};

static struct ring ring;
static int device;
static uint64_t size, next, seed = 1;
static uint8_t *buffers[MOST_DEPTH];
static uint64_t offsets[MOST_DEPTH];
static volatile sig_atomic_t expired;

static void die(const char *what)
{
    printf("@@FAIL %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *map(size_t length, int fd, off_t offset)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE : MAP_SHARED | MAP_POPULATE;
    void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, offset);

    if (at == MAP_FAILED)
        die("mmap");
    return at;
}

static void make_ring(void)
{
    struct io_uring_params params = {0};

    ring.fd = (int)syscall(SYS_io_uring_setup, MOST_DEPTH, &params);
    if (ring.fd < 0)
        die("io_uring_setup");
    uint8_t *submit = map(params.sq_off.array + params.sq_entries * 4, ring.fd, IORING_OFF_SQ_RING);
    uint8_t *complete = map(params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
                            ring.fd, IORING_OFF_CQ_RING);
    ring.submit_tail = (void *)(submit + params.sq_off.tail);
    ring.submit_mask = *(uint32_t *)(void *)(submit + params.sq_off.ring_mask);
    ring.array = (void *)(submit + params.sq_off.array);
    ring.complete_head = (void *)(complete + params.cq_off.head);
    ring.complete_tail = (void *)(complete + params.cq_off.tail);
    ring.complete_mask = *(uint32_t *)(void *)(complete + params.cq_off.ring_mask);
    ring.done = (void *)(complete + params.cq_off.cqes);
    ring.entries = map(params.sq_entries * sizeof(struct io_uring_sqe), ring.fd, IORING_OFF_SQES);
}

static uint64_t choose(const struct test *test)
{
    if (test->random) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (seed >> 32) % (size / test->length) * test->length;
    }
    uint64_t offset = next;
    next = offset + 2 * (uint64_t)test->length <= size ? offset + test->length : 0;
    return offset;
}

/* Number the blocks, or look for their numbers. */
static void visit(const struct test *test, unsigned slot, bool put)
{
    for (unsigned at = 0; at < test->length; at += BLOCK) {
        uint64_t *word = (uint64_t *)(void *)(buffers[slot] + at);
        uint64_t number = (offsets[slot] + at) / BLOCK;
        if (put)
            *word = number;
        else if (*word != number) {
            printf("@@FAIL block %llu reads as %llu\n", (unsigned long long)number,
                   (unsigned long long)*word);
            exit(1);
        }
    }
}

static void put_request(const struct test *test, unsigned slot)
{
    uint32_t tail = atomic_load_explicit(ring.submit_tail, memory_order_relaxed);

    offsets[slot] = choose(test);
    if (test->write)
        visit(test, slot, true);
    ring.entries[tail & ring.submit_mask] =
        (struct io_uring_sqe){.opcode = test->write ? IORING_OP_WRITE : IORING_OP_READ,
                              .fd = device,
                              .off = offsets[slot],
                              .addr = (uintptr_t)buffers[slot],
                              .len = test->length,
                              .user_data = slot};
    ring.array[tail & ring.submit_mask] = tail & ring.submit_mask;
    atomic_store_explicit(ring.submit_tail, tail + 1, memory_order_release);
}

/* Hand `*count` requests to the kernel and wait for one answer at least. */
static void enter(unsigned *count)
{
    long taken = syscall(SYS_io_uring_enter, ring.fd, *count, 1, IORING_ENTER_GETEVENTS, NULL, 0);

    if (taken >= 0)
        *count -= (unsigned)taken;
    else if (errno != EINTR)
        die("io_uring_enter");
}

/* The slot of an answer, or -1: there is none. */
static int take_answer(const struct test *test)
{
    uint32_t head = atomic_load_explicit(ring.complete_head, memory_order_relaxed);

    if (head == atomic_load_explicit(ring.complete_tail, memory_order_acquire))
        return -1;
    const struct io_uring_cqe *answer = &ring.done[head & ring.complete_mask];
    unsigned slot = (unsigned)answer->user_data;
    if (answer->res != (int)test->length) {
        errno = answer->res < 0 ? -answer->res : EIO;
        die(test->name);
    }
    atomic_store_explicit(ring.complete_head, head + 1, memory_order_release);
    if (!test->write)
        visit(test, slot, false);
    return (int)slot;
}

static bool is_over(uint64_t begun, uint64_t most)
{
    return most != 0 ? begun >= most : expired != 0;
}

/* Until the time is over, or `most` requests are made when that is not 0. */
static uint64_t make_requests(const struct test *test, uint64_t most)
{
    uint64_t begun = 0, ended = 0;
    unsigned fresh = 0;

    for (; begun < test->depth; begun++, fresh++)
        put_request(test, (unsigned)begun);
    while (ended < begun) {
        enter(&fresh);
        for (int slot = take_answer(test); slot >= 0; slot = take_answer(test)) {
            ended++;
            if (is_over(begun, most))
                continue;
            put_request(test, (unsigned)slot);
            begun++;
            fresh++;
        }
    }
    return ended;
}

static uint64_t now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void run(const struct test *test, unsigned seconds, uint64_t most)
{
    const struct itimerval timer = {.it_value = {.tv_sec = seconds}};

    expired = 0;
    next = 0;
    printf("@@BEGIN %s\n", test->name);
    uint64_t start = now();
    if (most == 0)
        setitimer(ITIMER_REAL, &timer, NULL);
    uint64_t count = make_requests(test, most);
    uint64_t took = now() - start;
    printf("@@END %s requests %llu bytes %llu ns %llu\n", test->name, (unsigned long long)count,
           (unsigned long long)count * test->length, (unsigned long long)took);
}

static bool is_wanted(const char *name, char **wanted)
{
    if (*wanted == NULL)
        return true;
    while (*wanted != NULL && strcmp(*wanted, name) != 0)
        wanted++;
    return *wanted != NULL;
}

static void expire(int signal)
{
    expired = signal;
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = expire};

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3)
        return 2;
    device = open(argv[1], O_RDWR | O_DIRECT);
    if (device < 0 || ioctl(device, BLKGETSIZE64, &size) < 0)
        die(argv[1]);
    sigaction(SIGALRM, &action, NULL);
    make_ring();
    for (unsigned i = 0; i < MOST_DEPTH; i++)
        buffers[i] = map(i < 4 ? MOST_LENGTH : BLOCK, -1, 0);
    run(&fill, 0, size / MOST_LENGTH);
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (is_wanted(tests[i].name, argv + 3))
            run(&tests[i], (unsigned)strtoul(argv[2], NULL, 10), 0);
    }
    printf("@@DONE\n");
    return 0;
}
