/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/hv_fixture.h"
/* clang-format on */

static void the_hypercall_page_needs_an_identity(void **state)
{
    struct fixture *f = *state;
    uint8_t code[4];
    write_msr(f, 0, HV_MSR_HYPERCALL, 0x4000 | 1);
    assert_int_equal(read_msr(f, 0, HV_MSR_HYPERCALL) & 1, 0);
    write_msr(f, 0, HV_MSR_GUEST_OS_ID, UINT64_C(0x8100) << 48);
    write_msr(f, 0, HV_MSR_HYPERCALL, 0x4000 | 1);
    assert_int_equal(read_msr(f, 0, HV_MSR_HYPERCALL), 0x4000 | 1);
    assert_int_equal(mem_read(f->mem, 0x4000, code, sizeof(code)), 0);
    assert_memory_equal(code, "\x0f\x01\xc1\xc3", 4);
    write_msr(f, 0, HV_MSR_GUEST_OS_ID, 0);
    assert_int_equal(read_msr(f, 0, HV_MSR_HYPERCALL) & 1, 0);
    assert_int_equal(mem_read(f->mem, 0x4000, code, sizeof(code)), 0);
    assert_memory_equal(code, "\0\0\0\0", 4);
}

static void a_locked_hypercall_page_stays(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, HV_MSR_GUEST_OS_ID, 1);
    write_msr(f, 0, HV_MSR_HYPERCALL, 0x4000 | 3);
    write_msr(f, 0, HV_MSR_HYPERCALL, 0x5000 | 1);
    assert_int_equal(read_msr(f, 0, HV_MSR_HYPERCALL), 0x4000 | 3);
}

static void pages_outside_ram_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint32_t pages[] = {HV_MSR_SIMP, HV_MSR_SIEFP, HV_MSR_VP_ASSIST_PAGE,
                                     HV_MSR_REFERENCE_TSC, HV_MSR_HYPERCALL};
    write_msr(f, 0, HV_MSR_GUEST_OS_ID, 1);
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        assert_false(hv_write_msr(f->hv, 0, pages[i], FIXTURE_RAM | 1));
        assert_int_equal(read_msr(f, 0, pages[i]), 0);
    }
}

static void each_processor_has_its_own(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_msr(f, 3, HV_MSR_VP_INDEX), 3);
    write_msr(f, 2, HV_MSR_VP_ASSIST_PAGE, 0x8000 | 1);
    assert_int_equal(read_msr(f, 2, HV_MSR_VP_ASSIST_PAGE), 0x8000 | 1);
    assert_int_equal(read_msr(f, 1, HV_MSR_VP_ASSIST_PAGE), 0);
    assert_int_equal(read_msr(f, 0, HV_MSR_SINT0 + 5), 1 << 16);
    uint64_t before = read_msr(f, 0, HV_MSR_VP_RUNTIME);
    assert_true(read_msr(f, 0, HV_MSR_VP_RUNTIME) >= before);
}

static void some_are_read_only(void **state)
{
    struct fixture *f = *state;
    static const uint32_t fixed[] = {HV_MSR_VP_INDEX,      HV_MSR_VP_RUNTIME, HV_MSR_TIME_REF_COUNT,
                                     HV_MSR_TSC_FREQUENCY, HV_MSR_SVERSION,   HV_MSR_GUEST_IDLE};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        assert_true(may_read(f, fixed[i]));
        assert_false(hv_write_msr(f->hv, 0, fixed[i], 0));
    }
    assert_int_equal(read_msr(f, 0, HV_MSR_TSC_FREQUENCY), FIXTURE_HZ);
    assert_int_equal(read_msr(f, 0, HV_MSR_APIC_FREQUENCY), 25000000);
    assert_int_equal(read_msr(f, 0, HV_MSR_SVERSION), 1);
}

static void unknown_and_ungranted_ones_fault(void **state)
{
    struct fixture *f = fixture_create(HV_PRIVILEGE(HV_HYPERCALL));
    (void)state;
    for (uint32_t index = HV_MSR_FIRST; index <= HV_MSR_LAST; index++) {
        bool known =
            index <= HV_MSR_HYPERCALL || (index >= HV_MSR_CRASH_P0 && index <= HV_MSR_CRASH_CTL);
        assert_int_equal(may_read(f, index), known);
        if (!known)
            assert_false(hv_write_msr(f->hv, 0, index, 0));
    }
    fixture_destroy(f);
}

static void the_apic_is_the_processors(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, HV_MSR_EOI, 0);
    write_msr(f, 0, HV_MSR_ICR, 0x4500);
    write_msr(f, 0, HV_MSR_TPR, 0x20);
    assert_int_equal(f->apic[ENGINE_APIC_ICR], 0x4500);
    assert_int_equal(read_msr(f, 0, HV_MSR_TPR), 0x20);
    f->refuse_apic = true;
    assert_false(hv_write_msr(f->hv, 0, HV_MSR_TPR, 0));
}

static void idle_halts_and_reset_resets(void **state)
{
    struct fixture *f = *state;
    uint64_t value;
    bool halt;
    assert_true(hv_read_msr(f->hv, 0, HV_MSR_GUEST_IDLE, &value, &halt));
    assert_true(halt);
    assert_true(hv_read_msr(f->hv, 0, HV_MSR_VP_INDEX, &value, &halt));
    assert_false(halt);
    write_msr(f, 0, HV_MSR_RESET, 0);
    assert_int_equal(f->resets, 0);
    write_msr(f, 0, HV_MSR_RESET, 1);
    assert_int_equal(f->resets, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(the_hypercall_page_needs_an_identity),
        HV_TEST(a_locked_hypercall_page_stays),
        HV_TEST(pages_outside_ram_are_refused),
        HV_TEST(each_processor_has_its_own),
        HV_TEST(some_are_read_only),
        cmocka_unit_test(unknown_and_ungranted_ones_fault),
        HV_TEST(the_apic_is_the_processors),
        HV_TEST(idle_halts_and_reset_resets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
