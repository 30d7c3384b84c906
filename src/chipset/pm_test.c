/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/pm.h"

#include "chipset/fake_host.h"

enum { STATUS = 0x600, ENABLE = 0x602, CONTROL = 0x604, TIMER = 0x608 };
enum { TIMER_EVENT = 0x0001, BUTTON = 0x0100, SLEEP = 0x2000, S5 = 5 << 10 };
#define CARRY (UINT64_C(1) << 31)

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct pm *pm;
};

static void expired(void *device, unsigned timer)
{
    struct fixture *f = device;
    assert_int_equal(timer, CHIPSET_TIMER_PM);
    pm_timer_expired(f->pm);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    f->fake.device = f;
    f->fake.expired = expired;
    struct line line = fake_line(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(pm_create(&f->fake.host, &line, &f->pm), 0);
    assert_int_equal(pm_attach(f->pm, f->bus), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pm_destroy(f->pm);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static unsigned in(struct fixture *f, uint16_t port)
{
    return bus_port_read(f->bus, port, 2);
}

static void out(struct fixture *f, uint16_t port, uint32_t value)
{
    bus_port_write(f->bus, port, 2, value);
}

static void timer_counts_3579545_a_second(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_port_read(f->bus, TIMER, 4), 0);
    fake_pass(&f->fake, NS_PER_SECOND);
    assert_int_equal(bus_port_read(f->bus, TIMER, 4), PM_TIMER_HZ);
    assert_int_equal(bus_port_read(f->bus, TIMER + 1, 1), PM_TIMER_HZ >> 8 & 0xff);
    bus_port_write(f->bus, TIMER, 4, 0);
    assert_int_equal(bus_port_read(f->bus, TIMER, 4), PM_TIMER_HZ);
    fake_pass(&f->fake, UINT64_C(3600) * NS_PER_SECOND);
    assert_int_equal(bus_port_read(f->bus, TIMER, 4),
                     (uint32_t)(UINT64_C(3601) * PM_TIMER_HZ)); /* has wrapped twice */
}

static void carry_is_told_at_each_change_of_the_top_bit(void **state)
{
    struct fixture *f = *state;
    uint64_t half = ns_from_ticks(CARRY, PM_TIMER_HZ);
    fake_pass(&f->fake, half - 1);
    assert_int_equal(in(f, STATUS), 0);
    fake_pass(&f->fake, 1);
    assert_int_equal(bus_port_read(f->bus, TIMER, 4), 0x80000000);
    assert_int_equal(in(f, STATUS), TIMER_EVENT);
    assert_false(f->fake.level);
    out(f, STATUS, TIMER_EVENT);
    assert_int_equal(in(f, STATUS), 0);
    out(f, ENABLE, TIMER_EVENT);
    fake_pass(&f->fake, half);
    assert_true(f->fake.level);
    assert_int_equal(in(f, STATUS), TIMER_EVENT);
    out(f, STATUS, TIMER_EVENT);
    assert_false(f->fake.level);
    fake_pass(&f->fake, half);
    assert_true(f->fake.level);
}

static void power_button_needs_to_be_enabled(void **state)
{
    struct fixture *f = *state;
    assert_false(pm_press_power_button(f->pm));
    assert_int_equal(in(f, STATUS), 0);
    out(f, ENABLE, BUTTON);
    assert_true(pm_press_power_button(f->pm));
    assert_int_equal(in(f, STATUS), BUTTON);
    assert_true(f->fake.level);
    out(f, ENABLE, 0);
    assert_false(f->fake.level);
    out(f, ENABLE, BUTTON);
    assert_true(f->fake.level);
    bus_port_write(f->bus, STATUS + 1, 1, BUTTON >> 8); /* a byte clears its own half */
    assert_false(f->fake.level);
    assert_int_equal(in(f, STATUS), 0);
}

static void enable_and_status_are_one_dword(void **state)
{
    struct fixture *f = *state;
    bus_port_write(f->bus, STATUS, 4, 0xffffffff);
    assert_int_equal(bus_port_read(f->bus, STATUS, 4), 0x47210000);
    bus_port_write(f->bus, ENABLE, 1, 0);
    assert_int_equal(in(f, ENABLE), 0x4700);
}

static void sci_is_always_enabled(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(in(f, CONTROL), 1);
    out(f, CONTROL, 0);
    assert_int_equal(in(f, CONTROL), 1);
}

static void soft_off_needs_type_5_and_the_enable_bit(void **state)
{
    struct fixture *f = *state;
    out(f, CONTROL, S5);
    out(f, CONTROL, SLEEP | 3 << 10);
    assert_int_equal(f->fake.powers, 0);
    out(f, CONTROL, S5 | SLEEP);
    assert_int_equal(f->fake.powers, 1);
    assert_int_equal(f->fake.power, CHIPSET_POWER_OFF);
    assert_int_equal(in(f, CONTROL), S5 | 1); /* SLP_EN reads as 0 */
    bus_port_write(f->bus, CONTROL + 1, 1, (S5 | SLEEP) >> 8);
    assert_int_equal(f->fake.powers, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timer_counts_3579545_a_second),
        TEST(carry_is_told_at_each_change_of_the_top_bit),
        TEST(power_button_needs_to_be_enabled),
        TEST(enable_and_status_are_one_dword),
        TEST(sci_is_always_enabled),
        TEST(soft_off_needs_type_5_and_the_enable_bit),
    };
    return cmocka_run_group_tests_name("pm", tests, NULL, NULL);
}
