#include "switchd/nat_fragments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "net/headers.h"

enum { HEADERS = 14 + 20, MORE = 0x2000 };

static struct nat_fragments fragments;
static size_t got_length;

/* A piece of datagram `id`, its bytes all `fill`. */
static const uint8_t *take(uint16_t id, uint16_t offset_and_more, uint16_t length, uint8_t fill)
{
    static uint8_t frame[1 << 16];
    const struct iovec iov = {frame + 14, 20};

    memset(frame, 0, HEADERS);
    memset(frame + HEADERS, fill, length);
    frame[12] = 8;
    frame[14] = 0x45;
    put_be16(frame + 16, (uint16_t)(20 + length));
    put_be16(frame + 18, id);
    put_be16(frame + 20, offset_and_more);
    frame[23] = 17;
    put_le16(frame + 24, (uint16_t)~net_checksum(&iov, 1, 0));
    return nat_fragments_take(&fragments, frame, HEADERS + length, &got_length);
}

static int end(void **state)
{
    (void)state;
    nat_fragments_release(&fragments);
    return 0;
}

static void test_what_is_whole_goes_on(void **state)
{
    (void)state;
    assert_non_null(take(1, 0, 100, 7));
    assert_int_equal(got_length, HEADERS + 100);
    assert_non_null(take(1, 0x4000, 100, 7)); /* must not be fragmented: is none */
}

static void test_fragments_are_put_together(void **state)
{
    (void)state;
    assert_null(take(1, MORE, 1480, 1));
    assert_null(take(2, MORE, 8, 9)); /* another between */
    assert_null(take(1, MORE | 185, 1480, 2));
    const uint8_t *frame = take(1, 370, 33, 3);
    uint8_t header[20];
    const struct iovec iov = {header, sizeof(header)};
    assert_non_null(frame);
    memcpy(header, frame + 14, sizeof(header));
    assert_int_equal(got_length, HEADERS + 2993);
    assert_int_equal(get_be16(frame + 16), 20 + 2993);
    assert_int_equal(get_be16(frame + 20), 0);
    assert_int_equal(net_checksum(&iov, 1, 0), 0xffff);
    assert_int_equal(frame[HEADERS + 1479], 1);
    assert_int_equal(frame[HEADERS + 1480], 2);
    assert_int_equal(frame[HEADERS + 2960], 3);
    assert_null(take(1, 370, 33, 3)); /* it is done */
}

static void test_what_has_a_gap_is_lost(void **state)
{
    (void)state;
    assert_null(take(1, 3, 24, 1)); /* a last one alone */
    assert_null(take(2, MORE, 1480, 1));
    assert_null(take(2, 186, 24, 1));
    assert_null(take(3, MORE, 1481, 1)); /* not whole eights */
    assert_null(take(3, 185, 24, 1));
    assert_null(take(4, MORE, 65000, 1)); /* too large together */
    assert_null(take(4, 8125, 1000, 1));
}

static void test_the_oldest_gives_way(void **state)
{
    (void)state;
    for (unsigned id = 0; id <= NAT_DATAGRAMS; id++)
        assert_null(take((uint16_t)id, MORE, 8, 1));
    assert_null(take(0, 1, 8, 1));
    assert_non_null(take(1, 1, 8, 1));
}

static void test_a_header_that_is_wrong_is_none(void **state)
{
    uint8_t frame[HEADERS + 8] = {[14] = 0x45, [17] = 28, [20] = 0x20};

    (void)state;
    assert_null(nat_fragments_take(&fragments, frame, sizeof(frame), &got_length));
    frame[14] = 0x4f; /* longer than the frame */
    assert_null(nat_fragments_take(&fragments, frame, sizeof(frame), &got_length));
    assert_null(fragments.datagrams[0].frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_what_is_whole_goes_on, end),
        cmocka_unit_test_teardown(test_fragments_are_put_together, end),
        cmocka_unit_test_teardown(test_what_has_a_gap_is_lost, end),
        cmocka_unit_test_teardown(test_the_oldest_gives_way, end),
        cmocka_unit_test_teardown(test_a_header_that_is_wrong_is_none, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
