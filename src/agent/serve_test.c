/* The agent on a socket pair: what a host may order, and what it must not be able to do. */
#include "agent/serve.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/request.h"
#include "base/bytes.h"

static int host;
static pid_t agent;
static struct frame_reader reader;

static int setup(void **state)
{
    int ends[2];
    (void)state;
    memset(&reader, 0, sizeof(reader));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    agent = fork();
    if (agent == 0) {
        (void)close(ends[0]);
        serve_connection(ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    host = ends[0];
    return 0;
}

static int teardown(void **state)
{
    int status = 0;
    (void)state;
    (void)close(host);
    assert_int_equal(waitpid(agent, &status, 0), agent);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void order(const char *script, bool input, bool terminal)
{
    static uint8_t payload[FRAME_MOST];
    const struct exec_request request = {.user = "",
                                         .directory = "/",
                                         .input = input,
                                         .terminal = terminal,
                                         .rows = 20,
                                         .columns = 70,
                                         .argument_count = 3,
                                         .arguments = {"sh", "-c", script}};
    struct exec_request own = request;
    char user[16];
    (void)snprintf(user, sizeof(user), "%u", geteuid());
    own.user = user;
    int length = exec_encode(&own, payload);
    assert_true(length > 0);
    assert_int_equal(frame_write(host, FRAME_EXEC, payload, (size_t)length), 0);
}

static struct frame next(void)
{
    struct frame frame;
    assert_int_equal(frame_read(&reader, host, &frame), 0);
    return frame;
}

/* All output up to the exit code, which is returned. */
static uint32_t collect(char *ret, size_t room)
{
    size_t length = 0;
    for (;;) {
        struct frame frame = next();
        if (frame.type == FRAME_EXIT) {
            ret[length] = '\0';
            return get_le32(frame.payload);
        }
        if (frame.type != FRAME_OUTPUT && frame.type != FRAME_ERROR_OUTPUT)
            continue;
        assert_true(length + frame.length < room);
        memcpy(ret + length, frame.payload, frame.length);
        length += frame.length;
    }
}

static void a_command_starts_speaks_and_ends(void **state)
{
    char text[64];
    (void)state;
    order("echo out; exit 3", false, false);
    assert_int_equal(next().type, FRAME_STARTED);
    assert_int_equal(collect(text, sizeof(text)), 3);
    assert_string_equal(text, "out\n");
}

static void input_comes_back(void **state)
{
    char text[64];
    (void)state;
    order("cat", true, false);
    assert_int_equal(frame_write(host, FRAME_INPUT, "to and fro", 10), 0);
    assert_int_equal(frame_write(host, FRAME_INPUT_END, NULL, 0), 0);
    assert_int_equal(collect(text, sizeof(text)), 0);
    assert_string_equal(text, "to and fro");
}

static void the_window_grows_by_what_was_taken(void **state)
{
    uint32_t window = 0;
    (void)state;
    order("cat >/dev/null", true, false);
    assert_int_equal(frame_write(host, FRAME_INPUT, "12345", 5), 0);
    while (window < 5) {
        struct frame frame = next();
        if (frame.type == FRAME_WINDOW)
            window += get_le32(frame.payload);
    }
    assert_int_equal(window, 5);
}

/* The command ends with its connection. */
static void more_than_the_window_ends_it(void **state)
{
    static const uint8_t bytes[AGENT_WINDOW_SIZE / 2 + 1];
    struct frame frame;
    (void)state;
    order("exec sleep 1000", true, false);
    assert_int_equal(next().type, FRAME_STARTED);
    /* Twice what the pipe and the window can hold. */
    for (int i = 0; i < 8; i++)
        (void)frame_write(host, FRAME_INPUT, bytes, sizeof(bytes));
    int error = 0;
    while (error == 0)
        error = frame_read(&reader, host, &frame);
    assert_int_equal(error, -ECONNRESET);
}

static void a_signal_reaches_it(void **state)
{
    uint8_t number[4];
    char text[64];
    (void)state;
    order("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done", false, false);
    struct frame frame = next();
    while (frame.type != FRAME_OUTPUT)
        frame = next();
    put_le32(number, SIGTERM);
    assert_int_equal(frame_write(host, FRAME_SIGNAL, number, 4), 0);
    assert_int_equal(collect(text, sizeof(text)), 9);
}

static void signals_that_are_none_end_it(void **state)
{
    struct frame frame;
    uint8_t number[4];
    (void)state;
    order("exec sleep 1000", false, false);
    put_le32(number, 100000);
    assert_int_equal(frame_write(host, FRAME_SIGNAL, number, 4), 0);
    assert_int_equal(next().type, FRAME_STARTED);
    assert_int_equal(frame_read(&reader, host, &frame), -ECONNRESET);
}

static void a_terminal_has_a_size(void **state)
{
    char text[64];
    (void)state;
    order("stty size", true, true);
    assert_int_equal(collect(text, sizeof(text)), 0);
    assert_string_equal(text, "20 70\r\n");
}

static void a_command_that_is_not_there_is_told(void **state)
{
    static uint8_t payload[FRAME_MOST];
    char user[16];
    char text[64];
    uint32_t code = 0;
    (void)state;
    (void)snprintf(user, sizeof(user), "%u", geteuid());
    const struct exec_request request = {
        .user = user, .directory = "", .argument_count = 1, .arguments = {"no-such-command"}};
    int length = exec_encode(&request, payload);
    assert_int_equal(frame_write(host, FRAME_EXEC, payload, (size_t)length), 0);
    struct frame frame = next();
    assert_int_equal(frame.type, FRAME_FAILED);
    assert_int_equal(failure_decode(frame.payload, frame.length, &code, text, sizeof(text)), 0);
    assert_int_equal(code, 127);
    assert_non_null(strstr(text, "no-such-command"));
}

static void requests_that_are_none_are_refused(void **state)
{
    static const enum frame_type types[] = {FRAME_EXEC, FRAME_GET, FRAME_PUT, FRAME_OUTPUT};
    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        assert_int_equal(frame_write(host, types[i], "\1\0nonsense", 10), 0);
        assert_int_equal(next().type, FRAME_FAILED);
        teardown(NULL);
        setup(NULL);
    }
    assert_int_equal(send(host, "not a frame at all", 18, 0), 18); /* it just goes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_command_starts_speaks_and_ends),
        TEST(input_comes_back),
        TEST(the_window_grows_by_what_was_taken),
        TEST(more_than_the_window_ends_it),
        TEST(a_signal_reaches_it),
        TEST(signals_that_are_none_end_it),
        TEST(a_terminal_has_a_size),
        TEST(a_command_that_is_not_there_is_told),
        TEST(requests_that_are_none_are_refused),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
