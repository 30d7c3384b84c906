/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/chipset.h"

#include <errno.h>

#include "chipset/fake_host.h"

#define MIB    (UINT64_C(1) << 20)
#define IOAPIC CHIPSET_IOAPIC_GPA
#define LEVEL  UINT32_C(0x8000)

struct fixture {
    struct fake_host fake;
    struct mem *mem;
    struct chipset *chipset;
    struct bus *bus;
    uint64_t started;
};

static void expired(void *device, unsigned timer)
{
    struct fixture *f = device;
    chipset_timer_expired(f->chipset, timer);
}

static struct fixture *create_later(bool test_devices, uint64_t ns)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    f->fake.now += ns;
    f->fake.wall_s += ns / NS_PER_SECOND;
    f->started = f->fake.now;
    f->fake.device = f;
    f->fake.expired = expired;
    assert_int_equal(mem_create(64 * MIB, 3072 * MIB, &f->mem), 0);
    struct chipset_config config = {
        .host = f->fake.host,
        .mem = f->mem,
        .cpu_count = 3,
        .debug_exit = test_devices,
        .test_devices = test_devices,
    };
    assert_int_equal(chipset_create(&config, &f->chipset), 0);
    f->bus = chipset_bus(f->chipset);
    return f;
}

static struct fixture *create(bool test_devices)
{
    return create_later(test_devices, 0);
}

static void destroy(struct fixture *f)
{
    chipset_destroy(f->chipset);
    mem_destroy(f->mem);
    free(f);
}

static int set_up(void **state)
{
    *state = create(true);
    return 0;
}

static int tear_down(void **state)
{
    destroy(*state);
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

static void route(struct fixture *f, unsigned pin, uint32_t entry)
{
    bus_mmio_write(f->bus, IOAPIC, 4, 0x10 + 2 * pin);
    bus_mmio_write(f->bus, IOAPIC + 0x10, 4, entry);
}

static void cmos(struct fixture *f, uint8_t index, uint8_t value)
{
    out(f, 0x70, index);
    out(f, 0x71, value);
}

static uint8_t last_vector(const struct fixture *f)
{
    assert_in_range(f->fake.interrupts, 1, FAKE_LOG_SIZE);
    return f->fake.interrupt[f->fake.interrupts - 1].vector;
}

/* Vectors 0x30 to 0x3f for the 8259 pair, all unmasked; 0x40 and up for the I/O APIC. */
static void set_controllers_up(struct fixture *f)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } words[] = {{0x20, 0x11}, {0x21, 0x30}, {0x21, 0x04}, {0x21, 0x01},
                 {0xa0, 0x11}, {0xa1, 0x38}, {0xa1, 0x02}, {0xa1, 0x01}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        out(f, words[i].port, words[i].value);
    for (unsigned pin = 0; pin < CHIPSET_GSI_COUNT; pin++)
        route(f, pin, 0x40 + pin);
}

static void assert_both_controllers(struct fixture *f, uint8_t pic_vector, uint8_t ioapic_vector)
{
    assert_true(f->fake.extint);
    assert_int_equal(chipset_acknowledge_extint(f->chipset), pic_vector);
    assert_int_equal(last_vector(f), ioapic_vector);
    out(f, 0xa0, 0x20);
    out(f, 0x20, 0x20);
}

static void timer_is_pic_input_0_and_ioapic_pin_2(void **state)
{
    struct fixture *f = *state;
    set_controllers_up(f);
    out(f, 0x43, 0x30);
    out(f, 0x40, 100);
    out(f, 0x40, 0);
    fake_pass(&f->fake, 84000);
    assert_int_equal(f->fake.interrupts, 0);
    fake_pass(&f->fake, 1000);
    assert_both_controllers(f, 0x30, 0x42);
}

static void timer_ticks_as_a_bios_leaves_it(void **state)
{
    struct fixture *f = *state;
    chipset_set_up_as_bios(f->chipset);
    assert_false(f->fake.extint);
    fake_pass(&f->fake, NS_PER_SECOND / 18);
    assert_true(f->fake.extint);
    assert_int_equal(chipset_acknowledge_extint(f->chipset), 0x08);
    assert_int_equal(in(f, 0x21), 0xb8);
    assert_int_equal(in(f, 0xa1), 0x8f);
}

static void devices_have_the_lines_of_a_pc(void **state)
{
    struct fixture *f = *state;
    set_controllers_up(f);
    out(f, 0x3fc, 0x08);
    out(f, 0x3f9, 0x01);
    assert_int_equal(chipset_serial_room(f->chipset), 1);
    assert_int_equal(chipset_serial_input(f->chipset, (const uint8_t *)"x", 1), 1);
    assert_both_controllers(f, 0x34, 0x44);
    cmos(f, 0x0b, 0x42);
    fake_pass(&f->fake, NS_PER_SECOND / 512);
    assert_both_controllers(f, 0x38, 0x48);
    assert_false(chipset_press_power_button(f->chipset));
    bus_port_write(f->bus, 0x602, 2, 0x0100);
    assert_true(chipset_press_power_button(f->chipset));
    assert_both_controllers(f, 0x39, 0x49);
}

static void serial_output_and_power_reach_the_host(void **state)
{
    struct fixture *f = *state;
    out(f, 0x3f8, 'P');
    assert_int_equal(f->fake.output_length, 1);
    assert_int_equal(f->fake.output[0], 'P');
    out(f, CHIPSET_RESET_PORT, 0x06);
    assert_int_equal(f->fake.power, CHIPSET_POWER_RESET);
    bus_port_write(f->bus, CHIPSET_PM1_CONTROL_PORT, 2, 0x2000 | CHIPSET_SLEEP_TYPE_S5 << 10);
    assert_int_equal(f->fake.power, CHIPSET_POWER_OFF);
    assert_int_equal(f->fake.powers, 2);
}

static void test_devices_are_there_only_when_asked_for(void **state)
{
    struct fixture *f = *state;
    bus_port_write(f->bus, 0xe0, 4, 0x12345678);
    assert_int_equal(bus_port_read(f->bus, 0xe0, 4), 0x12345678);
    bus_port_write(f->bus, 0x510, 2, 0x05);
    assert_int_equal(in(f, 0x511), 3);
    out(f, 0xf4, 0x10);
    assert_int_equal(f->fake.power, CHIPSET_POWER_DEBUG_EXIT);
    assert_int_equal(f->fake.power_code, 0x21);
    f = create(false);
    out(f, 0xf4, 1);
    assert_int_equal(f->fake.powers, 0);
    static const uint16_t ports[] = {0xe0, 0xe4, 0xf4, 0x510, 0x511, 0x2004};
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        out(f, ports[i], 0);
        assert_int_equal(in(f, ports[i]), 0xff);
    }
    assert_true(bus_mmio_read(f->bus, 0xff000000, 4) == UINT32_MAX);
    destroy(f);
}

/* Something of every device is under way. */
static void make_busy(struct fixture *f)
{
    set_controllers_up(f);
    route(f, 4, LEVEL | 0x61);
    out(f, 0x43, 0x34);
    out(f, 0x40, 0x00);
    out(f, 0x40, 0x10);
    out(f, 0x61, 0x01);
    out(f, 0x43, 0xb6);
    out(f, 0x42, 0x33);
    out(f, 0x42, 0x05);
    fake_pass(&f->fake, 300000000);
    out(f, 0x40, 0x00); /* a new count waits */
    out(f, 0x40, 0x20);
    out(f, 0x43, 0x00);
    out(f, 0x3fa, 0xc7);
    out(f, 0x3fc, 0x0b);
    out(f, 0x3f9, 0x03);
    assert_int_equal(chipset_serial_input(f->chipset, (const uint8_t *)"hello", 5), 5);
    fake_pass(&f->fake, 1000);
    cmos(f, 0x0b, 0x72);
    bus_port_write(f->bus, 0x602, 2, 0x0101);
    assert_true(chipset_press_power_button(f->chipset));
    out(f, 0xcf9, 0x02);
    out(f, 0x64, 0xd1);
    bus_port_write(f->bus, 0xe0, 4, 0xdeadbeef);
    bus_port_write(f->bus, 0x510, 2, 0x03);
    (void)in(f, 0x511);
    chipset_set_gsi(f->chipset, 11, true);
}

static struct state_visitor *save(struct fixture *f)
{
    struct state_visitor *visitor = NULL;
    assert_int_equal(state_save_create(&visitor), 0);
    assert_int_equal(chipset_visit_state(f->chipset, visitor), 0);
    return visitor;
}

static int load(struct fixture *f, const struct state_visitor *saved)
{
    size_t length;
    const uint8_t *bytes = state_saved(saved, &length);
    struct state_visitor *visitor = NULL;
    assert_int_equal(state_load_create(bytes, length, &visitor), 0);
    int error = chipset_visit_state(f->chipset, visitor);
    state_destroy(visitor);
    return error;
}

static void assert_same(const struct state_visitor *a, const struct state_visitor *b)
{
    size_t length_a;
    size_t length_b;
    const uint8_t *bytes_a = state_saved(a, &length_a);
    const uint8_t *bytes_b = state_saved(b, &length_b);
    assert_int_equal(length_a, length_b);
    assert_memory_equal(bytes_a, bytes_b, length_a);
}

static void saved_loaded_and_saved_again_is_the_same(void **state)
{
    struct fixture *f = *state;
    make_busy(f);
    cmos(f, 0x09, 0x77);
    struct state_visitor *first = save(f);
    struct fixture *g = create_later(true, 123456789012); /* another host's clock */
    g->fake.wall_s = f->fake.wall_s;
    assert_int_equal(load(g, first), 0);
    assert_int_equal(g->fake.interrupts, 0); /* nothing is told twice */
    struct state_visitor *second = save(g);
    assert_same(first, second);
    state_destroy(first);
    state_destroy(second);
    destroy(g);
}

static void loaded_chipset_goes_on_like_the_saved_one(void **state)
{
    struct fixture *f = *state;
    make_busy(f);
    struct state_visitor *saved = save(f);
    struct fixture *g = create_later(true, f->fake.now - f->started);
    assert_int_equal(load(g, saved), 0);
    f->fake.interrupts = 0;
    for (unsigned i = 0; i < 40; i++) {
        fake_pass(&f->fake, 777777);
        fake_pass(&g->fake, 777777);
        assert_int_equal(g->fake.interrupts, f->fake.interrupts);
        assert_int_equal(chipset_acknowledge_extint(g->chipset),
                         chipset_acknowledge_extint(f->chipset));
        assert_int_equal(in(g, 0x40), in(f, 0x40));
        assert_int_equal(in(g, 0x61), in(f, 0x61));
        assert_int_equal(in(g, 0x3f8), in(f, 0x3f8));
        assert_int_equal(bus_port_read(g->bus, 0x608, 4), bus_port_read(f->bus, 0x608, 4));
        out(f, 0x20, 0x20);
        out(g, 0x20, 0x20);
    }
    assert_true(f->fake.interrupts > 0);
    state_destroy(saved);
    destroy(g);
}

static void reset_is_power_on(void **state)
{
    struct fixture *f = *state;
    make_busy(f);
    fake_pass(&f->fake, f->started + NS_PER_SECOND - f->fake.now);
    f->fake.wall_s++;
    chipset_reset(f->chipset);
    assert_false(f->fake.extint);
    for (unsigned timer = 0; timer < CHIPSET_TIMER_COUNT; timer++)
        assert_int_equal(f->fake.deadline[timer], 0);
    struct fixture *fresh = create_later(true, NS_PER_SECOND);
    struct state_visitor *first = save(fresh);
    struct state_visitor *second = save(f);
    assert_same(first, second);
    state_destroy(first);
    state_destroy(second);
    destroy(fresh);
}

static void state_that_lacks_a_section_leaves_a_reset_chipset(void **state)
{
    struct fixture *f = *state;
    struct fixture *g = create(false);
    struct state_visitor *saved = save(g); /* has no test devices */
    make_busy(f);
    assert_int_equal(load(f, saved), -ENOENT);
    assert_false(f->fake.extint);
    assert_int_equal(in(f, 0x21), 0);
    assert_int_equal(f->fake.deadline[CHIPSET_TIMER_PIT], 0);
    assert_int_equal(bus_port_read(f->bus, 0xe0, 4), 0);
    state_destroy(saved);
    destroy(g);
}

static void machine_drives_lines_of_its_own(void **state)
{
    struct fixture *f = *state;
    set_controllers_up(f);
    chipset_set_gsi(f->chipset, 15, true);
    assert_both_controllers(f, 0x3f, 0x4f);
    chipset_set_gsi(f->chipset, 23, true);
    assert_int_equal(last_vector(f), 0x57);
    route(f, 20, LEVEL | 0x60);
    chipset_set_gsi(f->chipset, 20, true);
    unsigned count = f->fake.interrupts;
    chipset_end_of_interrupt(f->chipset, 0x60);
    assert_int_equal(f->fake.interrupts, count + 1);
}

static void unknown_timers_are_ignored(void **state)
{
    struct fixture *f = *state;
    chipset_timer_expired(f->chipset, CHIPSET_TIMER_COUNT);
    chipset_timer_expired(f->chipset, UINT32_MAX);
    assert_int_equal(f->fake.interrupts, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timer_is_pic_input_0_and_ioapic_pin_2),
        TEST(timer_ticks_as_a_bios_leaves_it),
        TEST(devices_have_the_lines_of_a_pc),
        TEST(machine_drives_lines_of_its_own),
        TEST(serial_output_and_power_reach_the_host),
        TEST(test_devices_are_there_only_when_asked_for),
        TEST(saved_loaded_and_saved_again_is_the_same),
        TEST(loaded_chipset_goes_on_like_the_saved_one),
        TEST(reset_is_power_on),
        TEST(state_that_lacks_a_section_leaves_a_reset_chipset),
        TEST(unknown_timers_are_ignored),
    };
    return cmocka_run_group_tests_name("chipset", tests, NULL, NULL);
}
