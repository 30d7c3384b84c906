#include "control/socket.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/partita-control-XXXXXX";
static char sockets[64];
static struct reason reason;

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(sockets, sizeof(sockets), "%s/sockets", folder);
    return setenv("PARTITA_RUNTIME_DIR", sockets, 1); /* NOLINT(concurrency-mt-unsafe) */
}

static int remove_folder(void **state)
{
    (void)state;
    (void)rmdir(sockets);
    return rmdir(folder);
}

static void names_are_plain(void **state)
{
    char name[CONTROL_NAME_SIZE + 1] = "";
    (void)state;

    assert_true(control_name_is_valid("web-1.example_A"));
    assert_true(control_name_is_valid("7"));
    static const char *const bad[] = {"", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(control_name_is_valid(bad[i]));
    memset(name, 'a', CONTROL_NAME_SIZE - 1);
    assert_true(control_name_is_valid(name));
    name[CONTROL_NAME_SIZE - 1] = 'a';
    assert_false(control_name_is_valid(name));
}

static void client_and_worker_find_each_other(void **state)
{
    struct control_listener listener;
    struct stat status;
    int client = -1;
    int server = -1;
    (void)state;

    assert_int_equal(control_listen("web", &listener, &reason), 0);
    assert_int_equal(stat(sockets, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_int_equal(stat(listener.path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(control_accept(&listener, &server), -EAGAIN);
    assert_int_equal(control_connect("web", &client, &reason), 0);
    assert_int_equal(control_accept(&listener, &server), 0);
    assert_int_equal(send(client, "x", 1, 0), 1);
    (void)close(client);
    (void)close(server);
    control_unlisten(&listener);
    assert_int_equal(stat(listener.path, &status), -1);
    control_unlisten(&listener);
}

static void name_that_is_in_use_is_refused(void **state)
{
    struct control_listener first;
    struct control_listener second;
    (void)state;

    assert_int_equal(control_listen("web", &first, &reason), 0);
    assert_int_equal(control_listen("web", &second, &reason), -EEXIST);
    assert_non_null(strstr(reason.text, "web runs already"));
    control_unlisten(&first);
}

static void stale_socket_is_replaced(void **state)
{
    struct control_listener dead;
    struct control_listener next;
    int client = -1;
    (void)state;

    assert_int_equal(control_listen("web", &dead, &reason), 0);
    (void)close(dead.fd); /* as when the process is killed */
    assert_int_equal(control_connect("web", &client, &reason), -ENOENT);
    assert_string_equal(reason.text, "no partition named web runs");
    assert_int_equal(control_listen("web", &next, &reason), 0);
    assert_int_equal(control_connect("web", &client, &reason), 0);
    (void)close(client);
    control_unlisten(&next);
}

static void add_name(void *owner, const char *name)
{
    char *names = owner;
    (void)snprintf(names + strlen(names), 64 - strlen(names), "%s,", name);
}

static void names_are_listed_in_order(void **state)
{
    struct control_listener one;
    struct control_listener two;
    char names[64] = "";
    (void)state;

    assert_int_equal(control_listen("b", &one, &reason), 0);
    assert_int_equal(control_listen("a", &two, &reason), 0);
    assert_int_equal(control_list(add_name, names, &reason), 0);
    assert_string_equal(names, "a,b,");
    control_unlisten(&one);
    control_unlisten(&two);
    names[0] = '\0';
    assert_int_equal(rmdir(sockets), 0);
    assert_int_equal(control_list(add_name, names, &reason), 0);
    assert_string_equal(names, "");
}

static void folder_that_others_may_write_is_refused(void **state)
{
    struct control_listener listener;
    (void)state;

    assert_int_equal(mkdir(sockets, 0700), 0);
    assert_int_equal(chmod(sockets, 0770), 0);
    assert_int_equal(control_listen("web", &listener, &reason), -EACCES);
    assert_non_null(strstr(reason.text, "no rights for others"));
    assert_int_equal(rmdir(sockets), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_plain),
        cmocka_unit_test(client_and_worker_find_each_other),
        cmocka_unit_test(name_that_is_in_use_is_refused),
        cmocka_unit_test(stale_socket_is_replaced),
        cmocka_unit_test(names_are_listed_in_order),
        cmocka_unit_test(folder_that_others_may_write_is_refused),
    };
    return cmocka_run_group_tests_name("socket", tests, make_folder, remove_folder);
}
