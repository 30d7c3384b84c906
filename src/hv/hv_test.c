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

#include "state/state.h"

static void a_reset_forgets_all_but_ports(void **state)
{
    struct fixture *f = *state;
    enable_synic(f, 1);
    write_msr(f, 0, HV_MSR_GUEST_OS_ID, 1);
    write_msr(f, 0, HV_MSR_HYPERCALL, 0x4000 | 1);
    write_msr(f, 1, HV_MSR_STIMER0_CONFIG, 1 << 12 | 0xed << 4 | 8);
    write_msr(f, 1, HV_MSR_STIMER0_CONFIG + 1, UINT64_MAX);
    assert_int_equal(mem_fill(f->mem, SIMP_AT + 0x2000, 0x55, MEM_PAGE_SIZE), 0);
    hv_reset(f->hv, -(int64_t)engine_host_tsc());
    assert_int_equal(read_msr(f, 1, HV_MSR_SIMP), 0);
    assert_int_equal(read_msr(f, 0, HV_MSR_HYPERCALL), 0);
    assert_int_equal(read_msr(f, 1, HV_MSR_STIMER0_CONFIG), 0);
    assert_int_equal(f->timer[1], 0);
    assert_true(hv_reference_time(f->hv) < 10000000);
    assert_int_equal(*mem_pin(f->mem, SIMP_AT + 0x2000, 1), 0x55); /* memory is the caller's */
}

static void save(struct fixture *f, struct state_visitor **ret)
{
    assert_int_equal(state_save_create(ret), 0);
    assert_int_equal(hv_visit_state(f->hv, *ret), 0);
}

static void copy_memory(struct fixture *from, struct fixture *to)
{
    assert_int_equal(mem_write(to->mem, 0, mem_pin(from->mem, 0, FIXTURE_RAM), FIXTURE_RAM), 0);
}

static void saved_state_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    struct fixture *g = fixture_create(0);
    struct state_visitor *saved = NULL;
    struct state_visitor *loading = NULL;
    const struct hv_message message = {.type = 1, .length = 3};
    enable_synic(f, 2);
    write_msr(f, 0, HV_MSR_REFERENCE_TSC, 0x7000 | 1);
    assert_int_equal(hv_post_message(f->hv, 2, 2, &message), 0);
    assert_int_equal(hv_post_message(f->hv, 2, 2, &message), 0);
    write_msr(f, 2, HV_MSR_STIMER0_CONFIG, 1 << 12 | 0xed << 4 | 8);
    write_msr(f, 2, HV_MSR_STIMER0_CONFIG + 1, UINT64_C(1) << 40);
    uint64_t before = hv_reference_time(f->hv);
    save(f, &saved);
    copy_memory(f, g);
    size_t length = 0;
    const uint8_t *bytes = state_saved(saved, &length);
    assert_int_equal(state_load_create(bytes, length, &loading), 0);
    assert_int_equal(hv_visit_state(g->hv, loading), 0);
    assert_true(hv_reference_time(g->hv) >= before);
    assert_int_equal(read_msr(g, 2, HV_MSR_SIMP), read_msr(f, 2, HV_MSR_SIMP));
    assert_int_not_equal(g->timer[2], 0);
    put_le32(slot_of(g, 2, 2), 0);
    write_msr(g, 2, HV_MSR_EOM, 0);
    assert_int_equal(get_le32(slot_of(g, 2, 2)), 1); /* the message that waited */
    const uint8_t *page = mem_pin(g->mem, 0x7000, 24);
    assert_int_equal(get_le64(page + 16), (uint64_t)g->hv->time_offset);
    state_destroy(loading);
    state_destroy(saved);
    fixture_destroy(g);
}

static void impossible_numbers_of_processors_are_refused(void **state)
{
    struct hv *hv = NULL;
    struct reason reason;
    (void)state;
    assert_int_equal(hv_create(&(struct hv_config){.tsc_hz = 1}, &hv, &reason), -EINVAL);
    hv_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(a_reset_forgets_all_but_ports),
        HV_TEST(saved_state_goes_on_where_it_was),
        cmocka_unit_test(impossible_numbers_of_processors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
