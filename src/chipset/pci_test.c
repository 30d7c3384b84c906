/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/pci.h"

#include <stdlib.h>

#include "chipset/fake_host.h"
#include "chipset/reset.h"

enum { BRIDGE = (int)0x80000000, VIDEO = (int)0x80004000, VIDEO_GPA = (int)0xf8000000 };
enum { VIDEO_SIZE = 8 << 20, ADDRESS = 0xcf8, DATA = 0xcfc };

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct pci *pci;
    struct reset *reset;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(pci_create((uint32_t)VIDEO_GPA, VIDEO_SIZE, &f->pci), 0);
    assert_int_equal(reset_create(&f->fake.host, f->pci, &f->reset), 0);
    assert_int_equal(reset_attach(f->reset, f->bus), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    reset_destroy(f->reset);
    pci_destroy(f->pci);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static uint32_t get(struct fixture *f, int address)
{
    bus_port_write(f->bus, ADDRESS, 4, (uint32_t)address);
    return bus_port_read(f->bus, DATA, 4);
}

static void put(struct fixture *f, int address, uint32_t value)
{
    bus_port_write(f->bus, ADDRESS, 4, (uint32_t)address);
    bus_port_write(f->bus, DATA, 4, value);
}

static void a_bridge_and_a_video_device_are_there(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, BRIDGE), 0x71928086);
    assert_int_equal(get(f, BRIDGE + 8), 0x06000000);
    assert_int_equal(get(f, VIDEO), 0x53531414);
    assert_int_equal(get(f, VIDEO + 8), 0x03800000);
    assert_int_equal(get(f, VIDEO + 0x10), 0xf8000008);
    assert_int_equal(get(f, VIDEO + 0x14), 0);
    assert_int_equal(bus_port_read(f->bus, ADDRESS, 4), (uint32_t)VIDEO + 0x14);
}

static void elsewhere_nobody_answers(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, BRIDGE + 0x100), UINT32_MAX);   /* another function */
    assert_int_equal(get(f, VIDEO + 0x800), UINT32_MAX);    /* another device */
    assert_int_equal(get(f, BRIDGE + 0x10000), UINT32_MAX); /* another bus */
    assert_int_equal(get(f, VIDEO & 0x7fffffff), UINT32_MAX);
    put(f, VIDEO & 0x7fffffff, 0);
    put(f, VIDEO, 0);
    assert_int_equal(get(f, VIDEO), 0x53531414);
}

static void parts_of_a_register_are_read_and_written(void **state)
{
    struct fixture *f = *state;
    (void)get(f, VIDEO);
    assert_int_equal(bus_port_read(f->bus, DATA, 2), 0x1414);
    assert_int_equal(bus_port_read(f->bus, DATA + 2, 2), 0x5353);
    assert_int_equal(bus_port_read(f->bus, DATA + 3, 1), 0x53);
    bus_port_write(f->bus, ADDRESS, 4, (uint32_t)VIDEO + 4);
    bus_port_write(f->bus, DATA, 2, 0xffff);
    assert_int_equal(get(f, VIDEO + 4), 0x07);
    bus_port_write(f->bus, DATA + 1, 1, 0xff);
    assert_int_equal(get(f, VIDEO + 4), 0x07);
    bus_port_write(f->bus, DATA, 1, 0);
    assert_int_equal(get(f, VIDEO + 4), 0);
}

static void the_bar_tells_its_size_and_can_be_moved(void **state)
{
    struct fixture *f = *state;
    put(f, VIDEO + 0x10, UINT32_MAX);
    assert_int_equal(get(f, VIDEO + 0x10), 0xff800008); /* 8 MiB */
    put(f, VIDEO + 0x10, 0xfa000000);
    assert_int_equal(get(f, VIDEO + 0x10), 0xfa000008);
    pci_reset(f->pci);
    assert_int_equal(get(f, VIDEO + 0x10), 0xf8000008);
    assert_int_equal(get(f, VIDEO + 4), 2);
}

static void the_reset_register_is_not_pcis(void **state)
{
    struct fixture *f = *state;
    (void)get(f, VIDEO);
    bus_port_write(f->bus, 0xcf9, 1, 2);
    assert_int_equal(bus_port_read(f->bus, 0xcf9, 1), 2);
    assert_int_equal(bus_port_read(f->bus, ADDRESS, 4), (uint32_t)VIDEO);
    bus_port_write(f->bus, ADDRESS, 1, 0x10); /* no doubleword */
    assert_int_equal(bus_port_read(f->bus, ADDRESS, 4), (uint32_t)VIDEO);
    assert_int_equal(f->fake.powers, 0);
    bus_port_write(f->bus, 0xcf9, 1, 6);
    assert_int_equal(f->fake.powers, 1);
}

static void state_is_kept_and_checked(void **state)
{
    struct fixture *f = *state;
    struct state_visitor *v = NULL;
    size_t length = 0;

    put(f, VIDEO + 0x10, 0xfa000000);
    assert_int_equal(state_save_create(&v), 0);
    assert_int_equal(pci_visit_state(f->pci, v), 0);
    const uint8_t *saved = state_saved(v, &length);
    uint8_t *copy = malloc(length);
    assert_non_null(copy);
    for (size_t i = 0; i < length; i++)
        copy[i] = saved[i];
    state_destroy(v);
    pci_reset(f->pci);
    assert_int_equal(state_load_create(copy, length, &v), 0);
    assert_int_equal(pci_visit_state(f->pci, v), 0);
    state_destroy(v);
    assert_int_equal(get(f, VIDEO + 0x10), 0xfa000008);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_bridge_and_a_video_device_are_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(elsewhere_nobody_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_a_register_are_read_and_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_bar_tells_its_size_and_can_be_moved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_reset_register_is_not_pcis, set_up, tear_down),
        cmocka_unit_test_setup_teardown(state_is_kept_and_checked, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
