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

static uint8_t payload[4096];
static struct vmbus_packet packet = {.payload = payload, .payload_room = sizeof(payload)};

static uint32_t guest_available(struct bus *bus)
{
    const uint8_t *ring = guest_ring(bus, true);
    return (get_le32(ring + RING_WRITE_INDEX) + RING_BYTES - get_le32(ring + RING_READ_INDEX)) %
           RING_BYTES;
}

/* As the guest reads: payload of the next packet, its descriptor in `head`. */
static size_t guest_get(struct bus *bus, uint8_t head[16], uint8_t *ret)
{
    uint8_t *ring = guest_ring(bus, true);
    uint32_t at = get_le32(ring + RING_READ_INDEX);
    for (uint32_t i = 0; i < 16; i++)
        head[i] = ring[4096 + (at + i) % RING_BYTES];
    uint32_t offset = get_le16(head + 2) * 8u;
    uint32_t length = get_le16(head + 4) * 8u;
    for (uint32_t i = offset; i < length; i++)
        ret[i - offset] = ring[4096 + (at + i) % RING_BYTES];
    put_le32(ring + RING_READ_INDEX, (at + length + 8) % RING_BYTES);
    return length - offset;
}

static void packets_are_read_in_order_across_the_end(void **state)
{
    struct bus *bus = *state;
    guest_open(bus);
    for (unsigned i = 0; i < 300; i++) {
        uint8_t bytes[200] = {(uint8_t)i};
        size_t length = 1 + i % sizeof(bytes);
        guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, bytes, length);
        guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, bytes, 8);
        bus->channel->batch = 10;
        assert_int_equal(vmbus_read(bus->channel, &packet), 0);
        assert_int_equal(packet.payload_length, (length + 7) / 8 * 8);
        assert_int_equal(payload[0], (uint8_t)i);
        assert_int_equal(packet.transaction_id, 0x1234);
        assert_true(packet.wants_completion);
        assert_int_equal(vmbus_read(bus->channel, &packet), 0);
        assert_int_equal(vmbus_read(bus->channel, &packet), -EAGAIN);
    }
}

static void ranges_become_joined_segments(void **state)
{
    struct bus *bus = *state;
    uint8_t ranges[48] = {0};
    guest_open(bus);
    put_le32(ranges + 4, 1);
    put_le32(ranges + 8, 3 * 4096);
    put_le32(ranges + 12, 0x800);
    put_le64(ranges + 16, 0x40);
    put_le64(ranges + 24, 0x41);
    put_le64(ranges + 32, 0x50);
    put_le64(ranges + 40, 0x60);
    guest_put(bus, VMBUS_PACKET_DATA_GPA_DIRECT, ranges, sizeof(ranges), "12345678", 8);
    bus->channel->batch = 10;
    assert_int_equal(vmbus_read(bus->channel, &packet), 0);
    assert_int_equal(packet.segment_count, 3);
    assert_int_equal(packet.segment[0].gpa, 0x40800);
    assert_int_equal(packet.segment[0].length, 0x1800);
    assert_int_equal(packet.segment[2].length, 0x800);
    assert_memory_equal(payload, "12345678", 8);
}

static void broken(struct bus *bus)
{
    bus->channel->batch = 10;
    assert_int_equal(vmbus_read(bus->channel, &packet), -EPROTO);
    assert_int_equal(bus->closed, 1);
    assert_false(vmbus_channel_is_open(bus->channel));
    assert_int_equal(vmbus_read(bus->channel, &packet), -ENOTCONN);
    struct vmbus_channel_report report;
    vmbus_channel_describe(bus->channel, &report);
    assert_int_not_equal(report.fault.text[0], 0);
}

static void descriptors_that_leave_the_ring_close_the_channel(void **state)
{
    struct bus *bus = *state;
    guest_open(bus);
    guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, "1234", 4);
    put_le16(guest_ring(bus, false) + 4096 + PACKET_LENGTH, 100);
    broken(bus);
}

static void payloads_before_their_descriptor_close_the_channel(void **state)
{
    struct bus *bus = *state;
    guest_open(bus);
    guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, "1234", 4);
    put_le16(guest_ring(bus, false) + 4096 + PACKET_OFFSET, 1);
    broken(bus);
}

static void indices_outside_close_the_channel(void **state)
{
    struct bus *bus = *state;
    guest_open(bus);
    put_le32(guest_ring(bus, false) + RING_WRITE_INDEX, RING_BYTES);
    broken(bus);
}

static void ranges_outside_ram_close_the_channel(void **state)
{
    struct bus *bus = *state;
    uint8_t ranges[24] = {0};
    guest_open(bus);
    put_le32(ranges + 4, 1);
    put_le32(ranges + 8, 4096);
    put_le64(ranges + 16, RAM / 4096);
    guest_put(bus, VMBUS_PACKET_DATA_GPA_DIRECT, ranges, sizeof(ranges), "", 0);
    broken(bus);
}

static void ranges_longer_than_their_packet_close_the_channel(void **state)
{
    struct bus *bus = *state;
    uint8_t ranges[24] = {0};
    guest_open(bus);
    put_le32(ranges + 4, UINT32_MAX);
    put_le32(ranges + 8, 8192);
    put_le64(ranges + 16, 1);
    guest_put(bus, VMBUS_PACKET_DATA_GPA_DIRECT, ranges, sizeof(ranges), "", 0);
    broken(bus);
}

static void long_payloads_are_skipped(void **state)
{
    struct bus *bus = *state;
    static uint8_t bytes[5000];
    guest_open(bus);
    guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, bytes, sizeof(bytes));
    guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, "x", 1);
    bus->channel->batch = 10;
    assert_int_equal(vmbus_read(bus->channel, &packet), -EMSGSIZE);
    assert_true(packet.wants_completion);
    assert_int_equal(vmbus_read(bus->channel, &packet), 0);
    assert_int_equal(payload[0], 'x');
}

static void what_is_sent_arrives_and_signals_an_idle_guest_once(void **state)
{
    struct bus *bus = *state;
    uint8_t head[16];
    uint8_t bytes[64];
    guest_open(bus);
    unsigned before = bus->interrupts[1];
    uint8_t *flags = mem_pin(bus->mem, SIEFP + 0x2000 + 2 * 256, 1);
    assert_int_equal(vmbus_complete(bus->channel, 99, "hello", 5), 0);
    assert_int_equal(vmbus_send(bus->channel, "again", 5, 7, true), 0);
    assert_int_equal(bus->interrupts[1], before + 1);
    assert_int_equal(*flags, 1 << bus->channel->relid);
    assert_int_equal(guest_get(bus, head, bytes), 8);
    assert_memory_equal(bytes, "hello\0\0", 8);
    assert_int_equal(get_le16(head), VMBUS_PACKET_COMPLETION);
    assert_int_equal(get_le64(head + 8), 99);
    assert_int_equal(guest_get(bus, head, bytes), 8);
    assert_int_equal(get_le16(head + 6), 1);
    assert_int_equal(guest_available(bus), 0);
    *flags = 0;
    put_le32(guest_ring(bus, true) + RING_INTERRUPT_MASK, 1);
    assert_int_equal(vmbus_send(bus->channel, "quiet", 5, 7, false), 0);
    assert_int_equal(bus->interrupts[1], before + 1);
}

static void a_full_ring_asks_to_be_told_of_room(void **state)
{
    struct bus *bus = *state;
    uint8_t head[16];
    static uint8_t bytes[1000];
    unsigned sent = 0;
    guest_open(bus);
    bus_run(bus);
    while (vmbus_send(bus->channel, bytes, sizeof(bytes), 0, false) == 0)
        sent++;
    assert_int_equal(sent, (RING_BYTES - 1) / 1024);
    assert_int_equal(get_le32(guest_ring(bus, true) + RING_PENDING_SIZE), 1024);
    while (sent-- > 0)
        assert_int_equal(guest_get(bus, head, bytes), 1000);
    assert_int_equal(guest_signal(bus), HV_STATUS_SUCCESS);
    bus_run(bus);
    assert_int_equal(bus->writable, 1);
    assert_int_equal(vmbus_send(bus->channel, bytes, sizeof(bytes), 0, false), 0);
    assert_int_equal(get_le32(guest_ring(bus, true) + RING_PENDING_SIZE), 0);
    assert_int_equal(vmbus_send(bus->channel, bytes, RING_BYTES, 0, false), -EMSGSIZE);
}

static void transfer_pages_carry_their_ranges(void **state)
{
    struct bus *bus = *state;
    const struct vmbus_transfer_range ranges[] = {{10, 20}, {30, 40}};
    const struct vmbus_transfer transfer = {0xcafe, ranges, 2};
    uint8_t head[16];
    uint8_t bytes[64];
    guest_open(bus);
    assert_int_equal(vmbus_send_transfer(bus->channel, &transfer, 5, "p", 1), 0);
    const uint8_t *raw = guest_ring(bus, true) + 4096;
    assert_int_equal(get_le16(raw + 16), 0xcafe);
    assert_int_equal(get_le32(raw + 20), 2);
    assert_int_equal(get_le32(raw + 24 + 12), 40);
    assert_int_equal(guest_get(bus, head, bytes), 8);
    assert_int_equal(get_le16(head), VMBUS_PACKET_DATA_TRANSFER_PAGES);
}

static void read_some(struct bus *bus)
{
    while (vmbus_read(bus->channel, &packet) == 0)
        continue;
}

/* A guest that never stops writing does not keep the loop from others. */
static void a_turn_is_bounded(void **state)
{
    struct bus *bus = *state;
    guest_open(bus);
    bus_run(bus);
    bus->on_readable = read_some;
    bus->channel->batch = 3;
    for (int i = 0; i < 5; i++)
        guest_put(bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, "x", 1);
    read_some(bus);
    assert_int_equal(bus->channel->report.packets_in, 3);
    bus_run(bus); /* its next turn comes by itself */
    assert_int_equal(bus->channel->report.packets_in, 5);
}

/*
 * ---- a guest that writes until the ring is full, and sleeps until it is told of room ----
 * Four packets fill it, and one that is read is room enough, as with hv_sock.
 */

enum { RACE_PACKETS = 200000, RACE_PACKET = 3000, RACE_PENDING = 3000, RACE_LIMIT_S = 10 };

static _Atomic bool race_over, race_lost;

static uint32_t race_room(struct bus *bus)
{
    const uint8_t *ring = guest_ring(bus, false);
    uint32_t used =
        get_le32(ring + RING_WRITE_INDEX) + RING_BYTES -
        __atomic_load_n((const uint32_t *)(const void *)(ring + RING_READ_INDEX), __ATOMIC_ACQUIRE);
    return RING_BYTES - used % RING_BYTES;
}

static bool race_sleep(struct bus *bus)
{
    uint8_t *flags = mem_pin(bus->mem, SIEFP + 0x2000 + 2 * 256, 1);
    uint64_t limit = clock_monotonic_ns() + UINT64_C(2) * NS_PER_SECOND;

    while (__atomic_exchange_n(flags, 0, __ATOMIC_SEQ_CST) == 0 && !race_over) {
        /* Not told, and nothing is left that could be read. */
        if (race_room(bus) == RING_BYTES && clock_monotonic_ns() > limit)
            return false;
    }
    return true;
}

/* Quicker than it is read: its payload is what happens to be there. */
static void race_put(struct bus *bus)
{
    uint8_t *ring = guest_ring(bus, false);
    uint32_t at = get_le32(ring + RING_WRITE_INDEX);
    uint8_t head[16] = {VMBUS_PACKET_DATA_INBAND, 0, 2};

    put_le16(head + PACKET_LENGTH, (16 + RACE_PACKET) / 8);
    ring_bytes(ring, at, head, sizeof(head));
    __atomic_store_n((uint32_t *)(void *)(ring + RING_WRITE_INDEX),
                     (at + 16 + RACE_PACKET + 8) % RING_BYTES, __ATOMIC_SEQ_CST);
}

static void *race_write(void *argument)
{
    struct bus *bus = argument;

    while (!race_over && !race_lost) {
        if (race_room(bus) > RACE_PACKET + 32) {
            race_put(bus);
        } else if (!race_sleep(bus)) {
            race_lost = true;
        }
    }
    return NULL;
}

static void a_guest_that_waits_for_room_is_told_always(void **state)
{
    struct bus *bus = *state;
    pthread_t thread;
    unsigned read = 0;
    guest_open(bus);
    put_le32(guest_ring(bus, false) + RING_PENDING_SIZE, RACE_PENDING);
    uint64_t limit = clock_monotonic_ns() + RACE_LIMIT_S * (uint64_t)NS_PER_SECOND;
    assert_int_equal(pthread_create(&thread, NULL, race_write, bus), 0);
    /* On a busy host, what was read by then is enough. */
    while (read < RACE_PACKETS && !race_lost && clock_monotonic_ns() < limit) {
        bus->channel->batch = 2;
        read += vmbus_read(bus->channel, &packet) == 0;
    }
    race_over = true;
    (void)pthread_join(thread, NULL);
    assert_false(race_lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUS_TEST(packets_are_read_in_order_across_the_end),
        BUS_TEST(ranges_become_joined_segments),
        BUS_TEST(descriptors_that_leave_the_ring_close_the_channel),
        BUS_TEST(payloads_before_their_descriptor_close_the_channel),
        BUS_TEST(indices_outside_close_the_channel),
        BUS_TEST(ranges_outside_ram_close_the_channel),
        BUS_TEST(ranges_longer_than_their_packet_close_the_channel),
        BUS_TEST(long_payloads_are_skipped),
        BUS_TEST(what_is_sent_arrives_and_signals_an_idle_guest_once),
        BUS_TEST(a_full_ring_asks_to_be_told_of_room),
        BUS_TEST(transfer_pages_carry_their_ranges),
        BUS_TEST(a_turn_is_bounded),
        BUS_TEST(a_guest_that_waits_for_room_is_told_always),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
