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

#include "worker/link.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct guest *guest;
static struct link *link_there;
static int host; /* the program's end */
static unsigned gone;
static struct owner channel; /* for the functions of the harness */

static void asked(void *owner, struct link *link, const uint8_t service[16])
{
    struct hvsock_stream *stream = NULL;

    assert_null(owner);
    memcpy(guest->asked, service, 16);
    if (hvsock_connect(guest->hvsock, service, link, &stream) < 0)
        link_refuse(link, "no bus");
    else
        link_connect(link, stream);
}

static void link_gone(void *owner, struct link *link)
{
    (void)owner;
    assert_ptr_equal(link, link_there);
    link_there = NULL;
    gone++;
}

static const struct link_user user = {.asked = asked, .gone = link_gone};

static int make_link(struct hvsock_stream *stream)
{
    int ends[2];

    if (guest->refuse != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return -ECONNREFUSED;
    host = ends[0];
    return link_create(guest->bus->loop, ends[1], stream, &user, &link_there);
}

static int connect_link(void *owner, const uint8_t service[16], struct hvsock_stream *stream,
                        void **ret_owner)
{
    int error = make_link(stream);

    (void)owner;
    (void)service;
    *ret_owner = link_there;
    return error;
}

static int setup(void **state)
{
    const struct hvsock_user links = {.connect = connect_link,
                                      .opened = link_opened,
                                      .readable = link_readable,
                                      .writable = link_writable,
                                      .closed = link_closed};

    assert_int_equal(guest_setup(state), 0);
    guest = *state;
    hvsock_destroy(guest->hvsock);
    assert_int_equal(hvsock_create(guest->bus->vmbus, &links, &guest->hvsock), 0);
    link_there = NULL;
    host = -1;
    gone = 0;
    return 0;
}

static int teardown(void **state)
{
    if (link_there != NULL)
        link_destroy(link_there);
    if (host >= 0)
        (void)close(host);
    return guest_teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void say(const char *text)
{
    assert_int_equal(send(host, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    bus_run(guest->bus);
}

/* What has come, as text; "" for the end, NULL for nothing. */
static const char *hear(void)
{
    static char text[65536];
    bus_run(guest->bus);
    ssize_t length = recv(host, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (length < 0)
        return errno == EAGAIN ? NULL : "reset";
    text[length] = '\0';
    return text;
}

/* A program has connected, and the guest taken it. */
static void flow(void)
{
    assert_int_equal(make_link(NULL), 0);
    say("CONNECT 52\n");
    channel.relid = guest_last_offer(guest)->relid;
    guest_open_stream(guest, &channel);
    assert_string_equal(hear(), "OK 1\n");
}

static void assert_packet(const char *wanted)
{
    static uint8_t bytes[16384];
    size_t length = guest_read(guest, &channel, bytes, sizeof(bytes));
    assert_int_equal(length, 8 + strlen(wanted));
    assert_memory_equal(bytes + 8, wanted, strlen(wanted));
}

/* ---- words ---- */

static void ports_and_guids_are_understood(void **state)
{
    static const char guid[] = "01020304-0506-0708-090a-0B0C0D0E0F10";
    static const uint8_t wire[16] = {4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16};
    uint8_t service[16];
    uint8_t wanted[16];
    char line[64];
    char text[LINK_SERVICE_TEXT];
    (void)state;
    assert_true(link_parse("CONNECT 4294967295", service));
    hvsock_service_of_port(UINT32_MAX, wanted);
    assert_memory_equal(service, wanted, 16);
    link_service_text(service, text);
    assert_string_equal(text, "4294967295");
    (void)snprintf(line, sizeof(line), "CONNECT %s", guid);
    assert_true(link_parse(line, service));
    assert_memory_equal(service, wire, 16);
    link_service_text(service, text);
    assert_string_equal(text, "01020304-0506-0708-090a-0b0c0d0e0f10");
}

static void all_else_is_not(void **state)
{
    static const char *const wrong[] = {
        "",
        "CONNECT",
        "CONNECT ",
        "connect 52",
        "CONNECT 52 ",
        "CONNECT -1",
        "CONNECT 4294967296",
        "CONNECT 99999999999999999999",
        "CONNECT 0x10",
        "CONNECT 01020304-0506-0708-090a-0b0c0d0e0f1",
        "CONNECT 01020304-0506-0708-090a-0b0c0d0e0f101",
        "CONNECT 0102030405060708090a0b0c0d0e0f10",
        "CONNECT 01020304-0506-0708-090a-0b0c0d0e0fg0",
        "CONNECT @1020304-0506-0708-090a-0b0c0d0e0f10",
    };
    uint8_t service[16];
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(link_parse(wrong[i], service));
}

/* ---- links ---- */

static void bytes_go_both_ways(void **state)
{
    (void)state;
    flow();
    say("to the guest");
    assert_packet("to the guest");
    guest_write(guest, &channel, "to the host", 11);
    assert_string_equal(hear(), "to the host");
}

static void what_follows_the_line_is_the_guests(void **state)
{
    (void)state;
    assert_int_equal(make_link(NULL), 0);
    say("CONNECT 52\nearly");
    channel.relid = guest_last_offer(guest)->relid;
    guest_open_stream(guest, &channel);
    assert_packet("early");
}

static void each_side_may_end_first(void **state)
{
    (void)state;
    flow();
    guest_write(guest, &channel, "last", 4);
    guest_write(guest, &channel, "", 0);
    assert_string_equal(hear(), "last");
    assert_string_equal(hear(), "");
    say("still here");
    assert_packet("still here");
    assert_int_equal(gone, 0);
    (void)shutdown(host, SHUT_WR);
    bus_run(guest->bus);
    assert_packet("");
    assert_int_equal(gone, 1);
    (void)close(host);
    guest_release_all(guest);
    flow();
    (void)shutdown(host, SHUT_WR);
    bus_run(guest->bus);
    assert_packet("");
    guest_write(guest, &channel, "answer", 6);
    assert_string_equal(hear(), "answer");
    guest_write(guest, &channel, "", 0);
    assert_string_equal(hear(), "");
    assert_int_equal(gone, 2);
}

/* What it sent is the guest's still. */
static void a_program_that_dies_ends_the_stream(void **state)
{
    (void)state;
    flow();
    say("last words");
    (void)close(host);
    host = -1;
    bus_run(guest->bus);
    assert_packet("last words");
    assert_packet("");
    assert_int_equal(gone, 1);
    assert_int_equal(guest_count(guest, WIRE_RESCIND), 1);
}

/* 12 KiB of ring: the rest waits in the socket, and nothing spins meanwhile. */
static void a_full_ring_holds_the_program_up(void **state)
{
    static char bytes[4096];
    static uint8_t read[16384];
    size_t sent = 0;
    size_t got = 0;
    (void)state;
    flow();
    memset(bytes, 'x', sizeof(bytes));
    for (ssize_t part = 1; part > 0 && sent < (1U << 23);) {
        part = send(host, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += part > 0 ? (size_t)part : 0;
        if (part < 0)
            bus_run(guest->bus);
    }
    assert_true(sent > 0 && sent < (1U << 23));
    (void)close(host);
    host = -1;
    while (got < sent) {
        size_t length = guest_read(guest, &channel, read, sizeof(read));
        if (length == 0)
            break;
        got += length - 8;
    }
    assert_int_equal(gone, 1);
}

static void a_program_that_does_not_read_stalls_only_itself(void **state)
{
    static char bytes[240];
    unsigned puts = 0;
    (void)state;
    flow();
    int small = 1;
    (void)setsockopt(host, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    memset(bytes, 'x', sizeof(bytes));
    /* As much as the socket takes, and then the ring. */
    const uint8_t *ring = guest_ring(guest->bus, false);
    for (; puts < 4000; puts++) {
        uint32_t write = get_le32(ring + RING_WRITE_INDEX);
        uint32_t used = (write + RING_BYTES - get_le32(ring + RING_READ_INDEX)) % RING_BYTES;
        if (used > RING_BYTES - 600)
            break;
        guest_write(guest, &channel, bytes, sizeof(bytes));
    }
    assert_true(puts < 4000);
    size_t got = 0;
    for (const char *text = hear(); text != NULL && got < puts * sizeof(bytes); text = hear())
        got += strlen(text);
    assert_int_equal(got, puts * sizeof(bytes));
}

static void a_guest_that_goes_ends_the_link(void **state)
{
    (void)state;
    flow();
    vmbus_reset(guest->bus->vmbus);
    assert_int_equal(gone, 1);
    assert_string_equal(hear(), "");
}

static void a_guest_that_breaks_the_protocol_loses_it(void **state)
{
    (void)state;
    flow();
    guest_put_raw(guest, &channel, "nonsense", 8);
    assert_int_equal(gone, 1);
}

static void lines_that_ask_for_nothing_are_refused(void **state)
{
    (void)state;
    assert_int_equal(make_link(NULL), 0);
    say("hello\n");
    assert_string_equal(hear(), "ERROR CONNECT and a port or a GUID is wanted\n");
    assert_string_equal(hear(), "");
    assert_int_equal(gone, 1);
    (void)close(host);
    assert_int_equal(make_link(NULL), 0);
    for (int i = 0; i < 9 && gone == 1; i++)
        say("CONNECT ");
    assert_string_equal(hear(), "ERROR the line is too long\n");
    assert_int_equal(gone, 2);
}

static void without_a_guest_it_is_refused(void **state)
{
    (void)state;
    vmbus_reset(guest->bus->vmbus);
    assert_int_equal(make_link(NULL), 0);
    say("CONNECT 52\n");
    assert_string_equal(hear(), "ERROR no bus\n");
    assert_int_equal(gone, 1);
}

static void nobody_is_waited_for_without_end(void **state)
{
    uint64_t now = clock_monotonic_ns();
    (void)state;
    assert_int_equal(make_link(NULL), 0);
    assert_false(link_is_overdue(link_there, now));
    assert_true(link_is_overdue(link_there, now + UINT64_C(60000000000)));
    say("CONNECT 52\n");
    assert_true(link_is_overdue(link_there, now + UINT64_C(60000000000)));
    link_give_up(link_there);
    assert_string_equal(hear(), "ERROR nobody listens in the guest\n");
    assert_int_equal(guest_count(guest, WIRE_RESCIND), 1);
    (void)close(host);
    guest_release_all(guest);
    flow();
    assert_false(link_is_overdue(link_there, now + UINT64_C(60000000000)));
}

static void a_program_that_leaves_early_withdraws_the_offer(void **state)
{
    (void)state;
    assert_int_equal(make_link(NULL), 0);
    say("CONNECT 52\n");
    assert_int_equal(guest_count(guest, WIRE_OFFER), 1);
    (void)close(host);
    host = -1;
    assert_int_equal(guest_count(guest, WIRE_RESCIND), 1);
    assert_int_equal(gone, 1);
}

static void a_connection_of_the_guest_has_no_line(void **state)
{
    (void)state;
    assert_int_equal(guest_asks(guest, 52, 1000), 0);
    channel.relid = guest_last_offer(guest)->relid;
    guest_open_stream(guest, &channel);
    assert_null(hear());
    say("at once");
    assert_packet("at once");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_and_guids_are_understood),
        cmocka_unit_test(all_else_is_not),
        TEST(bytes_go_both_ways),
        TEST(what_follows_the_line_is_the_guests),
        TEST(each_side_may_end_first),
        TEST(a_program_that_dies_ends_the_stream),
        TEST(a_full_ring_holds_the_program_up),
        TEST(a_program_that_does_not_read_stalls_only_itself),
        TEST(a_guest_that_goes_ends_the_link),
        TEST(a_guest_that_breaks_the_protocol_loses_it),
        TEST(lines_that_ask_for_nothing_are_refused),
        TEST(without_a_guest_it_is_refused),
        TEST(nobody_is_waited_for_without_end),
        TEST(a_program_that_leaves_early_withdraws_the_offer),
        TEST(a_connection_of_the_guest_has_no_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
