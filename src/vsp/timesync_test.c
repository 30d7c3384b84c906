#include "vsp/timesync.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/ic_guest.h"

enum { FORCED = 1, SAMPLE = 2 };

static uint64_t real;
static int64_t behind; /* of the fake clock, while the timers stand still */

static uint64_t reference_time(void *owner)
{
    (void)owner;
    return 4242;
}

static uint64_t real_time(void *owner)
{
    (void)owner;
    return real;
}

static uint64_t now(void)
{
    return ic_guest_now() + (uint64_t)behind;
}

static int setup(void **state)
{
    static const struct timesync_clocks clocks = {NULL, reference_time, real_time};
    struct timesync *timesync = NULL;
    struct ic_host host = *ic_guest_start();

    real = UINT64_C(1700000000) * NS_PER_SECOND;
    behind = 0;
    host.now = now;
    assert_int_equal(timesync_create(&host, &clocks, &timesync), 0);
    ic_enable(timesync_ic(timesync), true);
    *state = timesync;
    return 0;
}

static int teardown(void **state)
{
    timesync_destroy(*state);
    ic_guest_end();
    return 0;
}

static void pass(uint64_t ns)
{
    real += ns;
    ic_guest_pass(ns);
}

/* Time goes by, but no timer is served; the next is late. */
static void stand(uint64_t ns)
{
    real += ns;
    behind += (int64_t)ns;
    ic_guest_pass(NS_PER_SECOND);
    real += NS_PER_SECOND;
}

static const uint8_t *take(struct ic_message *ret)
{
    static uint8_t body[32];

    assert_true(ic_guest_take(ic_guest_find(), ret));
    memcpy(body, ic_guest_body(ret), sizeof(body));
    ic_guest_answer(ic_guest_find(), ret, 0);
    return body;
}

static void guest_gets_time_and_reference(void **state)
{
    struct ic_message message;
    (void)state;

    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    const uint8_t *body = take(&message);
    assert_int_equal(message.length, 28 + 22);
    assert_true(get_le64(body) == UINT64_C(116444736000000000) + real / 100);
    assert_int_equal(get_le64(body + 8), 4242);
    assert_int_equal(body[16], FORCED);
}

static void old_guest_gets_time_alone(void **state)
{
    struct ic_message message;
    (void)state;

    ic_guest_connect(ic_guest_find(), IC_VERSION(3, 0));
    const uint8_t *body = take(&message);
    assert_int_equal(message.length, 28 + 25);
    assert_true(get_le64(body) == UINT64_C(116444736000000000) + real / 100);
    assert_int_equal(body[24], FORCED);
}

static void samples_follow_every_five_seconds(void **state)
{
    struct ic_message message;
    (void)state;

    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    (void)take(&message);
    for (unsigned i = 0; i < 4; i++)
        pass(NS_PER_SECOND);
    assert_false(ic_guest_take(ic_guest_find(), &message));
    pass(NS_PER_SECOND);
    assert_int_equal(take(&message)[16], SAMPLE);
}

static void time_is_forced_after_we_stood_still(void **state)
{
    struct ic_message message;
    (void)state;

    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    (void)take(&message);
    pass(NS_PER_SECOND);
    stand(UINT64_C(60) * NS_PER_SECOND);
    pass(1);
    assert_int_equal(take(&message)[16], FORCED);
}

static void time_is_forced_after_the_hosts_clock_was_set(void **state)
{
    struct ic_message message;
    (void)state;

    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    (void)take(&message);
    pass(NS_PER_SECOND);
    real -= NS_PER_SECOND / 10;
    pass(NS_PER_SECOND);
    assert_int_equal(take(&message)[16], FORCED);
    real += NS_PER_SECOND / 1000; /* a little drift is none */
    pass(NS_PER_SECOND);
    assert_false(ic_guest_take(ic_guest_find(), &message));
    timesync_force(*state);
    assert_int_equal(take(&message)[16], FORCED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(guest_gets_time_and_reference),
        TEST(old_guest_gets_time_alone),
        TEST(samples_follow_every_five_seconds),
        TEST(time_is_forced_after_we_stood_still),
        TEST(time_is_forced_after_the_hosts_clock_was_set),
    };
    return cmocka_run_group_tests_name("timesync", tests, NULL, NULL);
}
