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

static void parameters_and_text_reach_the_host(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "Kernel panic";
    assert_int_equal(mem_write(f->mem, 0x3000, text, sizeof(text)), 0);
    for (uint32_t i = 0; i < 3; i++)
        write_msr(f, 1, HV_MSR_CRASH_P0 + i, 100 + i);
    write_msr(f, 1, HV_MSR_CRASH_P0 + 3, 0x3000);
    write_msr(f, 1, HV_MSR_CRASH_P0 + 4, sizeof(text) - 1);
    write_msr(f, 1, HV_MSR_CRASH_CTL, UINT64_C(3) << 62);
    assert_int_equal(f->crashes, 1);
    assert_int_equal(f->crash.parameter[2], 102);
    assert_int_equal(f->crash.text_length, sizeof(text) - 1);
    assert_memory_equal(f->crash.text, text, sizeof(text) - 1);
    assert_int_equal(read_msr(f, 0, HV_MSR_CRASH_CTL), UINT64_C(3) << 62);
}

static void a_text_outside_ram_is_no_text(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, HV_MSR_CRASH_P0 + 3, FIXTURE_RAM - 10);
    write_msr(f, 0, HV_MSR_CRASH_P0 + 4, UINT64_MAX);
    write_msr(f, 0, HV_MSR_CRASH_CTL, UINT64_C(3) << 62);
    assert_int_equal(f->crash.text_length, 0);
    write_msr(f, 0, HV_MSR_CRASH_CTL, UINT64_C(1) << 62); /* not notified */
    assert_int_equal(f->crashes, 1);
}

static void a_long_text_is_cut(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, HV_MSR_CRASH_P0 + 3, 0);
    write_msr(f, 0, HV_MSR_CRASH_P0 + 4, UINT64_MAX);
    write_msr(f, 0, HV_MSR_CRASH_CTL, UINT64_C(3) << 62);
    assert_int_equal(f->crash.text_length, sizeof(f->crash.text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(parameters_and_text_reach_the_host),
        HV_TEST(a_text_outside_ram_is_no_text),
        HV_TEST(a_long_text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
