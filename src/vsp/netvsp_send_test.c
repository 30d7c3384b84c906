/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "base/clock.h"
#include "tests/harness/netvsc_guest.h"

static int set_up(void **state)
{
    struct netvsc_guest *g = ng_create(NULL);
    ng_connect(g, NVSP_VERSION_6_1);
    *state = g;
    return 0;
}

static int set_up_in_vlan(void **state)
{
    const struct netvsp_config config = {.vlan = 42};
    struct netvsc_guest *g = ng_create(&config);
    ng_connect(g, NVSP_VERSION_6_1);
    *state = g;
    return 0;
}

static int tear_down(void **state)
{
    ng_destroy(*state);
    return 0;
}

static const uint8_t peer[NET_MAC_SIZE] = {2, 0, 0, 0, 0, 9};
static uint8_t frame[NET_MOST_FRAME], packet[NET_MOST_FRAME + 256];

static void send_frame(struct netvsc_guest *g, size_t length, const uint32_t (*infos)[2],
                       unsigned count)
{
    size_t made = ng_make_packet(packet, frame, length, infos, count);
    ng_put_rndis(g, 0, packet, made, true);
}

static void a_frame_goes_out_as_it_is(void **state)
{
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 1000);
    send_frame(g, length, NULL, 0);
    assert_int_equal(g->sent_count, 1);
    assert_int_equal(g->sent[0].length, length);
    assert_memory_equal(g->sent[0].bytes, frame, length);
    assert_false(g->sent[0].offload.wants_checksum);
    assert_int_equal(g->netvsp->sent.frames, 1);
    assert_int_equal(g->netvsp->sent.bytes, length);
    assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
}

/* In a section of the send buffer that crosses pages, its headers there and its data elsewhere. */
static void a_frame_may_lie_in_a_section_and_beyond(void **state)
{
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 1200);
    size_t made = ng_make_packet(packet, frame, length, NULL, 0);
    const uint32_t section = 1;
    const uint32_t within = 700;
    for (uint32_t i = 0; i < within; i++)
        assert_int_equal(
            mem_write(g->mem, ng_gpa(NG_SEND_AT, section * NETVSP_SEND_SECTION + i), packet + i, 1),
            0);
    assert_int_equal(mem_write(g->mem, NG_MESSAGE_AT, packet + within, made - within), 0);
    const struct vmbus_segment rest[] = {{NG_MESSAGE_AT, 100},
                                         {NG_MESSAGE_AT + 100, made - within - 100}};
    struct fake_packet out = {.type = VMBUS_PACKET_DATA_GPA_DIRECT,
                              .transaction_id = 78,
                              .length = NVSP_MESSAGE,
                              .segment_count = 2,
                              .segment = rest};
    put_le32(out.payload, NVSP_RNDIS);
    put_le32(out.payload + NVSP_AT_SECOND, section);
    put_le32(out.payload + NVSP_AT_THIRD, within);
    assert_true(fake_guest_put(ng_channel(g, 0), &out));
    fake_guest_signal(ng_channel(g, 0));
    assert_int_equal(g->sent_count, 1);
    assert_memory_equal(g->sent[0].bytes, frame, length);
    assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
}

static void several_messages_make_a_batch_and_one_answer(void **state)
{
    struct netvsc_guest *g = *state;
    size_t made = 0;
    for (unsigned i = 0; i < 5; i++) {
        size_t length = ng_make_tcp(frame, peer, 10 + i);
        made += ng_make_packet(packet + made, frame, length, NULL, 0);
    }
    ng_put_rndis(g, 0, packet, made, true);
    assert_int_equal(g->sent_count, 5);
    assert_int_equal(g->sent[4].length, 54 + 14);
    assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
    assert_false(ng_take(g, 0));
}

static void checksums_are_left_to_the_port(void **state)
{
    static const uint32_t infos[][2] = {
        {RNDIS_INFO_CHECKSUM, RNDIS_CHECKSUM_IP4 | RNDIS_CHECKSUM_TCP | 34 << 16}};
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 300);
    put_le16(frame + 50, 0xdead); /* whatever the guest left there */
    send_frame(g, length, infos, 1);
    const struct net_offload *offload = &g->sent[0].offload;
    assert_true(offload->wants_checksum);
    assert_int_equal(offload->checksum_start, 34);
    assert_int_equal(offload->checksum_offset, 16);
    assert_int_equal(offload->segmentation, NET_WHOLE);
    /* 10.9.0.1 + 10.9.0.2 + TCP + 320 bytes */
    assert_int_equal(get_be16(g->sent[0].bytes + 50), 0x0a09 + 1 + 0x0a09 + 2 + 6 + 320);
}

static void large_frames_get_their_lengths(void **state)
{
    static const uint32_t infos[][2] = {
        {RNDIS_INFO_LARGE_SEND, 1448 | 34 << 20 | UINT32_C(1) << 30}};
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 40000);
    put_be16(frame + 16, 0); /* as Linux does it */
    send_frame(g, length, infos, 1);
    const struct ng_sent *sent = &g->sent[0];
    assert_int_equal(sent->length, length);
    assert_int_equal(sent->offload.segmentation, NET_TCP4);
    assert_int_equal(sent->offload.segment_size, 1448);
    assert_int_equal(sent->offload.headers_length, 54);
    assert_int_equal(get_be16(sent->bytes + 16), 40040);
    /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
    const struct iovec ip = {(void *)(uintptr_t)(sent->bytes + 14), 20};
    assert_int_equal(net_checksum(&ip, 1, 0), 0xffff);
    assert_memory_equal(sent->bytes + 54, frame + 54, 40000);
}

/* A frame would become more headers than bytes. */
static void segments_that_no_tcp_makes_are_refused(void **state)
{
    static const uint32_t infos[][2] = {{RNDIS_INFO_LARGE_SEND, 47 | 34 << 20 | UINT32_C(1) << 30}};
    struct netvsc_guest *g = *state;
    send_frame(g, ng_make_tcp(frame, peer, 40000), infos, 1);
    assert_int_equal(g->sent_count, 0);
}

static void frames_that_are_too_large_are_dropped(void **state)
{
    struct netvsc_guest *g = *state;
    send_frame(g, ng_make_tcp(frame, peer, 1500), NULL, 0);
    assert_int_equal(g->sent_count, 0);
    assert_int_equal(g->netvsp->sent.dropped, 1);
    assert_true(ng_take(g, 0) && g->answer.completion);
}

static void a_tag_is_put_into_the_frame(void **state)
{
    static const uint32_t infos[][2] = {{RNDIS_INFO_VLAN, 5 | 1 << 3 | 0x123 << 4}};
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 400);
    send_frame(g, length, infos, 1);
    const uint8_t *sent = g->sent[0].bytes;
    assert_int_equal(g->sent[0].length, length + 4);
    assert_memory_equal(sent, frame, 12);
    assert_int_equal(get_be16(sent + 12), 0x8100);
    assert_int_equal(get_be16(sent + 14), 5 << 13 | 1 << 12 | 0x123);
    assert_memory_equal(sent + 16, frame + 12, length - 12);
}

static void within_a_vlan_the_card_tags_and_the_guest_may_not(void **state)
{
    static const uint32_t infos[][2] = {{RNDIS_INFO_VLAN, 7 << 4}};
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 40);
    send_frame(g, length, NULL, 0);
    assert_int_equal(get_be16(g->sent[0].bytes + 14), 42);
    send_frame(g, length, infos, 1);
    put_be16(frame + 12, 0x8100);
    send_frame(g, length, NULL, 0);
    assert_int_equal(g->sent_count, 1);
    assert_int_equal(g->netvsp->sent.dropped, 2);
}

static void damage_is_answered_and_not_sent(void **state)
{
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 100);
    static const struct {
        unsigned at;
        uint32_t value;
    } wrong[] = {
        {RNDIS_AT_LENGTH, 3},
        {RNDIS_AT_LENGTH, 0xffffffff},
        {RNDIS_AT_DATA_OFFSET, 5000},
        {RNDIS_AT_DATA_OFFSET, 0xfffffff0},
        {RNDIS_AT_DATA_LENGTH, 5000},
        {RNDIS_AT_DATA_LENGTH, 13},
        {RNDIS_AT_INFO_OFFSET, 0xfffff},
        {RNDIS_AT_INFO_LENGTH, 0xfffff},
        {RNDIS_AT_INFO_LENGTH, 11},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        size_t made = ng_make_packet(packet, frame, length, NULL, 0);
        put_le32(packet + wrong[i].at, wrong[i].value);
        ng_put_rndis(g, 0, packet, made, true);
        assert_int_equal(g->sent_count, 0);
        assert_true(ng_was_answered(g, 0, NVSP_INVALID_RNDIS));
    }
}

static void an_unplugged_card_sends_nothing(void **state)
{
    struct netvsc_guest *g = *state;
    netvsp_set_link(g->netvsp, false);
    while (ng_take(g, 0))
        ;
    send_frame(g, ng_make_tcp(frame, peer, 40), NULL, 0);
    assert_int_equal(g->sent_count, 0);
    assert_true(ng_take(g, 0) && g->answer.completion);
}

static void a_full_port_holds_the_guest_back(void **state)
{
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 40);
    g->room = 1;
    for (int i = 0; i < 4; i++)
        send_frame(g, length, NULL, 0);
    assert_int_equal(g->sent_count, 1);
    assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
    assert_false(ng_take(g, 0));
    assert_int_equal(fake_guest_left(ng_channel(g, 0)), 2);
    g->room = 100;
    g->user.writable(g->user.owner);
    assert_int_equal(g->sent_count, 4);
    for (int i = 0; i < 3; i++)
        assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
    assert_int_equal(g->netvsp->sent.dropped, 0);
}

/* Whatever the port does, the guest can always go on. */
static void a_stuck_port_loses_frames_in_the_end(void **state)
{
    struct netvsc_guest *g = *state;
    struct loop_timer *end = NULL;
    size_t length = ng_make_tcp(frame, peer, 40);
    g->room = 0;
    for (int i = 0; i < 3; i++)
        send_frame(g, length, NULL, 0);
    assert_false(ng_take(g, 0));
    assert_int_equal(loop_timer_create(g->loop, (loop_timer_fn)loop_stop, g->loop, &end), 0);
    loop_timer_set(end, clock_monotonic_ns() + NS_PER_SECOND / 2);
    assert_int_equal(loop_run(g->loop), 0);
    loop_timer_destroy(end);
    for (int i = 0; i < 3; i++)
        assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
    assert_int_equal(g->netvsp->sent.dropped, 3);
    send_frame(g, length, NULL, 0);
    assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
    g->room = 100;
    g->user.writable(g->user.owner);
    send_frame(g, length, NULL, 0);
    assert_int_equal(g->sent_count, 1);
}

static void answers_wait_for_room_in_the_ring(void **state)
{
    struct netvsc_guest *g = *state;
    size_t length = ng_make_tcp(frame, peer, 40);
    fake_guest_set_room(ng_channel(g, 0), 1);
    for (int i = 0; i < 5; i++)
        send_frame(g, length, NULL, 0);
    for (int i = 0; i < 5; i++)
        assert_true(ng_was_answered(g, 0, NVSP_SUCCESS));
    assert_int_equal(g->sent_count, 5);
}

static void a_close_forgets_what_waits(void **state)
{
    struct netvsc_guest *g = *state;
    g->room = 0;
    send_frame(g, ng_make_tcp(frame, peer, 40), NULL, 0);
    fake_guest_close(ng_channel(g, 0));
    g->room = 100;
    g->user.writable(g->user.owner);
    assert_int_equal(g->sent_count, 0);
    ng_connect(g, NVSP_VERSION_6_1);
    send_frame(g, ng_make_tcp(frame, peer, 40), NULL, 0);
    assert_int_equal(g->sent_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_frame_goes_out_as_it_is),
        TEST(a_frame_may_lie_in_a_section_and_beyond),
        TEST(several_messages_make_a_batch_and_one_answer),
        TEST(checksums_are_left_to_the_port),
        TEST(large_frames_get_their_lengths),
        TEST(segments_that_no_tcp_makes_are_refused),
        TEST(frames_that_are_too_large_are_dropped),
        TEST(a_tag_is_put_into_the_frame),
        cmocka_unit_test_setup_teardown(within_a_vlan_the_card_tags_and_the_guest_may_not,
                                        set_up_in_vlan, tear_down),
        TEST(damage_is_answered_and_not_sent),
        TEST(an_unplugged_card_sends_nothing),
        TEST(a_full_port_holds_the_guest_back),
        TEST(a_stuck_port_loses_frames_in_the_end),
        TEST(answers_wait_for_room_in_the_ring),
        TEST(a_close_forgets_what_waits),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
