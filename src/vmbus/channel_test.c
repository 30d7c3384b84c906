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

static void an_offer_tells_all_of_the_channel(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    device_offer(bus);
    guest_connect(bus, VMBUS_VERSION(5, 3));
    assert_int_equal(guest_take(bus, message), 0); /* not before it is asked for */
    SEND(bus, WIRE_REQUEST_OFFERS, 0);
    assert_int_equal(guest_take(bus, message), WIRE_OFFER);
    assert_int_equal(message[OFFER_CLASS + 1], 2);
    assert_int_equal(message[OFFER_INSTANCE], 4);
    assert_int_equal(message[OFFER_USER_DEFINED], 7);
    assert_int_equal(get_le32(message + OFFER_RELID), bus->channel->relid);
    assert_int_equal(get_le32(message + OFFER_CONNECTION), 0x10000 + bus->channel->relid);
    assert_int_equal(get_le16(message + OFFER_DEDICATED), 1);
    assert_int_equal(guest_take(bus, message), WIRE_ALL_OFFERS);
}

static void the_same_device_is_offered_once(void **state)
{
    struct bus *bus = *state;
    const struct vmbus_offer offer = {.class_id = {1, 2, 3}, .instance_id = {4}};
    struct vmbus_channel *other = NULL;
    device_offer(bus);
    assert_int_equal(vmbus_offer(bus->vmbus, &offer, &device_ops, bus, &other), -EEXIST);
}

static void later_offers_are_told_at_once(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_connect(bus, VMBUS_VERSION(5, 3));
    SEND(bus, WIRE_REQUEST_OFFERS, 0);
    assert_int_equal(guest_take(bus, message), WIRE_ALL_OFFERS);
    device_offer(bus);
    bus_run(bus);
    assert_int_equal(guest_take(bus, message), WIRE_OFFER);
    assert_int_equal(guest_take(bus, message), 0);
}

static void open_and_close_reach_the_device(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_open(bus);
    bus_run(bus);
    assert_int_equal(bus->opened, 1);
    assert_int_equal(bus->readable, 1); /* once after open */
    assert_int_equal(vmbus_open_channels(bus->vmbus), 1);
    SEND(bus, WIRE_CLOSE, 0, bus->channel->relid);
    assert_int_equal(vmbus_open_channels(bus->vmbus), 0);
    assert_int_equal(bus->closed, 1);
    assert_int_equal(guest_take(bus, message), 0);
    assert_int_equal(guest_signal(bus), HV_STATUS_INVALID_CONNECTION_ID);
    SEND(bus, WIRE_OPEN, 0, bus->channel->relid, 78, GPADL, 0, RING_PAGES);
    assert_int_equal(guest_take(bus, message), WIRE_OPEN_RESULT);
    assert_int_equal(get_le32(message + OPEN_RESULT_STATUS), 0);
    assert_int_equal(bus->opened, 2);
}

static void wrong_opens_are_refused(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_open(bus);
    uint32_t relid = bus->channel->relid;
    const uint32_t wrong[][4] = {
        {GPADL, 0, RING_PAGES, 0},     /* is open */
        {GPADL + 1, 0, RING_PAGES, 1}, /* no such pages */
        {GPADL, VPS, RING_PAGES, 1},   /* no such processor */
        {GPADL, 0, 0, 1},              /* no ring */
        {GPADL, 0, 1, 1},
        {GPADL, 0, 2 * RING_PAGES, 1},
        {GPADL, 0, UINT32_MAX, 1},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (wrong[i][3] != 0)
            SEND(bus, WIRE_CLOSE, 0, relid);
        SEND(bus, WIRE_OPEN, 0, relid, 5, wrong[i][0], wrong[i][1], wrong[i][2]);
        assert_int_equal(guest_take(bus, message), WIRE_OPEN_RESULT);
        assert_int_not_equal(get_le32(message + OPEN_RESULT_STATUS), 0);
    }
    assert_int_equal(bus->opened, 1);
    bus->refuse_open = -EBUSY;
    SEND(bus, WIRE_OPEN, 0, relid, 5, GPADL, 0, RING_PAGES);
    assert_int_equal(guest_take(bus, message), WIRE_OPEN_RESULT);
    assert_int_not_equal(get_le32(message + OPEN_RESULT_STATUS), 0);
    assert_false(vmbus_channel_is_open(bus->channel));
    assert_int_equal(guest_signal(bus), HV_STATUS_INVALID_CONNECTION_ID);
}

static void withdrawn_channels_go_when_the_guest_lets_go(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_open(bus);
    uint32_t relid = bus->channel->relid;
    SEND(bus, WIRE_RELID_RELEASED, 0, relid); /* not yet */
    assert_int_equal(bus->released, 0);
    vmbus_rescind(bus->channel);
    bus->channel = NULL;
    assert_int_equal(bus->closed, 1);
    bus_run(bus);
    assert_int_equal(guest_take(bus, message), WIRE_RESCIND);
    assert_int_equal(get_le32(message + RELID), relid);
    assert_int_equal(bus->released, 0);
    device_offer(bus); /* the same device again, beside the old one */
    assert_int_not_equal(bus->channel->relid, relid);
    SEND(bus, WIRE_RELID_RELEASED, 0, relid);
    assert_int_equal(bus->released, 1);
}

static void one_that_no_guest_knows_goes_at_once(void **state)
{
    struct bus *bus = *state;
    device_offer(bus);
    vmbus_rescind(bus->channel);
    bus->channel = NULL;
    assert_int_equal(bus->released, 1);
}

static void interrupts_move_and_guests_of_5_3_hear_of_it(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    struct vmbus_channel_report report;
    guest_open(bus);
    SEND(bus, WIRE_MODIFY, 0, bus->channel->relid, 0);
    assert_int_equal(guest_take(bus, message), WIRE_MODIFY_RESPONSE);
    assert_int_equal(get_le32(message + MODIFY_RESPONSE_STATUS), 0);
    vmbus_channel_describe(bus->channel, &report);
    assert_int_equal(report.target_vp, 0);
    SEND(bus, WIRE_MODIFY, 0, bus->channel->relid, VPS);
    assert_int_equal(guest_take(bus, message), WIRE_MODIFY_RESPONSE);
    assert_int_not_equal(get_le32(message + MODIFY_RESPONSE_STATUS), 0);
}

static struct vmbus_channel *other;

/* As a device with sub-channels does. */
static void withdraw_other(void *owner, struct vmbus_channel *channel)
{
    device_closed(owner, channel);
    vmbus_rescind(other);
}

static void closing_may_withdraw_a_channel_that_the_guest_never_heard_of(void **state)
{
    struct bus *bus = *state;
    static struct vmbus_channel_ops ops;
    const struct vmbus_offer offer = {.class_id = {1, 2, 3}, .instance_id = {4}, .subchannel = 1};
    guest_open(bus);
    assert_int_equal(vmbus_offer(bus->vmbus, &offer, &device_ops, bus, &other), 0);
    ops = device_ops;
    ops.closed = withdraw_other;
    bus->channel->ops = &ops;
    vmbus_reset(bus->vmbus);
    assert_int_equal(bus->closed, 1);
    assert_int_equal(bus->released, 1);
}

static void a_reset_closes_and_forgets(void **state)
{
    struct bus *bus = *state;
    guest_open(bus);
    vmbus_reset(bus->vmbus);
    assert_int_equal(bus->closed, 1);
    assert_null(bus->vmbus->gpadls);
    struct vmbus_channel *channel = bus->channel;
    assert_int_equal(guest_signal(bus), HV_STATUS_INVALID_CONNECTION_ID);
    assert_false(channel->announced);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUS_TEST(an_offer_tells_all_of_the_channel),
        BUS_TEST(the_same_device_is_offered_once),
        BUS_TEST(later_offers_are_told_at_once),
        BUS_TEST(open_and_close_reach_the_device),
        BUS_TEST(wrong_opens_are_refused),
        BUS_TEST(withdrawn_channels_go_when_the_guest_lets_go),
        BUS_TEST(one_that_no_guest_knows_goes_at_once),
        BUS_TEST(interrupts_move_and_guests_of_5_3_hear_of_it),
        BUS_TEST(a_reset_closes_and_forgets),
        BUS_TEST(closing_may_withdraw_a_channel_that_the_guest_never_heard_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
