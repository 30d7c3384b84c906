/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "switch/meter.h"

#include "switch/switch_fixture.h"

static struct meter meter;

static void count(uint8_t from, uint8_t to, bool from_guest)
{
    struct bytes bytes = ipv4(2, 1, FRAME_UDP, (struct ends){from, to, 0, 0});
    struct frame frame;

    assert_true(frame_parse(bytes.at, bytes.length, &frame));
    meter_count(&meter, &frame, from_guest, bytes.length);
}

static void peers_are_counted_both_ways(void **state)
{
    (void)state;
    memset(&meter, 0, sizeof(meter));
    count(1, 2, true);
    count(2, 1, false);
    count(2, 1, false);
    count(1, 3, true);
    assert_int_equal(meter.count, 2);
    assert_int_equal(meter.peer[0].address.bytes[15], 2);
    assert_int_equal(meter.peer[0].frames[true], 1);
    assert_int_equal(meter.peer[0].frames[false], 2);
    assert_int_equal(meter.peer[0].bytes[false], 108);
    assert_int_equal(meter.peer[1].frames[true], 1);
}

/* More peers than places: the sum is right still. */
static void the_sum_is_kept(void **state)
{
    uint64_t frames = 0;
    (void)state;
    memset(&meter, 0, sizeof(meter));
    for (unsigned i = 0; i < 5000; i++) {
        struct frame frame = {.has_ip = true};
        put_be16(frame.to.bytes + 3, (uint16_t)(i % 1000));
        meter_count(&meter, &frame, true, 10);
    }
    for (unsigned i = 0; i < meter.count; i++)
        frames += meter.peer[i].frames[true];
    assert_int_equal(meter.count, METER_PEERS);
    assert_int_equal(frames, METER_PEERS * 5);
    assert_int_equal(meter.others.frames[true], 5000 - METER_PEERS * 5);
    assert_int_equal(meter.others.bytes[true], (5000 - METER_PEERS * 5) * 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_are_counted_both_ways),
        cmocka_unit_test(the_sum_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
