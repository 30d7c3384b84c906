#include "vsp/shutdown.h"

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
    struct shutdown *shutdown = NULL;

    assert_int_equal(shutdown_create(ic_guest_start(), &shutdown), 0);
    ic_enable(shutdown_ic(shutdown), true);
    *state = shutdown;
    return 0;
}

static int teardown(void **state)
{
    shutdown_destroy(*state);
    ic_guest_end();
    return 0;
}

static int result;
static unsigned results;

static void take_result(void *owner, int error, const struct reason *reason)
{
    (void)owner;
    assert_int_equal(error < 0, reason->text[0] != '\0');
    result = error;
    results++;
}

static int ask(struct shutdown *shutdown, enum shutdown_way way)
{
    struct reason reason = {""};
    int error = shutdown_request(shutdown, way, take_result, NULL, &reason);

    results = 0;
    assert_int_equal(error < 0, reason.text[0] != '\0');
    return error;
}

static void guest_is_told_the_way(void **state)
{
    static const uint32_t flags[] = {1, 3, 5};
    struct ic_message message;

    assert_int_equal(ask(*state, SHUTDOWN_REBOOT), -ENOTCONN);
    ic_guest_connect(ic_guest_find(), IC_VERSION(3, 2));
    for (unsigned way = 0; way < 3; way++) {
        assert_int_equal(ask(*state, (enum shutdown_way)way), 0);
        assert_int_equal(ask(*state, (enum shutdown_way)way), -EBUSY);
        assert_true(ic_guest_take(ic_guest_find(), &message));
        assert_int_equal(message.length, 28 + 12 + 2048);
        assert_int_equal(get_le32(ic_guest_body(&message) + 8), flags[way]);
        ic_guest_answer(ic_guest_find(), &message, way == 2 ? (uint32_t)IC_FAILED : 0);
        assert_int_equal(results, 1);
        assert_int_equal(result, way == 2 ? -EOPNOTSUPP : 0);
    }
}

static void old_guest_is_not_asked_what_it_does_not_know(void **state)
{
    ic_guest_connect(ic_guest_find(), IC_VERSION(3, 0));
    assert_int_equal(ask(*state, SHUTDOWN_REBOOT), -EOPNOTSUPP);
    assert_int_equal(ask(*state, SHUTDOWN_POWER_OFF), 0);
    ic_guest_close(ic_guest_find());
    assert_int_equal(result, -EIO);
    ic_guest_connect(ic_guest_find(), IC_VERSION(3, 1));
    assert_int_equal(ask(*state, SHUTDOWN_HIBERNATE), -EOPNOTSUPP);
    assert_int_equal(ask(*state, SHUTDOWN_REBOOT), 0);
    ic_guest_pass(UINT64_C(16) * NS_PER_SECOND);
    assert_int_equal(results, 1);
    assert_int_equal(result, -EAGAIN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(guest_is_told_the_way),
        TEST(old_guest_is_not_asked_what_it_does_not_know),
    };
    return cmocka_run_group_tests_name("shutdown", tests, NULL, NULL);
}
