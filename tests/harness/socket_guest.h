/*
 * For tests of sockets: a guest on a real VMBus that is told of offers, opens them and moves
 * packets. One stream is open at a time: all use the same rings. After <cmocka.h>.
 */
#ifndef TESTS_HARNESS_SOCKET_GUEST_H
#define TESTS_HARNESS_SOCKET_GUEST_H

#include "vmbus/vmbus_fixture.h"
#include "vsp/hvsock.h"

enum { GUEST_OWNERS = HVSOCK_MOST_STREAMS + 8, GUEST_MESSAGES = 32 };

struct owner {
    struct hvsock_stream *stream;
    uint32_t relid;
    unsigned opened, readable, writable, closed;
};

struct told_offer {
    uint8_t class_id[16], instance_id[16];
    uint16_t flags;
    uint8_t from_host;
    uint32_t relid;
};

struct guest {
    struct bus *bus;
    struct hvsock *hvsock;
    int refuse;
    uint8_t asked[16];
    struct owner owners[GUEST_OWNERS], *last, none;
    unsigned owner_count;
    /* What the bus told since the connection was made. */
    unsigned count[GUEST_MESSAGES];
    struct told_offer offer;
    uint32_t rescinded[GUEST_OWNERS], refusal;
    unsigned rescinded_count;
};

/* ---- what hvsock calls ---- */

static struct owner *new_owner(struct guest *guest, struct hvsock_stream *stream)
{
    assert_true(guest->owner_count < GUEST_OWNERS);
    guest->last = &guest->owners[guest->owner_count++];
    *guest->last = (struct owner){.stream = stream};
    return guest->last;
}

static int user_connect(void *owner, const uint8_t service[16], struct hvsock_stream *stream,
                        void **ret_owner)
{
    struct guest *guest = owner;
    memcpy(guest->asked, service, 16);
    if (guest->refuse != 0)
        return guest->refuse;
    *ret_owner = new_owner(guest, stream);
    return 0;
}

static void user_opened(void *owner)
{
    ((struct owner *)owner)->opened++;
}

static void user_readable(void *owner)
{
    ((struct owner *)owner)->readable++;
}

static void user_writable(void *owner)
{
    ((struct owner *)owner)->writable++;
}

static void user_closed(void *owner)
{
    ((struct owner *)owner)->closed++;
    ((struct owner *)owner)->stream = NULL;
}

/* ---- messages ---- */

static void note(struct guest *guest, uint32_t type, const uint8_t *message)
{
    assert_true(type < GUEST_MESSAGES);
    guest->count[type]++;
    if (type == WIRE_RESCIND)
        guest->rescinded[guest->rescinded_count++] = get_le32(message + RELID);
    if (type == WIRE_TL_RESULT)
        guest->refusal = get_le32(message + TL_STATUS);
    if (type != WIRE_OFFER)
        return;
    memcpy(guest->offer.class_id, message + OFFER_CLASS, 16);
    memcpy(guest->offer.instance_id, message + OFFER_INSTANCE, 16);
    guest->offer.flags = get_le16(message + OFFER_FLAGS);
    guest->offer.from_host = message[OFFER_USER_DEFINED + 4];
    guest->offer.relid = get_le32(message + OFFER_RELID);
}

static inline void guest_hear(struct guest *guest)
{
    uint8_t message[240];
    bool heard = true;

    while (heard) {
        heard = false;
        bus_run(guest->bus);
        for (uint32_t type = guest_take(guest->bus, message); type != 0;
             type = guest_take(guest->bus, message)) {
            note(guest, type, message);
            heard = true;
        }
    }
}

static inline unsigned guest_count(struct guest *guest, uint32_t type)
{
    guest_hear(guest);
    return guest->count[type];
}

static inline const struct told_offer *guest_last_offer(struct guest *guest)
{
    guest_hear(guest);
    return &guest->offer;
}

static inline void guest_begin(struct guest *guest)
{
    memset(guest->count, 0, sizeof(guest->count));
    guest->rescinded_count = 0;
    guest_connect(guest->bus, VMBUS_VERSION(5, 3));
    SEND(guest->bus, WIRE_REQUEST_OFFERS, 0);
    guest_hear(guest);
}

static inline void guest_release_all(struct guest *guest)
{
    guest_hear(guest);
    for (; guest->rescinded_count > 0; guest->rescinded_count--)
        SEND(guest->bus, WIRE_RELID_RELEASED, 0, guest->rescinded[guest->rescinded_count - 1]);
}

/* ---- connections ---- */

static inline struct owner *host_connect(struct guest *guest, uint32_t port)
{
    struct owner *owner = new_owner(guest, NULL);
    uint8_t service[16];

    hvsock_service_of_port(port, service);
    if (hvsock_connect(guest->hvsock, service, owner, &owner->stream) < 0)
        return &guest->none;
    owner->relid = guest_last_offer(guest)->relid;
    return owner;
}

/* 0, or the status with which it was refused. */
static inline uint32_t guest_asks(struct guest *guest, uint32_t port, uint32_t endpoint)
{
    uint32_t words[10] = {WIRE_TL_CONNECT};
    uint8_t bytes[32];

    hvsock_service_of_port(endpoint, bytes);
    hvsock_service_of_port(port, bytes + 16);
    memcpy(words + 2, bytes, sizeof(bytes));
    guest->refusal = 0;
    guest_send(guest->bus, words, 10);
    guest_hear(guest);
    return guest->refusal;
}

static inline void guest_open_stream(struct guest *guest, struct owner *owner)
{
    memset(guest_ring(guest->bus, false), 0, (size_t)RING_PAGES * 4096);
    memset(guest_ring(guest->bus, true), 0, (size_t)RING_PAGES * 4096);
    guest_make_gpadl(guest->bus, owner->relid, owner->relid, 2 * RING_PAGES);
    guest_hear(guest);
    SEND(guest->bus, WIRE_OPEN, 0, owner->relid, 77, owner->relid, 1, RING_PAGES);
    guest_hear(guest);
}

/* ---- packets ---- */

static inline void guest_wake(struct guest *guest, const struct owner *owner)
{
    struct hv_call call = {.long_mode = true, .rcx = 0x5d | 1 << 16, .rdx = 0x10000 + owner->relid};
    hv_hypercall(guest->bus->hv, 1, &call);
    bus_run(guest->bus);
}

static inline void guest_put_raw(struct guest *guest, const struct owner *owner,
                                 const void *payload, size_t length)
{
    guest_put(guest->bus, VMBUS_PACKET_DATA_INBAND, NULL, 0, payload, length);
    guest_wake(guest, owner);
}

static inline void guest_write(struct guest *guest, const struct owner *owner, const char *bytes,
                               size_t length)
{
    uint8_t payload[256] = {1};
    put_le32(payload + 4, (uint32_t)length);
    memcpy(payload + 8, bytes, length);
    guest_put_raw(guest, owner, payload, 8 + length);
}

/* The next packet as its header has it, 0: there is none; room that it leaves is told. */
static inline size_t guest_read(struct guest *guest, const struct owner *owner, uint8_t *ret,
                                size_t room)
{
    uint8_t *ring = guest_ring(guest->bus, true);
    uint32_t at = get_le32(ring + RING_READ_INDEX);
    uint8_t head[16];

    bus_run(guest->bus);
    if (at == get_le32(ring + RING_WRITE_INDEX))
        return 0;
    for (size_t i = 0; i < sizeof(head); i++)
        head[i] = ring[4096 + (at + i) % RING_BYTES];
    uint32_t offset = get_le16(head + PACKET_OFFSET) * 8u;
    uint32_t length = get_le16(head + PACKET_LENGTH) * 8u;
    assert_true(length - offset <= room);
    for (size_t i = 0; i < length - offset; i++)
        ret[i] = ring[4096 + (at + offset + i) % RING_BYTES];
    put_le32(ring + RING_READ_INDEX, (uint32_t)((at + length + PACKET_TRAILER) % RING_BYTES));
    guest_wake(guest, owner);
    return 8 + get_le32(ret + 4);
}

/* ---- life ---- */

static inline int guest_setup(void **state)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    void *bus = NULL;
    const struct hvsock_user user = {.owner = guest,
                                     .connect = user_connect,
                                     .opened = user_opened,
                                     .readable = user_readable,
                                     .writable = user_writable,
                                     .closed = user_closed};
    assert_non_null(guest);
    assert_int_equal(bus_setup(&bus), 0);
    guest->bus = bus;
    assert_int_equal(hvsock_create(guest->bus->vmbus, &user, &guest->hvsock), 0);
    guest_begin(guest);
    *state = guest;
    return 0;
}

static inline int guest_teardown(void **state)
{
    struct guest *guest = *state;
    void *bus = guest->bus;
    hvsock_destroy(guest->hvsock);
    assert_int_equal(bus_teardown(&bus), 0);
    free(guest);
    return 0;
}

#define GUEST_TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

#endif
