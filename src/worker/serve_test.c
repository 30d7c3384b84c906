#include "worker/serve.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static char folder[] = "/tmp/partita-serve-XXXXXX";
static struct control_listener listener;
static struct loop *loop;
static struct serve *serve;
static struct loop_timer *timer;

/* What the verbs were asked. */
static struct control_request last;
static unsigned performed;
static struct serve_call *held;

static void fake_status(void *owner, const struct control_request *request, struct serve_call *call)
{
    static const struct control_status status = {.state = "running", .engine = "fake"};
    const struct control_reply reply = {.kind = CONTROL_REPLY_STATUS, .status = status};

    assert_ptr_equal(owner, &performed);
    last = *request;
    performed++;
    serve_answer(call, &reply);
}

/* As large as an answer gets. */
static void fake_attach(void *owner, const struct control_request *request, struct serve_call *call)
{
    static struct control_disk disks[CONTROL_MOST_DISKS];
    static char path[3000];
    struct control_reply reply = {.kind = CONTROL_REPLY_STATUS};
    (void)owner;

    last = *request;
    performed++;
    memset(path, 'p', sizeof(path) - 1);
    for (unsigned i = 0; i < CONTROL_MOST_DISKS; i++)
        disks[i].path = path;
    reply.status.disks = disks;
    reply.status.disk_count = CONTROL_MOST_DISKS;
    serve_answer(call, &reply);
}

static void fake_detach(void *owner, const struct control_request *request, struct serve_call *call)
{
    (void)owner;
    last = *request;
    performed++;
    held = call;
}

static const struct serve_verbs verbs = {.perform = {
                                             [CONTROL_STATUS] = fake_status,
                                             [CONTROL_ATTACH] = fake_attach,
                                             [CONTROL_DETACH] = fake_detach,
                                         }};

static void stop_loop(void *owner)
{
    loop_stop(owner);
}

static int start(void **state)
{
    (void)state;
    performed = 0;
    held = NULL;
    (void)setenv("PARTITA_RUNTIME_DIR", folder, 1); /* NOLINT(concurrency-mt-unsafe) */
    if (control_listen("web", &listener, NULL) < 0 || loop_create(&loop) < 0)
        return -1;
    if (loop_timer_create(loop, stop_loop, loop, &timer) < 0)
        return -1;
    return serve_create(loop, &listener, &verbs, &performed, &serve);
}

static int stop(void **state)
{
    (void)state;
    serve_destroy(serve);
    loop_timer_destroy(timer);
    loop_destroy(loop);
    return 0;
}

static void run_loop(void)
{
    loop_timer_set(timer, clock_monotonic_ns() + NS_PER_SECOND / 50);
    assert_int_equal(loop_run(loop), 0);
}

static int connect_client(void)
{
    int fd = -1;
    assert_int_equal(control_connect("web", &fd, NULL), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come; "END" when the server has left. */
static const char *heard(int fd)
{
    static char text[8192];
    ssize_t length = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (length == 0)
        return "END";
    text[length > 0 ? length : 0] = '\0';
    return text;
}

static void requests_are_carried_out_and_answered(void **state)
{
    int fd = connect_client();
    (void)state;

    say(fd, "{\"verb\":\"status\"}\n");
    run_loop();
    assert_int_equal(performed, 1);
    assert_non_null(strstr(heard(fd), "\"engine\":\"fake\""));
    say(fd, "{\"verb\":\"sta");
    run_loop();
    assert_string_equal(heard(fd), "");
    say(fd, "tus\"}\n{\"verb\":\"status\"}\n");
    run_loop();
    assert_int_equal(performed, 3);
    (void)close(fd);
    run_loop();
}

static void rubbish_is_refused_and_its_sender_left(void **state)
{
    static const char *const lines[] = {"\n", "rubbish\n", "{\"verb\":\"explode\"}\n"};
    (void)state;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        int fd = connect_client();
        say(fd, lines[i]);
        say(fd, "{\"verb\":\"status\"}\n");
        run_loop();
        assert_non_null(strstr(heard(fd), "\"code\":\"invalid\""));
        (void)close(fd);
    }
    assert_int_equal(performed, 0);
}

static void endless_line_is_refused(void **state)
{
    static char text[CONTROL_MOST_REQUEST];
    int fd = connect_client();
    (void)state;

    memset(text, ' ', sizeof(text));
    assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
    run_loop();
    assert_non_null(strstr(heard(fd), "too long"));
    assert_string_equal(heard(fd), "END");
    (void)close(fd);
}

static void verb_that_is_not_offered_is_unsupported(void **state)
{
    int fd = connect_client();
    (void)state;

    say(fd, "{\"verb\":\"reset\"}\n");
    run_loop();
    assert_non_null(strstr(heard(fd), "\"code\":\"unsupported\""));
    say(fd, "{\"verb\":\"status\"}\n");
    run_loop();
    assert_int_equal(performed, 1);
    (void)close(fd);
}

static void client_that_does_not_read_holds_nobody_up(void **state)
{
    int lazy = connect_client();
    int other = connect_client();
    (void)state;

    for (int i = 0; i < 20; i++)
        say(lazy, "{\"verb\":\"attach\",\"path\":\"/a\"}\n");
    run_loop();
    assert_true(performed < 20); /* the rest is not even read */
    unsigned before = performed;
    say(other, "{\"verb\":\"status\"}\n");
    run_loop();
    assert_int_equal(performed, before + 1);
    assert_non_null(strstr(heard(other), "fake"));
    /* Once it reads, it gets all. */
    for (int i = 0; i < 3000 && performed < 21; i++) {
        static char bytes[1 << 20];
        (void)recv(lazy, bytes, sizeof(bytes), MSG_DONTWAIT);
        loop_timer_set(timer, clock_monotonic_ns() + NS_PER_SECOND / 1000);
        assert_int_equal(loop_run(loop), 0);
    }
    assert_int_equal(performed, 21);
    (void)close(lazy);
    (void)close(other);
}

static void answer_may_come_later(void **state)
{
    int fd = connect_client();
    (void)state;

    say(fd, "{\"verb\":\"detach\",\"controller\":1,\"lun\":2}\n{\"verb\":\"status\"}\n");
    run_loop();
    assert_int_equal(performed, 1);
    assert_int_equal(last.lun, 2);
    assert_string_equal(heard(fd), "");
    serve_confirm(held);
    assert_string_equal(heard(fd), "{\"ok\":true}\n");
    run_loop();
    assert_int_equal(performed, 2);
    (void)close(fd);
}

static void answer_to_a_client_that_has_gone_is_forgotten(void **state)
{
    int fd = connect_client();
    (void)state;

    say(fd, "{\"verb\":\"detach\",\"controller\":1,\"lun\":2}\n");
    run_loop();
    (void)close(fd);
    run_loop();
    serve_refuse(held, -EBUSY, "too %s", "late");
    /* And one that nobody answers ends with the server: stop(). */
    fd = connect_client();
    say(fd, "{\"verb\":\"detach\",\"controller\":1,\"lun\":2}\n");
    run_loop();
    assert_int_equal(performed, 2);
    (void)close(fd);
}

static void silent_clients_give_way_to_newcomers(void **state)
{
    int fds[SERVE_MOST_CLIENTS];
    (void)state;

    for (int i = 0; i < SERVE_MOST_CLIENTS; i++) {
        fds[i] = connect_client();
        run_loop();
    }
    say(fds[0], "{\"verb\":\"detach\",\"controller\":1,\"lun\":2}\n");
    run_loop();
    int newcomer = connect_client();
    say(newcomer, "{\"verb\":\"status\"}\n");
    run_loop();
    assert_int_equal(performed, 2);
    assert_non_null(strstr(heard(newcomer), "fake"));
    assert_string_equal(heard(fds[0]), "");
    assert_string_equal(heard(fds[1]), "END");
    assert_string_equal(heard(fds[2]), "");
    for (int i = 0; i < SERVE_MOST_CLIENTS; i++)
        (void)close(fds[i]);
    (void)close(newcomer);
}

static void socket_goes_with_the_server(void **state)
{
    struct stat status;
    (void)state;

    assert_int_equal(stat(listener.path, &status), 0);
    serve_destroy(serve);
    serve = NULL;
    assert_int_equal(stat(listener.path, &status), -1);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

#define SERVE_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVE_TEST(requests_are_carried_out_and_answered),
        SERVE_TEST(rubbish_is_refused_and_its_sender_left),
        SERVE_TEST(endless_line_is_refused),
        SERVE_TEST(verb_that_is_not_offered_is_unsupported),
        SERVE_TEST(client_that_does_not_read_holds_nobody_up),
        SERVE_TEST(answer_may_come_later),
        SERVE_TEST(answer_to_a_client_that_has_gone_is_forgotten),
        SERVE_TEST(silent_clients_give_way_to_newcomers),
        SERVE_TEST(socket_goes_with_the_server),
    };
    return cmocka_run_group_tests_name("serve", tests, make_folder, remove_folder);
}
