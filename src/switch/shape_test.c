/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "switch/shape.h"

#include "base/clock.h"
#include "switch/switch_fixture.h"

/* Send as fast as it may for ten seconds, by the clock that shape_when gives; within 1 %. */
static void check_rate(uint64_t rate, uint64_t burst, uint64_t length)
{
    struct shape shape;
    uint64_t now = 1;
    uint64_t sent = 0;

    shape_set(&shape, rate, burst, now);
    while (now < 10 * (uint64_t)NS_PER_SECOND) {
        while (shape_take(&shape, length, now))
            sent += length;
        uint64_t when = shape_when(&shape, length, now);
        assert_true(when > now);
        assert_false(shape_take(&shape, length, when - 1));
        now = when;
    }
    double seconds = (double)now / NS_PER_SECOND;
    double expected = (double)rate * seconds + (double)burst;
    assert_true((double)sent > expected * 0.99 - (double)length - (double)burst);
    assert_true((double)sent < expected * 1.01 + (double)length);
}

static void rates_are_kept(void **state)
{
    (void)state;
    check_rate(125000, 1500, 1500);       /* 1 Mbit/s */
    check_rate(12500000, 65536, 1514);    /* 100 Mbit/s */
    check_rate(125000000, 262144, 65536); /* 1 Gbit/s, segments left to the other side */
    check_rate(1250000, 1500, 65000);     /* longer than the burst */
    check_rate(7, 1, 1);
}

/* Whenever it is asked, in small steps and in large ones. */
static void steps_of_time_do_not_matter(void **state)
{
    struct shape shape;
    uint64_t sent = 0;
    uint64_t now = 1;
    (void)state;
    shape_set(&shape, 1000003, 10000, now);
    while (now < 5 * (uint64_t)NS_PER_SECOND) {
        now += roll(200000);
        while (shape_take(&shape, 99, now))
            sent += 99;
    }
    assert_true(sent > 5000015 * UINT64_C(99) / 100 && sent < 5000015 + 10000 + 2000);
}

static void no_rate_is_no_limit(void **state)
{
    struct shape shape;
    (void)state;
    shape_set(&shape, 0, 0, 1);
    assert_true(shape_take(&shape, UINT32_MAX, 1));
    assert_int_equal(shape_when(&shape, UINT32_MAX, 1), 0);
}

static void a_long_pause_gives_no_more_than_the_burst(void **state)
{
    struct shape shape;
    (void)state;
    shape_set(&shape, UINT64_C(1) << 40, 5, 1);
    assert_true(shape_take(&shape, 5, UINT64_MAX / 2));
    assert_false(shape_take(&shape, 1, UINT64_MAX / 2));
}

/* Ports that always have something to send get their weight's part, whatever their lengths. */
static void weights_are_shares(void **state)
{
    static const uint8_t weights[] = {1, 10, 30, 59};
    struct share share = {0};
    uint64_t sent[4] = {0};
    uint64_t total = 0;
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        share.weight[i] = weights[i];
    for (unsigned i = 0; i < 400000; i++) {
        unsigned port = share_next(&share, 15);
        size_t length = port == 1 ? 64 : 60 + roll(1400);
        share_sent(&share, port, length);
        sent[port] += length;
        total += length;
    }
    for (unsigned i = 0; i < 4; i++) {
        double part = (double)sent[i] / (double)total * 100;
        assert_true(part > weights[i] * 0.97 && part < weights[i] * 1.03);
    }
}

/* Who was silent does not get what it did not use. */
static void silence_saves_nothing_up(void **state)
{
    struct share share = {.weight = {1, 1}};
    unsigned sent[2] = {0};
    (void)state;
    for (unsigned i = 0; i < 10000; i++)
        share_sent(&share, share_next(&share, 1), 1000);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned port = share_next(&share, 3);
        share_sent(&share, port, 1000);
        sent[port]++;
    }
    assert_in_range(sent[1], 499, 502);
}

static void a_charge_is_paid_for_later(void **state)
{
    struct shape shape;
    (void)state;
    shape_set(&shape, 1000, 100, 1);
    shape_charge(&shape, 300, 1);
    assert_false(shape_take(&shape, 1, 1));
    assert_true(shape_when(&shape, 1, 1) == 1 + UINT64_C(201) * 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_charge_is_paid_for_later),
        cmocka_unit_test(rates_are_kept),
        cmocka_unit_test(steps_of_time_do_not_matter),
        cmocka_unit_test(no_rate_is_no_limit),
        cmocka_unit_test(a_long_pause_gives_no_more_than_the_burst),
        cmocka_unit_test(weights_are_shares),
        cmocka_unit_test(silence_saves_nothing_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
