#include "vsp/integration.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/harness/ic_guest.h"

static uint64_t no_time(void *owner)
{
    (void)owner;
    return 0;
}

static const struct timesync_clocks clocks = {NULL, no_time, no_time};

static void lists_are_understood(void **state)
{
    struct reason reason = {""};
    unsigned set = 0;
    (void)state;

    assert_true(integration_parse("all", &set, &reason));
    assert_int_equal(set, INTEGRATION_ALL);
    assert_true(integration_parse("none", &set, &reason));
    assert_int_equal(set, 0);
    assert_true(integration_parse("kvp,heartbeat", &set, &reason));
    assert_int_equal(set, 1 << INTEGRATION_KVP | 1 << INTEGRATION_HEARTBEAT);
    assert_false(integration_parse("", &set, &reason));
    assert_false(integration_parse("kvp,", &set, &reason));
    assert_false(integration_parse("kv", &set, &reason));
    assert_false(integration_parse("kvp,none", &set, &reason));
    assert_int_not_equal(reason.text[0], '\0');
}

static void each_is_switched_by_itself(void **state)
{
    struct integration *in = NULL;
    struct ic_report report;
    (void)state;

    assert_int_equal(integration_create(ic_guest_start(), &clocks, 1 << INTEGRATION_VSS, &in), 0);
    assert_non_null(ic_guest_find_class(0x29));
    assert_null(ic_guest_find_class(0xe3));
    assert_int_equal(integration_enable(in, INTEGRATION_FCOPY, true, NULL), 0);
    assert_non_null(ic_guest_find_class(0xe3));
    assert_int_equal(integration_enable(in, INTEGRATION_VSS, false, NULL), 0);
    ic_guest_pass(UINT64_C(2) * NS_PER_SECOND);
    assert_null(ic_guest_find_class(0x29));
    for (unsigned i = 0; i < INTEGRATION_COUNT; i++) {
        enum integration_service service = INTEGRATION_COUNT;
        ic_describe(in->ic[i], &report);
        assert_true(integration_find(report.name, &service));
        assert_int_equal(service, i);
        assert_int_equal(report.enabled, i == INTEGRATION_FCOPY);
    }
    integration_destroy(in);
    ic_guest_end();
}

static void frozen(void *owner, int error, const struct reason *reason)
{
    (void)owner;
    (void)error;
    (void)reason;
}

static void guest_is_not_left_frozen(void **state)
{
    struct integration *in = NULL;
    (void)state;

    assert_int_equal(integration_create(ic_guest_start(), &clocks, INTEGRATION_ALL, &in), 0);
    ic_guest_connect(ic_guest_find_class(0x29), IC_VERSION(5, 0));
    assert_int_equal(vss_freeze(in->vss, frozen, NULL, NULL), 0);
    assert_int_equal(integration_enable(in, INTEGRATION_VSS, false, NULL), -EBUSY);
    assert_int_equal(integration_enable(in, INTEGRATION_KVP, false, NULL), 0);
    integration_destroy(in);
    ic_guest_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_understood),
        cmocka_unit_test(each_is_switched_by_itself),
        cmocka_unit_test(guest_is_not_left_frozen),
    };
    return cmocka_run_group_tests_name("integration", tests, NULL, NULL);
}
