#include "switchd/nat_guests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static struct nat_guests guests;

static int place(uint8_t mac, uint8_t wish, uint64_t now, bool *ret_new)
{
    const uint8_t address[6] = {2, 0, 0, 0, 0, mac};
    return nat_guests_place(&guests, address, wish, now, ret_new);
}

static int reset(void **state)
{
    (void)state;
    guests = (struct nat_guests){0};
    return 0;
}

static void places_go_by_order_and_stay(void **state)
{
    bool is_new = false;
    (void)state;
    assert_int_equal(place(1, 0, 1, &is_new), 15);
    assert_true(is_new);
    assert_int_equal(place(2, 0, 2, &is_new), 16);
    assert_int_equal(place(1, 20, 3, &is_new), 15);
    assert_false(is_new);
}

static void a_wish_is_heeded_where_it_is_free(void **state)
{
    bool is_new = false;
    (void)state;
    assert_int_equal(place(1, 99, 1, &is_new), 99);
    assert_int_equal(place(2, 99, 2, &is_new), 15);
    assert_int_equal(place(3, 4, 3, &is_new), 4);
    assert_int_equal(place(4, 3, 4, &is_new), 16); /* that is the server of names */
    assert_int_equal(place(5, 255, 5, &is_new), 17);
}

/* A laboratory makes more guests than there are addresses, but not at once. */
static void the_silent_make_room_but_for_the_pinned(void **state)
{
    bool is_new = false;
    (void)state;
    guests.guest[15].pinned = true;
    for (unsigned i = 0; i < 240; i++)
        assert_int_equal(place((uint8_t)i, 0, i + 1, &is_new), 15 + (int)i);
    assert_int_equal(place(1, 0, 300, &is_new), 16);
    guests.guest[17].sockets = 7;
    assert_int_equal(place(250, 0, 301, &is_new), 17);
    assert_true(is_new);
    assert_int_equal(guests.guest[17].sockets, 0);
    assert_int_equal(place(2, 0, 302, &is_new), 18); /* who was there is new again */
    assert_true(is_new);
}

static void there_may_be_none(void **state)
{
    bool is_new = false;
    (void)state;
    for (unsigned i = 0; i < NAT_PLACES; i++)
        guests.guest[i].pinned = true;
    for (unsigned i = 0; i < 240; i++)
        assert_true(place((uint8_t)i, 0, 1, &is_new) > 0);
    assert_int_equal(place(255, 0, 1, &is_new), -1);
}

static void who_uses_a_forwards_place_gets_it(void **state)
{
    const uint64_t later = UINT64_C(31) * NS_PER_SECOND;
    const uint8_t one[] = {2, 0, 0, 0, 0, 1};
    const uint8_t two[] = {2, 0, 0, 0, 0, 2};
    bool is_new = false;
    (void)state;
    guests.guest[50].pinned = true;
    nat_guests_claim(&guests, one, 40, 1);
    assert_int_equal(nat_guests_place(&guests, one, 0, 1, &is_new), 15);
    nat_guests_claim(&guests, one, 40, 1); /* none of a forward's: it stays where it is */
    assert_int_equal(nat_guests_place(&guests, one, 40, 1, &is_new), 15);
    nat_guests_claim(&guests, one, 50, 1);
    assert_int_equal(nat_guests_place(&guests, one, 50, 1, &is_new), 50);
    assert_true(is_new && guests.guest[50].pinned);
    nat_guests_claim(&guests, two, 50, 2); /* it was heard lately */
    assert_int_equal(nat_guests_place(&guests, two, 50, 2, &is_new), 15);
    nat_guests_claim(&guests, two, 50, later);
    assert_int_equal(nat_guests_place(&guests, two, 50, later, &is_new), 50);
    assert_int_equal(nat_guests_place(&guests, one, 50, later, &is_new), 15);
}

static void who_declines_gets_another(void **state)
{
    const uint8_t mac[] = {2, 0, 0, 0, 0, 1};
    bool is_new = false;
    (void)state;
    for (int i = NAT_LEASED; i < NAT_PLACES; i++) {
        assert_int_equal(nat_guests_place(&guests, mac, 0, 1, &is_new), i);
        nat_guests_decline(&guests, mac, 14); /* what it has not: nothing changes */
        nat_guests_decline(&guests, mac, 0);
        assert_int_equal(nat_guests_place(&guests, mac, 0, 1, &is_new), i);
        nat_guests_decline(&guests, mac, (uint8_t)i);
    }
    assert_int_equal(nat_guests_place(&guests, mac, 0, 1, &is_new), NAT_LEASED);
}

/* ---- frames ---- */

static void put(uint8_t *to, const char *bytes, size_t length)
{
    memcpy(to, bytes, length);
}

static void make(uint8_t *frame, uint8_t protocol, const void *transport, size_t length)
{
    memset(frame, 0, 128);
    put(frame, "\x52\x55\x0a\0\2\2", 6);
    frame[12] = 8;
    frame[14] = 0x45;
    frame[23] = protocol;
    put(frame + 26, "\x0a\0\2\x20", 4);
    memcpy(frame + 34, transport, length);
}

static struct nat_frame tcp(uint8_t flags)
{
    uint8_t frame[128];
    uint8_t header[20] = {[12] = 0x50, [13] = flags};
    make(frame, 6, header, sizeof(header));
    return nat_frame_parse(frame, sizeof(frame));
}

static void what_opens_a_socket_is_known(void **state)
{
    uint8_t frame[128];
    (void)state;
    assert_int_equal(tcp(0x02).kind, NAT_IP);
    assert_int_equal(tcp(0x02).place, 32);
    assert_true(tcp(0x02).opens);
    assert_true(tcp(0xc2).opens); /* with ECN */
    assert_false(tcp(0x12).opens);
    assert_false(tcp(0x10).opens);
    assert_false(tcp(0x04).opens);
    make(frame, 1, "\x08", 1);
    assert_true(nat_frame_parse(frame, sizeof(frame)).opens);
    make(frame, 17, "\0\x44\0\x35\0\x20", 6);
    assert_true(nat_frame_parse(frame, sizeof(frame)).opens);
    make(frame, 6, "\0\x44\0\x35\0\x20", 6);
    frame[20] = 0x20; /* a first fragment: flags come later */
    assert_true(nat_frame_parse(frame, sizeof(frame)).opens);
}

static void other_frames_are_told_apart(void **state)
{
    uint8_t frame[128];
    (void)state;
    make(frame, 17, "\0\x44\0\x43\0\x20", 6);
    assert_int_equal(nat_frame_parse(frame, sizeof(frame)).kind, NAT_LEASE);
    frame[0] = 2; /* to another guest */
    assert_int_equal(nat_frame_parse(frame, sizeof(frame)).kind, NAT_NOTHING);
    make(frame, 0, "", 0);
    frame[13] = 6;
    put(frame + 28, "\x0a\0\2\x21", 4);
    assert_int_equal(nat_frame_parse(frame, sizeof(frame)).kind, NAT_ARP);
    assert_int_equal(nat_frame_parse(frame, sizeof(frame)).place, 33);
    assert_int_equal(nat_frame_parse(frame, 41).kind, NAT_NOTHING);
    frame[12] = 0x86;
    frame[13] = 0xdd;
    assert_int_equal(nat_frame_parse(frame, sizeof(frame)).kind, NAT_NOTHING);
    assert_int_equal(nat_frame_parse(frame, 13).kind, NAT_NOTHING);
}

/* ---- shares ---- */

static unsigned counted;

static unsigned count(void *owner)
{
    counted++;
    return *(const unsigned *)owner;
}

static void a_share_is_kept(void **state)
{
    struct nat_guest guest = {0};
    unsigned has = 0;
    uint64_t now = NS_PER_SECOND;
    (void)state;
    counted = 0;
    for (unsigned i = 0; i < 10; i++)
        assert_true(nat_guest_may_open(&guest, 10, now, count, &has));
    assert_int_equal(counted, 0);
    has = 10; /* each frame made one */
    assert_false(nat_guest_may_open(&guest, 10, now, count, &has));
    assert_int_equal(counted, 1);
    for (unsigned i = 0; i < 100; i++)
        assert_false(nat_guest_may_open(&guest, 10, now + i, count, &has));
    assert_int_equal(counted, 1);
    has = 9; /* one was closed */
    now += NS_PER_SECOND;
    assert_true(nat_guest_may_open(&guest, 10, now, count, &has));
    has = 10;
    assert_false(nat_guest_may_open(&guest, 10, now, count, &has));
}

static void many_datagrams_of_one_socket_pass(void **state)
{
    struct nat_guest guest = {0};
    unsigned has = 1;
    (void)state;
    counted = 0;
    for (unsigned i = 0; i < 100000; i++)
        assert_true(nat_guest_may_open(&guest, 64, NS_PER_SECOND, count, &has));
    assert_in_range(counted, 1000, 2000);
    has = 50;
    for (unsigned i = 0; i < 100000; i++)
        assert_true(nat_guest_may_open(&guest, 64, NS_PER_SECOND, count, &has));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(places_go_by_order_and_stay, reset),
        cmocka_unit_test_setup(a_wish_is_heeded_where_it_is_free, reset),
        cmocka_unit_test_setup(the_silent_make_room_but_for_the_pinned, reset),
        cmocka_unit_test_setup(there_may_be_none, reset),
        cmocka_unit_test_setup(who_uses_a_forwards_place_gets_it, reset),
        cmocka_unit_test_setup(who_declines_gets_another, reset),
        cmocka_unit_test(what_opens_a_socket_is_known),
        cmocka_unit_test(other_frames_are_told_apart),
        cmocka_unit_test(a_share_is_kept),
        cmocka_unit_test(many_datagrams_of_one_socket_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
