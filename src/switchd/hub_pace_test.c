#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "switchd/hub.h"

enum { RATE = 8000000 /* bits: a million bytes a second */, LARGE = 65000, HEADERS = 54 };
static const uint64_t start = NS_PER_SECOND;

static struct fixture {
    struct loop *loop;
    struct hub *hub;
    struct hub_port *port;
} f;

static void uplink_ended(void *owner, struct hub *hub)
{
    (void)owner;
    (void)hub;
}

static int set_up(void **state)
{
    const struct hub_config config = {.name = "lan", .uplink_rate = RATE};
    struct port_settings settings;
    (void)state;
    hub_default_settings(&settings);
    assert_int_equal(loop_create(&f.loop), 0);
    assert_int_equal(hub_create(f.loop, &config, uplink_ended, NULL, &f.hub), 0);
    assert_int_equal(hub_add_port(f.hub, "a", 0, &settings, &f.port), 0);
    hub_pace_set_uplink(f.hub, start);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub_destroy(f.hub);
    loop_destroy(f.loop);
    return 0;
}

/* How many bytes of the uplink a frame costs: a burst is there at first. */
static uint64_t cost(size_t length, enum net_segmentation kind, uint16_t size, uint16_t headers)
{
    static uint8_t bytes[LARGE];
    struct iovec iov = {bytes, length};
    const struct net_frame frame = {
        .iov = &iov,
        .iov_count = 1,
        .length = length,
        .offload = {.segmentation = kind, .segment_size = size, .headers_length = headers}};
    int64_t before = f.hub->uplink.tokens;
    hub_pace_charge(f.port, &frame, start);
    return (uint64_t)(before - f.hub->uplink.tokens);
}

static void a_large_frame_costs_its_segments_with_their_headers(void **state)
{
    (void)state;
    assert_int_equal(cost(1514, NET_WHOLE, 0, 0), 1514);
    assert_int_equal(cost(HEADERS + 3 * 1448, NET_TCP4, 1448, HEADERS), 3 * (1448 + HEADERS));
    assert_int_equal(cost(HEADERS + 3 * 1448 + 1, NET_TCP4, 1448, HEADERS),
                     3 * (1448 + HEADERS) + 1 + HEADERS);
}

/* Else one frame of a guest's would hold up the uplink of all for seconds. */
static void tiny_segments_cost_no_more_than_small_ones(void **state)
{
    const uint64_t most = LARGE + (LARGE / 48 + 1) * 128;
    (void)state;
    for (uint16_t size = 0; size <= 48; size++) {
        assert_in_range(cost(LARGE, NET_TCP4, size, HEADERS), LARGE, most);
        assert_in_range(cost(LARGE, NET_TCP6, size, LARGE - 1), LARGE, most);
        assert_in_range(cost(LARGE, NET_TCP4, size, UINT16_MAX), LARGE, most);
    }
    hub_pace_set_uplink(f.hub, start);
    (void)cost(LARGE, NET_TCP4, 1, HEADERS);
    assert_in_range(shape_when(&f.hub->uplink, 1, start), 0, start + NS_PER_SECOND / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_large_frame_costs_its_segments_with_their_headers, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(tiny_segments_cost_no_more_than_small_ones, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
