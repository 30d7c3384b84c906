/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "tests/harness/netvsc_guest.h"

static int set_up_with(void **state, uint32_t version, const struct netvsp_config *config)
{
    struct netvsc_guest *g = ng_create(config);
    ng_connect(g, version);
    *state = g;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, NVSP_VERSION_6_1, NULL);
}

static int set_up_in_vlan(void **state)
{
    static const struct netvsp_config config = {.vlan = 42};
    return set_up_with(state, NVSP_VERSION_6_1, &config);
}

static int tear_down(void **state)
{
    ng_destroy(*state);
    return 0;
}

static uint8_t frame[NET_MOST_FRAME], message[NETVSP_LARGE_SECTION];

/* The frame in the RNDIS packet at hand, and its information of a kind, or -1. */
static const uint8_t *data_of(size_t *ret_length)
{
    *ret_length = get_le32(message + RNDIS_AT_DATA_LENGTH);
    return message + RNDIS_HEADER + get_le32(message + RNDIS_AT_DATA_OFFSET);
}

static int64_t info_of(uint32_t type)
{
    const uint8_t *at = message + RNDIS_HEADER + get_le32(message + RNDIS_AT_INFO_OFFSET);
    uint32_t left = get_le32(message + RNDIS_AT_INFO_LENGTH);
    while (left > 0) {
        uint32_t size = get_le32(at);
        assert_true(size >= RNDIS_INFO_HEADER && size <= left);
        if (get_le32(at + 4) == type)
            return get_le32(at + get_le32(at + 8));
        at += size;
        left -= size;
    }
    return -1;
}

static void expect_frame(struct netvsc_guest *g, unsigned channel, const uint8_t *bytes,
                         size_t length)
{
    size_t got = 0;
    assert_true(ng_take_transfer(g, channel, message, sizeof(message)));
    assert_int_equal(g->answer.set_id, NG_BUFFER_ID);
    assert_int_equal(get_le32(g->answer.payload), NVSP_RNDIS);
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_FIRST), NVSP_CHANNEL_DATA);
    assert_int_equal(get_le32(message), RNDIS_PACKET);
    assert_int_equal(get_le32(message + RNDIS_AT_LENGTH), g->answer.range[0].length);
    const uint8_t *data = data_of(&got);
    assert_int_equal(got, length);
    assert_memory_equal(data, bytes, length);
}

static void a_frame_comes_in_whole(void **state)
{
    struct netvsc_guest *g = *state;
    unsigned before = g->netvsp->free_count;
    size_t length = ng_make_tcp(frame, ng_mac, 1000);
    assert_int_equal(ng_deliver(g, frame, length, NULL), 1);
    expect_frame(g, 0, frame, length);
    assert_int_equal(info_of(RNDIS_INFO_CHECKSUM), -1); /* nobody has looked at it */
    assert_int_equal(g->netvsp->free_count, before - 1);
    ng_complete(g, 0);
    assert_int_equal(g->netvsp->free_count, before);
    ng_complete(g, 0); /* twice is once */
    assert_int_equal(g->netvsp->free_count, before);
    assert_int_equal(g->netvsp->received.frames, 1);
    assert_int_equal(g->netvsp->received.bytes, length);
}

static void frames_share_a_transfer(void **state)
{
    struct netvsc_guest *g = *state;
    struct net_frame frames[70];
    struct iovec iov[70];
    size_t length = ng_make_tcp(frame, ng_mac, 10);
    for (int i = 0; i < 70; i++) {
        iov[i] = (struct iovec){frame, length};
        frames[i] = (struct net_frame){.iov = &iov[i], .iov_count = 1, .length = length};
    }
    assert_int_equal(g->user.receive(g->user.owner, frames, 70), 70);
    assert_true(ng_take(g, 0));
    assert_int_equal(g->answer.range_count, VMBUS_MAX_TRANSFER_RANGES);
    assert_true(ng_take(g, 0));
    assert_int_equal(g->answer.range_count, 70 - VMBUS_MAX_TRANSFER_RANGES);
    assert_false(ng_take(g, 0));
}

static void a_known_checksum_is_told(void **state)
{
    static const struct net_offload known = {.checksum_known = true};
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, ng_mac, 100);
    assert_int_equal(ng_deliver(g, frame, length, &known), 1);
    expect_frame(g, 0, frame, length);
    assert_int_equal(info_of(RNDIS_INFO_CHECKSUM),
                     RNDIS_CHECKSUM_TCP_RIGHT | RNDIS_CHECKSUM_IP_RIGHT);
}

static bool tcp_is_right(const uint8_t *bytes, size_t length)
{
    uint8_t pseudo[12];
    memcpy(pseudo, bytes + 26, 8);
    put_be32(pseudo + 8, (uint32_t)(6 << 16 | (length - 34)));
    const struct iovec iov[] = {
        {pseudo, 12},
        {(void *)(uintptr_t)(bytes + 34), length - 34}}; /* NOLINT(performance-no-int-to-ptr) */
    return net_checksum(iov, 2, 0) == 0xffff;
}

static void an_owed_checksum_is_made(void **state)
{
    struct netvsc_guest *g = *state;
    struct net_offload owed = {0};
    size_t length = ng_make_tcp(frame, ng_mac, 101);
    struct net_headers headers = net_headers_parse(frame, length);
    size_t got = 0;
    net_headers_prepare(frame, &headers, length, &owed);
    assert_int_equal(ng_deliver(g, frame, length, &owed), 1);
    assert_true(ng_take_transfer(g, 0, message, sizeof(message)));
    const uint8_t *data = data_of(&got);
    assert_true(tcp_is_right(data, got));
    assert_int_equal(info_of(RNDIS_INFO_CHECKSUM),
                     RNDIS_CHECKSUM_TCP_RIGHT | RNDIS_CHECKSUM_IP_RIGHT);
}

static size_t make_large(size_t payload, struct net_offload *ret)
{
    size_t length = ng_make_tcp(frame, ng_mac, payload);
    struct net_headers headers = net_headers_parse(frame, length);
    *ret = (struct net_offload){
        .segmentation = NET_TCP4, .segment_size = 1448, .headers_length = headers.payload};
    net_headers_prepare(frame, &headers, length, ret);
    return length;
}

static void coalesce(struct netvsc_guest *g, uint8_t how)
{
    uint8_t bytes[26] = {NDIS_OBJECT_DEFAULT, 3, 26};
    bytes[NDIS_AT_SET_COALESCE4] = bytes[NDIS_AT_SET_COALESCE6] = how;
    assert_int_equal(ng_set(g, OID_OFFLOAD_PARAMETERS, bytes, sizeof(bytes)), RNDIS_SUCCESS);
    assert_int_equal(g->coalesce, how == NDIS_SET_COALESCE_ON);
}

static void a_large_frame_comes_in_parts(void **state)
{
    struct netvsc_guest *g = *state;
    struct net_offload offload;
    size_t length = make_large(40000, &offload);
    size_t done = 0;
    coalesce(g, NDIS_SET_COALESCE_ON);
    assert_int_equal(ng_deliver(g, frame, length, &offload), 1);
    assert_true(ng_take(g, 0));
    unsigned parts = g->answer.range_count;
    assert_int_equal(parts, 3);
    for (unsigned i = 0; i < parts; i++) {
        size_t got = 0;
        assert_true(g->answer.range[i].length <= NETVSP_LARGE_SECTION);
        ng_read(g, g->answer.range[i].offset, message, g->answer.range[i].length);
        const uint8_t *data = data_of(&got);
        assert_memory_equal(data, frame + done, got);
        done += got;
        assert_int_equal(info_of(RNDIS_INFO_PACKET_ID),
                         1 | (RNDIS_ID_PART | (i == 0 ? RNDIS_ID_FIRST : 0) |
                              (i + 1 == parts ? RNDIS_ID_LAST : 0))
                                 << 8);
    }
    assert_int_equal(done, length);
    unsigned before = g->netvsp->free_count;
    ng_complete(g, 0);
    assert_int_equal(g->netvsp->free_count, before + parts);
}

static void or_in_segments(void **state)
{
    struct netvsc_guest *g = *state;
    struct net_offload offload;
    size_t length = make_large(4000, &offload);
    uint32_t sequence = 0;
    coalesce(g, NDIS_SET_OFF);
    frame[47] = 0x19; /* ACK, PSH, FIN */
    assert_int_equal(ng_deliver(g, frame, length, &offload), 1);
    assert_true(ng_take(g, 0));
    assert_int_equal(g->answer.range_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        size_t got = 0;
        ng_read(g, g->answer.range[i].offset, message, g->answer.range[i].length);
        const uint8_t *data = data_of(&got);
        size_t payload = got - 54;
        assert_int_equal(payload, i < 2 ? 1448 : 4000 - 2 * 1448);
        assert_int_equal(get_be32(data + 38), sequence);
        assert_int_equal(data[47], i < 2 ? 0x10 : 0x19);
        assert_int_equal(get_be16(data + 16), 40 + payload);
        assert_memory_equal(data + 54, frame + 54 + sequence, payload);
        assert_true(tcp_is_right(data, got));
        sequence += (uint32_t)payload;
    }
}

static void the_filter_decides(void **state)
{
    static const uint8_t group[NET_MAC_SIZE] = {0x33, 0x33, 0, 0, 0, 1};
    static const uint8_t all[NET_MAC_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t other[NET_MAC_SIZE] = {2, 0, 0, 0, 0, 7};
    static const struct {
        const uint8_t *to;
        uint32_t filter;
        bool wanted;
    } rows[] = {
        {ng_mac, NDIS_FILTER_DIRECTED, true},
        {other, NDIS_FILTER_DIRECTED, false},
        {all, NDIS_FILTER_DIRECTED, false},
        {all, NDIS_FILTER_BROADCAST, true},
        {ng_mac, NDIS_FILTER_BROADCAST, false},
        {group, NDIS_FILTER_MULTICAST, false},
        {group, NDIS_FILTER_ALL_MULTICAST, true},
        {other, NDIS_FILTER_PROMISCUOUS, true},
        {ng_mac, 0, false},
    };
    struct netvsc_guest *g = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(ng_set_filter(g, rows[i].filter), RNDIS_SUCCESS);
        assert_int_equal(ng_deliver(g, frame, ng_make_tcp(frame, rows[i].to, 20), NULL), 1);
        assert_int_equal(ng_take(g, 0), rows[i].wanted);
    }
    assert_int_equal(ng_set(g, OID_MULTICAST_LIST, group, sizeof(group)), RNDIS_SUCCESS);
    assert_int_equal(ng_set_filter(g, NDIS_FILTER_MULTICAST), RNDIS_SUCCESS);
    assert_int_equal(ng_deliver(g, frame, ng_make_tcp(frame, group, 20), NULL), 1);
    assert_true(ng_take(g, 0));
}

static size_t add_tag(size_t length, uint16_t tag)
{
    memmove(frame + 16, frame + 12, length - 12);
    put_be16(frame + 12, 0x8100);
    put_be16(frame + 14, tag);
    return length + 4;
}

static void a_tag_travels_beside_the_frame(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t plain[200];
    size_t length = ng_make_tcp(frame, ng_mac, 100);
    memcpy(plain, frame, length);
    assert_int_equal(ng_deliver(g, frame, add_tag(length, 3 << 13 | 0x123), NULL), 1);
    expect_frame(g, 0, plain, length);
    assert_int_equal(info_of(RNDIS_INFO_VLAN), 3 | 0x123 << 4);
}

static void within_a_vlan_only_its_frames_come_and_without_tags(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t plain[200];
    size_t length = ng_make_tcp(frame, ng_mac, 100);
    memcpy(plain, frame, length);
    assert_int_equal(ng_deliver(g, frame, length, NULL), 1); /* no tag */
    add_tag(length, 43);
    assert_int_equal(ng_deliver(g, frame, length + 4, NULL), 1);
    assert_false(ng_take(g, 0));
    put_be16(frame + 14, 42);
    assert_int_equal(ng_deliver(g, frame, length + 4, NULL), 1);
    expect_frame(g, 0, plain, length);
    assert_int_equal(info_of(RNDIS_INFO_VLAN), -1);
}

static void too_large_is_lost(void **state)
{
    struct netvsc_guest *g = *state;
    assert_int_equal(ng_deliver(g, frame, ng_make_tcp(frame, ng_mac, 1461), NULL), 1);
    assert_int_equal(ng_deliver(g, frame, 13, NULL), 1);
    assert_false(ng_take(g, 0));
    assert_int_equal(g->netvsp->received.dropped, 2);
    assert_int_equal(ng_deliver(g, frame, ng_make_tcp(frame, ng_mac, 1460), NULL), 1);
    assert_true(ng_take(g, 0));
}

static void a_slow_guest_leaves_frames_in_the_port(void **state)
{
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, ng_mac, 100);
    unsigned sections = g->netvsp->free_count;
    for (unsigned i = 0; i < sections; i++)
        assert_int_equal(ng_deliver(g, frame, length, NULL), 1);
    assert_int_equal(ng_deliver(g, frame, length, NULL), 0);
    assert_int_equal(g->resumed, 0);
    for (unsigned i = 0; i < sections; i++) {
        assert_true(ng_take(g, 0));
        ng_complete(g, 0);
    }
    assert_int_equal(g->resumed, 1);
    assert_int_equal(ng_deliver(g, frame, length, NULL), 1);
}

static void a_full_ring_is_waited_for(void **state)
{
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, ng_mac, 100);
    fake_guest_set_room(ng_channel(g, 0), 1);
    assert_int_equal(ng_deliver(g, frame, length, NULL), 1);
    for (unsigned i = 0; i < VMBUS_MAX_TRANSFER_RANGES; i++) /* into the transfer that waits */
        assert_int_equal(ng_deliver(g, frame, length, NULL), 1);
    assert_int_equal(ng_deliver(g, frame, length, NULL), 0);
    expect_frame(g, 0, frame, length);
    assert_int_equal(g->resumed, 1);
    assert_true(ng_take(g, 0));
    assert_int_equal(g->answer.range_count, VMBUS_MAX_TRANSFER_RANGES);
}

static void completions_of_nothing_are_ignored(void **state)
{
    struct netvsc_guest *g = *state;
    unsigned before = g->netvsp->free_count;
    static const uint64_t ids[] = {0, 5, NETVSP_MOST_SECTIONS, UINT64_MAX};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        g->answer.transaction_id = ids[i];
        ng_complete(g, 0);
    }
    assert_int_equal(g->netvsp->free_count, before);
}

static void flows_are_spread_over_channels(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t bytes[40 + 4 * 4 + NDIS_RSS_KEY] = {NDIS_OBJECT_RSS_PARAMETERS, 2, 40};
    unsigned on[NG_CHANNELS] = {0};
    put_le32(bytes + NDIS_AT_RSS_HASHES, NDIS_RSS_TOEPLITZ_TCP);
    put_le16(bytes + NDIS_AT_RSS_TABLE_SIZE, 16);
    put_le32(bytes + NDIS_AT_RSS_TABLE_OFFSET, 40);
    put_le16(bytes + NDIS_AT_RSS_KEY_SIZE, NDIS_RSS_KEY);
    put_le32(bytes + NDIS_AT_RSS_KEY_OFFSET, 56);
    for (uint32_t i = 0; i < 4; i++)
        put_le32(bytes + 40 + (size_t)i * 4, i % NG_CHANNELS);
    for (unsigned i = 0; i < NDIS_RSS_KEY; i++)
        bytes[56 + i] = (uint8_t)(i * 37 + 11);
    ng_add_channels(g);
    assert_int_equal(ng_set(g, OID_RSS_PARAMETERS, bytes, sizeof(bytes)), RNDIS_SUCCESS);
    for (unsigned port = 1; port <= 64; port++) {
        size_t length = ng_make_tcp(frame, ng_mac, 20);
        put_be16(frame + 34, (uint16_t)port);
        assert_int_equal(ng_deliver(g, frame, length, NULL), 1);
        for (unsigned i = 0; i < NG_CHANNELS; i++) {
            if (ng_take(g, i)) {
                on[i]++;
                ng_complete(g, i);
            }
        }
    }
    assert_int_equal(on[0] + on[1] + on[2], 64);
    assert_true(on[0] > 8 && on[1] > 4 && on[2] > 4);
    fake_guest_close(ng_channel(g, 1)); /* its flows go to the primary */
    for (unsigned port = 1; port <= 64; port++) {
        size_t length = ng_make_tcp(frame, ng_mac, 20);
        put_be16(frame + 34, (uint16_t)port);
        assert_int_equal(ng_deliver(g, frame, length, NULL), 1);
    }
    assert_true(ng_take(g, 0) && ng_take(g, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_frame_comes_in_whole),
        TEST(frames_share_a_transfer),
        TEST(a_known_checksum_is_told),
        TEST(an_owed_checksum_is_made),
        TEST(a_large_frame_comes_in_parts),
        TEST(or_in_segments),
        TEST(the_filter_decides),
        TEST(a_tag_travels_beside_the_frame),
        cmocka_unit_test_setup_teardown(within_a_vlan_only_its_frames_come_and_without_tags,
                                        set_up_in_vlan, tear_down),
        TEST(too_large_is_lost),
        TEST(a_slow_guest_leaves_frames_in_the_port),
        TEST(a_full_ring_is_waited_for),
        TEST(completions_of_nothing_are_ignored),
        TEST(flows_are_spread_over_channels),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
