#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "switchd/nat.h"

static void forwards_are_read(void **state)
{
    struct nat_forward got;
    (void)state;
    assert_true(nat_parse_forward("tcp:2222:10.0.2.15:22", &got));
    assert_false(got.udp);
    assert_int_equal(got.host_port, 2222);
    assert_int_equal(got.guest_port, 22);
    assert_int_equal(got.guest[3], 15);
    assert_int_equal(got.host[0], 0);
    assert_true(nat_parse_forward("udp:127.0.0.1/53:10.0.2.16:5353", &got));
    assert_true(got.udp);
    assert_int_equal(got.host[0], 127);
}

static void other_texts_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "tcp",
                                      "tcp:1",
                                      "tcp:1:2",
                                      "sctp:1:10.0.2.15:2",
                                      "tcp:0:10.0.2.15:2",
                                      "tcp:1:10.0.2.15:65536",
                                      "tcp:1:10.0.2:2",
                                      "tcp:1:10.0.3.15:2",
                                      "tcp:1:10.0.2.2:2",
                                      "tcp:localhost/1:10.0.2.15:2",
                                      "tcp:1:10.0.2.15:2:3",
                                      "tcp:1:10.0.2.15:2 "};
    struct nat_forward got;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(nat_parse_forward(bad[i], &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forwards_are_read),
        cmocka_unit_test(other_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
