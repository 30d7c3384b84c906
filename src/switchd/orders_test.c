#include "switchd/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/partita-switchd-XXXXXX";
static struct loop *loop;
static struct registry registry;

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    return setenv("PARTITA_STATE_DIR", folder, 1); /* NOLINT(concurrency-mt-unsafe) */
}

static int remove_folder(void **state)
{
    char path[128];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/switches.json", folder);
    (void)unlink(path);
    return rmdir(folder);
}

static int set_up(void **state)
{
    struct reason reason;
    (void)state;
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(registry_create(loop, &registry, &reason), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    registry_destroy(&registry);
    loop_destroy(loop);
    return 0;
}

/* True: it was done. What is wanted stands in the answer. */
static bool ask(const char *line, const char *wanted)
{
    char *text = orders_answer(&registry, line, strlen(line));
    assert_non_null(text);
    bool ok = strncmp(text, "{\"ok\":true", strlen("{\"ok\":true")) == 0;
    if (wanted != NULL && strstr(text, wanted) == NULL)
        fail_msg("%s: %s", line, text);
    free(text);
    return ok;
}

static void a_switch_is_made_once_and_deleted(void **state)
{
    (void)state;
    assert_true(
        ask("{\"verb\":\"create\",\"config\":{\"name\":\"lan\",\"kind\":\"private\"}}", NULL));
    assert_false(ask("{\"verb\":\"create\",\"config\":{\"name\":\"lan\"}}", "already"));
    assert_true(ask("{\"verb\":\"list\"}", "\"name\":\"lan\""));
    assert_true(ask("{\"verb\":\"delete\",\"switch\":\"lan\"}", NULL));
    assert_false(ask("{\"verb\":\"delete\",\"switch\":\"lan\"}", "no switch"));
}

static void settings_and_rules_outlive_the_process(void **state)
{
    char *before = NULL;
    char *after = NULL;
    static const char show[] = "{\"verb\":\"show\",\"switch\":\"lan\"}";
    assert_true(ask("{\"verb\":\"create\",\"config\":{\"name\":\"lan\"}}", NULL));
    assert_true(ask("{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"web:1\",\"settings\":{"
                    "\"vlan\":7,\"trunk\":\"1-9,20\",\"bandwidth_max\":1000000,"
                    "\"bandwidth_weight\":9,\"guard\":[\"dhcp\"],\"isolated\":true,"
                    "\"mirror\":\"to\",\"storm\":5}}",
                    NULL));
    assert_true(ask("{\"verb\":\"acl-add\",\"switch\":\"lan\",\"port\":\"web:1\",\"rule\":{"
                    "\"action\":\"allow\",\"direction\":\"out\",\"remote\":\"10.0.0.0/8\","
                    "\"protocol\":\"tcp\",\"remote_port\":80,\"weight\":3,\"stateful\":true}}",
                    NULL));
    assert_true(ask("{\"verb\":\"acl-add\",\"switch\":\"lan\",\"port\":\"web:1\",\"rule\":{"
                    "\"action\":\"deny\",\"direction\":\"both\",\"remote\":\"00:15:5d:00:00:01\"}}",
                    NULL));
    before = orders_answer(&registry, show, strlen(show));
    tear_down(state);
    set_up(state);
    after = orders_answer(&registry, show, strlen(show));
    assert_string_equal(before, after);
    assert_non_null(strstr(after, "\"trunk\":\"1-9,20\""));
    assert_non_null(strstr(after, "\"remote\":\"00:15:5d:00:00:01\""));
    free(before);
    free(after);
    assert_true(
        ask("{\"verb\":\"acl-remove\",\"switch\":\"lan\",\"port\":\"web:1\",\"number\":0}", NULL));
    assert_true(ask("{\"verb\":\"acl-list\",\"switch\":\"lan\",\"port\":\"web:1\"}", "\"deny\""));
    assert_true(ask("{\"verb\":\"port-delete\",\"switch\":\"lan\",\"port\":\"web:1\"}", NULL));
    assert_true(ask("{\"verb\":\"delete\",\"switch\":\"lan\"}", NULL));
}

static void nothing_is_changed_by_an_order_that_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"verb\":\"what\"}",
        "{\"verb\":\"create\"}",
        "{\"verb\":\"create\",\"config\":{}}",
        "{\"verb\":\"create\",\"config\":{\"name\":\"../x\"}}",
        "{\"verb\":\"create\",\"config\":{\"name\":\"x\",\"kind\":\"external\"}}",
        "{\"verb\":\"create\",\"config\":{\"name\":\"x\",\"interface\":\"eth0\"}}",
        "{\"verb\":\"create\",\"config\":{\"name\":\"x\",\"uplink_rate\":-1}}",
        "{\"verb\":\"create\",\"config\":{\"name\":\"x\",\"uplink_rate\":1000}}",
        "{\"verb\":\"set\",\"switch\":\"lan\",\"config\":{\"uplink_rate\":1000}}",
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"web\",\"settings\":{\"vlan\":4095}}",
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"web\",\"settings\":{\"x\":1}}",
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"web:64\",\"settings\":{}}",
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"web\",\"settings\":7}",
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"w\",\"settings\":{\"mac\":\"x\"}}",
        "{\"verb\":\"list\",\"verb\":\"list\"}",
    };
    (void)state;
    assert_true(ask("{\"verb\":\"create\",\"config\":{\"name\":\"lan\"}}", NULL));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(ask(bad[i], "\"reason\""));
    assert_true(ask("{\"verb\":\"list\"}", "\"port_count\":0"));
    assert_true(ask("{\"verb\":\"delete\",\"switch\":\"lan\"}", NULL));
}

/* A directory in the way of the file that would take the old one's place: root, too, is refused. */
static void what_cannot_be_stored_is_undone(void **state)
{
    static const char show[] = "{\"verb\":\"show\",\"switch\":\"lan\"}";
    static const char *const orders[] = {
        "{\"verb\":\"create\",\"config\":{\"name\":\"other\"}}",
        "{\"verb\":\"delete\",\"switch\":\"lan\"}",
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"web\",\"settings\":{\"vlan\":8}}",
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"new\",\"settings\":{}}",
        "{\"verb\":\"port-delete\",\"switch\":\"lan\",\"port\":\"web\"}",
        ("{\"verb\":\"acl-add\",\"switch\":\"lan\",\"port\":\"web\",\"rule\":{\"action\":\"deny\","
         "\"direction\":\"in\"}}"),
        "{\"verb\":\"acl-remove\",\"switch\":\"lan\",\"port\":\"web\",\"number\":0}",
        "{\"verb\":\"set\",\"switch\":\"lan\",\"config\":{\"uplink_rate\":0}}",
    };
    char path[128];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/switches.json.new", folder);
    assert_true(ask("{\"verb\":\"create\",\"config\":{\"name\":\"lan\"}}", NULL));
    assert_true(ask(
        "{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"web\",\"settings\":{\"vlan\":7}}", NULL));
    for (unsigned i = 0; i < 2; i++)
        assert_true(ask("{\"verb\":\"acl-add\",\"switch\":\"lan\",\"port\":\"web\",\"rule\":{"
                        "\"action\":\"allow\",\"direction\":\"out\",\"stateful\":true}}",
                        NULL));
    char *before = orders_answer(&registry, show, strlen(show));
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        assert_false(ask(orders[i], "switches.json"));
        char *after = orders_answer(&registry, show, strlen(show));
        assert_string_equal(before, after);
        free(after);
        assert_int_equal(registry.count, 1);
    }
    free(before);
    assert_int_equal(rmdir(path), 0);
    assert_true(ask("{\"verb\":\"delete\",\"switch\":\"lan\"}", NULL));
}

static void two_ports_have_not_one_address(void **state)
{
    (void)state;
    assert_true(ask("{\"verb\":\"create\",\"config\":{\"name\":\"lan\"}}", NULL));
    assert_true(ask("{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"a\",\"settings\":{\"mac\":"
                    "\"00:15:5d:00:00:01\"}}",
                    NULL));
    assert_false(ask("{\"verb\":\"port\",\"switch\":\"lan\",\"port\":\"b\",\"settings\":{\"mac\":"
                     "\"00:15:5d:00:00:01\"}}",
                     "another port"));
    assert_true(ask("{\"verb\":\"list\"}", "\"port_count\":1"));
    assert_true(ask("{\"verb\":\"delete\",\"switch\":\"lan\"}", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_switch_is_made_once_and_deleted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settings_and_rules_outlive_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_changed_by_an_order_that_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_stored_is_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_ports_have_not_one_address, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
