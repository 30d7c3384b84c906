/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/pit.h"

#include "chipset/fake_host.h"
#include "chipset/pit_counter.h"

enum { COUNTER0 = 0x40, COUNTER2 = 0x42, CONTROL = 0x43, SPEAKER = 0x61 };
enum { OUTPUT = 0x20, GATE = 0x01 };

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct pit *pit;
    uint64_t ticks; /* now */
};

static void expired(void *device, unsigned timer)
{
    struct fixture *f = device;
    assert_int_equal(timer, CHIPSET_TIMER_PIT);
    pit_timer_expired(f->pit);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    f->fake.device = f;
    f->fake.expired = expired;
    f->ticks = UINT64_C(1000) * PIT_HZ; /* what fake_init begins with */
    struct line line = fake_line(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(pit_create(&f->fake.host, &line, &f->pit), 0);
    assert_int_equal(pit_attach(f->pit, f->bus), 0);
    f->fake.rises = 0;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pit_destroy(f->pit);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
    bus_port_write(f->bus, port, 1, value);
}

static unsigned in(struct fixture *f, uint16_t port)
{
    return bus_port_read(f->bus, port, 1);
}

static void tick(struct fixture *f, uint64_t ticks)
{
    f->ticks += ticks;
    fake_pass(&f->fake, ns_from_ticks(f->ticks, PIT_HZ) - f->fake.now);
}

static void program(struct fixture *f, unsigned counter, unsigned mode, uint16_t count)
{
    out(f, CONTROL, (uint8_t)(counter << 6 | 0x30 | mode << 1));
    out(f, (uint16_t)(COUNTER0 + counter), (uint8_t)count);
    out(f, (uint16_t)(COUNTER0 + counter), (uint8_t)(count >> 8));
}

static unsigned latched(struct fixture *f, unsigned counter)
{
    out(f, CONTROL, (uint8_t)(counter << 6));
    unsigned low = in(f, (uint16_t)(COUNTER0 + counter));
    return low | in(f, (uint16_t)(COUNTER0 + counter)) << 8;
}

static bool output2(struct fixture *f)
{
    return (in(f, SPEAKER) & OUTPUT) != 0;
}

static void mode_0_interrupts_once_one_tick_after_the_count(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 0, 1000);
    assert_false(f->fake.level);
    tick(f, 1);
    assert_int_equal(latched(f, 0), 1000);
    tick(f, 400);
    assert_int_equal(latched(f, 0), 600);
    tick(f, 599);
    assert_false(f->fake.level);
    tick(f, 1);
    assert_true(f->fake.level);
    assert_int_equal(latched(f, 0), 0);
    tick(f, 1);
    assert_int_equal(latched(f, 0), 0xffff); /* goes on counting */
    tick(f, 500000);
    assert_int_equal(f->fake.rises, 1);
    assert_int_equal(f->fake.deadline[CHIPSET_TIMER_PIT], 0);
}

static void mode_0_first_byte_stops_the_count(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 0, 100);
    tick(f, 50);
    out(f, COUNTER0, 10);
    tick(f, 1000);
    assert_int_equal(f->fake.rises, 0);
    out(f, COUNTER0, 0);
    tick(f, 11);
    assert_int_equal(f->fake.rises, 1);
}

static void mode_0_gate_holds_the_count(void **state)
{
    struct fixture *f = *state;
    out(f, SPEAKER, GATE);
    program(f, 2, 0, 100);
    tick(f, 41);
    out(f, SPEAKER, 0);
    tick(f, 1000);
    assert_int_equal(latched(f, 2), 60);
    assert_false(output2(f));
    out(f, SPEAKER, GATE);
    tick(f, 59);
    assert_false(output2(f));
    tick(f, 1);
    assert_true(output2(f));
}

static void mode_1_is_a_pulse_that_the_gate_starts_anew(void **state)
{
    struct fixture *f = *state;
    out(f, SPEAKER, 0);
    program(f, 2, 1, 10);
    assert_true(output2(f));
    tick(f, 100);
    assert_true(output2(f));
    out(f, SPEAKER, GATE);
    assert_true(output2(f));
    tick(f, 1);
    assert_false(output2(f));
    out(f, SPEAKER, 0); /* its fall does nothing */
    tick(f, 5);
    out(f, SPEAKER, GATE);
    assert_false(output2(f));
    tick(f, 9);
    assert_false(output2(f));
    tick(f, 1);
    assert_true(output2(f));
    tick(f, 1000);
    assert_true(output2(f));
}

static void mode_2_interrupts_every_period(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 2, 1193);
    tick(f, 1);
    assert_int_equal(latched(f, 0), 1193);
    tick(f, 1192);
    assert_int_equal(latched(f, 0), 1);
    unsigned rises = f->fake.rises;
    tick(f, 1);
    assert_int_equal(latched(f, 0), 1193);
    assert_int_equal(f->fake.rises, rises + 1);
    tick(f, UINT64_C(1193) * 1000);
    assert_int_equal(f->fake.rises, rises + 1001);
}

static void mode_2_count_of_zero_is_65536(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 2, 0);
    unsigned rises = f->fake.rises;
    tick(f, 2);
    assert_int_equal(latched(f, 0), 0xffff);
    tick(f, 65534);
    assert_int_equal(f->fake.rises, rises);
    tick(f, 1);
    assert_int_equal(f->fake.rises, rises + 1);
}

static void mode_2_output_is_low_for_the_last_tick(void **state)
{
    struct fixture *f = *state;
    out(f, SPEAKER, GATE);
    program(f, 2, 2, 5);
    tick(f, 1);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(output2(f), i % 5 != 4);
        tick(f, 1);
    }
    tick(f, 4);
    assert_false(output2(f));
    out(f, SPEAKER, 0); /* the gate forces it high, and its rise starts a period */
    assert_true(output2(f));
    tick(f, 100);
    assert_true(output2(f));
    out(f, SPEAKER, GATE);
    tick(f, 1);
    assert_int_equal(latched(f, 2), 5);
    tick(f, 4);
    assert_false(output2(f));
}

static void mode_2_new_count_waits_for_the_period(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 2, 1000);
    tick(f, 101);
    out(f, COUNTER0, 2000 & 0xff);
    out(f, COUNTER0, 2000 >> 8);
    assert_int_equal(latched(f, 0), 900);
    unsigned rises = f->fake.rises;
    tick(f, 900);
    assert_int_equal(f->fake.rises, rises + 1);
    assert_int_equal(latched(f, 0), 2000);
    tick(f, 1999);
    assert_int_equal(f->fake.rises, rises + 1);
    tick(f, 1);
    assert_int_equal(f->fake.rises, rises + 2);
}

static void mode_3_is_half_high_half_low(void **state)
{
    struct fixture *f = *state;
    out(f, SPEAKER, GATE);
    program(f, 2, 3, 6);
    tick(f, 1);
    static const unsigned even[6] = {6, 4, 2, 6, 4, 2};
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(output2(f), i % 6 < 3);
        assert_int_equal(latched(f, 2), even[i % 6]);
        tick(f, 1);
    }
    program(f, 2, 3, 5);
    tick(f, 1);
    static const unsigned odd[5] = {4, 2, 0, 4, 2};
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(output2(f), i % 5 < 3);
        assert_int_equal(latched(f, 2), odd[i % 5]);
        tick(f, 1);
    }
}

static void mode_3_new_count_waits_for_the_half_period(void **state)
{
    struct fixture *f = *state;
    out(f, SPEAKER, GATE);
    program(f, 2, 3, 100);
    tick(f, 11); /* ten into the high half */
    out(f, COUNTER2, 20);
    out(f, COUNTER2, 0);
    tick(f, 39);
    assert_true(output2(f));
    tick(f, 1); /* the half ends: low, of the new length */
    assert_false(output2(f));
    assert_int_equal(latched(f, 2), 20);
    tick(f, 9);
    assert_false(output2(f));
    tick(f, 1);
    assert_true(output2(f));
    tick(f, 10);
    assert_false(output2(f));
}

static void mode_3_on_counter_0_interrupts_every_period(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 3, 1000);
    unsigned rises = f->fake.rises;
    tick(f, 1001);
    assert_int_equal(f->fake.rises, rises + 1);
    tick(f, 100);
    out(f, COUNTER0, 2000 & 0xff); /* from the next half period on: 400 ticks ahead */
    out(f, COUNTER0, 2000 >> 8);
    tick(f, 400 + 999);
    assert_int_equal(f->fake.rises, rises + 1);
    tick(f, 1);
    assert_int_equal(f->fake.rises, rises + 2);
    tick(f, 2000);
    assert_int_equal(f->fake.rises, rises + 3);
}

static void mode_4_strobes_once(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 4, 500);
    unsigned rises = f->fake.rises;
    tick(f, 501);
    assert_int_equal(f->fake.rises, rises);
    tick(f, 1);
    assert_int_equal(f->fake.rises, rises + 1);
    tick(f, 200000);
    assert_int_equal(f->fake.rises, rises + 1);
    out(f, COUNTER0, 50); /* a new count starts it again at once */
    out(f, COUNTER0, 0);
    tick(f, 52);
    assert_int_equal(f->fake.rises, rises + 2);
    out(f, SPEAKER, GATE);
    program(f, 2, 4, 3);
    tick(f, 3);
    assert_true(output2(f));
    tick(f, 1);
    assert_false(output2(f));
    tick(f, 1);
    assert_true(output2(f));
}

static void mode_5_strobes_after_a_trigger(void **state)
{
    struct fixture *f = *state;
    out(f, SPEAKER, 0);
    program(f, 2, 5, 4);
    tick(f, 100);
    assert_true(output2(f));
    out(f, SPEAKER, GATE);
    tick(f, 4);
    assert_true(output2(f));
    tick(f, 1);
    assert_false(output2(f));
    tick(f, 1);
    assert_true(output2(f));
    program(f, 0, 5, 4); /* counter 0 has no gate to trigger it */
    unsigned rises = f->fake.rises;
    tick(f, 1000000);
    assert_int_equal(f->fake.rises, rises);
}

static void bcd_counts_in_decimal(void **state)
{
    struct fixture *f = *state;
    out(f, CONTROL, 0x35);
    out(f, COUNTER0, 0x00);
    out(f, COUNTER0, 0x10);
    tick(f, 1);
    assert_int_equal(latched(f, 0), 0x1000);
    tick(f, 1);
    assert_int_equal(latched(f, 0), 0x0999);
    out(f, CONTROL, 0x31); /* mode 0, 10000 */
    out(f, COUNTER0, 0);
    out(f, COUNTER0, 0);
    tick(f, 2);
    assert_int_equal(latched(f, 0), 0x9999);
}

static void single_byte_access_sets_the_other_to_zero(void **state)
{
    struct fixture *f = *state;
    out(f, CONTROL, 0x14);
    out(f, COUNTER0, 200);
    tick(f, 1);
    assert_int_equal(in(f, COUNTER0), 200);
    tick(f, 1);
    assert_int_equal(in(f, COUNTER0), 199);
    out(f, CONTROL, 0x24);
    out(f, COUNTER0, 2);
    tick(f, 2);
    assert_int_equal(in(f, COUNTER0), 1); /* high byte of 511 */
}

static void latch_holds_until_it_is_read(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 2, 0x1234);
    tick(f, 1);
    out(f, CONTROL, 0x00);
    tick(f, 10);
    out(f, CONTROL, 0x00); /* a second latch is ignored */
    assert_int_equal(in(f, COUNTER0), 0x34);
    tick(f, 10);
    assert_int_equal(in(f, COUNTER0), 0x12);
    assert_int_equal(in(f, COUNTER0), 0x34 - 20);
    assert_int_equal(in(f, COUNTER0), 0x12);
}

static void read_back_latches_status_before_count(void **state)
{
    struct fixture *f = *state;
    out(f, SPEAKER, GATE);
    out(f, CONTROL, 0xb6);                   /* counter 2, mode 3 */
    out(f, CONTROL, 0xe8);                   /* status of counter 2 */
    assert_int_equal(in(f, COUNTER2), 0xf6); /* high, null count */
    out(f, COUNTER2, 0x10);
    out(f, COUNTER2, 0x27);
    tick(f, 1);
    out(f, CONTROL, 0xc8); /* both */
    tick(f, 100);
    out(f, CONTROL, 0xc8);
    assert_int_equal(in(f, COUNTER2), 0xb6);
    assert_int_equal(in(f, COUNTER2), 0x10);
    assert_int_equal(in(f, COUNTER2), 0x27);
    out(f, CONTROL, 0xde); /* counts of all three */
    assert_int_equal(in(f, COUNTER2), 0x10 - 200 + 256);
    assert_int_equal(in(f, COUNTER2), 0x26);
    assert_int_equal(in(f, CONTROL), 0xff);
}

static void refresh_bit_toggles(void **state)
{
    struct fixture *f = *state;
    unsigned changes = 0;
    unsigned last = in(f, SPEAKER) & 0x10;
    for (unsigned i = 0; i < 1000; i++) {
        fake_pass(&f->fake, 1000);
        unsigned value = in(f, SPEAKER) & 0x10;
        changes += value != last ? 1 : 0;
        last = value;
    }
    assert_in_range(changes, 66, 67); /* a millisecond in steps of 15.085 us */
    out(f, SPEAKER, 0xff);
    assert_int_equal(in(f, SPEAKER) & 0xcf, 0x0f);
}

static void late_timer_gives_one_interrupt_and_keeps_the_phase(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 2, 1193);
    unsigned rises = f->fake.rises;
    f->ticks += UINT64_C(1193) * 10 + 600; /* nobody calls for ten periods */
    f->fake.now = ns_from_ticks(f->ticks, PIT_HZ);
    pit_timer_expired(f->pit);
    assert_int_equal(f->fake.rises, rises + 1);
    tick(f, 593);
    assert_int_equal(f->fake.rises, rises + 1);
    tick(f, 1);
    assert_int_equal(f->fake.rises, rises + 2);
}

static void shortest_period_does_not_drown_the_host(void **state)
{
    struct fixture *f = *state;
    program(f, 0, 2, 2);
    unsigned rises = f->fake.rises;
    fake_pass(&f->fake, NS_PER_SECOND / 100);
    assert_in_range(f->fake.rises - rises, 90, 101);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mode_0_interrupts_once_one_tick_after_the_count),
        TEST(mode_0_first_byte_stops_the_count),
        TEST(mode_0_gate_holds_the_count),
        TEST(mode_1_is_a_pulse_that_the_gate_starts_anew),
        TEST(mode_2_interrupts_every_period),
        TEST(mode_2_count_of_zero_is_65536),
        TEST(mode_2_output_is_low_for_the_last_tick),
        TEST(mode_2_new_count_waits_for_the_period),
        TEST(mode_3_is_half_high_half_low),
        TEST(mode_3_new_count_waits_for_the_half_period),
        TEST(mode_3_on_counter_0_interrupts_every_period),
        TEST(mode_4_strobes_once),
        TEST(mode_5_strobes_after_a_trigger),
        TEST(bcd_counts_in_decimal),
        TEST(single_byte_access_sets_the_other_to_zero),
        TEST(latch_holds_until_it_is_read),
        TEST(read_back_latches_status_before_count),
        TEST(refresh_bit_toggles),
        TEST(late_timer_gives_one_interrupt_and_keeps_the_phase),
        TEST(shortest_period_does_not_drown_the_host),
    };
    return cmocka_run_group_tests_name("pit", tests, NULL, NULL);
}
