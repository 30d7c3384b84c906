#include "vsp/vss.h"

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
    struct vss *vss = NULL;

    assert_int_equal(vss_create(ic_guest_start(), &vss), 0);
    ic_enable(vss_ic(vss), true);
    *state = vss;
    return 0;
}

static int teardown(void **state)
{
    vss_destroy(*state);
    ic_guest_end();
    return 0;
}

static int result;
static unsigned results;

static void take_result(void *owner, int error, const struct reason *reason)
{
    (void)owner;
    (void)reason;
    result = error;
    results++;
}

/* The next request, by its operation. */
static struct ic_message *take(uint8_t operation)
{
    static struct ic_message message;

    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 28 + 12);
    assert_int_equal(ic_guest_body(&message)[0], operation);
    return &message;
}

enum { FREEZE = 5, THAW = 6 };

static struct vss *frozen(struct vss *vss)
{
    results = 0;
    ic_guest_connect(ic_guest_find(), IC_VERSION(5, 0));
    assert_int_equal(vss_freeze(vss, take_result, NULL, NULL), 0);
    ic_guest_answer(ic_guest_find(), take(FREEZE), 0);
    assert_int_equal(results, 1);
    assert_int_equal(result, 0);
    assert_true(vss_is_frozen(vss));
    return vss;
}

static void freeze_and_thaw(void **state)
{
    struct vss *vss = *state;
    struct ic_message message;

    assert_int_equal(vss_freeze(vss, take_result, NULL, NULL), -ENOTCONN);
    assert_int_equal(vss_thaw(vss, take_result, NULL, NULL), -EINVAL);
    (void)frozen(vss);
    assert_int_equal(vss_freeze(vss, take_result, NULL, NULL), -EBUSY);
    assert_int_equal(vss_thaw(vss, take_result, NULL, NULL), 0);
    ic_guest_answer(ic_guest_find(), take(THAW), 0);
    assert_int_equal(results, 2);
    assert_int_equal(result, 0);
    assert_false(vss_is_frozen(vss));
    ic_guest_pass(UINT64_C(20) * NS_PER_SECOND);
    assert_false(ic_guest_take(ic_guest_find(), &message));
}

static void host_thaws_whoever_forgets_it(void **state)
{
    struct vss *vss = frozen(*state);

    ic_guest_pass(VSS_LIMIT_NS);
    ic_guest_answer(ic_guest_find(), take(THAW), 0);
    assert_false(vss_is_frozen(vss));
    assert_int_equal(vss_thaw(vss, take_result, NULL, NULL), -EIO);
    assert_int_equal(vss_thaw(vss, take_result, NULL, NULL), -EINVAL);
    assert_int_equal(results, 1);
}

static void freeze_that_fails_or_takes_long_is_taken_back(void **state)
{
    struct vss *vss = *state;

    ic_guest_connect(ic_guest_find(), IC_VERSION(5, 0));
    results = 0;
    assert_int_equal(vss_freeze(vss, take_result, NULL, NULL), 0);
    ic_guest_answer(ic_guest_find(), take(FREEZE), (uint32_t)IC_FAILED);
    assert_int_equal(result, -EIO);
    ic_guest_answer(ic_guest_find(), take(THAW), (uint32_t)IC_FAILED);
    assert_int_equal(results, 1);
    assert_int_equal(vss_freeze(vss, take_result, NULL, NULL), 0);
    struct ic_message *late = take(FREEZE);
    ic_guest_pass(VSS_LIMIT_NS);
    assert_int_equal(results, 2);
    assert_int_equal(result, -EAGAIN);
    ic_guest_answer(ic_guest_find(), late, 0);
    assert_true(vss_is_frozen(vss));
    ic_guest_answer(ic_guest_find(), take(THAW), 0);
    assert_false(vss_is_frozen(vss));
}

static void guest_that_goes_is_not_frozen(void **state)
{
    struct vss *vss = frozen(*state);

    assert_int_equal(vss_thaw(vss, take_result, NULL, NULL), 0);
    ic_guest_close(ic_guest_find());
    assert_int_equal(results, 2);
    assert_int_equal(result, -EIO);
    assert_false(vss_is_frozen(vss));
    ic_guest_pass(VSS_LIMIT_NS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(freeze_and_thaw),
        TEST(host_thaws_whoever_forgets_it),
        TEST(freeze_that_fails_or_takes_long_is_taken_back),
        TEST(guest_that_goes_is_not_frozen),
    };
    return cmocka_run_group_tests_name("vss", tests, NULL, NULL);
}
