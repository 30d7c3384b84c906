/*
 * For tests: VMBus on a real hypervisor interface; the test plays the guest. After <cmocka.h>.
 *
 * The guest's memory: its message page, event page, the input of hypercalls, and from RINGS on
 * whatever it makes rings of.
 */
#ifndef VMBUS_VMBUS_FIXTURE_H
#define VMBUS_VMBUS_FIXTURE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "vmbus/vmbus_private.h"

enum { SIMP = 0x10000, SIEFP = 0x11000, INPUT = 0x12000, RINGS = 0x40000, VPS = 2 };
#define RAM UINT64_C(0x400000)

struct bus {
    struct mem *mem;
    struct hv *hv;
    struct loop *loop;
    struct loop_timer *patience;
    struct vmbus *vmbus;
    unsigned interrupts[VPS];
    /* The device of the tests. */
    struct vmbus_channel *channel;
    unsigned opened, closed, readable, writable, released;
    int refuse_open;
    void (*on_readable)(struct bus *bus);
};

static void bus_interrupt(void *owner, unsigned vp, uint8_t vector, bool auto_eoi)
{
    (void)auto_eoi;
    struct bus *bus = owner;
    assert_int_equal(vector, 0xf3);
    bus->interrupts[vp]++;
}

static void bus_set_timer(void *owner, unsigned vp, uint64_t deadline_ns)
{
    (void)owner;
    (void)vp;
    (void)deadline_ns;
}

static void bus_stop(void *owner)
{
    struct bus *bus = owner;
    loop_stop(bus->loop);
}

/* Let the loop do all that it has to; twice, because on a busy host the end may come first. */
static inline void bus_run(struct bus *bus)
{
    for (int i = 0; i < 2; i++) {
        loop_timer_set(bus->patience, clock_monotonic_ns() + 2000000);
        assert_int_equal(loop_run(bus->loop), 0);
    }
}

static inline void bus_write_msr(struct bus *bus, unsigned vp, uint32_t index, uint64_t value)
{
    assert_true(hv_write_msr(bus->hv, vp, index, value));
}

static inline int bus_setup(void **state)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    struct hv_config hv = {
        .host = {.owner = bus, .interrupt = bus_interrupt, .set_timer = bus_set_timer},
        .vp_count = VPS,
        .tsc_hz = 1000000000,
    };
    assert_non_null(bus);
    assert_int_equal(mem_create(RAM, RAM, &bus->mem), 0);
    hv.mem = bus->mem;
    assert_int_equal(hv_create(&hv, &bus->hv, NULL), 0);
    assert_int_equal(loop_create(&bus->loop), 0);
    assert_int_equal(loop_timer_create(bus->loop, bus_stop, bus, &bus->patience), 0);
    struct vmbus_config config = {
        .hv = bus->hv, .mem = bus->mem, .loop = bus->loop, .vp_count = VPS};
    assert_int_equal(vmbus_create(&config, &bus->vmbus, NULL), 0);
    bus_write_msr(bus, 0, 0x40000083, SIMP | 1);
    for (unsigned vp = 0; vp < VPS; vp++) {
        bus_write_msr(bus, vp, 0x40000082, (SIEFP + vp * 0x2000) | 1);
        bus_write_msr(bus, vp, 0x40000092, 0xf3);
        bus_write_msr(bus, vp, 0x40000080, 1);
    }
    *state = bus;
    return 0;
}

static inline int bus_teardown(void **state)
{
    struct bus *bus = *state;
    if (bus->channel != NULL)
        vmbus_rescind(bus->channel);
    vmbus_destroy(bus->vmbus);
    loop_timer_destroy(bus->patience);
    loop_destroy(bus->loop);
    hv_destroy(bus->hv);
    mem_destroy(bus->mem);
    free(bus);
    return 0;
}

#define BUS_TEST(name) cmocka_unit_test_setup_teardown(name, bus_setup, bus_teardown)

/* ---- the guest's messages ---- */

static inline uint64_t guest_post(struct bus *bus, uint32_t connection, const void *bytes,
                                  size_t length)
{
    struct hv_call call = {.long_mode = true, .rcx = 0x5c, .rdx = INPUT};
    uint8_t *input = mem_pin(bus->mem, INPUT, 256);
    put_le32(input, connection);
    put_le32(input + 8, 1);
    put_le32(input + 12, (uint32_t)length);
    memcpy(input + 16, bytes, length);
    hv_hypercall(bus->hv, 0, &call);
    return call.rax;
}

/* Words of 32 bits from `type` on; the second is padding. */
static inline void guest_send(struct bus *bus, const uint32_t *words, size_t count)
{
    assert_int_equal(guest_post(bus, WIRE_CONNECTION, words, count * 4), HV_STATUS_SUCCESS);
    bus_run(bus);
}
#define SEND(bus, ...)                               \
    guest_send(bus, (const uint32_t[]){__VA_ARGS__}, \
               sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* Take the next message: its type, 0 when there is none; the bytes stay in `ret`. */
static inline uint32_t guest_take(struct bus *bus, uint8_t ret[240])
{
    uint8_t *slot = mem_pin(bus->mem, SIMP + 2 * 256, 256);
    memset(ret, 0, 240);
    if (get_le32(slot) == 0)
        return 0;
    memcpy(ret, slot + 16, 240);
    put_le32(slot, 0);
    bus_write_msr(bus, 0, 0x40000084, 0);
    return get_le32(ret);
}

static inline void guest_connect(struct bus *bus, uint32_t version)
{
    uint8_t message[240];
    uint32_t words[10] = {WIRE_CONTACT, 0, version, 0, WIRE_SINT};
    guest_send(bus, words, 10);
    assert_int_equal(guest_take(bus, message), WIRE_VERSION_RESPONSE);
    assert_int_equal(message[RESPONSE_SUPPORTED], 1);
}

/* ---- a device ---- */

static int device_opened(void *owner, struct vmbus_channel *channel)
{
    struct bus *bus = owner;
    assert_ptr_equal(channel, bus->channel);
    bus->opened++;
    return bus->refuse_open;
}

static void device_closed(void *owner, struct vmbus_channel *channel)
{
    struct bus *bus = owner;
    (void)channel;
    bus->closed++;
}

static void device_readable(void *owner, struct vmbus_channel *channel)
{
    struct bus *bus = owner;
    (void)channel;
    bus->readable++;
    if (bus->on_readable != NULL)
        bus->on_readable(bus);
}

static void device_writable(void *owner, struct vmbus_channel *channel)
{
    struct bus *bus = owner;
    (void)channel;
    bus->writable++;
}

static void device_released(void *owner, struct vmbus_channel *channel)
{
    struct bus *bus = owner;
    (void)channel;
    bus->released++;
}

static const struct vmbus_channel_ops device_ops = {
    .opened = device_opened,
    .closed = device_closed,
    .readable = device_readable,
    .writable = device_writable,
    .released = device_released,
};

static inline void device_offer(struct bus *bus)
{
    const struct vmbus_offer offer = {
        .name = "device", .class_id = {1, 2, 3}, .instance_id = {4}, .user_defined = {7}};
    assert_int_equal(vmbus_offer(bus->vmbus, &offer, &device_ops, bus, &bus->channel), 0);
}

/* ---- rings of 4 pages each way, as one GPADL ---- */

enum { GPADL = 0xe1e10, RING_PAGES = 4, RING_BYTES = (RING_PAGES - 1) * 4096 };

static inline void guest_make_gpadl(struct bus *bus, uint32_t relid, uint32_t id, uint32_t pages)
{
    uint8_t message[240] = {0};
    put_le32(message, WIRE_GPADL_HEADER);
    put_le32(message + RELID, relid);
    put_le32(message + GPADL_ID, id);
    put_le16(message + GPADL_RANGE_COUNT, 1);
    put_le32(message + GPADL_BYTE_COUNT, pages * 4096);
    for (uint32_t i = 0; i < pages; i++)
        put_le64(message + GPADL_PFNS + (size_t)i * 8, RINGS / 4096 + i);
    assert_int_equal(guest_post(bus, WIRE_CONNECTION, message, GPADL_PFNS + (size_t)pages * 8), 0);
    bus_run(bus);
}

/* Connected, offered, opened: ready for packets. */
static inline void guest_open(struct bus *bus)
{
    uint8_t message[240];
    device_offer(bus);
    guest_connect(bus, VMBUS_VERSION(5, 3));
    SEND(bus, WIRE_REQUEST_OFFERS, 0);
    assert_int_equal(guest_take(bus, message), WIRE_OFFER);
    assert_int_equal(guest_take(bus, message), WIRE_ALL_OFFERS);
    uint32_t relid = bus->channel->relid;
    guest_make_gpadl(bus, relid, GPADL, 2 * RING_PAGES);
    assert_int_equal(guest_take(bus, message), WIRE_GPADL_CREATED);
    assert_int_equal(get_le32(message + GPADL_CREATED_STATUS), 0);
    SEND(bus, WIRE_OPEN, 0, relid, 77, GPADL, 1, RING_PAGES);
    assert_int_equal(guest_take(bus, message), WIRE_OPEN_RESULT);
    assert_int_equal(get_le32(message + OPEN_ID), 77);
    assert_int_equal(get_le32(message + OPEN_RESULT_STATUS), 0);
}

static inline uint8_t *guest_ring(struct bus *bus, bool to_guest)
{
    return mem_pin(bus->mem, RINGS + (to_guest ? RING_PAGES * 4096 : 0), RING_PAGES * 4096);
}

static inline uint64_t guest_signal(struct bus *bus)
{
    struct hv_call call = {
        .long_mode = true, .rcx = 0x5d | 1 << 16, .rdx = 0x10000 + bus->channel->relid};
    hv_hypercall(bus->hv, 1, &call);
    return call.rax;
}

static inline void ring_bytes(uint8_t *ring, uint32_t at, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ring[4096 + (at + i) % RING_BYTES] = ((const uint8_t *)bytes)[i];
}

/* Put a packet of `length` payload bytes behind `ranges` (a multiple of 8) into the guest's ring.
 */
static inline void guest_put(struct bus *bus, uint16_t type, const void *ranges, size_t range_bytes,
                             const void *payload, size_t length)
{
    uint8_t *ring = guest_ring(bus, false);
    uint8_t head[16] = {0};
    uint32_t at = get_le32(ring + RING_WRITE_INDEX);
    size_t total = 16 + range_bytes + ((length + 7) & ~(size_t)7);
    put_le16(head, type);
    put_le16(head + 2, (uint16_t)((16 + range_bytes) / 8));
    put_le16(head + 4, (uint16_t)(total / 8));
    put_le16(head + 6, 1);
    put_le64(head + 8, 0x1234);
    ring_bytes(ring, at, head, 16);
    ring_bytes(ring, at + 16, ranges, range_bytes);
    ring_bytes(ring, at + 16 + (uint32_t)range_bytes, payload, length);
    put_le32(ring + RING_WRITE_INDEX, (uint32_t)((at + total + 8) % RING_BYTES));
}

#endif
