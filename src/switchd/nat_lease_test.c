#include "switchd/nat_lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "net/headers.h"

enum { FRAME = 14 + 20 + 8 + 300, MESSAGE = 14 + 20 + 8 };

static const uint8_t mac[] = {2, 1, 2, 3, 4, 5};
static uint8_t frame[FRAME], answer[NAT_LEASE_SIZE];

static void put(uint8_t *to, const char *bytes, size_t length)
{
    memcpy(to, bytes, length);
}

/* A question with these options behind the cookie. */
static void make(const char *options, size_t length)
{
    memset(frame, 0, sizeof(frame));
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, sizeof(mac));
    frame[12] = 8;
    frame[14] = 0x45;
    frame[23] = 17;
    put_be16(frame + 34, 68);
    put_be16(frame + 36, 67);
    put(frame + MESSAGE, "\1\1\6\0abcd", 8);
    memcpy(frame + MESSAGE + 28, mac, sizeof(mac));
    put(frame + MESSAGE + 236, "\x63\x82\x53\x63", 4);
    memcpy(frame + MESSAGE + 240, options, length);
}

static bool ask(uint8_t place)
{
    struct nat_ask got;
    return nat_lease_parse(frame, sizeof(frame), &got) && nat_lease_answer(&got, place, answer);
}

static const uint8_t none[4]; /* of an option that is not there */

static const uint8_t *option(uint8_t code)
{
    for (const uint8_t *at = answer + MESSAGE + 240; *at != 255; at += 2 + at[1]) {
        if (*at == code)
            return at + 2;
    }
    return none;
}

static void assert_sums_are_right(void)
{
    uint8_t pseudo[12] = {[9] = 17};
    struct iovec ip = {answer + 14, 20};
    struct iovec udp[] = {{pseudo, sizeof(pseudo)}, {answer + 34, NAT_LEASE_SIZE - 34}};

    memcpy(pseudo, answer + 26, 8);
    memcpy(pseudo + 10, answer + 38, 2);
    assert_int_equal(net_checksum(&ip, 1, 0), 0xffff);
    assert_int_equal(net_checksum(udp, 2, 0), 0xffff);
    assert_int_equal(get_be16(answer + 38), NAT_LEASE_SIZE - 34);
}

static void the_place_is_offered(void **state)
{
    (void)state;
    make("\x35\1\1\xff", 4);
    assert_true(ask(20));
    assert_memory_equal(answer, mac, sizeof(mac));
    assert_memory_equal(answer + 30, "\x0a\0\2\x14", 4);
    assert_int_equal(answer[MESSAGE], 2);
    assert_memory_equal(answer + MESSAGE + 4, "abcd", 4);
    assert_memory_equal(answer + MESSAGE + 16, "\x0a\0\2\x14", 4);
    assert_int_equal(*option(53), 2);
    assert_memory_equal(option(1), "\xff\xff\xff\0", 4);
    assert_memory_equal(option(3), "\x0a\0\2\2", 4);
    assert_memory_equal(option(6), "\x0a\0\2\3", 4);
    assert_memory_equal(option(54), "\x0a\0\2\2", 4);
    assert_int_equal(get_be32(option(51)), 86400);
    assert_sums_are_right();
}

static void who_cannot_hear_is_told_by_a_broadcast(void **state)
{
    (void)state;
    make("\x35\1\1\xff", 4);
    frame[MESSAGE + 10] = 0x80;
    assert_true(ask(20));
    assert_memory_equal(answer, mac, sizeof(mac));
    assert_memory_equal(answer + 30, "\xff\xff\xff\xff", 4);
    assert_sums_are_right();
}

static void only_the_place_is_granted(void **state)
{
    (void)state;
    make("\x35\1\3\x32\4\x0a\0\2\x14\x36\4\x0a\0\2\2\xff", 16);
    assert_true(ask(20));
    assert_int_equal(*option(53), 5);
    assert_true(ask(21));
    assert_int_equal(*option(53), 6);
    assert_ptr_equal(option(51), none);
    assert_memory_equal(answer + MESSAGE + 16, "\0\0\0\0", 4);
    assert_memory_equal(answer + 30, "\xff\xff\xff\xff", 4);
}

static void a_lease_is_renewed(void **state)
{
    (void)state;
    make("\x35\1\3\xff", 4);
    put(frame + MESSAGE + 12, "\x0a\0\2\x14", 4);
    assert_true(ask(20));
    assert_int_equal(*option(53), 5);
    assert_memory_equal(answer + 30, "\x0a\0\2\x14", 4);
    put(frame + MESSAGE + 12, "\xc0\xa8\2\x14", 4);
    assert_true(ask(20));
    assert_int_equal(*option(53), 6);
}

static void who_has_an_address_is_informed(void **state)
{
    (void)state;
    make("\x35\1\x08\xff", 4);
    put(frame + MESSAGE + 12, "\x0a\0\2\x63", 4);
    assert_true(ask(20));
    assert_int_equal(*option(53), 5);
    assert_ptr_equal(option(51), none);
    assert_memory_equal(answer + MESSAGE + 16, "\0\0\0\0", 4);
    assert_memory_equal(answer + 30, "\x0a\0\2\x63", 4);
}

static void what_is_not_for_it_gets_no_answer(void **state)
{
    (void)state;
    make("\x35\1\3\x36\4\x0a\0\2\x09\xff", 10); /* another server was chosen */
    assert_false(ask(20));
    make("\x35\1\7\xff", 4); /* release */
    assert_false(ask(20));
    make("\xff", 1); /* BOOTP */
    assert_false(ask(20));
    make("\x35\1\1\xff", 4);
    frame[MESSAGE + 28]++; /* for another guest */
    assert_false(ask(20));
    make("\x35\1\1\xff", 4);
    frame[MESSAGE] = 2; /* an answer */
    assert_false(ask(20));
    make("\0\0\x35\1\1\xff", 6);
    assert_true(ask(20));
    struct nat_ask got;
    assert_false(nat_lease_parse(frame, MESSAGE + 239, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_place_is_offered),
        cmocka_unit_test(who_cannot_hear_is_told_by_a_broadcast),
        cmocka_unit_test(only_the_place_is_granted),
        cmocka_unit_test(a_lease_is_renewed),
        cmocka_unit_test(who_has_an_address_is_informed),
        cmocka_unit_test(what_is_not_for_it_gets_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
