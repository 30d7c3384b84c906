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

#include <pthread.h>
#include <stdatomic.h>

__extension__ typedef unsigned __int128 wide;

/* As the guest computes it from the page. */
static uint64_t from_page(struct fixture *f, uint64_t tsc)
{
    const uint8_t *page = mem_pin(f->mem, 0x7000, MEM_PAGE_SIZE);
    assert_int_not_equal(get_le32(page), 0);
    return (uint64_t)((wide)tsc * get_le64(page + 8) >> 64) + get_le64(page + 16);
}

static void page_and_register_tell_the_same(void **state)
{
    struct fixture *f = *state;
    write_msr(f, 0, HV_MSR_REFERENCE_TSC, 0x7000 | 1);
    for (uint64_t host = 1; host < UINT64_MAX / 3; host = host * 3 + 7)
        assert_int_equal(refclock_at(f->hv, host - (uint64_t)f->hv->tsc_offset),
                         from_page(f, host));
    assert_int_equal(read_msr(f, 0, HV_MSR_REFERENCE_TSC), 0x7000 | 1);
}

static void it_counts_units_of_100_ns(void **state)
{
    struct fixture *f = *state;
    uint64_t zero = -(uint64_t)f->hv->tsc_offset;
    assert_in_range(refclock_at(f->hv, zero + FIXTURE_HZ * 1000), UINT64_C(9999999999),
                    UINT64_C(10000000000));
    assert_int_equal(refclock_at(f->hv, zero), 0);
}

struct watcher {
    struct fixture *f;
    _Atomic uint64_t *latest;
    bool back;
};

static void *watch(void *argument)
{
    struct watcher *watcher = argument;
    for (int i = 0; i < 200000; i++) {
        uint64_t before = atomic_load(watcher->latest);
        uint64_t now = hv_reference_time(watcher->f->hv);
        if (now < before)
            watcher->back = true;
        while (now > before && !atomic_compare_exchange_weak(watcher->latest, &before, now))
            continue;
    }
    return NULL;
}

static void no_thread_sees_time_run_back(void **state)
{
    static _Atomic uint64_t latest;
    struct watcher watchers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        watchers[i] = (struct watcher){.f = *state, .latest = &latest};
        assert_int_equal(pthread_create(&threads[i], NULL, watch, &watchers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(watchers[i].back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(page_and_register_tell_the_same),
        HV_TEST(it_counts_units_of_100_ns),
        HV_TEST(no_thread_sees_time_run_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
