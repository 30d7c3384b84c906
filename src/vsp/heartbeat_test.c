#include "vsp/heartbeat.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/ic_guest.h"

static int setup(void **state)
{
    struct heartbeat *heartbeat = NULL;

    assert_int_equal(heartbeat_create(ic_guest_start(), &heartbeat), 0);
    ic_enable(heartbeat_ic(heartbeat), true);
    *state = heartbeat;
    return 0;
}

static int teardown(void **state)
{
    heartbeat_destroy(*state);
    ic_guest_end();
    return 0;
}

static void guest_is_asked_every_two_seconds(void **state)
{
    struct ic_message message;
    (void)state;

    ic_guest_connect(ic_guest_find(), IC_VERSION(3, 0));
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(get_le64(ic_guest_body(&message)), 0);
    put_le64(ic_guest_body(&message), 1);
    ic_guest_answer(ic_guest_find(), &message, 0);
    assert_false(ic_guest_take(ic_guest_find(), &message));
    ic_guest_pass(UINT64_C(2) * NS_PER_SECOND);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(get_le64(ic_guest_body(&message)), 2);
    assert_int_equal(message.length, 28 + 40);
}

static void heart_that_stops_is_seen_and_may_beat_again(void **state)
{
    struct ic_report report;
    struct ic_message message;

    ic_guest_connect(ic_guest_find(), IC_VERSION(3, 0));
    ic_guest_pass(UINT64_C(11) * NS_PER_SECOND);
    ic_describe(heartbeat_ic(*state), &report);
    assert_int_equal(report.state, IC_STATE_SILENT);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    ic_guest_answer(ic_guest_find(), &message, 0); /* late */
    ic_describe(heartbeat_ic(*state), &report);
    assert_int_equal(report.state, IC_STATE_RUNNING);
}

static void closed_channel_is_left_alone(void **state)
{
    struct ic_report report;

    ic_guest_connect(ic_guest_find(), IC_VERSION(3, 0));
    ic_guest_close(ic_guest_find());
    ic_guest_pass(UINT64_C(20) * NS_PER_SECOND);
    ic_describe(heartbeat_ic(*state), &report);
    assert_int_equal(report.requests, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(guest_is_asked_every_two_seconds),
        TEST(heart_that_stops_is_seen_and_may_beat_again),
        TEST(closed_channel_is_left_alone),
    };
    return cmocka_run_group_tests_name("heartbeat", tests, NULL, NULL);
}
