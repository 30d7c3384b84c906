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

static void versions_from_2_4_to_5_3_are_spoken(void **state)
{
    struct bus *bus = *state;
    static const uint32_t known[] = {VMBUS_VERSION(2, 4), VMBUS_VERSION(3, 0), VMBUS_VERSION(4, 1),
                                     VMBUS_VERSION(5, 0), VMBUS_VERSION(5, 3)};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        guest_connect(bus, known[i]);
        assert_int_equal(vmbus_version(bus->vmbus), known[i]);
    }
}

static void other_versions_are_refused_so_that_the_guest_steps_down(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    uint32_t words[10] = {WIRE_CONTACT, 0, VMBUS_VERSION(6, 0), 0, WIRE_SINT};
    guest_send(bus, words, 10);
    assert_int_equal(guest_take(bus, message), WIRE_VERSION_RESPONSE);
    assert_int_equal(message[RESPONSE_SUPPORTED], 0);
    assert_int_equal(vmbus_version(bus->vmbus), 0);
    guest_connect(bus, VMBUS_VERSION(5, 2));
}

static void old_guests_use_the_first_connection(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    const uint32_t words[10] = {WIRE_CONTACT, 0, VMBUS_VERSION(4, 0), 1};
    assert_int_equal(guest_post(bus, WIRE_CONNECTION_OLD, words, sizeof(words)), 0);
    bus_write_msr(bus, 1, 0x40000083, 0x30000 | 1); /* its messages go to processor 1 */
    bus_run(bus);
    memcpy(message, mem_pin(bus->mem, 0x30000 + 2 * 256 + 16, 16), 16);
    assert_int_equal(get_le32(message), WIRE_VERSION_RESPONSE);
    assert_int_equal(get_le32(message + RESPONSE_CONNECTION), WIRE_CONNECTION_OLD);
}

static void a_flood_is_told_to_come_back(void **state)
{
    struct bus *bus = *state;
    const uint32_t words[2] = {WIRE_UNLOAD, 0};
    unsigned taken = 0;
    while (guest_post(bus, WIRE_CONNECTION, words, sizeof(words)) == HV_STATUS_SUCCESS)
        assert_true(++taken <= VMBUS_INCOMING);
    assert_int_equal(taken, VMBUS_INCOMING);
    bus_run(bus);
    assert_int_equal(guest_post(bus, WIRE_CONNECTION, words, sizeof(words)), HV_STATUS_SUCCESS);
}

/* Every answer comes, however slowly the guest takes them. */
static void answers_wait_for_the_slot(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    const uint32_t words[2] = {WIRE_UNLOAD, 0};
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(guest_post(bus, WIRE_CONNECTION, words, sizeof(words)), 0);
    unsigned answers = 0;
    for (unsigned i = 0; i < 60; i++) {
        bus_run(bus);
        while (guest_take(bus, message) == WIRE_UNLOAD_RESPONSE)
            answers++;
    }
    /* An unload forgets what was queued before it. */
    assert_true(answers >= 1 && answers <= 200);
    guest_connect(bus, VMBUS_VERSION(5, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUS_TEST(versions_from_2_4_to_5_3_are_spoken),
        BUS_TEST(other_versions_are_refused_so_that_the_guest_steps_down),
        BUS_TEST(old_guests_use_the_first_connection),
        BUS_TEST(a_flood_is_told_to_come_back),
        BUS_TEST(answers_wait_for_the_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
