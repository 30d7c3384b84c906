#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "engine/probe_private.h"
#include "tests/harness/fake_engine.h"

static void guest_code_loops_back_to_its_start(void **state)
{
    uint8_t ram[PROBE_GUEST_RAM] = {0};
    (void)state;

    probe_guest_write(ram);
    const uint8_t *code = ram + PROBE_GUEST_CODE;
    /* Both JNZ reach the first instruction: their displacement is minus where they end. */
    assert_int_equal(code[10], 0x75);
    assert_int_equal((int8_t)code[11], -12);
    assert_int_equal(code[53], 0x75);
    assert_int_equal((int8_t)code[54], -55);
    assert_int_equal(code[55], 0xe6);
    assert_int_equal(code[56], PROBE_GUEST_PORT);
    assert_int_equal(get_le64(ram + PROBE_GUEST_PML4) & 1, 1);
}

static void done_counts_rounds_and_turns(void **state)
{
    (void)state;
    assert_int_equal(probe_guest_done(10, PROBE_GUEST_TURNS, 10), 0);
    assert_int_equal(probe_guest_done(10, PROBE_GUEST_TURNS, 0), 10 * PROBE_GUEST_ROUND);
    assert_int_equal(probe_guest_done(10, PROBE_GUEST_TURNS - 3, 9), PROBE_GUEST_ROUND + 12);
    assert_int_equal(probe_guest_done(10, 5, UINT64_MAX), (PROBE_GUEST_TURNS - 5) * 4);
}

/* A loop that takes what the test says. */
struct made_up {
    uint64_t ns_per_round;
    int error;
    unsigned runs;
    uint64_t rounds;
};

static int run_made_up(void *engine, uint64_t rounds, struct probe_run *ret, struct reason *reason)
{
    struct made_up *made_up = engine;

    (void)reason;
    made_up->runs++;
    made_up->rounds += rounds;
    ret->instructions = rounds * PROBE_GUEST_ROUND;
    ret->elapsed_ns = rounds * made_up->ns_per_round;
    return made_up->error;
}

static void measure_stops_at_once_when_hopeless(void **state)
{
    struct made_up slow = {.ns_per_round = UINT64_C(10000000)};
    double mips = 0;
    (void)state;

    assert_int_equal(probe_measure(run_made_up, &slow, &mips, NULL), 0);
    assert_int_equal(slow.rounds, 1);
    assert_true(mips > 1 && mips < 2);
}

static void measure_repeats_when_quick(void **state)
{
    struct made_up quick = {.ns_per_round = 16000};
    double mips = 0;
    (void)state;

    assert_int_equal(probe_measure(run_made_up, &quick, &mips, NULL), 0);
    assert_int_equal(quick.rounds, 1 + PROBE_REPEATS * PROBE_ROUNDS);
    assert_true(mips > 900 && mips < 1100);
}

static void measure_keeps_the_rate_at_the_deadline(void **state)
{
    struct made_up late = {.ns_per_round = 160000, .error = -ETIME};
    double mips = 0;
    (void)state;

    assert_int_equal(probe_measure(run_made_up, &late, &mips, NULL), -ETIME);
    assert_int_equal(late.runs, 1);
    assert_true(mips > 90 && mips < 110);
}

static enum fake_action finish_loop(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    (void)vcpu;
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_PORT_WRITE};
    exit->port.port = PROBE_GUEST_PORT;
    exit->port.size = 1;
    return FAKE_EXIT;
}

static enum fake_action hang(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    (void)vcpu;
    (void)exit;
    return FAKE_HALT;
}

static enum fake_action triple_fault(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    (void)vcpu;
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_SHUTDOWN};
    return FAKE_EXIT;
}

static void engine_probe_accepts_the_loops_end(void **state)
{
    struct reason reason = {0};
    double mips = -1;
    (void)state;

    fake_engine_load(&(struct fake_program){.step = finish_loop});
    assert_int_equal(probe_engine_speed(&fake_engine, &mips, &reason), 0);
    assert_true(mips >= 0);
    assert_int_equal(atomic_load(&fake_engine_counts()->alive), 0);
}

static void engine_probe_ends_a_hang_at_its_deadline(void **state)
{
    struct reason reason = {0};
    double mips = -1;
    (void)state;

    fake_engine_load(&(struct fake_program){.step = hang});
    uint64_t start = clock_monotonic_ns();
    assert_int_equal(probe_engine_speed(&fake_engine, &mips, &reason), -ETIME);
    uint64_t taken = clock_monotonic_ns() - start;
    assert_true(taken >= PROBE_TIME_NS);
    assert_true(taken < 20 * (uint64_t)PROBE_TIME_NS);
    assert_int_equal(atomic_load(&fake_engine_counts()->alive), 0);
}

static void engine_probe_gives_a_reason_for_a_wrong_end(void **state)
{
    struct reason reason = {0};
    double mips = -1;
    (void)state;

    fake_engine_load(&(struct fake_program){.step = triple_fault});
    assert_int_equal(probe_engine_speed(&fake_engine, &mips, &reason), -EPROTO);
    assert_non_null(strstr(reason.text, "64-bit loop"));
}

/* Whatever this machine's KVM is: an answer in time, with a reason, that agrees with itself. */
static void kvm_probe_agrees_with_itself(void **state)
{
    struct engine_report report;
    (void)state;

    uint64_t start = clock_monotonic_ns();
    engine_probe_kvm(&report);
    assert_true(clock_monotonic_ns() - start < 20 * (uint64_t)PROBE_TIME_NS);
    assert_string_equal(report.name, "kvm");
    assert_true(strlen(report.reason.text) > 0);
    assert_true(report.ability_count <= ENGINE_MAX_ABILITIES);
    if (report.usable)
        assert_true(report.mips >= PROBE_NEEDED_MIPS);
    for (size_t i = 0; i < report.ability_count; i++) {
        if (report.usable && report.ability[i].required)
            assert_true(report.ability[i].present);
    }
}

static void soft_abilities_name_the_level(void **state)
{
    struct engine_report report;
    (void)state;

    probe_soft_abilities(&report);
    assert_string_equal(report.name, "soft");
    assert_true(report.ability_count > 4);
    assert_true(report.usable == report.ability[0].present);
    assert_int_equal(fpclassify(report.mips), FP_ZERO);
    if (report.usable)
        assert_non_null(strstr(report.reason.text, "x86-64-v"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_code_loops_back_to_its_start),
        cmocka_unit_test(done_counts_rounds_and_turns),
        cmocka_unit_test(measure_stops_at_once_when_hopeless),
        cmocka_unit_test(measure_repeats_when_quick),
        cmocka_unit_test(measure_keeps_the_rate_at_the_deadline),
        cmocka_unit_test(engine_probe_accepts_the_loops_end),
        cmocka_unit_test(engine_probe_ends_a_hang_at_its_deadline),
        cmocka_unit_test(engine_probe_gives_a_reason_for_a_wrong_end),
        cmocka_unit_test(kvm_probe_agrees_with_itself),
        cmocka_unit_test(soft_abilities_name_the_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
