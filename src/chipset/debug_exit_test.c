/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/debug_exit.h"

#include "chipset/fake_host.h"

static void code_is_twice_the_value_and_one(void **state)
{
    (void)state;
    static const struct {
        unsigned size;
        uint32_t value, code;
    } writes[] = {{1, 0x10, 0x21}, {2, 0x8000, 0x10001}, {4, 0, 1}, {4, 0x80000001, 3}};
    struct fake_host fake;
    struct bus *bus = NULL;
    fake_init(&fake);
    assert_int_equal(bus_create(&bus), 0);
    assert_int_equal(debug_exit_attach(&fake.host, bus), 0);
    for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        bus_port_write(bus, 0xf4, writes[i].size, writes[i].value);
        assert_int_equal(fake.powers, i + 1);
        assert_int_equal(fake.power, CHIPSET_POWER_DEBUG_EXIT);
        assert_int_equal(fake.power_code, writes[i].code);
    }
    bus_port_write(bus, 0xf5, 1, 1);
    assert_int_equal(fake.powers, 4);
    assert_int_equal(bus_port_read(bus, 0xf4, 4), 0);
    bus_destroy(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_is_twice_the_value_and_one),
    };
    return cmocka_run_group_tests_name("debug_exit", tests, NULL, NULL);
}
