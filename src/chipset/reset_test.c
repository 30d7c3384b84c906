/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/reset.h"

#include "chipset/fake_host.h"

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct reset *reset;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(reset_create(&f->fake.host, NULL, &f->reset), 0);
    assert_int_equal(reset_attach(f->reset, f->bus), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    reset_destroy(f->reset);
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

static void assert_resets(const struct fixture *f, unsigned count)
{
    assert_int_equal(f->fake.powers, count);
    assert_int_equal(f->fake.power, CHIPSET_POWER_RESET);
}

static void reset_register_acts_when_bit_2_rises(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(in(f, 0xcf9), 0);
    out(f, 0xcf9, 0x02);
    assert_int_equal(f->fake.powers, 0);
    assert_int_equal(in(f, 0xcf9), 0x02);
    out(f, 0xcf9, 0x04);
    assert_resets(f, 1);
    out(f, 0xcf9, 0x06); /* still up */
    assert_resets(f, 1);
    out(f, 0xcf9, 0x00);
    out(f, 0xcf9, 0x06);
    assert_resets(f, 2);
    out(f, 0xcf9, 0x00);
    out(f, 0xcf9, 0x0e);
    assert_resets(f, 3);
}

static void pci_configuration_is_not_there(void **state)
{
    struct fixture *f = *state;
    /* Device 0 function 6: its second byte would be a reset. */
    bus_port_write(f->bus, 0xcf8, 4, 0x80000600);
    bus_port_write(f->bus, 0xcf8, 2, 0x0600);
    bus_port_write(f->bus, 0xcf9, 2, 0x0006);
    assert_int_equal(f->fake.powers, 0);
    assert_int_equal(bus_port_read(f->bus, 0xcf8, 4), 0xffffffff);
    assert_int_equal(bus_port_read(f->bus, 0xcfc, 4), 0xffffffff);
    assert_int_equal(bus_port_read(f->bus, 0xcf9, 2), 0xffff);
    assert_int_equal(in(f, 0xcfb), 0xff);
    out(f, 0xcfb, 0x06);
    assert_int_equal(f->fake.powers, 0);
}

static void port_92_resets_when_bit_0_rises(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(in(f, 0x92), 0x02);
    out(f, 0x92, 0x00);
    assert_int_equal(in(f, 0x92), 0x00);
    out(f, 0x92, 0x02);
    assert_int_equal(f->fake.powers, 0);
    out(f, 0x92, 0x03);
    assert_resets(f, 1);
    out(f, 0x92, 0x01);
    assert_resets(f, 1);
}

static void keyboard_controller_is_idle_and_tests_well(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(in(f, 0x64) & 0x03, 0);
    out(f, 0x64, 0xaa);
    assert_int_equal(in(f, 0x64) & 0x05, 0x05);
    assert_int_equal(in(f, 0x60), 0x55);
    assert_int_equal(in(f, 0x64) & 0x01, 0);
    out(f, 0x60, 0xed); /* a keyboard would answer */
    assert_int_equal(in(f, 0x64) & 0x01, 0);
    out(f, 0x64, 0x20); /* and so would a controller that has one */
    assert_int_equal(in(f, 0x64) & 0x01, 0);
}

static void a20_switches_are_harmless(void **state)
{
    struct fixture *f = *state;
    out(f, 0x64, 0xd1);
    out(f, 0x60, 0xdf);
    out(f, 0x64, 0xdd);
    out(f, 0x64, 0xdf);
    out(f, 0x64, 0xff);
    assert_int_equal(f->fake.powers, 0);
    out(f, 0x64, 0xd0);
    assert_int_equal(in(f, 0x60), 0x03);
    out(f, 0x60, 0xfe); /* data, not for the output port */
    assert_int_equal(f->fake.powers, 0);
}

static void keyboard_controller_resets(void **state)
{
    struct fixture *f = *state;
    out(f, 0x64, 0xfe);
    assert_resets(f, 1);
    out(f, 0x64, 0xd1);
    out(f, 0x60, 0xfe);
    assert_resets(f, 2);
    out(f, 0x64, 0xd1);
    out(f, 0x64, 0xaa); /* another command takes its place */
    out(f, 0x60, 0xfe);
    assert_resets(f, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reset_register_acts_when_bit_2_rises),
        TEST(pci_configuration_is_not_there),
        TEST(port_92_resets_when_bit_0_rises),
        TEST(keyboard_controller_is_idle_and_tests_well),
        TEST(a20_switches_are_harmless),
        TEST(keyboard_controller_resets),
    };
    return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
