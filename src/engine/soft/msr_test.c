/* Which model-specific registers exist, and what they take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"

#define NOT_CANONICAL UINT64_C(0x0000800000000000)

static void expect_reads(struct machine *m, uint32_t index, uint64_t expected)
{
    uint64_t value = ~expected;
    assert_int_equal(msr_read(m->cpu, index, &value), STEP_NEXT);
    assert_true(value == expected);
}

static void expect_taken(struct machine *m, uint32_t index, uint64_t value)
{
    assert_int_equal(msr_write(m->cpu, index, value), STEP_NEXT);
    expect_reads(m, index, value);
}

static void expect_refused(struct machine *m, uint32_t index, uint64_t value)
{
    uint64_t before = 0;
    uint64_t after = 0;
    int readable = msr_read(m->cpu, index, &before);
    expect_fault(m, msr_write(m->cpu, index, value), VECTOR_GP, 0);
    assert_int_equal(msr_read(m->cpu, index, &after), readable);
    assert_true(before == after);
}

static void unknown_registers_fault(void **state)
{
    static const uint32_t unknown[] = {0x2,        0x3a,       0x140,      0x345,
                                       0x38f,      0x400,      0x480,      0x8ff,
                                       0x40000000, 0xc0000104, 0xc0010015, 0xffffffff};
    struct machine *m = *state;
    uint64_t value;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        expect_fault(m, msr_read(m->cpu, unknown[i], &value), VECTOR_GP, 0);
        expect_fault(m, msr_write(m->cpu, unknown[i], 0), VECTOR_GP, 0);
    }
}

static void addresses_must_be_canonical(void **state)
{
    static const uint32_t addresses[] = {0x175,      0x176,      0xc0000082, 0xc0000083,
                                         0xc0000100, 0xc0000101, 0xc0000102};
    struct machine *m = *state;
    use_long(m);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        expect_taken(m, addresses[i], UINT64_C(0xffff800000000000) + addresses[i]);
        expect_refused(m, addresses[i], NOT_CANONICAL);
    }
    assert_true(m->cpu->segment[SEGMENT_GS].base == UINT64_C(0xffff800000000000) + 0xc0000101);
}

static void narrow_registers_refuse_high_bits(void **state)
{
    static const uint32_t narrow[] = {0x174, 0xc0000084};
    struct machine *m = *state;
    for (size_t i = 0; i < sizeof(narrow) / sizeof(narrow[0]); i++) {
        expect_taken(m, narrow[i], 0xffffffff);
        expect_refused(m, narrow[i], UINT64_C(1) << 32);
    }
}

static void star_takes_anything(void **state)
{
    struct machine *m = *state;
    expect_taken(m, 0xc0000081, UINT64_MAX);
}

static void memory_types_are_checked(void **state)
{
    struct machine *m = *state;
    expect_reads(m, 0x277, UINT64_C(0x0007040600070406));
    expect_taken(m, 0x277, UINT64_C(0x0007010600070106));
    expect_refused(m, 0x277, UINT64_C(0x0207010600070106));
    expect_reads(m, 0xfe, 0x508);
    expect_refused(m, 0xfe, 0x508);
    expect_reads(m, 0x2ff, 0xc06);
    expect_refused(m, 0x2ff, 0xc07);
    expect_refused(m, 0x2ff, 0x1c06);
    expect_taken(m, 0x2ff, 0xc00);
    expect_reads(m, 0x250, UINT64_C(0x0606060606060606));
    expect_reads(m, 0x259, 0);
    expect_taken(m, 0x26f, UINT64_C(0x0504010006060606));
    expect_refused(m, 0x26f, UINT64_C(0x0704010006060606));
    expect_taken(m, 0x200, 0xc0000000);
    expect_taken(m, 0x201, 0x3fc0000800);
    expect_refused(m, 0x200, 0xc0000007);
    expect_refused(m, 0x201, UINT64_C(1) << 63);
    expect_refused(m, 0x201, 1);
    expect_taken(m, 0x20f, 0x800);
}

static void time_stamp_counter_moves_with_its_adjustment(void **state)
{
    struct machine *m = *state;
    uint64_t tsc;
    expect_reads(m, 0x3b, 0);
    assert_int_equal(msr_write(m->cpu, 0x10, UINT64_C(1) << 50), STEP_NEXT);
    assert_int_equal(msr_read(m->cpu, 0x10, &tsc), STEP_NEXT);
    assert_in_range(tsc, UINT64_C(1) << 50, (UINT64_C(1) << 50) + (UINT64_C(1) << 40));
    assert_true(m->cpu->tsc_adjust > INT64_C(1) << 49);
    expect_taken(m, 0x3b, 0);
    assert_int_equal(msr_read(m->cpu, 0x10, &tsc), STEP_NEXT);
    assert_true(tsc < UINT64_C(1) << 49);
}

static void constants_do_not_change(void **state)
{
    struct machine *m = *state;
    expect_reads(m, 0x179, 0);
    expect_refused(m, 0x179, 0);
    assert_int_equal(msr_write(m->cpu, 0x8b, 0), STEP_NEXT);
    expect_reads(m, 0x8b, UINT64_C(0xffffffff) << 32);
    expect_refused(m, 0xce, 0);
    expect_refused(m, 0x1d9, 2);
}

static void misc_enable_has_fast_strings(void **state)
{
    struct machine *m = *state;
    expect_reads(m, 0x1a0, 0x1801);
    expect_taken(m, 0x1a0, 0x400c51809);
    expect_refused(m, 0x1a0, 0x1801 | 1 << 8);
    assert_int_equal(msr_write(m->cpu, 0x1a0, 0), STEP_NEXT);
    expect_reads(m, 0x1a0, 0x1800);
}

static void speculation_registers_follow_cpuid(void **state)
{
    struct machine *m = *state;
    uint32_t words[4];
    uint64_t value;
    cpuid_query(m->cpu, 7, 0, words);
    bool ibrs = (words[3] >> 26) & 1;
    bool capabilities = (words[3] >> 29) & 1;
    assert_int_equal(msr_write(m->cpu, 0x48, 1), ibrs ? STEP_NEXT : STEP_FAULT);
    assert_int_equal(msr_write(m->cpu, 0x49, 1), ibrs ? STEP_NEXT : STEP_FAULT);
    expect_fault(m, msr_read(m->cpu, 0x49, &value), VECTOR_GP, 0);
    expect_fault(m, msr_write(m->cpu, 0x48, 8), VECTOR_GP, 0);
    assert_int_equal(msr_read(m->cpu, 0x10a, &value), capabilities ? STEP_NEXT : STEP_FAULT);
    expect_fault(m, msr_write(m->cpu, 0x10a, 0), VECTOR_GP, 0);
}

/* ---- those left to the caller of run() ---- */

static void a_range_is_left_to_the_caller(void **state)
{
    struct machine *m = *state;
    struct engine_exit question;
    uint64_t value;
    m->cpu->partition->config.exit_msr_first = 0x40000000;
    m->cpu->partition->config.exit_msr_last = 0x400000ff;
    m->cpu->exit = &question;
    assert_int_equal(msr_read(m->cpu, 0x400000ff, &value), STEP_EXIT);
    assert_int_equal(question.kind, ENGINE_EXIT_MSR_READ);
    assert_int_equal(question.msr.index, 0x400000ff);
    assert_int_equal(msr_write(m->cpu, 0x40000000, 0x1234), STEP_EXIT);
    assert_int_equal(question.kind, ENGINE_EXIT_MSR_WRITE);
    assert_int_equal(question.msr.value, 0x1234);
    expect_fault(m, msr_read(m->cpu, 0x40000100, &value), VECTOR_GP, 0);
}

static void init_keeps_them(void **state)
{
    struct machine *m = *state;
    expect_taken(m, 0xc0000082, 0x1234);
    expect_taken(m, 0x277, 0);
    msr_reset(m->cpu, true);
    expect_reads(m, 0xc0000082, 0x1234);
    expect_reads(m, 0x277, 0);
    msr_reset(m->cpu, false);
    expect_reads(m, 0xc0000082, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(unknown_registers_fault),
        machine_test(addresses_must_be_canonical),
        machine_test(narrow_registers_refuse_high_bits),
        machine_test(star_takes_anything),
        machine_test(memory_types_are_checked),
        machine_test(time_stamp_counter_moves_with_its_adjustment),
        machine_test(constants_do_not_change),
        machine_test(misc_enable_has_fast_strings),
        machine_test(speculation_registers_follow_cpuid),
        machine_test(a_range_is_left_to_the_caller),
        machine_test(init_keeps_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
