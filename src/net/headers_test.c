#include "net/headers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static uint8_t frame[256];

/* Ethernet, so many tags, IPv4 or IPv6, and TCP; how long that is. */
static size_t make(unsigned tags, int version, uint8_t protocol)
{
    size_t at = 12;
    memset(frame, 0, sizeof(frame));
    for (unsigned i = 0; i < tags; i++, at += 4)
        put_be16(frame + at, i == 0 && tags > 1 ? 0x88a8 : 0x8100);
    put_be16(frame + at, version == 4 ? 0x0800 : 0x86dd);
    at += 2;
    frame[at] = version == 4 ? 0x45 : 0x60;
    frame[at + (version == 4 ? 9 : 6)] = protocol;
    at += version == 4 ? 20 : 40;
    frame[at + 12] = 5 << 4;
    return at + 20;
}

static void tcp_is_found(void **state)
{
    (void)state;
    for (unsigned tags = 0; tags < 3; tags++) {
        for (int version = 4; version <= 6; version += 2) {
            size_t length = make(tags, version, NET_PROTOCOL_TCP);
            struct net_headers headers = net_headers_parse(frame, length);
            assert_int_equal(headers.ip_version, version);
            assert_int_equal(headers.protocol, NET_PROTOCOL_TCP);
            assert_int_equal(headers.ip, 14 + tags * 4);
            assert_int_equal(headers.transport, length - 20);
            assert_int_equal(headers.payload, length);
            for (size_t cut = 0; cut < length; cut++) /* short of it there is none */
                assert_int_equal(net_headers_parse(frame, cut).protocol, 0);
        }
    }
}

static void fragments_and_others_have_no_transport(void **state)
{
    (void)state;
    size_t length = make(0, 4, NET_PROTOCOL_UDP);
    assert_int_equal(net_headers_parse(frame, length).payload, 14 + 20 + 8);
    frame[20] = 0x20; /* more fragments */
    assert_int_equal(net_headers_parse(frame, length).protocol, 0);
    assert_int_equal(net_headers_parse(frame, length).ip_version, 4);
    length = make(0, 4, 1);
    assert_int_equal(net_headers_parse(frame, length).protocol, 0);
    length = make(0, 4, NET_PROTOCOL_TCP);
    frame[14] = 0x44; /* a header shorter than the least */
    assert_int_equal(net_headers_parse(frame, length).ip_version, 0);
    length = make(0, 4, NET_PROTOCOL_TCP);
    frame[46] = 4 << 4;
    assert_int_equal(net_headers_parse(frame, length).protocol, 0);
}

static void extensions_are_passed(void **state)
{
    (void)state;
    (void)make(0, 6, 0); /* hop-by-hop, then TCP */
    frame[54] = NET_PROTOCOL_TCP;
    frame[55] = 1; /* 16 bytes */
    frame[54 + 16 + 12] = 5 << 4;
    struct net_headers headers = net_headers_parse(frame, 54 + 16 + 20);
    assert_int_equal(headers.protocol, NET_PROTOCOL_TCP);
    assert_int_equal(headers.transport, 70);
    frame[55] = 255; /* it leaves the frame */
    assert_int_equal(net_headers_parse(frame, 54 + 16 + 20).protocol, 0);
}

/* RFC 1071 § 3: its example, and the same in odd pieces. */
static void sums_do_not_depend_on_pieces(void **state)
{
    static uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    const struct iovec one[] = {{bytes, 8}};
    const struct iovec many[] = {{bytes, 1}, {bytes + 1, 2}, {bytes + 3, 0}, {bytes + 3, 5}};
    uint8_t sum[2];
    (void)state;
    put_le16(sum, net_checksum(one, 1, 0));
    assert_int_equal(get_be16(sum), 0xddf2);
    assert_int_equal(net_checksum(many, 4, 0), net_checksum(one, 1, 0));
    assert_int_equal(net_checksum(many, 4, 2), net_checksum(&(struct iovec){bytes + 2, 6}, 1, 0));
}

static void a_checksum_outside_the_headers_is_refused(void **state)
{
    const struct iovec iov = {frame, 60};
    struct net_frame f = {.iov = &iov, .iov_count = 1, .length = 60};
    (void)state;
    f.offload =
        (struct net_offload){.wants_checksum = true, .checksum_start = 50, .checksum_offset = 9};
    assert_int_equal(net_finish_checksum(&f, frame), -22);
    f.offload.checksum_offset = 8;
    assert_int_equal(net_finish_checksum(&f, frame), 0);
}

static void ranges_of_pieces_are_found(void **state)
{
    static uint8_t bytes[10];
    const struct iovec iov[] = {{bytes, 3}, {bytes + 3, 4}, {bytes + 7, 3}};
    struct iovec ret[3];
    (void)state;
    assert_int_equal(net_iov_range(iov, 3, 2, 6, ret, 3), 3);
    assert_ptr_equal(ret[0].iov_base, bytes + 2);
    assert_int_equal(ret[0].iov_len, 1);
    assert_int_equal(ret[1].iov_len, 4);
    assert_int_equal(ret[2].iov_len, 1);
    assert_int_equal(net_iov_range(iov, 3, 2, 6, ret, 2), 2);
    assert_int_equal(net_iov_range(iov, 3, 10, 6, ret, 3), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_is_found),
        cmocka_unit_test(fragments_and_others_have_no_transport),
        cmocka_unit_test(extensions_are_passed),
        cmocka_unit_test(sums_do_not_depend_on_pieces),
        cmocka_unit_test(a_checksum_outside_the_headers_is_refused),
        cmocka_unit_test(ranges_of_pieces_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
