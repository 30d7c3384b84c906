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

#define MIB       UINT64_C(0x100000)
#define GROWTH_AT UINT64_C(0x100000000)
enum { INPUT = 0x200000, COLD = 0x300000, KEPT = 0x301000 };

typedef enum fake_action (*step_fn)(struct fake_vcpu *vcpu, struct engine_exit *exit);

static int create(uint64_t maximum, bool hyperv)
{
    struct reason reason = {0};
    struct machine_config config = fixture_config(1);

    config.hyperv = hyperv;
    config.memory_maximum = maximum;
    return machine_create(&config, &fixture.machine, &reason);
}

static void dynamic_memory_has_room_for_whole_steps(void **state)
{
    struct balloon_report report;
    (void)state;
    assert_int_equal(create(16 * MIB + MEM_GROWTH + 5 * MIB, true), 0);
    assert_non_null(machine_balloon(fixture.machine));
    balloon_describe(machine_balloon(fixture.machine), &report);
    assert_int_equal(report.assigned, 16 * MIB);
    assert_int_equal(report.maximum, 16 * MIB + MEM_GROWTH);
    assert_true(machine_resident_memory(fixture.machine) < 16 * MIB);
}

static void fixed_memory_has_no_balloon(void **state)
{
    (void)state;
    assert_int_equal(create(0, true), 0);
    assert_null(machine_balloon(fixture.machine));
}

static void bounds_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    assert_int_equal(create(15 * MIB, true), -EINVAL);
    assert_int_equal(create(16 * MIB, false), -EINVAL);
}

static enum fake_action power_off(struct engine_exit *exit)
{
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_PORT_WRITE};
    exit->port.port = CHIPSET_PM1_CONTROL_PORT;
    exit->port.size = 2;
    exit->port.value = 1 << 13 | CHIPSET_SLEEP_TYPE_S5 << 10;
    return FAKE_EXIT;
}

/* The hint of Linux' hv_free_page_report(), of one small page. */
static enum fake_action report_cold(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    struct mem *mem = fixture.machine->mem;
    uint8_t input[16];

    if (vcpu->step > 0) {
        assert_int_equal(exit->hypercall.rax, UINT64_C(1) << 32);
        return power_off(exit);
    }
    put_le64(input, 2);
    put_le64(input + 8, COLD);
    assert_int_equal(mem_write(mem, INPUT, input, sizeof(input)), 0);
    assert_int_equal(mem_fill(mem, COLD, 0xa5, 2 * MEM_PAGE_SIZE), 0);
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_HYPERCALL};
    exit->hypercall.long_mode = true;
    exit->hypercall.rcx = 0x8003 | UINT64_C(1) << 32;
    exit->hypercall.rdx = INPUT;
    return FAKE_EXIT;
}

static void run(step_fn step)
{
    struct machine_end end = {0};
    struct reason reason = {0};

    fake_engine_load(&(struct fake_program){.step = step});
    assert_int_equal(create(16 * MIB + MEM_GROWTH, true), 0);
    assert_int_equal(machine_start(fixture.machine, &reason), 0);
    assert_int_equal(loop_run(fixture.loop), 0);
    machine_wait(fixture.machine, &end);
    assert_int_equal(end.kind, MACHINE_END_POWER_OFF);
}

static void what_the_guest_calls_cold_is_discarded(void **state)
{
    (void)state;
    run(report_cold);
    assert_int_equal(*mem_pin(fixture.machine->mem, COLD, 1), 0);
    assert_int_equal(*mem_pin(fixture.machine->mem, KEPT, 1), 0xa5);
}

/* What was added before, as far as it matters here. */
static enum fake_action reset_once(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    struct mem *mem = fixture.machine->mem;

    if (vcpu->life != 0)
        return power_off(exit);
    assert_int_equal(mem_grow(mem, MEM_GROWTH), 0);
    assert_int_equal(mem_fill(mem, GROWTH_AT, 0xa5, MEM_PAGE_SIZE), 0);
    assert_int_equal(mem_fill(mem, COLD, 0xa5, MEM_PAGE_SIZE), 0);
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_MSR_WRITE};
    exit->msr.index = 0x40000003;
    exit->msr.value = 1;
    return FAKE_EXIT;
}

static void reset_takes_away_what_was_added(void **state)
{
    (void)state;
    run(reset_once);
    assert_false(mem_is_ram(fixture.machine->mem, GROWTH_AT, 1));
    assert_int_equal(*mem_pin(fixture.machine->mem, COLD, 1), 0);
}

#define MEMORY_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMORY_TEST(dynamic_memory_has_room_for_whole_steps),
        MEMORY_TEST(fixed_memory_has_no_balloon),
        MEMORY_TEST(bounds_that_make_no_sense_are_refused),
        MEMORY_TEST(what_the_guest_calls_cold_is_discarded),
        MEMORY_TEST(reset_takes_away_what_was_added),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
