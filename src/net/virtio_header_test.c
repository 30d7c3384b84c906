#include "net/virtio_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void what_is_encoded_is_decoded(void **state)
{
    static const struct net_offload rows[] = {
        {.checksum_known = true},
        {.wants_checksum = true, .checksum_start = 34, .checksum_offset = 16},
        {.wants_checksum = true,
         .checksum_start = 54,
         .checksum_offset = 16,
         .segmentation = NET_TCP6,
         .segment_size = 1428,
         .headers_length = 74},
        {.wants_checksum = false},
    };
    uint8_t bytes[VIRTIO_HEADER];
    struct net_offload got;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        virtio_header_encode(&rows[i], bytes);
        assert_int_equal(virtio_header_decode(bytes, 2000, &got), 0);
        assert_int_equal(got.wants_checksum, rows[i].wants_checksum);
        assert_int_equal(got.checksum_known, rows[i].checksum_known);
        assert_int_equal(got.checksum_start, rows[i].checksum_start);
        assert_int_equal(got.checksum_offset, rows[i].checksum_offset);
        assert_int_equal(got.segmentation, rows[i].segmentation);
        assert_int_equal(got.segment_size, rows[i].segment_size);
        assert_int_equal(got.headers_length, rows[i].headers_length);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    static const struct {
        uint8_t bytes[VIRTIO_HEADER];
        size_t length;
    } rows[] = {
        {{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}, 51}, /* the checksum lies behind the end */
        {{1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 100},
        {{1, 3, 54, 0, 0, 5, 34, 0, 16, 0}, 2000}, /* UDP in fragments */
        {{1, 1, 54, 0, 0, 0, 34, 0, 16, 0}, 2000}, /* segments of no bytes */
        {{1, 1, 0xff, 0xff, 0, 5, 34, 0, 16, 0}, 2000},
        {{0, 1, 54, 0, 0, 5, 0, 0, 0, 0}, 2000}, /* without a checksum to make */
    };
    struct net_offload got;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(virtio_header_decode(rows[i].bytes, rows[i].length, &got), -22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
