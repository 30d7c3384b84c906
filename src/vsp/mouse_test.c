#include "vsp/mouse.h"

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
    struct mouse *mouse = NULL;

    assert_int_equal(mouse_create(ic_guest_start(), &mouse), 0);
    *state = mouse;
    return 0;
}

static int teardown(void **state)
{
    mouse_destroy(*state);
    ic_guest_end();
    return 0;
}

static void say(uint32_t type, uint32_t word)
{
    uint8_t bytes[20];

    put_le32(bytes, 1);
    put_le32(bytes + 4, 12);
    put_le32(bytes + 8, type);
    put_le32(bytes + 12, 4);
    put_le32(bytes + 16, word);
    ic_guest_put(ic_guest_find(), bytes, sizeof(bytes));
}

/* As hid-hyperv: the answer, the device with its report descriptor, and then that it has it. */
static void connect_guest(void)
{
    struct ic_message message;

    ic_guest_open(ic_guest_find());
    say(0, 0x20000);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 21);
    assert_int_equal(get_le32(message.bytes + 4), 13);
    assert_int_equal(get_le32(message.bytes + 8), 1);
    assert_int_equal(message.bytes[20], 1);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(get_le32(message.bytes + 8), 2);
    const uint8_t *hid = message.bytes + 16 + 32;
    assert_int_equal(hid[0], 9);
    assert_int_equal(message.length, 16 + 32 + 9 + get_le16(hid + 7));
    assert_int_equal(get_le32(message.bytes + 4), message.length - 8);
    say(3, 0);
}

static void reports_arrive(void **state)
{
    static const struct mouse_report report = {0x1234, 0xffff, 0xff, -1};
    struct ic_message message;

    connect_guest();
    assert_int_equal(mouse_send(*state, &report, 1), 0);
    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 16 + 6);
    assert_int_equal(get_le32(message.bytes + 8), 4);
    assert_int_equal(get_le32(message.bytes + 12), 6);
    assert_int_equal(message.bytes[16], 0x1f);
    assert_int_equal(get_le16(message.bytes + 17), 0x1234);
    assert_int_equal(get_le16(message.bytes + 19), 0x7fff);
    assert_int_equal(message.bytes[21], 0xff);
}

static void nothing_is_sent_before_the_guest_has_the_device(void **state)
{
    static const struct mouse_report report = {0};
    struct messenger_report seen;

    ic_guest_open(ic_guest_find());
    assert_int_equal(mouse_send(*state, &report, 1), -ENOTCONN);
    say(3, 0); /* before it asked */
    assert_int_equal(mouse_send(*state, &report, 1), -ENOTCONN);
    say(0, 0x10000);
    say(3, 0);
    assert_int_equal(mouse_send(*state, &report, 1), -ENOTCONN);
    mouse_describe(*state, &seen);
    assert_int_equal(seen.oddities, 2);
}

static void odd_messages_are_counted(void **state)
{
    struct messenger_report seen;
    uint8_t bytes[16] = {2};

    connect_guest();
    ic_guest_put(ic_guest_find(), bytes, 16);
    ic_guest_put(ic_guest_find(), bytes, 15);
    bytes[0] = 1;
    ic_guest_put(ic_guest_find(), bytes, 16); /* a request without a version */
    say(2, 0);
    mouse_describe(*state, &seen);
    assert_int_equal(seen.oddities, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reports_arrive),
        TEST(nothing_is_sent_before_the_guest_has_the_device),
        TEST(odd_messages_are_counted),
    };
    return cmocka_run_group_tests_name("mouse", tests, NULL, NULL);
}
