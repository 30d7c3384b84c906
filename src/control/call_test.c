#include "control/call.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "control/socket.h"

static char folder[] = "/tmp/partita-control-XXXXXX";
static struct control_listener listener;
static struct reason reason;
static pthread_t server;
static const char *answer; /* NULL: none */

static int listen_there(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    if (setenv("PARTITA_RUNTIME_DIR", folder, 1) < 0) /* NOLINT(concurrency-mt-unsafe) */
        return -1;
    return control_listen("web", &listener, &reason);
}

static int unlisten(void **state)
{
    (void)state;
    control_unlisten(&listener);
    return rmdir(folder);
}

/* One connection: read a line, answer, close. */
static void *serve_one(void *unused)
{
    char line[512];
    int fd = -1;
    (void)unused;

    while (control_accept(&listener, &fd) == -EAGAIN)
        (void)usleep(1000);
    while (recv(fd, line, sizeof(line), 0) < 0)
        (void)usleep(1000);
    if (answer != NULL)
        (void)send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    else
        (void)usleep(300000);
    (void)close(fd);
    return NULL;
}

static int call(const char *with)
{
    const struct control_request request = {.verb = CONTROL_STATUS};
    struct control_reply reply;

    answer = with;
    assert_int_equal(pthread_create(&server, NULL, serve_one, NULL), 0);
    int error = control_call("web", &request, with != NULL ? 5000 : 100, &reply, &reason);
    control_reply_release(&reply);
    assert_int_equal(pthread_join(server, NULL), 0);
    return error;
}

static void answer_is_brought_back(void **state)
{
    (void)state;
    assert_int_equal(call("{\"ok\":true}\n"), 0);
}

static void refusal_is_the_error_of_the_call(void **state)
{
    (void)state;
    assert_int_equal(call("{\"ok\":false,\"code\":\"busy\",\"error\":\"not now\"}\n"), -EBUSY);
    assert_string_equal(reason.text, "web: not now");
}

static void worker_that_hangs_breaks_off_or_talks_rubbish_is_told_of(void **state)
{
    (void)state;
    assert_int_equal(call(NULL), -ETIMEDOUT);
    assert_non_null(strstr(reason.text, "no answer"));
    assert_int_equal(call(""), -ECONNRESET);
    assert_non_null(strstr(reason.text, "connection broke"));
    assert_int_equal(call("rubbish\n"), -EINVAL);
}

static void partition_that_is_not_there_is_told_of(void **state)
{
    const struct control_request request = {.verb = CONTROL_STATUS};
    struct control_reply reply;
    (void)state;

    assert_int_equal(control_call("other", &request, 100, &reply, &reason), -ENOENT);
    assert_string_equal(reason.text, "no partition named other runs");
    assert_int_equal(control_call("a/b", &request, 100, &reply, &reason), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_is_brought_back),
        cmocka_unit_test(refusal_is_the_error_of_the_call),
        cmocka_unit_test(worker_that_hangs_breaks_off_or_talks_rubbish_is_told_of),
        cmocka_unit_test(partition_that_is_not_there_is_told_of),
    };
    return cmocka_run_group_tests_name("call", tests, listen_there, unlisten);
}
