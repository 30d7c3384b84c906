/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/ioapic.h"

#include "chipset/fake_host.h"

enum { PIN = 14 };
#define BASE   UINT64_C(0xfec00000)
#define LEVEL  UINT32_C(0x8000)
#define MASKED UINT32_C(0x10000)
#define REMOTE UINT32_C(0x4000)

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct ioapic *ioapic;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(ioapic_create(&f->fake.host, &f->ioapic), 0);
    assert_int_equal(ioapic_attach(f->ioapic, f->bus, BASE), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ioapic_destroy(f->ioapic);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static uint32_t get(struct fixture *f, unsigned index)
{
    bus_mmio_write(f->bus, BASE, 4, index);
    return (uint32_t)bus_mmio_read(f->bus, BASE + 0x10, 4);
}

static void put(struct fixture *f, unsigned index, uint32_t value)
{
    bus_mmio_write(f->bus, BASE, 4, index);
    bus_mmio_write(f->bus, BASE + 0x10, 4, value);
}

static uint32_t get_entry(struct fixture *f)
{
    return get(f, 0x10 + 2 * PIN);
}

static void put_entry(struct fixture *f, uint32_t low)
{
    put(f, 0x10 + 2 * PIN, low);
}

static void registers_read_as_the_data_sheet_says(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, 1), 0x00170020);
    put(f, 1, 0xffffffff);
    assert_int_equal(get(f, 1), 0x00170020);
    put(f, 0, 0xffffffff);
    assert_int_equal(get(f, 0), 0x0f000000);
    assert_int_equal(get(f, 2), 0x0f000000);
    put(f, 2, 0);
    assert_int_equal(get(f, 2), 0x0f000000);
    for (unsigned i = 0; i < 24; i++) {
        assert_int_equal(get(f, 0x10 + 2 * i), MASKED);
        assert_int_equal(get(f, 0x11 + 2 * i), 0);
    }
    assert_int_equal(get(f, 0x40), 0);
    put(f, 0xff, 0xffffffff);
    assert_int_equal(get(f, 0xff), 0);
    assert_int_equal(bus_mmio_read(f->bus, BASE, 1), 0xff);
    assert_int_equal(bus_mmio_read(f->bus, BASE + 0x20, 4), 0);
}

static void entry_keeps_its_writable_bits_only(void **state)
{
    struct fixture *f = *state;
    put(f, 0x10 + 2 * PIN + 1, 0xffffffff);
    put_entry(f, 0xffffffff);
    assert_int_equal(get_entry(f), 0x0001afff);
    assert_int_equal(get(f, 0x10 + 2 * PIN + 1), 0xff000000);
}

static void edge_sends_once_a_rise(void **state)
{
    struct fixture *f = *state;
    put(f, 0x10 + 2 * PIN + 1, 0x03000000);
    put_entry(f, 0x0977); /* logical, lowest priority */
    ioapic_set_pin(f->ioapic, PIN, true);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 1);
    assert_int_equal(f->fake.interrupt[0].vector, 0x77);
    assert_int_equal(f->fake.interrupt[0].delivery_mode, 1);
    assert_int_equal(f->fake.interrupt[0].destination, 3);
    assert_true(f->fake.interrupt[0].logical);
    assert_false(f->fake.interrupt[0].level);
    ioapic_set_pin(f->ioapic, PIN, false);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 2);
    assert_int_equal(get_entry(f), 0x0977);
    ioapic_end_of_interrupt(f->ioapic, 0x77);
    assert_int_equal(f->fake.interrupts, 2);
}

static void masked_edge_is_lost(void **state)
{
    struct fixture *f = *state;
    put_entry(f, MASKED | 0x81);
    ioapic_set_pin(f->ioapic, PIN, true);
    put_entry(f, 0x81);
    assert_int_equal(f->fake.interrupts, 0);
    ioapic_set_pin(f->ioapic, PIN, false);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 1);
}

static void level_waits_for_its_eoi(void **state)
{
    struct fixture *f = *state;
    put_entry(f, LEVEL | 0x98);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 1);
    assert_true(f->fake.interrupt[0].level);
    assert_int_equal(get_entry(f), LEVEL | REMOTE | 0x98);
    /* Falling and rising while it is in service is one interrupt with it. */
    ioapic_set_pin(f->ioapic, PIN, false);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 1);
    ioapic_end_of_interrupt(f->ioapic, 0x99);
    assert_int_equal(f->fake.interrupts, 1);
    ioapic_end_of_interrupt(f->ioapic, 0x98);
    assert_int_equal(f->fake.interrupts, 2); /* still asserted */
    ioapic_set_pin(f->ioapic, PIN, false);
    ioapic_end_of_interrupt(f->ioapic, 0x98);
    assert_int_equal(f->fake.interrupts, 2);
    assert_int_equal(get_entry(f), LEVEL | 0x98);
}

static void masked_level_is_sent_when_unmasked(void **state)
{
    struct fixture *f = *state;
    put_entry(f, MASKED | LEVEL | 0x82);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 0);
    put_entry(f, LEVEL | 0x82);
    assert_int_equal(f->fake.interrupts, 1);
    /* Masked in service: the EOI sends nothing, unmasking does. */
    put_entry(f, MASKED | LEVEL | 0x82);
    assert_int_equal(get_entry(f), MASKED | LEVEL | REMOTE | 0x82);
    ioapic_end_of_interrupt(f->ioapic, 0x82);
    assert_int_equal(f->fake.interrupts, 1);
    put_entry(f, LEVEL | 0x82);
    assert_int_equal(f->fake.interrupts, 2);
}

static void eoi_register_ends_an_interrupt(void **state)
{
    struct fixture *f = *state;
    put_entry(f, LEVEL | 0x55);
    ioapic_set_pin(f->ioapic, PIN, true);
    ioapic_set_pin(f->ioapic, PIN, false);
    bus_mmio_write(f->bus, BASE + 0x40, 4, 0x55);
    assert_int_equal(get_entry(f), LEVEL | 0x55);
}

static void turning_to_edge_forgets_remote_irr(void **state)
{
    struct fixture *f = *state;
    put_entry(f, LEVEL | 0x66);
    ioapic_set_pin(f->ioapic, PIN, true);
    put_entry(f, MASKED | 0x66);
    assert_int_equal(get_entry(f), MASKED | 0x66);
    put_entry(f, LEVEL | 0x66);
    assert_int_equal(f->fake.interrupts, 2);
}

static void one_eoi_serves_all_pins_of_its_vector(void **state)
{
    struct fixture *f = *state;
    put(f, 0x10, LEVEL | 0x40);
    put(f, 0x10 + 2 * 23, LEVEL | 0x40);
    ioapic_set_pin(f->ioapic, 0, true);
    ioapic_set_pin(f->ioapic, 23, true);
    assert_int_equal(f->fake.interrupts, 2);
    ioapic_end_of_interrupt(f->ioapic, 0x40);
    assert_int_equal(f->fake.interrupts, 4);
    ioapic_set_pin(f->ioapic, 24, true);
    ioapic_set_pin(f->ioapic, UINT32_MAX, true);
    assert_int_equal(f->fake.interrupts, 4);
}

static void nmi_and_extint_are_edges_whatever_the_entry_says(void **state)
{
    struct fixture *f = *state;
    put_entry(f, LEVEL | 0x400);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 1);
    assert_int_equal(f->fake.interrupt[0].delivery_mode, 4);
    assert_false(f->fake.interrupt[0].level);
    assert_int_equal(get_entry(f), LEVEL | 0x400);
    put_entry(f, LEVEL | 0x700);
    assert_int_equal(f->fake.interrupts, 1);
    ioapic_set_pin(f->ioapic, PIN, false);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupt[1].delivery_mode, 7);
}

static void polarity_is_kept_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    put_entry(f, LEVEL | 0x2000 | 0x30);
    assert_int_equal(f->fake.interrupts, 0);
    ioapic_set_pin(f->ioapic, PIN, true);
    assert_int_equal(f->fake.interrupts, 1);
    assert_int_equal(get_entry(f), LEVEL | 0x2000 | REMOTE | 0x30);
}

static void state_brings_back_a_pending_level(void **state)
{
    struct fixture *f = *state;
    put_entry(f, LEVEL | 0x71);
    ioapic_set_pin(f->ioapic, PIN, true);
    struct state_visitor *save = NULL;
    assert_int_equal(state_save_create(&save), 0);
    assert_int_equal(ioapic_visit_state(f->ioapic, save), 0);
    ioapic_reset(f->ioapic);
    assert_int_equal(get_entry(f), MASKED);

    size_t length;
    const uint8_t *bytes = state_saved(save, &length);
    struct state_visitor *load = NULL;
    assert_int_equal(state_load_create(bytes, length, &load), 0);
    assert_int_equal(ioapic_visit_state(f->ioapic, load), 0);
    assert_int_equal(get_entry(f), LEVEL | REMOTE | 0x71);
    assert_int_equal(f->fake.interrupts, 1);
    ioapic_end_of_interrupt(f->ioapic, 0x71);
    assert_int_equal(f->fake.interrupts, 2);
    state_destroy(load);
    state_destroy(save);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_read_as_the_data_sheet_says),
        TEST(entry_keeps_its_writable_bits_only),
        TEST(edge_sends_once_a_rise),
        TEST(masked_edge_is_lost),
        TEST(level_waits_for_its_eoi),
        TEST(masked_level_is_sent_when_unmasked),
        TEST(eoi_register_ends_an_interrupt),
        TEST(turning_to_edge_forgets_remote_irr),
        TEST(one_eoi_serves_all_pins_of_its_vector),
        TEST(nmi_and_extint_are_edges_whatever_the_entry_says),
        TEST(polarity_is_kept_and_changes_nothing),
        TEST(state_brings_back_a_pending_level),
    };
    return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
