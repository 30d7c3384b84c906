#include "bootdisk/child.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { KINDS = 2, BIG = 3 << 20 };

static struct child_message messages[KINDS];
static struct reason reason;

typedef int (*run_fn)(void *owner, struct child_pipe *pipe, struct reason *reason);

static int run(run_fn fn, uint64_t timeout_ns)
{
    static const uint64_t limits[KINDS] = {16, BIG};
    const struct child_work work = {fn, NULL, limits, KINDS, timeout_ns};

    reason.text[0] = '\0';
    return child_run(&work, messages, &reason);
}

static int send_two(void *owner, struct child_pipe *pipe, struct reason *why)
{
    static uint8_t big[BIG];
    (void)owner;
    (void)why;

    memset(big, 7, sizeof(big));
    int error = child_begin(pipe, 1, sizeof(big));
    if (error == 0)
        error = child_send(pipe, big, sizeof(big));
    if (error == 0)
        error = child_begin(pipe, 0, 5);
    return error < 0 ? error : child_send(pipe, "hello", 5);
}

static void messages_arrive_whole(void **state)
{
    (void)state;
    assert_int_equal(run(send_two, 20ULL * NS_PER_SECOND), 0);
    assert_int_equal(messages[0].length, 5);
    assert_memory_equal(messages[0].bytes, "hello", 5);
    assert_int_equal(messages[1].length, BIG);
    assert_int_equal(messages[1].bytes[BIG - 1], 7);
    child_release(messages, KINDS);
}

static int refuse(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)pipe;
    return reason_set(why, -ENOENT, "no \x1b[2Jkernel");
}

static void error_and_reason_are_carried_over(void **state)
{
    (void)state;
    assert_int_equal(run(refuse, 20ULL * NS_PER_SECOND), -ENOENT);
    assert_string_equal(reason.text, "no ?[2Jkernel");
}

static int spin(void *owner, struct child_pipe *pipe, struct reason *why)
{
    volatile bool forever = true;
    (void)owner;
    (void)pipe;
    (void)why;
    while (forever)
        continue;
    return 0;
}

static void child_that_never_ends_is_ended(void **state)
{
    (void)state;
    uint64_t start = clock_monotonic_ns();
    assert_int_equal(run(spin, NS_PER_SECOND / 10), -ETIMEDOUT);
    assert_true(clock_monotonic_ns() - start < 10ULL * NS_PER_SECOND);
    assert_non_null(strstr(reason.text, "too long"));
}

static int open_file(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)pipe;
    (void)why;
    return open("/etc/passwd", O_RDONLY) < 0 ? -errno : 0;
}

static int open_socket(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)pipe;
    (void)why;
    return socket(AF_INET, SOCK_STREAM, 0) < 0 ? -errno : 0;
}

static int write_elsewhere(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)pipe;
    (void)why;
    return write(STDERR_FILENO, "", 0) < 0 ? -errno : 0;
}

static int crash(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)pipe;
    (void)why;
    (void)raise(SIGKILL);
    return 0;
}

/* The filter kills; the parent sees the pipe's end. */
static void forbidden_calls_end_the_child(void **state)
{
    static const run_fn forbidden[] = {open_file, open_socket, write_elsewhere, crash};
    (void)state;

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        assert_int_equal(run(forbidden[i], 20ULL * NS_PER_SECOND), -EPROTO);
        assert_non_null(strstr(reason.text, "damaged"));
    }
}

static int send_too_much(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)why;
    return child_begin(pipe, 0, 17);
}

static int send_twice(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)why;
    int error = child_begin(pipe, 0, 0);
    return error < 0 ? error : child_begin(pipe, 0, 0);
}

static int send_unknown(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)why;
    return child_begin(pipe, KINDS, 0);
}

static int send_less_than_promised(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)why;
    return child_begin(pipe, 1, 10);
}

static void messages_against_the_rules_are_refused(void **state)
{
    static const run_fn bad[] = {send_too_much, send_twice, send_unknown, send_less_than_promised};
    (void)state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(run(bad[i], 20ULL * NS_PER_SECOND), -EPROTO);
        assert_null(messages[0].bytes);
        assert_null(messages[1].bytes);
    }
}

static int send_against_the_length(void *owner, struct child_pipe *pipe, struct reason *why)
{
    (void)owner;
    (void)why;
    int error = child_begin(pipe, 1, 4);
    if (error < 0 || child_send(pipe, "12345", 5) != -EPROTO || child_begin(pipe, 0, 0) != -EPROTO)
        return -EIO;
    return child_send(pipe, "1234", 4);
}

static void sender_is_held_to_its_length(void **state)
{
    (void)state;
    assert_int_equal(run(send_against_the_length, 20ULL * NS_PER_SECOND), 0);
    assert_memory_equal(messages[1].bytes, "1234", 4);
    child_release(messages, KINDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_whole),
        cmocka_unit_test(error_and_reason_are_carried_over),
        cmocka_unit_test(child_that_never_ends_is_ended),
        cmocka_unit_test(forbidden_calls_end_the_child),
        cmocka_unit_test(messages_against_the_rules_are_refused),
        cmocka_unit_test(sender_is_held_to_its_length),
    };
    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
