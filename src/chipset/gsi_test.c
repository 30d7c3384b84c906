/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/gsi.h"

#include "chipset/fake_host.h"

#define IOAPIC CHIPSET_IOAPIC_GPA
#define LEVEL  UINT32_C(0x8000)

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct gsi_router router;
};

static void route(struct fixture *f, unsigned pin, uint32_t entry)
{
    bus_mmio_write(f->bus, IOAPIC, 4, 0x10 + 2 * pin);
    bus_mmio_write(f->bus, IOAPIC + 0x10, 4, entry);
}

/* Inputs of the 8259 pair are vectors from 0, automatic EOI; pins of the I/O APIC from 0x40. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(ioapic_create(&f->fake.host, &f->router.ioapic), 0);
    assert_int_equal(ioapic_attach(f->router.ioapic, f->bus, IOAPIC), 0);
    assert_int_equal(pic_create(&f->fake.host, &f->router.pic), 0);
    assert_int_equal(pic_attach(f->router.pic, f->bus), 0);
    for (uint16_t port = 0x20; port <= 0xa0; port += 0x80) {
        bus_port_write(f->bus, port, 1, 0x11);
        bus_port_write(f->bus, port + 1, 1, port == 0x20 ? 0 : 8);
        bus_port_write(f->bus, port + 1, 1, 0);
        bus_port_write(f->bus, port + 1, 1, 0x03);
    }
    for (unsigned pin = 0; pin < CHIPSET_GSI_COUNT; pin++)
        route(f, pin, 0x40 + pin);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pic_destroy(f->router.pic);
    ioapic_destroy(f->router.ioapic);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static void each_gsi_has_its_inputs(void **state)
{
    struct fixture *f = *state;
    for (unsigned gsi = 0; gsi < CHIPSET_GSI_COUNT; gsi++) {
        f->fake.interrupts = 0;
        gsi_set(&f->router, GSI_FROM_MACHINE, gsi, true);
        if (gsi == 2) { /* the cascade */
            assert_int_equal(f->fake.interrupts, 0);
            assert_false(f->fake.extint);
            continue;
        }
        assert_int_equal(f->fake.interrupts, 1);
        assert_int_equal(f->fake.interrupt[0].vector, gsi == 0 ? 0x42 : 0x40 + gsi);
        assert_int_equal(f->fake.extint, gsi < 16);
        if (gsi < 16)
            assert_int_equal(pic_acknowledge(f->router.pic), gsi);
    }
    f->fake.interrupts = 0;
    gsi_set(&f->router, GSI_FROM_MACHINE, 24, true);
    gsi_set(&f->router, GSI_FROM_MACHINE, UINT32_MAX, true);
    assert_int_equal(f->fake.interrupts, 0);
}

static void line_is_the_or_of_its_sources(void **state)
{
    struct fixture *f = *state;
    route(f, 10, LEVEL | 0x60);
    gsi_set(&f->router, GSI_FROM_MACHINE, 10, true);
    gsi_set_from_device(&f->router, 10, true);
    gsi_set_from_test(&f->router, 10, true);
    assert_int_equal(f->fake.interrupts, 1);
    gsi_set(&f->router, GSI_FROM_MACHINE, 10, false);
    ioapic_end_of_interrupt(f->router.ioapic, 0x60);
    gsi_set_from_device(&f->router, 10, false);
    ioapic_end_of_interrupt(f->router.ioapic, 0x60);
    assert_int_equal(f->fake.interrupts, 3); /* one still asks */
    gsi_set_from_test(&f->router, 10, false);
    ioapic_end_of_interrupt(f->router.ioapic, 0x60);
    assert_int_equal(f->fake.interrupts, 3);
}

static void state_keeps_who_asks(void **state)
{
    struct fixture *f = *state;
    struct state_visitor *save = NULL;
    struct state_visitor *load = NULL;
    gsi_set_from_device(&f->router, 4, true);
    gsi_set(&f->router, GSI_FROM_MACHINE, 23, true);
    assert_int_equal(state_save_create(&save), 0);
    assert_int_equal(gsi_visit_state(&f->router, save), 0);
    gsi_reset(&f->router);
    size_t length;
    const uint8_t *bytes = state_saved(save, &length);
    assert_int_equal(state_load_create(bytes, length, &load), 0);
    assert_int_equal(gsi_visit_state(&f->router, load), 0);
    assert_int_equal(f->router.asserted[GSI_FROM_DEVICE], 1u << 4);
    assert_int_equal(f->router.asserted[GSI_FROM_MACHINE], 1u << 23);
    assert_int_equal(f->router.asserted[GSI_FROM_TEST], 0);
    state_destroy(load);
    state_destroy(save);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_gsi_has_its_inputs),
        TEST(line_is_the_or_of_its_sources),
        TEST(state_keeps_who_asks),
    };
    return cmocka_run_group_tests_name("gsi", tests, NULL, NULL);
}
