#include "control/stream.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "control/socket.h"

static char folder[] = "/tmp/partita-stream-XXXXXX";
static struct control_listener control, streams;
static const char *answer; /* of the partition */
static char heard[32];

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): before there are threads */
    assert_int_equal(setenv("PARTITA_RUNTIME_DIR", folder, 1), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int begin(void **state)
{
    (void)state;
    assert_int_equal(control_listen("web", &control, NULL), 0);
    assert_int_equal(control_listen_streams("web", &streams, NULL), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    control_unlisten_in_folder(&streams);
    control_unlisten(&control);
    return 0;
}

static void *serve(void *unused)
{
    int fd = -1;
    char rest[8];
    while (control_accept(&streams, &fd) == -EAGAIN)
        (void)usleep(1000);
    size_t length = 0;
    while (length < sizeof(heard) - 1 && (length == 0 || heard[length - 1] != '\n')) {
        ssize_t part = recv(fd, heard + length, 1, 0);
        length += part > 0 ? 1 : 0;
    }
    heard[length] = '\0';
    (void)send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    if (answer[0] == '\0') /* until the other has had enough */
        while (recv(fd, rest, sizeof(rest), 0) < 0)
            (void)usleep(1000);
    (void)close(fd);
    return unused;
}

static int try(const char *text, struct reason *reason)
{
    pthread_t thread;
    int fd = -1;
    char rest[16] = "";

    answer = text;
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    int error = control_connect_stream("web", 610, answer[0] == '\0' ? 100 : 20000, &fd, reason);
    if (error == 0) {
        assert_int_equal(recv(fd, rest, sizeof(rest), MSG_WAITALL), 4);
        assert_string_equal(rest, "more");
        (void)close(fd);
    }
    (void)pthread_join(thread, NULL);
    return error;
}

static void the_answer_decides(void **state)
{
    struct reason reason = {""};
    (void)state;
    assert_int_equal(try("OK 1\nmore", &reason), 0);
    assert_string_equal(heard, "CONNECT 610\n");
    assert_int_equal(try("ERROR nobody listens\n", &reason), -ECONNREFUSED);
    assert_string_equal(reason.text, "web: nobody listens");
    assert_int_equal(try("what\n", &reason), -ECONNREFUSED);
    assert_int_equal(try("OK 1", &reason), -ECONNREFUSED);
    assert_int_equal(try("", &reason), -ETIMEDOUT);
}

static void a_partition_without_them_is_told_apart(void **state)
{
    struct reason reason = {""};
    int fd = -1;
    (void)state;
    control_unlisten_in_folder(&streams);
    assert_int_equal(control_connect_stream("web", 610, 100, &fd, &reason), -ENOTSUP);
    assert_int_equal(control_connect_stream("other", 610, 100, &fd, &reason), -ENOENT);
}

static void the_folder_is_private_and_goes_when_it_is_empty(void **state)
{
    char path[CONTROL_SOCKET_PATH_SIZE];
    struct stat status;
    (void)state;
    assert_int_equal(control_stream_path("web", "52", path, NULL), 0);
    assert_non_null(strstr(path, "/web.d/vsock_52"));
    *strrchr(path, '/') = '\0';
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    control_unlisten_in_folder(&streams);
    assert_int_equal(stat(path, &status), -1);
}

static void paths_that_are_too_long_are_refused(void **state)
{
    char path[CONTROL_SOCKET_PATH_SIZE];
    char name[CONTROL_NAME_SIZE];
    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(control_stream_path(name, "01020304-0506-0708-090a-0b0c0d0e0f10", path, NULL),
                     -ENAMETOOLONG);
    assert_int_equal(control_stream_path("../x", "52", path, NULL), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_answer_decides),
        TEST(a_partition_without_them_is_told_apart),
        TEST(the_folder_is_private_and_goes_when_it_is_empty),
        TEST(paths_that_are_too_long_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
