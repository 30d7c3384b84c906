#include "vsp/keyboard.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "tests/harness/ic_guest.h"

static int setup(void **state)
{
    struct keyboard *keyboard = NULL;

    assert_int_equal(keyboard_create(ic_guest_start(), &keyboard), 0);
    *state = keyboard;
    return 0;
}

static int teardown(void **state)
{
    keyboard_destroy(*state);
    ic_guest_end();
    return 0;
}

static void say(uint32_t type, uint32_t word)
{
    uint8_t bytes[8];

    put_le32(bytes, type);
    put_le32(bytes + 4, word);
    ic_guest_put(ic_guest_find(), bytes, sizeof(bytes));
}

/* What the host answers to a request of this version. */
static uint32_t ask(uint32_t version)
{
    struct ic_message message;

    say(1, version);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 8);
    assert_int_equal(get_le32(message.bytes), 2);
    return get_le32(message.bytes + 4);
}

static void connect_guest(void)
{
    ic_guest_open(ic_guest_find());
    assert_int_equal(ask(0x10000), 1);
}

static void keys_arrive_with_their_prefixes(void **state)
{
    static const struct keystroke strokes[] = {{0x1e, false, false, false},
                                               {0x53, true, true, false}};
    struct ic_message message;

    connect_guest();
    assert_int_equal(keyboard_send(*state, strokes, 2), 0);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 12);
    assert_int_equal(get_le32(message.bytes), 3);
    assert_int_equal(get_le16(message.bytes + 4), 0x1e);
    assert_int_equal(get_le32(message.bytes + 8), 0);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(get_le16(message.bytes + 4), 0x53);
    assert_int_equal(get_le32(message.bytes + 8), 2 | 4);
}

static void other_versions_are_refused(void **state)
{
    static const struct keystroke stroke = {0x1e, false, false, false};

    assert_int_equal(keyboard_send(*state, &stroke, 1), -ENOTCONN);
    ic_guest_open(ic_guest_find());
    assert_int_equal(keyboard_send(*state, &stroke, 1), -ENOTCONN);
    assert_int_equal(ask(0x20000), 0);
    assert_int_equal(keyboard_send(*state, &stroke, 1), -ENOTCONN);
    assert_int_equal(ask(0x10000), 1);
    assert_int_equal(keyboard_send(*state, &stroke, 1), 0);
    ic_guest_close(ic_guest_find());
    assert_int_equal(keyboard_send(*state, &stroke, 1), -ENOTCONN);
}

static void lamps_are_seen(void **state)
{
    connect_guest();
    say(4, 0xfffffff6);
    assert_int_equal(keyboard_lamps(*state), 6);
}

static void odd_messages_are_counted(void **state)
{
    struct messenger_report report;
    uint8_t bytes[8] = {1};

    connect_guest();
    say(3, 0);
    say(0, 0);
    ic_guest_put(ic_guest_find(), bytes, 7);
    ic_guest_put(ic_guest_find(), bytes, 0);
    keyboard_describe(*state, &report);
    assert_int_equal(report.oddities, 4);
    assert_true(report.ready);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_arrive_with_their_prefixes),
        TEST(other_versions_are_refused),
        TEST(lamps_are_seen),
        TEST(odd_messages_are_counted),
    };
    return cmocka_run_group_tests_name("keyboard", tests, NULL, NULL);
}
