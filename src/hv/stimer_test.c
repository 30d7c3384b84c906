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

#include <time.h>

#include "base/clock.h"

enum {
    CONFIG = HV_MSR_STIMER0_CONFIG,
    COUNT = CONFIG + 1,
    DIRECT = 1 << 12 | 0xed << 4,
    ON = 1,
    PERIODIC = 2,
    LAZY = 4,
    AUTO = 8,
    SINT2 = 2 << 16
};

static void wait_ms(long ms)
{
    const struct timespec pause = {.tv_nsec = ms * 1000000};
    (void)nanosleep(&pause, NULL);
}

static uint64_t now(struct fixture *f)
{
    return hv_reference_time(f->hv);
}

static void one_shot_fires_once_and_switches_off(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 1, CONFIG, DIRECT | AUTO);
    write_msr(f, 1, COUNT, now(f) + 2000000);
    assert_int_equal(read_msr(f, 1, CONFIG), DIRECT | AUTO | ON);
    assert_int_not_equal(f->timer[1], 0);
    hv_timer_expired(f->hv, 1); /* too early: nothing */
    assert_int_equal(f->interrupts[1][0xed], 0);
    wait_ms(250);
    hv_timer_expired(f->hv, 1);
    hv_timer_expired(f->hv, 1);
    assert_int_equal(f->interrupts[1][0xed], 1);
    assert_int_equal(read_msr(f, 1, CONFIG) & ON, 0);
    assert_int_equal(f->timer[1], 0);
}

static void a_time_that_has_passed_fires_at_once(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, CONFIG, DIRECT | AUTO);
    write_msr(f, 0, COUNT, 1);
    assert_int_equal(f->interrupts[0][0xed], 1);
}

#define PERIOD UINT64_C(600000000) /* a minute: no test takes so long */

/* A periodic timer whose next expiration was due a while ago, looked at now. */
static struct hv_stimer *expire_late(struct fixture *f, uint64_t flags, uint64_t late)
{
    struct hv_stimer *timer = &f->hv->vps[0].stimer[0];

    write_msr(f, 0, COUNT, PERIOD);
    write_msr(f, 0, CONFIG, DIRECT | PERIODIC | ON | flags);
    f->interrupts[0][0xed] = 0;
    timer->deadline = now(f) + 100 * PERIOD - late; /* a young partition has no time so long ago */
    f->hv->time_offset += 100 * PERIOD;
    hv_timer_expired(f->hv, 0);
    return timer;
}

static void a_periodic_timer_goes_on_until_it_is_stopped(void **state)
{
    struct fixture *f = *state;
    const struct hv_stimer *timer = expire_late(f, 0, 10);
    assert_int_equal(f->interrupts[0][0xed], 1);
    assert_in_range(timer->deadline, now(f) + PERIOD * 9 / 10, now(f) + PERIOD);
    assert_in_range(f->timer[0], clock_monotonic_ns() + 100 * PERIOD * 9 / 10,
                    clock_monotonic_ns() + 100 * PERIOD);
    write_msr(f, 0, COUNT, 0);
    assert_int_equal(f->timer[0], 0);
}

static void what_was_missed_is_caught_up_with_by_shorter_periods(void **state)
{
    struct fixture *f = *state;
    struct hv_stimer *timer = expire_late(f, 0, 2 * PERIOD + PERIOD / 4);
    for (unsigned told = 1; told <= 3; told++) {
        hv_timer_expired(f->hv, 0); /* too early for the next */
        assert_int_equal(f->interrupts[0][0xed], told);
        if (told < 3) {
            assert_in_range(timer->not_before, now(f) + PERIOD * 4 / 10, now(f) + PERIOD / 2);
            assert_in_range(f->timer[0], clock_monotonic_ns() + 100 * PERIOD * 4 / 10,
                            clock_monotonic_ns() + 100 * PERIOD / 2);
        }
        timer->not_before = now(f); /* half a period later, but that it still has missed two */
        if (told < 3)
            hv_timer_expired(f->hv, 0);
    }
    assert_in_range(timer->deadline, now(f) + PERIOD * 6 / 10, now(f) + PERIOD * 3 / 4);
}

static void what_is_too_far_behind_is_skipped(void **state)
{
    struct fixture *f = *state;
    const struct hv_stimer *timer = expire_late(f, 0, 50 * PERIOD + PERIOD / 4);
    assert_int_equal(f->interrupts[0][0xed], 1);
    assert_in_range(timer->deadline, now(f) - 8 * PERIOD, now(f) - 7 * PERIOD);
    assert_int_equal(timer->expired_at, timer->deadline - PERIOD);
}

static void a_lazy_timer_tells_once_of_what_it_missed(void **state)
{
    struct fixture *f = *state;
    const struct hv_stimer *timer = expire_late(f, LAZY, 2 * PERIOD + PERIOD / 4);
    assert_int_equal(f->interrupts[0][0xed], 1);
    assert_int_equal(timer->not_before, 0);
    assert_in_range(timer->deadline, now(f) + PERIOD * 6 / 10, now(f) + PERIOD * 3 / 4);
    hv_timer_expired(f->hv, 0);
    assert_int_equal(f->interrupts[0][0xed], 1);
}

static void a_lazy_timer_is_silent_shortly_before_the_next(void **state)
{
    struct fixture *f = *state;
    const struct hv_stimer *timer = expire_late(f, LAZY, PERIOD - PERIOD / 9);
    assert_int_equal(f->interrupts[0][0xed], 0);
    assert_in_range(timer->deadline, now(f), now(f) + PERIOD / 8);
    assert_int_not_equal(f->timer[0], 0);
    assert_int_equal(read_msr(f, 0, CONFIG) & (ON | LAZY), ON | LAZY);
}

/* By a hostile saved state; it must not expire for ever. */
static void a_period_beyond_the_end_of_time_ends_there(void **state)
{
    struct fixture *f = *state;
    struct hv_stimer *timer = expire_late(f, 0, 10);
    timer->count = UINT64_MAX - 1;
    timer->deadline = now(f);
    hv_timer_expired(f->hv, 0);
    assert_int_equal(timer->deadline, UINT64_MAX);
}

static void messages_wait_for_a_page_and_a_slot(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, CONFIG, SINT2 | AUTO);
    write_msr(f, 0, COUNT, 1); /* expires before there is a page */
    enable_synic(f, 0);
    uint8_t *slot = slot_of(f, 0, 2);
    assert_int_equal(get_le32(slot), 0x80000010);
    assert_int_equal(slot[4], 24);
    assert_int_equal(get_le64(slot + 24), 1);
    write_msr(f, 0, COUNT, 1); /* the slot is taken */
    assert_int_equal(slot[5] & 1, 1);
    put_le32(slot, 0);
    write_msr(f, 0, HV_MSR_EOM, 0);
    assert_int_equal(get_le32(slot), 0x80000010);
    assert_int_equal(f->interrupts[0][0xf3], 2);
}

static void a_timer_that_leads_nowhere_stays_off(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, COUNT, 1);
    write_msr(f, 0, CONFIG, ON);
    assert_int_equal(read_msr(f, 0, CONFIG) & ON, 0);
}

static void the_earliest_is_what_the_host_is_asked_for(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 4; i++)
        write_msr(f, 0, CONFIG + 2 * i, DIRECT | AUTO);
    write_msr(f, 0, COUNT, now(f) + 500000000);
    uint64_t late = f->timer[0];
    write_msr(f, 0, COUNT + 6, now(f) + 100000000);
    assert_true(f->timer[0] < late);
    write_msr(f, 0, COUNT + 2, UINT64_MAX);
    assert_true(f->timer[0] < late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(one_shot_fires_once_and_switches_off),
        HV_TEST(a_time_that_has_passed_fires_at_once),
        HV_TEST(a_periodic_timer_goes_on_until_it_is_stopped),
        HV_TEST(what_was_missed_is_caught_up_with_by_shorter_periods),
        HV_TEST(what_is_too_far_behind_is_skipped),
        HV_TEST(a_lazy_timer_tells_once_of_what_it_missed),
        HV_TEST(a_lazy_timer_is_silent_shortly_before_the_next),
        HV_TEST(a_period_beyond_the_end_of_time_ends_there),
        HV_TEST(messages_wait_for_a_page_and_a_slot),
        HV_TEST(a_timer_that_leads_nowhere_stays_off),
        HV_TEST(the_earliest_is_what_the_host_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
