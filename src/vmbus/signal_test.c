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

#define MS       UINT64_C(1000000)
#define FOR_EVER (3600000 * MS)

static uint8_t payload[64];
static struct vmbus_packet packet = {.payload = payload, .payload_room = sizeof(payload)};

static void read_all(struct bus *bus)
{
    while (vmbus_read(bus->channel, &packet) == 0)
        continue;
}

static void open_with_patience(struct bus *bus, uint64_t patience_ns)
{
    guest_open(bus);
    bus_run(bus);
    bus->on_readable = read_all;
    bus->vmbus->config.patience_ns = patience_ns;
}

/* Put so many packets and signal; how many the device has read when the loop rests. */
static uint64_t put_and_run(struct bus *bus, unsigned count)
{
    uint64_t before = bus->channel->report.packets_in;

    for (unsigned i = 0; i < count; i++)
        guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, "x", 1);
    assert_int_equal(guest_signal(bus), HV_STATUS_SUCCESS);
    bus_run(bus);
    return bus->channel->report.packets_in - before;
}

static void one_packet_at_a_time_hardly_ever_waits(void **state)
{
    struct bus *bus = *state;
    unsigned served = 0;
    open_with_patience(bus, FOR_EVER);
    while (put_and_run(bus, 1) == 1)
        assert_true(++served < 1000);
    assert_true(served > 50);
}

static void several_packets_make_the_next_wait_for_others(void **state)
{
    struct bus *bus = *state;
    open_with_patience(bus, FOR_EVER);
    assert_int_equal(put_and_run(bus, 3), 3);
    unsigned turns = bus->readable;
    uint64_t before = bus->channel->report.packets_in;
    assert_int_equal(put_and_run(bus, 1), 0);
    assert_int_equal(put_and_run(bus, 1), 0);
    channel_serve_late(bus->vmbus);
    assert_int_equal(bus->channel->report.packets_in - before, 2);
    assert_int_equal(bus->readable, turns + 1);
    assert_int_equal(put_and_run(bus, 1), 0); /* they were several again */
}

static void a_wait_ends_by_itself(void **state)
{
    struct bus *bus = *state;
    open_with_patience(bus, 10 * MS);
    assert_int_equal(put_and_run(bus, 2), 2);
    unsigned turns = bus->readable;
    uint64_t start = clock_monotonic_ns();
    guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, "x", 1);
    assert_int_equal(guest_signal(bus), HV_STATUS_SUCCESS);
    for (unsigned i = 0; i < 1000 && bus->readable == turns; i++)
        bus_run(bus);
    assert_int_equal(bus->readable, turns + 1);
    assert_true(clock_monotonic_ns() - start >= 10 * MS);
}

static void a_wait_in_vain_ends_the_waiting(void **state)
{
    struct bus *bus = *state;
    open_with_patience(bus, FOR_EVER);
    assert_int_equal(put_and_run(bus, 2), 2);
    assert_int_equal(put_and_run(bus, 1), 0);
    channel_serve_late(bus->vmbus);
    assert_int_equal(put_and_run(bus, 1), 1);
}

static void without_patience_all_is_served_at_once(void **state)
{
    struct bus *bus = *state;
    open_with_patience(bus, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(put_and_run(bus, 2), 2);
}

static void a_channel_opened_anew_does_not_wait(void **state)
{
    struct bus *bus = *state;
    open_with_patience(bus, FOR_EVER);
    uint32_t relid = bus->channel->relid;
    assert_int_equal(put_and_run(bus, 2), 2);
    assert_int_equal(put_and_run(bus, 1), 0);
    SEND(bus, WIRE_CLOSE, 0, relid);
    memset(guest_ring(bus, false), 0, 4096);
    memset(guest_ring(bus, true), 0, 4096);
    SEND(bus, WIRE_OPEN, 0, relid, 78, GPADL, 1, RING_PAGES);
    assert_true(vmbus_channel_is_open(bus->channel));
    assert_int_equal(put_and_run(bus, 1), 1);
}

/* What is left of a long batch goes on at once: it has waited. */
static void the_rest_of_a_batch_does_not_wait(void **state)
{
    struct bus *bus = *state;
    open_with_patience(bus, FOR_EVER);
    assert_int_equal(put_and_run(bus, 2), 2);
    bus->channel->batch = 3;
    for (unsigned i = 0; i < 5; i++)
        guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, "x", 1);
    uint64_t before = bus->channel->report.packets_in;
    read_all(bus);
    assert_int_equal(bus->channel->report.packets_in - before, 3);
    bus_run(bus);
    assert_int_equal(bus->channel->report.packets_in - before, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUS_TEST(one_packet_at_a_time_hardly_ever_waits),
        BUS_TEST(several_packets_make_the_next_wait_for_others),
        BUS_TEST(a_wait_ends_by_itself),
        BUS_TEST(a_wait_in_vain_ends_the_waiting),
        BUS_TEST(without_patience_all_is_served_at_once),
        BUS_TEST(a_channel_opened_anew_does_not_wait),
        BUS_TEST(the_rest_of_a_batch_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
