/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/test_devices.h"

#include <errno.h>

#include "chipset/fake_host.h"

#define MIB (UINT64_C(1) << 20)

struct fixture {
    struct bus *bus;
    struct test_devices *devices;
    uint32_t lines;
};

static void set_line(void *owner, unsigned pin, bool level)
{
    struct fixture *f = owner;
    assert_in_range(pin, 0, CHIPSET_GSI_COUNT - 1);
    f->lines = level ? f->lines | 1u << pin : f->lines & ~(1u << pin);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    struct test_devices_config config = {
        .lines = {set_line, f, 0},
        .memory_size = 64 * MIB,
        .cpu_count = 3,
    };
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(test_devices_create(&config, &f->devices), 0);
    assert_int_equal(test_devices_attach(f->devices, f->bus), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    test_devices_destroy(f->devices);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static void echo_and_memory_remember(void **state)
{
    struct fixture *f = *state;
    bus_port_write(f->bus, 0xe0, 4, 0x12345678);
    assert_int_equal(bus_port_read(f->bus, 0xe0, 4), 0x12345678);
    bus_port_write(f->bus, 0xe1, 1, 0xab);
    assert_int_equal(bus_port_read(f->bus, 0xe0, 2), 0xab78);
    assert_int_equal(bus_port_read(f->bus, 0xe2, 2), 0x1234);
    bus_port_write(f->bus, 0xe4, 4, 0x1000);
    const uint64_t value = UINT64_C(0x1122334455667788);
    bus_mmio_write(f->bus, 0xff000000, 8, value);
    bus_mmio_write(f->bus, 0xff00fffc, 4, 0xcafe1234);
    assert_true(bus_mmio_read(f->bus, 0xff000000, 8) == value);
    assert_int_equal(bus_mmio_read(f->bus, 0xff000003, 2), 0x4455);
    assert_int_equal(bus_mmio_read(f->bus, 0xff00fffe, 2), 0xcafe);
    assert_true(bus_mmio_read(f->bus, 0xff00fffe, 4) == 0xffffcafe);
}

static uint64_t fw_cfg(struct fixture *f, uint16_t key, unsigned length)
{
    uint64_t value = 0;
    bus_port_write(f->bus, 0x510, 2, key);
    for (unsigned i = 0; i < length; i++)
        value |= (uint64_t)bus_port_read(f->bus, 0x511, 1) << 8 * i;
    return value;
}

static void fw_cfg_tells_memory_and_processors(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(fw_cfg(f, 0x03, 8), 64 * MIB);
    assert_int_equal(bus_port_read(f->bus, 0x511, 1), 0);
    assert_int_equal(fw_cfg(f, 0x05, 2), 3);
    assert_int_equal(fw_cfg(f, 0x0f, 2), 3);
    assert_int_equal(fw_cfg(f, 0x99, 8), 0);
}

static void lines_follow_their_ports(void **state)
{
    struct fixture *f = *state;
    bus_port_write(f->bus, 0x2000, 1, 1);
    bus_port_write(f->bus, 0x2017, 1, 0x80);
    bus_port_write(f->bus, 0x2018, 1, 1); /* one past the last */
    assert_int_equal(f->lines, 0x800001);
    bus_port_write(f->bus, 0x2000, 1, 0);
    assert_int_equal(f->lines, 0x800000);
}

static void reset_empties_them(void **state)
{
    struct fixture *f = *state;
    bus_port_write(f->bus, 0xe0, 4, 0x12345678);
    bus_mmio_write(f->bus, 0xff000010, 8, 1);
    (void)fw_cfg(f, 0x03, 2);
    test_devices_reset(f->devices);
    assert_int_equal(bus_port_read(f->bus, 0xe0, 4), 0);
    assert_int_equal(bus_mmio_read(f->bus, 0xff000010, 8), 0);
    assert_int_equal(bus_port_read(f->bus, 0x511, 1), 0);
}

static void state_keeps_the_place_in_an_item(void **state)
{
    struct fixture *f = *state;
    struct state_visitor *save = NULL;
    struct state_visitor *load = NULL;
    (void)fw_cfg(f, 0x03, 3);
    assert_int_equal(state_save_create(&save), 0);
    assert_int_equal(test_devices_visit_state(f->devices, save), 0);
    test_devices_reset(f->devices);
    size_t length;
    const uint8_t *bytes = state_saved(save, &length);
    assert_int_equal(state_load_create(bytes, length, &load), 0);
    assert_int_equal(test_devices_visit_state(f->devices, load), 0);
    assert_int_equal(bus_port_read(f->bus, 0x511, 1), 64 * MIB >> 24);
    state_destroy(load);
    state_destroy(save);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(echo_and_memory_remember),
        TEST(fw_cfg_tells_memory_and_processors),
        TEST(lines_follow_their_ports),
        TEST(reset_empties_them),
        TEST(state_keeps_the_place_in_an_item),
    };
    return cmocka_run_group_tests_name("test_devices", tests, NULL, NULL);
}
