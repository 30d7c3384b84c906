/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/pit_counter.h"

#include <errno.h>
#include <stdlib.h>

#define START UINT64_C(1000000)

static struct pit_counter programmed(unsigned mode, uint16_t count, bool gate)
{
    struct pit_counter c = {.gate = gate};
    pit_counter_control(&c, (uint8_t)(0x30 | mode << 1));
    pit_counter_write(&c, START, (uint8_t)count);
    pit_counter_write(&c, START, (uint8_t)(count >> 8));
    return c;
}

/* Looking at the output of every tick finds the rises that were announced, and no others. */
static void assert_rises_are_announced(struct pit_counter *c, uint64_t from, unsigned ticks)
{
    bool rises;
    bool before = pit_counter_output(c, from);
    uint64_t event = pit_counter_next_event(c, from, &rises);
    for (uint64_t now = from + 1; now < from + ticks; now++) {
        bool output = pit_counter_output(c, now);
        assert_int_equal(output && !before, event == now && rises);
        before = output;
        if (event == now)
            event = pit_counter_next_event(c, now, &rises);
        assert_true(event > now);
    }
}

static void every_rise_is_announced(void **state)
{
    (void)state;
    for (unsigned mode = 0; mode < 6; mode++) {
        for (uint16_t count = 2; count < 40; count++) {
            struct pit_counter c = programmed(mode, count, true);
            assert_rises_are_announced(&c, START, 200);
            c = programmed(mode, count, false);
            pit_counter_set_gate(&c, START + 20, true);
            assert_rises_are_announced(&c, START + 20, 200);
        }
    }
}

static void every_rise_is_announced_when_the_count_changes(void **state)
{
    (void)state;
    for (unsigned mode = 2; mode < 4; mode++) {
        for (unsigned when = 1; when < 60; when++) {
            for (uint8_t next = 2; next < 30; next++) {
                struct pit_counter c = programmed(mode, 20, true);
                pit_counter_write(&c, START + when, next);
                pit_counter_write(&c, START + when, 0);
                assert_rises_are_announced(&c, START + when, 150);
                assert_false(c.switching);
                assert_int_equal(c.reload, next);
            }
        }
    }
}

static void second_count_replaces_the_one_that_waits(void **state)
{
    (void)state;
    struct pit_counter c = programmed(2, 100, true);
    bool rises;
    for (uint8_t count = 50; count <= 70; count += 20) {
        pit_counter_write(&c, START + count, count);
        pit_counter_write(&c, START + count, 0);
    }
    assert_int_equal(pit_counter_next_event(&c, START + 80, &rises), START + 101);
    assert_int_equal(pit_counter_next_event(&c, START + 101, &rises), START + 101 + 70);
}

static void odd_digits_of_bcd_are_taken_by_weight(void **state)
{
    (void)state;
    struct pit_counter c = {.gate = true};
    pit_counter_control(&c, 0x35);
    pit_counter_write(&c, START, 0xff);
    pit_counter_write(&c, START, 0xff);
    assert_int_equal(c.reload, 16665);
    pit_counter_latch_count(&c, START + 1);
    assert_int_equal(pit_counter_read(&c, START + 1), 0x65);
    assert_int_equal(pit_counter_read(&c, START + 1), 0x66);
}

static void mode_bits_6_and_7_are_modes_2_and_3(void **state)
{
    (void)state;
    struct pit_counter c = {.gate = true};
    pit_counter_control(&c, 0x3c);
    assert_int_equal(c.mode, 2);
    pit_counter_control(&c, 0x3e);
    assert_int_equal(c.mode, 3);
}

static int save_and_load(struct pit_counter *from, struct pit_counter *to, uint64_t now,
                         uint64_t later)
{
    struct state_visitor *save = NULL;
    struct state_visitor *load = NULL;
    assert_int_equal(state_save_create(&save), 0);
    int error = pit_counter_visit(from, save, 1, now);
    if (error == 0) {
        size_t length;
        const uint8_t *bytes = state_saved(save, &length);
        assert_int_equal(state_load_create(bytes, length, &load), 0);
        error = pit_counter_visit(to, load, 1, later);
        state_destroy(load);
    }
    state_destroy(save);
    return error;
}

static void state_moves_to_another_clock(void **state)
{
    (void)state;
    struct pit_counter c = programmed(3, 1000, true);
    struct pit_counter d = {0};
    bool rises;
    pit_counter_write(&c, START + 100, 0x20);
    pit_counter_write(&c, START + 100, 0x00);
    assert_int_equal(save_and_load(&c, &d, START + 300, 77), 0);
    assert_int_equal(pit_counter_next_event(&d, 77, &rises), 77 + 501 - 300);
    assert_false(rises); /* the high half ends there */
    assert_true(pit_counter_output(&d, 77 + 200));
    assert_false(pit_counter_output(&d, 77 + 201));
    assert_true(pit_counter_output(&d, 77 + 201 + 16));
}

static void impossible_state_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        uint32_t value;
        bool wide;
    } bad[] = {{"mode", 6, false},   {"access", 0, false},      {"access", 4, false},
               {"reload", 0, true},  {"reload", 0x10001, true}, {"next", 0, true},
               {"running", 2, false}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct state_visitor *save = NULL;
        struct state_visitor *load = NULL;
        uint8_t byte = (uint8_t)bad[i].value;
        uint32_t wide = bad[i].value;
        assert_int_equal(state_save_create(&save), 0);
        state_begin(save, "pit-1", 1);
        if (bad[i].wide)
            state_u32(save, bad[i].field, &wide);
        else
            state_u8(save, bad[i].field, &byte);
        assert_int_equal(state_end(save), 0);
        size_t length;
        const uint8_t *bytes = state_saved(save, &length);
        assert_int_equal(state_load_create(bytes, length, &load), 0);
        struct pit_counter c = programmed(2, 100, true);
        assert_int_equal(pit_counter_visit(&c, load, 1, START), -EINVAL);
        assert_int_equal(c.mode, 2);
        assert_int_equal(c.reload, 100);
        state_destroy(load);
        state_destroy(save);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rise_is_announced),
        cmocka_unit_test(every_rise_is_announced_when_the_count_changes),
        cmocka_unit_test(second_count_replaces_the_one_that_waits),
        cmocka_unit_test(odd_digits_of_bcd_are_taken_by_weight),
        cmocka_unit_test(mode_bits_6_and_7_are_modes_2_and_3),
        cmocka_unit_test(state_moves_to_another_clock),
        cmocka_unit_test(impossible_state_is_refused),
    };
    return cmocka_run_group_tests_name("pit_counter", tests, NULL, NULL);
}
