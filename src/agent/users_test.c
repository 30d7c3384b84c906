#include "agent/users.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/partita-users-XXXXXX";

static void write_list(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/etc/%s", root, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    char path[128];
    (void)state;
    assert_non_null(mkdtemp(root));
    (void)snprintf(path, sizeof(path), "%s/etc", root);
    assert_int_equal(mkdir(path, 0700), 0);
    write_list("passwd", "root:x:0:0:root:/root:/bin/bash\n"
                         "broken\n"
                         "worse:x:y:z:::\n"
                         "web:x:33:34::/srv:\n");
    write_list("group", "root:x:0:\nwww:x:40:other,web\nadmin:x:41:webs\nmail:x:42:web\n");
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"/etc/passwd", "/etc/group", "/etc", ""};
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", root, names[i]);
        assert_int_equal(remove(path), 0);
    }
    return 0;
}

static void nothing_is_root(void **state)
{
    struct user user;
    (void)state;
    assert_int_equal(users_find("", root, &user, NULL), 0);
    assert_int_equal(user.uid, 0);
    assert_string_equal(user.name, "root");
    assert_string_equal(user.home, "/root");
    assert_string_equal(user.shell, "/bin/bash");
}

static void a_user_has_groups_and_a_shell(void **state)
{
    struct user user;
    (void)state;
    assert_int_equal(users_find("web", root, &user, NULL), 0);
    assert_int_equal(user.uid, 33);
    assert_int_equal(user.gid, 34);
    assert_string_equal(user.shell, "/bin/sh");
    assert_int_equal(user.group_count, 2);
    assert_int_equal(user.groups[0], 40);
    assert_int_equal(user.groups[1], 42);
}

static void numbers_and_groups_may_be_named(void **state)
{
    struct user user;
    (void)state;
    assert_int_equal(users_find("33:admin", root, &user, NULL), 0);
    assert_string_equal(user.name, "web");
    assert_int_equal(user.gid, 41);
    assert_int_equal(user.group_count, 0);
    assert_int_equal(users_find("1000:2000", root, &user, NULL), 0);
    assert_int_equal(user.uid, 1000);
    assert_int_equal(user.gid, 2000);
    assert_string_equal(user.home, "/");
}

static void who_is_not_there_is_refused(void **state)
{
    static const char *const names[] = {"nobody",     "worse", "broken", "web:nogroup",
                                        "4294967295", "-1",    "33x"};
    struct user user;
    struct reason reason;
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(users_find(names[i], root, &user, &reason), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_root),
        cmocka_unit_test(a_user_has_groups_and_a_shell),
        cmocka_unit_test(numbers_and_groups_may_be_named),
        cmocka_unit_test(who_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
