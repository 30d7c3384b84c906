#include "vsp/balloon.h"

/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/balloon_guest.h"
/* clang-format on */

static void guest_is_told_yes_and_how_much_it_may_have(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(look(f).state, BALLOON_WAITING);
    connect(f);
    assert_int_equal(word(f, 0), UINT64_C(16) << 32);
    assert_int_equal(word(f, 1), UINT64_C(8) << 32);
    assert_int_equal(word(f, 2), (64 + 256) * 256);
    assert_int_equal(look(f).state, BALLOON_IDLE);
    assert_int_equal(look(f).version, DM_VERSION(2, 0));
    assert_true(look(f).can_balloon && look(f).can_add);
    assert_false(look(f).reported);
    ic_guest_close(f->channel);
    assert_int_equal(look(f).state, BALLOON_CLOSED);
}

static void versions_are_tried_until_one_is_known(void **state)
{
    struct fixture *f = *state;
    ic_guest_open(f->channel);
    assert_int_equal(look(f).state, BALLOON_NEGOTIATING);
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(3, 0));
    expect(f, DM_VERSION_RESPONSE);
    assert_int_equal(word(f, 0), 0);
    assert_int_equal(get_le32(f->message.bytes + 4), f->number);
    assert_int_equal(look(f).state, BALLOON_MISMATCH);
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(0, 3));
    expect(f, DM_VERSION_RESPONSE);
    assert_int_equal(word(f, 0), 1);
    PUT(f, DM_CAPABILITIES_REPORT, 1, 0, 0);
    expect(f, DM_CAPABILITIES_RESPONSE);
    expect_nothing(f); /* version 0.3 knows no DM_INFO */
    assert_false(look(f).can_add);
}

static void guest_with_a_larger_alignment_gets_no_memory_added(void **state)
{
    struct fixture *f = *state;
    ic_guest_open(f->channel);
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(1, 0));
    PUT(f, DM_CAPABILITIES_REPORT, 3 | 8 << 2, 0, 0);
    assert_false(look(f).can_add);
}

static void messages_out_of_order_are_dropped(void **state)
{
    struct fixture *f = *state;
    ic_guest_open(f->channel);
    PUT(f, DM_CAPABILITIES_REPORT, 3, 0, 0);
    report_status(f, 10, 10);
    PUT(f, DM_BALLOON_RESPONSE, UINT64_C(2) << 32, page_range(16, 16));
    expect_nothing(f);
    assert_int_equal(look(f).oddities, 3);
    connect(f);
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(2, 0));
    PUT(f, DM_CAPABILITIES_REPORT, 3, 0, 0);
    PUT(f, DM_UNBALLOON_RESPONSE, 0);
    PUT(f, DM_HOT_ADD_RESPONSE, UINT64_C(1) << 32 | 0x8000);
    PUT(f, DM_BALLOON_RESPONSE, UINT64_C(2) << 32, page_range(16, 16));
    PUT(f, DM_INFO, 0);
    PUT(f, DM_ERROR, 0);
    PUT(f, DM_TYPE_COUNT, 0);
    PUT(f, 0xffff, 0);
    expect_nothing(f);
    assert_int_equal(look(f).oddities, 12);
    assert_int_equal(look(f).assigned, 64 * MIB);
}

static void short_messages_are_dropped(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64] = {DM_STATUS_REPORT, 0, 48, 0, 0xff};
    connect(f);
    ic_guest_put(f->channel, bytes, 7);
    ic_guest_put(f->channel, bytes, 47);
    bytes[2] = 47;
    ic_guest_put(f->channel, bytes, 64);
    assert_int_equal(look(f).oddities, 3);
    bytes[2] = 48;
    ic_guest_put(f->channel, bytes, 64); /* with something behind it */
    assert_int_equal(look(f).oddities, 3);
    assert_true(look(f).reported);
}

static void demand_is_what_is_promised_or_what_is_used(void **state)
{
    struct fixture *f = *state;
    connect(f);
    report_status(f, 40, 20);
    assert_int_equal(look(f).demand, 24 * MIB);
    assert_int_equal(look(f).available, 40 * MIB);
    report_status(f, 40, 50);
    assert_int_equal(look(f).demand, 50 * MIB);
    report_status(f, 2, 20);
    assert_int_equal(look(f).demand, 62 * MIB);
    report_status(f, 1, 20); /* less than a 32nd is left: it would take more at once */
    assert_int_equal(look(f).demand, (63 + 256) * MIB);
    report_status(f, 1000, 0);
    assert_int_equal(look(f).demand, 0);
    report_status(f, 1000, UINT64_MAX / 256);
    assert_int_equal(look(f).demand, UINT64_C(1) << 52);
    ic_guest_pass(UINT64_C(3) * NS_PER_SECOND);
    assert_int_equal(look(f).contact_ns, UINT64_C(3) * NS_PER_SECOND);
}

static void stale_reports_are_dropped(void **state)
{
    struct fixture *f = *state;
    connect(f);
    report_status(f, 40, 20);
    f->number -= 2;
    report_status(f, 10, 60);
    f->number--;
    report_status(f, 10, 60);
    assert_int_equal(look(f).available, 40 * MIB);
    assert_int_equal(look(f).oddities, 2);
    f->number++;
    report_status(f, 10, 60);
    assert_int_equal(look(f).available, 10 * MIB);
}

static void numbers_of_messages_may_wrap(void **state)
{
    struct fixture *f = *state;
    f->number = UINT32_MAX - 2;
    connect(f);
    report_status(f, 40, 20);
    assert_int_equal(look(f).available, 40 * MIB);
    assert_int_equal(look(f).oddities, 0);
}

static void count_report(void *owner)
{
    struct fixture *f = owner;
    f->told++;
}

static void listener_hears_each_report(void **state)
{
    struct fixture *f = *state;
    balloon_listen(f->balloon, count_report, f);
    connect(f);
    report_status(f, 40, 20);
    report_status(f, 40, 20);
    assert_int_equal(f->told, 2);
}

static void full_ring_holds_the_answers_and_the_reading(void **state)
{
    struct fixture *f = *state;
    ic_guest_open(f->channel);
    ic_guest_set_room(1);
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(5, 0));
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(2, 0));
    PUT(f, DM_CAPABILITIES_REPORT, 3, 0, 0);
    assert_int_equal(look(f).state, BALLOON_NEGOTIATING); /* the last is not read yet */
    expect(f, DM_VERSION_RESPONSE);
    expect(f, DM_VERSION_RESPONSE);
    assert_int_equal(word(f, 0), 1);
    expect(f, DM_CAPABILITIES_RESPONSE);
    expect(f, DM_INFO);
    expect_nothing(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BALLOON_TEST(guest_is_told_yes_and_how_much_it_may_have),
        BALLOON_TEST(versions_are_tried_until_one_is_known),
        BALLOON_TEST(guest_with_a_larger_alignment_gets_no_memory_added),
        BALLOON_TEST(messages_out_of_order_are_dropped),
        BALLOON_TEST(short_messages_are_dropped),
        BALLOON_TEST(demand_is_what_is_promised_or_what_is_used),
        BALLOON_TEST(stale_reports_are_dropped),
        BALLOON_TEST(numbers_of_messages_may_wrap),
        BALLOON_TEST(listener_hears_each_report),
        BALLOON_TEST(full_ring_holds_the_answers_and_the_reading),
    };
    return cmocka_run_group_tests_name("balloon", tests, NULL, NULL);
}
