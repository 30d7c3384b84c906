/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmbus/vmbus_fixture.h"
/* clang-format on */

static void short_and_unknown_messages_are_ignored(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_open(bus);
    for (uint32_t type = 0; type < 40; type++)
        SEND(bus, type);
    for (uint32_t type = 25; type < 40; type++)
        SEND(bus, type, 0, 1, 2, 3, 4);
    assert_int_equal(guest_take(bus, message), 0);
    assert_true(vmbus_channel_is_open(bus->channel));
}

static void nothing_is_done_before_a_version_is_agreed(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    device_offer(bus);
    SEND(bus, WIRE_REQUEST_OFFERS, 0);
    SEND(bus, WIRE_OPEN, 0, 1, 0, 0, 0, 0);
    assert_int_equal(guest_take(bus, message), 0);
}

static void sockets_are_refused_with_their_ids(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_connect(bus, VMBUS_VERSION(5, 3));
    SEND(bus, WIRE_TL_CONNECT, 0, 1, 2, 3, 4, 5, 6, 7, 8);
    assert_int_equal(guest_take(bus, message), WIRE_TL_RESULT);
    assert_int_equal(get_le32(message + TL_IDS + 28), 8);
    assert_int_not_equal(get_le32(message + TL_STATUS), 0);
}

static void unload_closes_and_answers(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_open(bus);
    SEND(bus, WIRE_UNLOAD, 0);
    assert_int_equal(guest_take(bus, message), WIRE_UNLOAD_RESPONSE);
    assert_int_equal(bus->closed, 1);
    assert_int_equal(vmbus_version(bus->vmbus), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUS_TEST(short_and_unknown_messages_are_ignored),
        BUS_TEST(nothing_is_done_before_a_version_is_agreed),
        BUS_TEST(sockets_are_refused_with_their_ids),
        BUS_TEST(unload_closes_and_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
