#include "vsp/hvsock.h"

/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/socket_guest.h"
/* clang-format on */

enum { PORT = 52 };

/* A stream that both have open. */
static struct owner *flowing(struct guest *guest)
{
    struct owner *owner = host_connect(guest, PORT);
    assert_non_null(owner->stream);
    guest_open_stream(guest, owner);
    assert_int_equal(owner->opened, 1);
    return owner;
}

static void the_host_offers_a_service_of_the_guest(void **state)
{
    struct guest *guest = *state;
    const struct owner *owner = host_connect(guest, PORT);
    assert_non_null(owner->stream);
    const struct told_offer *offer = guest_last_offer(guest);
    uint8_t service[16];
    hvsock_service_of_port(PORT, service);
    assert_memory_equal(offer->class_id, service, 16);
    assert_int_equal(offer->flags, 0x2000);
    assert_int_equal(offer->from_host, 1);
    assert_int_equal(owner->opened, 0);
}

static void connections_of_the_host_differ_in_their_instance(void **state)
{
    struct guest *guest = *state;
    host_connect(guest, PORT);
    struct told_offer first = *guest_last_offer(guest);
    host_connect(guest, PORT);
    assert_memory_not_equal(first.instance_id, guest_last_offer(guest)->instance_id, 16);
}

static void the_guest_connects_to_a_service(void **state)
{
    struct guest *guest = *state;
    uint8_t service[16];
    uint8_t endpoint[16];
    hvsock_service_of_port(PORT, service);
    hvsock_service_of_port(1234, endpoint);
    assert_int_equal(guest_asks(guest, PORT, 1234), 0);
    const struct told_offer *offer = guest_last_offer(guest);
    assert_memory_equal(offer->class_id, service, 16);
    assert_memory_equal(offer->instance_id, endpoint, 16);
    assert_int_equal(offer->from_host, 0);
    assert_memory_equal(guest->asked, service, 16);
}

static void a_refusal_is_told_and_leaves_nothing(void **state)
{
    struct guest *guest = *state;
    guest->refuse = -ECONNREFUSED;
    for (unsigned i = 0; i < HVSOCK_MOST_STREAMS + 8; i++)
        assert_int_equal(guest_asks(guest, PORT, 1234), WIRE_STATUS_REFUSED);
    guest->refuse = 0;
    assert_int_equal(guest_asks(guest, PORT, 1234), 0);
}

static void one_connection_between_the_same_two(void **state)
{
    struct guest *guest = *state;
    assert_int_equal(guest_asks(guest, PORT, 1234), 0);
    assert_int_equal(guest_asks(guest, PORT, 1234), WIRE_STATUS_REFUSED);
    assert_int_equal(guest_asks(guest, PORT + 1, 1234), 0);
    hvsock_close(guest->last->stream);
    guest->last->stream = NULL;
    /* Withdrawn, but the guest has not let go of it. */
    assert_int_equal(guest_asks(guest, PORT + 1, 1234), WIRE_STATUS_REFUSED);
    guest_release_all(guest);
    assert_int_equal(guest_asks(guest, PORT + 1, 1234), 0);
}

static void the_guest_leaves_room_for_the_host(void **state)
{
    struct guest *guest = *state;
    for (unsigned i = 0; i < HVSOCK_MOST_OF_GUEST; i++)
        assert_int_equal(guest_asks(guest, PORT, 1000 + i), 0);
    assert_int_equal(guest_asks(guest, PORT, 999), WIRE_STATUS_REFUSED);
    for (unsigned i = HVSOCK_MOST_OF_GUEST; i < HVSOCK_MOST_STREAMS; i++)
        assert_non_null(host_connect(guest, PORT)->stream);
    assert_null(host_connect(guest, PORT)->stream);
}

static void without_a_bus_there_is_no_connection(void **state)
{
    struct guest *guest = *state;
    struct hvsock_stream *stream = NULL;
    uint8_t service[16];
    hvsock_service_of_port(PORT, service);
    vmbus_reset(guest->bus->vmbus);
    assert_int_equal(hvsock_connect(guest->hvsock, service, guest, &stream), -ENETDOWN);
}

static void bytes_flow_to_the_guest(void **state)
{
    struct guest *guest = *state;
    struct owner *owner = flowing(guest);
    uint8_t bytes[64];
    memcpy(hvsock_room(owner->stream), "hello", 5);
    assert_int_equal(hvsock_send(owner->stream, 5), 0);
    assert_int_equal(guest_read(guest, owner, bytes, sizeof(bytes)), 8 + 5);
    assert_int_equal(get_le32(bytes), 1);
    assert_int_equal(get_le32(bytes + 4), 5);
    assert_memory_equal(bytes + 8, "hello", 5);
    assert_int_equal(hvsock_finish(owner->stream), 0);
    assert_int_equal(guest_read(guest, owner, bytes, sizeof(bytes)), 8);
    assert_int_equal(get_le32(bytes + 4), 0);
    assert_null(hvsock_room(owner->stream)); /* nothing behind the end */
}

static void bytes_flow_from_the_guest(void **state)
{
    struct guest *guest = *state;
    struct owner *owner = flowing(guest);
    const uint8_t *bytes = NULL;
    size_t length = 0;
    assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), -EAGAIN);
    guest_write(guest, owner, "hello", 5);
    assert_true(owner->readable > 0);
    assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), 0);
    assert_int_equal(length, 5);
    hvsock_consume(owner->stream, 2);
    assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), 0);
    assert_int_equal(length, 3);
    assert_memory_equal(bytes, "llo", 3);
    hvsock_consume(owner->stream, 3);
    assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), -EAGAIN);
    guest_write(guest, owner, "", 0);
    assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), 0);
    assert_int_equal(length, 0);
    assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), 0); /* it stays so */
}

/* A ring of 12 KiB, and pieces of 5 KiB: the third waits, and the end behind it. */
static void what_finds_no_room_waits(void **state)
{
    struct guest *guest = *state;
    struct owner *owner = flowing(guest);
    uint8_t bytes[8192] = {0};
    enum { PIECE = 5000 };
    memset(hvsock_room(owner->stream), 'a', PIECE);
    assert_int_equal(hvsock_send(owner->stream, PIECE), 0);
    memset(hvsock_room(owner->stream), 'b', PIECE);
    assert_int_equal(hvsock_send(owner->stream, PIECE), 0);
    memset(hvsock_room(owner->stream), 'c', PIECE);
    assert_int_equal(hvsock_send(owner->stream, PIECE), -EAGAIN);
    assert_null(hvsock_room(owner->stream));
    assert_int_equal(hvsock_finish(owner->stream), -EAGAIN);
    assert_int_equal(owner->writable, 0);
    assert_int_equal(guest_read(guest, owner, bytes, sizeof(bytes)), 8 + PIECE);
    assert_int_equal(owner->writable, 1);
    assert_int_equal(guest_read(guest, owner, bytes, sizeof(bytes)), 8 + PIECE);
    assert_int_equal(guest_read(guest, owner, bytes, sizeof(bytes)), 8 + PIECE);
    assert_int_equal(bytes[8], 'c');
    assert_int_equal(guest_read(guest, owner, bytes, sizeof(bytes)), 8);
}

static void a_chunk_that_no_ring_holds_ends_the_stream(void **state)
{
    struct guest *guest = *state;
    struct owner *owner = flowing(guest);
    struct hvsock_stream *stream = owner->stream;
    assert_non_null(hvsock_room(stream));
    assert_int_equal(hvsock_send(stream, HVSOCK_CHUNK), -ENOTCONN);
    assert_int_equal(owner->closed, 1);
}

static void packets_that_are_none_end_the_stream(void **state)
{
    struct guest *guest = *state;
    static const uint32_t wrong[][3] = {{2, 4, 0}, {1, 9, 0}, {1, UINT32_MAX, 0}, {0, 0, 0}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct owner *owner = flowing(guest);
        const uint8_t *bytes = NULL;
        size_t length = 0;
        guest_put_raw(guest, owner, wrong[i], 12);
        assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), -ENOTCONN);
        assert_int_equal(owner->closed, 1);
        guest_release_all(guest);
    }
}

static void a_short_packet_ends_the_stream(void **state)
{
    struct guest *guest = *state;
    struct owner *owner = flowing(guest);
    const uint8_t *bytes = NULL;
    size_t length = 0;
    guest_put_raw(guest, owner, NULL, 0);
    assert_int_equal(hvsock_peek(owner->stream, &bytes, &length), -ENOTCONN);
    assert_int_equal(owner->closed, 1);
}

static void a_closed_stream_is_withdrawn_and_freed_when_released(void **state)
{
    struct guest *guest = *state;
    struct owner *owner = flowing(guest);
    hvsock_close(owner->stream);
    owner->stream = NULL;
    assert_int_equal(owner->closed, 0); /* its owner knows */
    bus_run(guest->bus);
    assert_int_equal(guest_count(guest, WIRE_RESCIND), 1);
    assert_int_equal(guest->bus->vmbus->gpadl_count, 1);
    guest_release_all(guest);
    assert_int_equal(guest->bus->vmbus->gpadl_count, 0); /* drivers do not tear them down */
}

static void a_guest_that_closes_its_channel_ends_the_stream(void **state)
{
    struct guest *guest = *state;
    struct owner *owner = flowing(guest);
    SEND(guest->bus, WIRE_CLOSE, 0, owner->relid);
    assert_int_equal(owner->closed, 1);
    assert_int_equal(guest_count(guest, WIRE_RESCIND), 1);
}

static void a_reset_ends_what_was_open(void **state)
{
    struct guest *guest = *state;
    struct owner *open = flowing(guest);
    struct owner *waiting = host_connect(guest, PORT);
    vmbus_reset(guest->bus->vmbus);
    assert_int_equal(open->closed, 1);
    assert_int_equal(waiting->closed, 0); /* its owner gives it up in time */
    hvsock_close(waiting->stream);
    guest_begin(guest);
    assert_int_equal(guest_count(guest, WIRE_OFFER), 0);
    assert_non_null(flowing(guest)->stream);
}

static void ports_are_services(void **state)
{
    static const uint8_t wire[16] = {0x34, 0x12, 0,    0,    0xcb, 0xfa, 0xe6, 0x11,
                                     0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3};
    uint8_t service[16];
    uint32_t port = 0;
    (void)state;
    hvsock_service_of_port(0x1234, service);
    assert_memory_equal(service, wire, 16);
    assert_true(hvsock_port_of_service(wire, &port));
    assert_int_equal(port, 0x1234);
    service[15]++;
    assert_false(hvsock_port_of_service(service, &port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUEST_TEST(the_host_offers_a_service_of_the_guest),
        GUEST_TEST(connections_of_the_host_differ_in_their_instance),
        GUEST_TEST(the_guest_connects_to_a_service),
        GUEST_TEST(a_refusal_is_told_and_leaves_nothing),
        GUEST_TEST(one_connection_between_the_same_two),
        GUEST_TEST(the_guest_leaves_room_for_the_host),
        GUEST_TEST(without_a_bus_there_is_no_connection),
        GUEST_TEST(bytes_flow_to_the_guest),
        GUEST_TEST(bytes_flow_from_the_guest),
        GUEST_TEST(what_finds_no_room_waits),
        GUEST_TEST(a_chunk_that_no_ring_holds_ends_the_stream),
        GUEST_TEST(packets_that_are_none_end_the_stream),
        GUEST_TEST(a_short_packet_ends_the_stream),
        GUEST_TEST(a_closed_stream_is_withdrawn_and_freed_when_released),
        GUEST_TEST(a_guest_that_closes_its_channel_ends_the_stream),
        GUEST_TEST(a_reset_ends_what_was_open),
        GUEST_TEST(ports_are_services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
