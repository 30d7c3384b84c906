#include "worker/output_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

enum { MUCH = 1 << 20 };

static atomic_int failed_with;

static void note_failure(void *owner, int error)
{
    (void)owner;
    atomic_store(&failed_with, error);
}

static struct output_queue *queue_to(int fd, int discard_fd)
{
    struct output_queue *queue = NULL;
    const struct output_queue_config config = {
        .fd = fd, .discard_fd = discard_fd, .failed = note_failure};
    atomic_store(&failed_with, 0);
    assert_int_equal(output_queue_create(&config, &queue), 0);
    return queue;
}

/* A reader that takes its time: adds up what comes until the end of file. */
struct reader {
    int fd;
    uint64_t length, sum;
};

static void *read_slowly(void *argument)
{
    struct reader *reader = argument;
    uint8_t bytes[3000];
    ssize_t length = 0;

    while ((length = read(reader->fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < length; i++)
            reader->sum += bytes[i] * (reader->length + (uint64_t)i + 1);
        reader->length += (uint64_t)length;
        (void)usleep(50);
    }
    return NULL;
}

static void slow_reader_gets_every_byte_in_order(void **state)
{
    int ends[2];
    uint64_t sum = 0;
    pthread_t thread;
    uint8_t *bytes = malloc(MUCH);
    (void)state;

    assert_non_null(bytes);
    assert_int_equal(pipe(ends), 0);
    struct reader reader = {.fd = ends[0]};
    assert_int_equal(pthread_create(&thread, NULL, read_slowly, &reader), 0);
    struct output_queue *queue = queue_to(ends[1], -1);
    for (uint64_t i = 0; i < MUCH; i++) {
        bytes[i] = (uint8_t)(i * 31 + i / 255);
        sum += bytes[i] * (i + 1);
    }
    for (size_t done = 0; done < MUCH; done += 777 < MUCH - done ? 777 : MUCH - done)
        output_queue_put(queue, bytes + done, 777 < MUCH - done ? 777 : MUCH - done, true);
    assert_true(output_queue_finish(queue, UINT64_MAX));
    (void)close(ends[1]);
    (void)pthread_join(thread, NULL);
    assert_int_equal(reader.length, MUCH);
    assert_int_equal(reader.sum, sum);
    (void)close(ends[0]);
    free(bytes);
}

static void who_must_not_wait_does_not(void **state)
{
    int ends[2];
    static const uint8_t bytes[4096];
    (void)state;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
    struct output_queue *queue = queue_to(ends[1], -1);
    for (int i = 0; i < 100; i++) /* more than pipe and queue hold; nobody reads */
        output_queue_put(queue, bytes, sizeof(bytes), false);
    output_queue_stop_waiting(queue);
    output_queue_put(queue, bytes, sizeof(bytes), true);

    /* The writer is stuck: finish gives up in time, then a reader lets the thread end. */
    assert_false(output_queue_finish(queue, UINT64_C(50000000)));
    struct reader reader = {.fd = ends[0]};
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    (void)read_slowly(&reader);
    assert_true(reader.length > 0);
    (void)close(ends[0]);
}

static void closed_reader_is_told_once_and_stops_nobody(void **state)
{
    int ends[2];
    static const uint8_t bytes[4096];
    (void)state;

    assert_int_equal(pipe(ends), 0);
    (void)close(ends[0]);
    struct output_queue *queue = queue_to(ends[1], -1);
    for (int i = 0; i < 100; i++)
        output_queue_put(queue, bytes, sizeof(bytes), true);
    assert_int_equal(atomic_load(&failed_with), -EPIPE);
    assert_true(output_queue_finish(queue, UINT64_MAX));
    (void)close(ends[1]);
}

static int open_pty(int *ret_slave)
{
    char path[64];
    struct termios raw;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);

    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    assert_int_equal(ptsname_r(master, path, sizeof(path)), 0);
    *ret_slave = open(path, O_RDWR | O_NOCTTY);
    assert_true(*ret_slave >= 0);
    assert_int_equal(tcgetattr(*ret_slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(*ret_slave, TCSANOW, &raw), 0);
    return master;
}

static void unread_pty_keeps_the_newest(void **state)
{
    int slave = -1;
    int master = open_pty(&slave);
    char bytes[8192];
    (void)state;

    struct output_queue *queue = queue_to(master, slave);
    memset(bytes, 'x', sizeof(bytes));
    for (int i = 0; i < 8; i++)
        output_queue_put(queue, (const uint8_t *)bytes, sizeof(bytes), true);
    output_queue_put(queue, (const uint8_t *)"the end", 7, true);
    assert_true(output_queue_finish(queue, UINT64_MAX));

    assert_int_equal(fcntl(slave, F_SETFL, O_NONBLOCK), 0);
    char tail[8] = "";
    size_t total = 0;
    for (ssize_t part = 0; (part = read(slave, bytes, 7)) > 0; total += (size_t)part) {
        memmove(tail, tail + part, 7 - (size_t)part);
        memcpy(tail + 7 - part, bytes, (size_t)part);
    }
    assert_string_equal(tail, "the end");
    assert_true(total < 8 * sizeof(bytes)); /* the oldest was thrown away */
    (void)close(slave);
    (void)close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_reader_gets_every_byte_in_order),
        cmocka_unit_test(who_must_not_wait_does_not),
        cmocka_unit_test(closed_reader_is_told_once_and_stops_nobody),
        cmocka_unit_test(unread_pty_keeps_the_newest),
    };
    (void)signal(SIGPIPE,
                 SIG_IGN); /* as the worker has it; the second test may leave a writer behind */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
