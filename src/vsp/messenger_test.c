#include "vsp/messenger.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "tests/harness/ic_guest.h"

static unsigned received_count;

static bool received(void *owner, const uint8_t *bytes, size_t length)
{
    (void)owner;
    (void)bytes;
    received_count++;
    return length == 4;
}

static const struct messenger_kind kind = {.offer = {.name = "test"}, .received = received};

static int setup(void **state)
{
    struct messenger *messenger = NULL;

    received_count = 0;
    assert_int_equal(messenger_create(ic_guest_start(), &kind, NULL, &messenger), 0);
    ic_guest_open(ic_guest_find());
    messenger_start(messenger);
    *state = messenger;
    return 0;
}

static int teardown(void **state)
{
    messenger_destroy(*state);
    ic_guest_end();
    return 0;
}

static void take_number(uint32_t wanted)
{
    struct ic_message message;

    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 4);
    assert_int_equal(get_le32(message.bytes), wanted);
}

static void send_numbers(struct messenger *messenger, uint32_t first, unsigned count, int wanted)
{
    static uint8_t bytes[MESSENGER_MOST_WAITING + 1][4];

    for (unsigned i = 0; i < count; i++)
        put_le32(bytes[i], first + i);
    assert_int_equal(messenger_send(messenger, bytes, 4, count), wanted);
}

static void what_finds_no_room_comes_later_in_order(void **state)
{
    ic_guest_set_room(2);
    send_numbers(*state, 0, 5, 0);
    send_numbers(*state, 5, 5, 0);
    for (uint32_t i = 0; i < 10; i++)
        take_number(i);
}

static void all_or_none_are_taken(void **state)
{
    struct messenger_report report;

    ic_guest_set_room(1);
    send_numbers(*state, 0, 1, 0); /* into the ring; the others wait */
    send_numbers(*state, 1, MESSENGER_MOST_WAITING - 1, 0);
    send_numbers(*state, 0, 2, -ENOBUFS);
    send_numbers(*state, MESSENGER_MOST_WAITING, 1, 0);
    send_numbers(*state, 0, 1, -ENOBUFS);
    for (uint32_t i = 0; i <= MESSENGER_MOST_WAITING; i++)
        take_number(i);
    messenger_describe(*state, &report);
    assert_int_equal(report.sent, MESSENGER_MOST_WAITING + 1);
}

static void a_close_forgets_what_waits(void **state)
{
    struct ic_message message;

    ic_guest_set_room(0);
    send_numbers(*state, 0, 3, 0);
    ic_guest_close(ic_guest_find());
    send_numbers(*state, 0, 1, -ENOTCONN);
    ic_guest_set_room(8);
    ic_guest_open(ic_guest_find());
    send_numbers(*state, 0, 1, -ENOTCONN);
    messenger_start(*state);
    assert_false(ic_guest_take(ic_guest_find(), &message));
    send_numbers(*state, 7, 1, 0);
    take_number(7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_finds_no_room_comes_later_in_order),
        TEST(all_or_none_are_taken),
        TEST(a_close_forgets_what_waits),
    };
    return cmocka_run_group_tests_name("messenger", tests, NULL, NULL);
}
