#include "vsp/ic.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "state/state.h"
#include "tests/harness/ic_guest.h"

enum { TYPE = 9 };
#define VERSION IC_VERSION(2, 1)

static unsigned ready, gone, answered, silent;
static uint32_t status;
static uint8_t answer[16];
static size_t answer_length;

static void on_ready(void *owner)
{
    (void)owner;
    ready++;
}

static void on_gone(void *owner)
{
    (void)owner;
    gone++;
}

static void on_answer(void *owner, uint32_t what, const uint8_t *body, size_t length)
{
    (void)owner;
    answered++;
    status = what;
    answer_length = length;
    memcpy(answer, body, length < sizeof(answer) ? length : sizeof(answer));
}

static void on_silence(void *owner)
{
    (void)owner;
    silent++;
}

static const struct ic_kind kind = {
    .name = "thing",
    .helper = "hv_thing",
    .class_id = {1, 2, 3},
    .type = TYPE,
    .version_count = 2,
    .versions = {VERSION, IC_VERSION(1, 0)},
    .ready = on_ready,
    .gone = on_gone,
    .answered = on_answer,
    .silent = on_silence,
};

static int setup(void **state)
{
    struct ic *ic = NULL;

    ready = gone = answered = silent = 0;
    assert_int_equal(ic_create(ic_guest_start(), &kind, NULL, &ic), 0);
    ic_enable(ic, true);
    *state = ic;
    return 0;
}

static int teardown(void **state)
{
    ic_destroy(*state);
    ic_guest_end();
    return 0;
}

static enum ic_state state_of(const struct ic *ic)
{
    struct ic_report report;
    ic_describe(ic, &report);
    return report.state;
}

static void request(struct ic *ic, struct ic_message *ret)
{
    assert_int_equal(ic_request(ic, "abcd", 4, NS_PER_SECOND), 0);
    assert_true(ic_guest_take(ic_guest_find(), ret));
}

/* ---- versions ---- */

static void host_names_its_versions_first(void **state)
{
    struct ic_message message;
    static const uint8_t versions[] = {3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0};
    (void)state;

    assert_false(ic_guest_take(ic_guest_find(), &message));
    ic_guest_open(ic_guest_find());
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 28 + 8 + 16);
    assert_int_equal(get_le32(message.bytes), 1);
    assert_int_equal(get_le32(message.bytes + 4), message.length - 8);
    assert_int_equal(get_le16(message.bytes + 12), 0);
    assert_int_equal(message.bytes[25], 3);
    assert_int_equal(get_le16(message.bytes + 28), 2);
    assert_int_equal(get_le16(message.bytes + 30), 2);
    assert_memory_equal(message.bytes + 36, versions, sizeof(versions));
}

static void version_that_both_know_is_used(void **state)
{
    struct ic *ic = *state;
    struct ic_message message;

    assert_int_equal(ic_request(ic, "abcd", 4, 1), -ENOTCONN);
    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 0));
    assert_int_equal(ready, 1);
    assert_int_equal(ic_version(ic), IC_VERSION(1, 0));
    assert_int_equal(state_of(ic), IC_STATE_RUNNING);
    request(ic, &message);
    assert_int_equal(get_le16(message.bytes + 8), 3);
    assert_int_equal(get_le16(message.bytes + 12), TYPE);
    assert_int_equal(get_le16(message.bytes + 14), 1);
    assert_int_equal(get_le16(message.bytes + 18), 4);
    assert_memory_equal(message.bytes + 28, "abcd", 4);
}

static void version_that_we_do_not_know_is_a_mismatch(void **state)
{
    static const uint32_t versions[] = {0, IC_VERSION(7, 0), IC_VERSION(2, 0)};
    const struct ic *ic = *state;
    struct ic_report report;

    for (unsigned i = 0; i < 3; i++) {
        ic_guest_connect(ic_guest_find(), versions[i]);
        ic_describe(ic, &report);
        assert_int_equal(report.state, IC_STATE_MISMATCH);
        assert_non_null(strstr(report.advice, "update its hv_thing"));
        assert_int_equal(report.newest, VERSION);
        ic_guest_close(ic_guest_find());
    }
    ic_guest_open(ic_guest_find());
    assert_true(ic_guest_negotiate(ic_guest_find(), IC_VERSION(9, 0), VERSION));
    assert_int_equal(state_of(ic), IC_STATE_MISMATCH);
    assert_int_equal(ready, 0);
}

static void channel_that_stays_closed_is_diagnosed(void **state)
{
    const struct ic *ic = *state;
    struct ic_report report;

    ic_describe(ic, &report);
    assert_int_equal(report.state, IC_STATE_WAITING);
    assert_true(report.contact_ns == UINT64_MAX);
    ic_guest_pass(UINT64_C(31) * NS_PER_SECOND);
    ic_describe(ic, &report);
    assert_int_equal(report.state, IC_STATE_UNOPENED);
    assert_string_equal(ic_state_name(report.state), "offered but never opened");
    assert_non_null(strstr(report.advice, "hv_utils"));
    ic_guest_open(ic_guest_find());
    assert_int_equal(state_of(ic), IC_STATE_ASKED);
    ic_guest_close(ic_guest_find());
    assert_int_equal(state_of(ic), IC_STATE_CLOSED);
}

/* ---- requests ---- */

static void answer_reaches_its_service(void **state)
{
    struct ic *ic = *state;
    struct ic_message message;
    struct ic_report report;

    ic_guest_connect(ic_guest_find(), VERSION);
    request(ic, &message);
    assert_int_equal(ic_request(ic, "x", 1, 1), -EBUSY);
    message.bytes[28] = 'A';
    ic_guest_pass(NS_PER_SECOND / 2);
    ic_guest_answer(ic_guest_find(), &message, 77);
    assert_int_equal(answered, 1);
    assert_int_equal(status, 77);
    assert_int_equal(answer_length, 4);
    assert_memory_equal(answer, "Abcd", 4);
    ic_guest_answer(ic_guest_find(), &message, 77); /* once more */
    assert_int_equal(answered, 1);
    ic_guest_pass(NS_PER_SECOND);
    ic_describe(ic, &report);
    assert_int_equal(silent, 0);
    assert_int_equal(report.answers, 1);
    assert_true(report.contact_ns == NS_PER_SECOND);
}

static void silence_is_told_and_a_late_answer_dropped(void **state)
{
    struct ic *ic = *state;
    struct ic_message late;
    struct ic_message message;

    ic_guest_connect(ic_guest_find(), VERSION);
    request(ic, &late);
    ic_guest_pass(NS_PER_SECOND);
    assert_int_equal(silent, 1);
    assert_int_equal(state_of(ic), IC_STATE_SILENT);
    request(ic, &message);
    ic_guest_answer(ic_guest_find(), &late, 0);
    assert_int_equal(answered, 0);
    ic_guest_answer(ic_guest_find(), &message, 0);
    assert_int_equal(answered, 1);
    assert_int_equal(state_of(ic), IC_STATE_RUNNING);
}

static void message_waits_for_room(void **state)
{
    struct ic *ic = *state;
    struct ic_message message;

    ic_guest_set_room(1);
    ic_guest_open(ic_guest_find());
    assert_true(ic_guest_negotiate(ic_guest_find(), IC_VERSION(3, 0), VERSION));
    request(ic, &message);
    ic_guest_answer(ic_guest_find(), &message, 0);
    assert_int_equal(ic_request(ic, "1", 1, 1), 0);
    ic_guest_pass(2);
    assert_int_equal(silent, 1);
    assert_int_equal(ic_request(ic, "2", 1, NS_PER_SECOND), 0); /* no room */
    ic_guest_pass(NS_PER_SECOND);
    assert_int_equal(ic_request(ic, "3", 1, NS_PER_SECOND), 0); /* instead */
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.bytes[28], '3');
    assert_false(ic_guest_take(ic_guest_find(), &message));
}

static void packets_that_make_no_sense_are_counted(void **state)
{
    struct ic *ic = *state;
    struct ic_message message;
    struct ic_report report;

    ic_guest_connect(ic_guest_find(), VERSION);
    request(ic, &message);
    message.bytes[25] = 5;
    ic_guest_put(ic_guest_find(), message.bytes, 27);
    put_le16(message.bytes + 18, 5); /* longer than the packet */
    ic_guest_put(ic_guest_find(), message.bytes, message.length);
    put_le16(message.bytes + 18, 4);
    message.bytes[0] = 2;
    ic_guest_put(ic_guest_find(), message.bytes, message.length);
    message.bytes[0] = 1;
    message.bytes[12] = TYPE + 1;
    ic_guest_put(ic_guest_find(), message.bytes, message.length);
    message.bytes[12] = TYPE;
    message.bytes[25] = 3; /* no response */
    ic_guest_put(ic_guest_find(), message.bytes, message.length);
    ic_guest_put(ic_guest_find(), message.bytes, IC_GUEST_BYTES);
    ic_describe(ic, &report);
    assert_int_equal(report.oddities, 6);
    assert_int_equal(answered, 0);
}

/* ---- on and off ---- */

static void service_is_withdrawn_and_offered_at_a_pace(void **state)
{
    struct ic *ic = *state;

    ic_guest_connect(ic_guest_find(), VERSION);
    ic_enable(ic, false);
    assert_int_equal(ic_request(ic, "x", 1, 1), -ENOTCONN);
    assert_non_null(ic_guest_find()); /* it was offered a moment ago */
    assert_int_equal(state_of(ic), IC_STATE_LEAVING);
    ic_guest_pass(UINT64_C(2) * NS_PER_SECOND);
    assert_null(ic_guest_find());
    assert_int_equal(state_of(ic), IC_STATE_DISABLED);
    ic_enable(ic, true);
    ic_enable(ic, false);
    ic_enable(ic, true);
    ic_guest_refuse_offers(true);
    ic_guest_pass(UINT64_C(2) * NS_PER_SECOND);
    assert_null(ic_guest_find());
    ic_guest_refuse_offers(false);
    ic_guest_pass(NS_PER_SECOND);
    assert_non_null(ic_guest_find());
}

static void closing_forgets_what_was_asked(void **state)
{
    struct ic *ic = *state;
    struct ic_message message;

    ic_guest_connect(ic_guest_find(), VERSION);
    request(ic, &message);
    ic_guest_close(ic_guest_find());
    assert_int_equal(gone, 1);
    ic_guest_pass(NS_PER_SECOND * UINT64_C(5));
    assert_int_equal(silent, 0);
    assert_int_equal(ic_version(ic), 0);
    ic_guest_connect(ic_guest_find(), VERSION);
    assert_int_equal(ready, 2);
}

static void saved_channel_goes_on_without_negotiation(void **state)
{
    struct ic *ic = *state;
    struct state_visitor *save = NULL;
    struct state_visitor *load = NULL;
    struct ic_message message;
    size_t length = 0;

    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 0));
    assert_int_equal(state_save_create(&save), 0);
    assert_int_equal(ic_visit_state(ic, save), 0);
    ic_guest_close(ic_guest_find());
    const uint8_t *bytes = state_saved(save, &length);
    assert_int_equal(state_load_create(bytes, length, &load), 0);
    assert_int_equal(ic_visit_state(ic, load), 0);
    ic_guest_open(ic_guest_find());
    assert_int_equal(ready, 2);
    assert_int_equal(ic_version(ic), IC_VERSION(1, 0));
    assert_false(ic_guest_take(ic_guest_find(), &message));
    request(ic, &message);
    state_destroy(load);
    state_destroy(save);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(host_names_its_versions_first),
        TEST(version_that_both_know_is_used),
        TEST(version_that_we_do_not_know_is_a_mismatch),
        TEST(channel_that_stays_closed_is_diagnosed),
        TEST(answer_reaches_its_service),
        TEST(silence_is_told_and_a_late_answer_dropped),
        TEST(message_waits_for_room),
        TEST(packets_that_make_no_sense_are_counted),
        TEST(service_is_withdrawn_and_offered_at_a_pace),
        TEST(closing_forgets_what_was_asked),
        TEST(saved_channel_goes_on_without_negotiation),
    };
    return cmocka_run_group_tests_name("ic", tests, NULL, NULL);
}
