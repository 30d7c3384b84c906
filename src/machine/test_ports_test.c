/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/machine_fixture.h"
/* clang-format on */

enum {
    PORT = 0x3000,
    SIMP = 0x300000,
    SIEFP = 0x301000,
    SINT = 8,
    VECTOR = 0xb0,
    CONNECTION = 0x21,
    RAISE = 3,
    CONNECT_MESSAGES,
    DISCONNECT_MESSAGES,
    CONNECT_EVENTS,
    DISCONNECT_EVENTS,
};

static void order(unsigned what, unsigned sint, unsigned vp, unsigned connection)
{
    struct chipset *chipset = machine_enter_chipset(fixture.machine);
    bus_port_write(chipset_bus(chipset), PORT, 4, connection << 24 | what << 16 | vp << 8 | sint);
    machine_leave_chipset(fixture.machine, false);
}

static void write_msr(uint32_t index, uint64_t value)
{
    assert_true(hv_write_msr(fixture.machine->hv, 1, index, value));
}

static void create(bool test_devices, bool hyperv)
{
    struct reason reason = {0};
    struct machine_config config = fixture_config(2);
    config.test_devices = test_devices;
    config.hyperv = hyperv;
    fake_engine_load(&(struct fake_program){0});
    assert_int_equal(machine_create(&config, &fixture.machine, &reason), 0);
    if (!hyperv)
        return;
    write_msr(0x40000083, SIMP | 1);
    write_msr(0x40000082, SIEFP | 1);
    write_msr(0x40000080, 1);
    write_msr(0x40000090 + SINT, VECTOR);
}

static uint64_t signal_event(void)
{
    struct hv_call call = {.long_mode = true, .rcx = 0x5d | 1 << 16, .rdx = CONNECTION};
    hv_hypercall(fixture.machine->hv, 0, &call);
    return call.rax;
}

/* Connection, message type 5, one byte 42. */
static uint64_t post_message(void)
{
    enum { INPUT = 0x200000 };
    uint8_t input[256] = {0};
    struct hv_call call = {.long_mode = true, .rcx = 0x5c, .rdx = INPUT};
    put_le32(input, CONNECTION);
    put_le32(input + 8, 5);
    put_le32(input + 12, 1);
    input[16] = 42;
    assert_int_equal(mem_write(fixture.machine->mem, INPUT, input, sizeof(input)), 0);
    hv_hypercall(fixture.machine->hv, 0, &call);
    return call.rax;
}

static uint8_t byte_at(uint64_t gpa)
{
    uint8_t byte = 0;
    assert_int_equal(mem_read(fixture.machine->mem, gpa, &byte, 1), 0);
    return byte;
}

static void sints_are_raised(void **state)
{
    (void)state;
    create(true, true);
    order(RAISE, SINT, 1, 0);
    assert_int_equal(fake_engine_counts()->interrupts, 1);
    order(RAISE, SINT + 1, 1, 0); /* masked */
    order(RAISE, 16, 1, 0);
    order(RAISE, SINT, 2, 0);
    assert_int_equal(fake_engine_counts()->interrupts, 1);
}

static void messages_come_back(void **state)
{
    (void)state;
    create(true, true);
    assert_int_equal(post_message(), HV_STATUS_INVALID_CONNECTION_ID);
    order(CONNECT_MESSAGES, SINT, 1, CONNECTION);
    order(CONNECT_EVENTS, SINT, 1, CONNECTION); /* it is taken */
    assert_int_equal(post_message(), HV_STATUS_SUCCESS);
    assert_int_equal(byte_at(SIMP + SINT * 256), 5);
    assert_int_equal(byte_at(SIMP + SINT * 256 + 16), 42);
    assert_int_equal(fake_engine_counts()->interrupts, 1);
    assert_int_equal(signal_event(), HV_STATUS_INVALID_CONNECTION_ID);
    for (unsigned i = 0; i < 64 && post_message() == HV_STATUS_SUCCESS; i++)
        continue;
    assert_int_equal(post_message(), HV_STATUS_INSUFFICIENT_BUFFERS);
    order(DISCONNECT_MESSAGES, 0, 0, CONNECTION);
    assert_int_equal(post_message(), HV_STATUS_INVALID_CONNECTION_ID);
}

static void events_come_back(void **state)
{
    (void)state;
    create(true, true);
    order(CONNECT_EVENTS, SINT, 1, CONNECTION);
    assert_int_equal(signal_event(), HV_STATUS_SUCCESS);
    assert_int_equal(signal_event(), HV_STATUS_SUCCESS);
    assert_int_equal(byte_at(SIEFP + SINT * 256 + CONNECTION / 8), 1 << CONNECTION % 8);
    assert_int_equal(fake_engine_counts()->interrupts, 1);
    order(DISCONNECT_EVENTS, 0, 0, CONNECTION);
    assert_int_equal(signal_event(), HV_STATUS_INVALID_CONNECTION_ID);
}

static void a_reset_forgets_connections(void **state)
{
    (void)state;
    create(true, true);
    order(CONNECT_EVENTS, SINT, 1, CONNECTION);
    machine_reset_hyperv(fixture.machine);
    assert_int_equal(signal_event(), HV_STATUS_INVALID_CONNECTION_ID);
}

static void only_when_asked_for(void **state)
{
    (void)state;
    create(false, true);
    order(CONNECT_EVENTS, SINT, 1, CONNECTION);
    assert_int_equal(signal_event(), HV_STATUS_INVALID_CONNECTION_ID);
    assert_null(fixture.machine->test_ports);
}

static void without_hyperv_there_are_none(void **state)
{
    (void)state;
    create(true, false);
    order(RAISE, SINT, 1, 0);
    assert_null(fixture.machine->test_ports);
}

#define PORTS_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PORTS_TEST(sints_are_raised),    PORTS_TEST(messages_come_back),
        PORTS_TEST(events_come_back),    PORTS_TEST(a_reset_forgets_connections),
        PORTS_TEST(only_when_asked_for), PORTS_TEST(without_hyperv_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
