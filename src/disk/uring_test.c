#include "disk/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 512, BLOCKS = 3000 }; /* more than fit into the ring */

static struct loop *loop;
static struct disk_uring *uring;
static int fd;
static unsigned ended, to_end;

static int create(void **state)
{
    (void)state;
    ended = 0;
    fd = memfd_create("disk", MFD_CLOEXEC);
    if (fd < 0 || loop_create(&loop) < 0)
        return -1;
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    disk_uring_destroy(uring);
    loop_destroy(loop);
    (void)close(fd);
    uring = NULL;
    return 0;
}

/* A kernel that gives no ring is no fault of ours. */
static void need_uring(void)
{
    int error = disk_uring_create(loop, &uring);

    if (error == -EPERM || error == -ENOSYS || error == -ENOTSUP)
        skip();
    assert_int_equal(error, 0);
}

static void done(struct disk_job *job)
{
    (void)job;
    if (++ended == to_end)
        loop_stop(loop);
}

static struct disk_transfer of(bool write, const struct iovec *iov, unsigned count, uint64_t offset)
{
    return (struct disk_transfer){.job.done = done,
                                  .fd = fd,
                                  .write = write,
                                  .iov = iov,
                                  .iov_count = count,
                                  .offset = offset};
}

static void bytes_are_gathered_and_scattered(void **state)
{
    char from[] = "some bytes";
    char to[sizeof(from)] = {0};
    const struct iovec out[] = {{from, 4}, {from + 4, sizeof(from) - 4}};
    const struct iovec in[] = {{to, 7}, {to + 7, sizeof(to) - 7}};
    struct disk_transfer write = of(true, out, 2, 1000);
    struct disk_transfer read = of(false, in, 2, 1000);
    (void)state;
    need_uring();
    to_end = 1;
    disk_uring_start(uring, &write);
    assert_int_equal(ended, 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(write.result, sizeof(from));
    to_end = 2;
    disk_uring_start(uring, &read);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(read.result, sizeof(from));
    assert_string_equal(to, from);
}

static void ends_and_errors_are_told(void **state)
{
    char byte = 1;
    const struct iovec piece = {&byte, 1};
    struct disk_transfer beyond = of(false, &piece, 1, 1 << 20);
    struct disk_transfer wrong = of(true, &piece, 1, 0);
    (void)state;
    need_uring();
    wrong.fd = -1;
    to_end = 2;
    disk_uring_start(uring, &beyond);
    disk_uring_start(uring, &wrong);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(beyond.result, 0);
    assert_int_equal(wrong.result, -EBADF);
}

static void more_than_the_ring_holds_waits_in_line(void **state)
{
    static uint8_t bytes[BLOCKS][BLOCK];
    static struct iovec pieces[BLOCKS];
    static struct disk_transfer transfers[BLOCKS];
    uint8_t back[BLOCK];
    (void)state;
    need_uring();
    to_end = BLOCKS;
    for (unsigned i = 0; i < BLOCKS; i++) {
        memset(bytes[i], (int)(i % 251), BLOCK);
        pieces[i] = (struct iovec){bytes[i], BLOCK};
        transfers[i] = of(true, &pieces[i], 1, (uint64_t)i * BLOCK);
        disk_uring_start(uring, &transfers[i]);
    }
    assert_int_equal(loop_run(loop), 0);
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_int_equal(transfers[i].result, BLOCK);
        assert_int_equal(pread(fd, back, BLOCK, (off_t)i * BLOCK), BLOCK);
        assert_memory_equal(back, bytes[i], BLOCK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_are_gathered_and_scattered, create, destroy),
        cmocka_unit_test_setup_teardown(ends_and_errors_are_told, create, destroy),
        cmocka_unit_test_setup_teardown(more_than_the_ring_holds_waits_in_line, create, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
