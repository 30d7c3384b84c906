/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/machine_fixture.h"
/* clang-format on */

enum { INPUT = 0x200000, MSR_INDEX = 0x40000002, MSR_TPR = 0x40000072, MSR_RESET = 0x40000003 };

typedef enum fake_action (*step_fn)(struct fake_vcpu *vcpu, struct engine_exit *exit);

static struct machine_end run(step_fn step, unsigned vcpus, bool hyperv)
{
    struct machine_end end = {0};
    struct reason reason = {0};
    struct machine_config config = fixture_config(vcpus);
    config.hyperv = hyperv;
    fake_engine_load(&(struct fake_program){.step = step});
    assert_int_equal(machine_create(&config, &fixture.machine, &reason), 0);
    assert_int_equal(machine_start(fixture.machine, &reason), 0);
    assert_int_equal(loop_run(fixture.loop), 0);
    machine_wait(fixture.machine, &end);
    return end;
}

static enum fake_action read_msr(struct engine_exit *exit, uint32_t index)
{
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_MSR_READ, .msr.index = index};
    return FAKE_EXIT;
}

static enum fake_action write_msr(struct engine_exit *exit, uint32_t index, uint64_t value)
{
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_MSR_WRITE};
    exit->msr.index = index;
    exit->msr.value = value;
    return FAKE_EXIT;
}

static enum fake_action call(struct engine_exit *exit, uint64_t control, uint64_t input)
{
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_HYPERCALL};
    exit->hypercall.long_mode = true;
    exit->hypercall.rcx = control;
    exit->hypercall.rdx = input;
    return FAKE_EXIT;
}

static enum fake_action power_off(struct engine_exit *exit)
{
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_PORT_WRITE};
    exit->port.port = CHIPSET_PM1_CONTROL_PORT;
    exit->port.size = 2;
    exit->port.value = 1 << 13 | CHIPSET_SLEEP_TYPE_S5 << 10;
    return FAKE_EXIT;
}

static enum fake_action use_msrs(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    if (vcpu->index != 1)
        return FAKE_HALT;
    switch (vcpu->step) {
    case 0:
        return read_msr(exit, MSR_INDEX);
    case 1:
        assert_false(exit->msr.refused);
        assert_int_equal(exit->msr.value, 1);
        return write_msr(exit, MSR_INDEX, 0);
    case 2:
        assert_true(exit->msr.refused);
        return write_msr(exit, MSR_TPR, 0x20);
    case 3:
        assert_false(exit->msr.refused);
        return read_msr(exit, MSR_TPR);
    case 4:
        assert_int_equal(exit->msr.value, 0x20);
        return read_msr(exit, 0x400000f0);
    default:
        assert_true(exit->msr.halt);
        return power_off(exit);
    }
}

static void msrs_are_the_interfaces(void **state)
{
    (void)state;
    assert_int_equal(run(use_msrs, 2, true).kind, MACHINE_END_POWER_OFF);
}

static enum fake_action use_calls(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    if (vcpu->index != 0)
        return FAKE_HALT;
    switch (vcpu->step) {
    case 0:
        return call(exit, 0x7777, 0);
    case 1:
        assert_int_equal(exit->hypercall.rax, HV_STATUS_INVALID_HYPERCALL_CODE);
        return call(exit, 0x02, INPUT); /* flags 0, no processors */
    case 2:
        assert_int_equal(exit->hypercall.rax, HV_STATUS_SUCCESS);
        assert_int_equal(fake_engine_counts()->flushes, 0);
        return call(exit, 0x02 | 1 << 16, 0); /* its processors are in XMM0 */
    default:
        assert_int_equal(exit->hypercall.rax, HV_STATUS_SUCCESS);
        return power_off(exit);
    }
}

static void hypercalls_are_served(void **state)
{
    (void)state;
    assert_int_equal(run(use_calls, 3, true).kind, MACHINE_END_POWER_OFF);
}

static enum fake_action send_ipi(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    if (vcpu->index != 0)
        return FAKE_HALT;
    if (vcpu->step == 0) {
        (void)call(exit, 0x0b | 1 << 16, 0xfb);
        exit->hypercall.r8 = 2;
        return FAKE_EXIT;
    }
    return power_off(exit);
}

static void interrupts_reach_the_engine(void **state)
{
    (void)state;
    assert_int_equal(run(send_ipi, 2, true).kind, MACHINE_END_POWER_OFF);
    assert_int_equal(fake_engine_counts()->interrupts, 1);
}

static enum fake_action crash_and_reset(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    static const char text[] = "panic";
    if (vcpu->index != 0)
        return FAKE_HALT;
    if (vcpu->life != 0)
        return power_off(exit);
    switch (vcpu->step) {
    case 0:
        assert_int_equal(mem_write(fixture.machine->mem, INPUT, text, sizeof(text)), 0);
        return write_msr(exit, 0x40000103, INPUT);
    case 1:
        return write_msr(exit, 0x40000104, sizeof(text) - 1);
    case 2:
        return write_msr(exit, 0x40000105, UINT64_C(3) << 62);
    default:
        return write_msr(exit, MSR_RESET, 1);
    }
}

static void crashes_are_told_and_the_reset_register_resets(void **state)
{
    (void)state;
    assert_int_equal(run(crash_and_reset, 2, true).kind, MACHINE_END_POWER_OFF);
    assert_int_equal(fixture.crash.text_length, 5);
    assert_memory_equal(fixture.crash_text, "panic", 5);
    assert_int_equal(fake_engine_counts()->partitions, 2);
}

static enum fake_action find_nothing(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    switch (vcpu->step) {
    case 0:
        return read_msr(exit, MSR_INDEX);
    case 1:
        assert_true(exit->msr.refused);
        return write_msr(exit, MSR_RESET, 1);
    case 2:
        assert_true(exit->msr.refused);
        return call(exit, 0x7777, 0);
    default:
        return power_off(exit);
    }
}

static void without_it_there_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(run(find_nothing, 1, false).kind, MACHINE_END_POWER_OFF);
}

#define HYPERV_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HYPERV_TEST(msrs_are_the_interfaces),
        HYPERV_TEST(hypercalls_are_served),
        HYPERV_TEST(interrupts_reach_the_engine),
        HYPERV_TEST(crashes_are_told_and_the_reset_register_resets),
        HYPERV_TEST(without_it_there_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
