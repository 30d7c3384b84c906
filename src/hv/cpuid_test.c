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

static const struct engine_cpuid_leaf *leaf(const struct fixture *f, uint32_t number)
{
    size_t count = 0;
    const struct engine_cpuid_leaf *leaves = hv_cpuid(f->hv, &count);
    for (size_t i = 0; i < count; i++) {
        if (leaves[i].leaf == number)
            return &leaves[i];
    }
    fail_msg("no leaf 0x%x", number);
    return NULL;
}

static void the_vendor_is_who_guests_look_for(void **state)
{
    const struct fixture *f = *state;
    const struct engine_cpuid_leaf *first = leaf(f, 0x40000000);
    assert_int_equal(first->eax, 0x4000000a);
    assert_memory_equal(&first->ebx, "Micr", 4);
    assert_memory_equal(&first->ecx, "osof", 4);
    assert_memory_equal(&first->edx, "t Hv", 4);
    assert_memory_equal(&leaf(f, 0x40000001)->eax, "Hv#1", 4);
    assert_int_equal(leaf(f, 0x40000005)->eax, 64);
    assert_int_equal(leaf(f, 0x4000000a)->eax, 0);
}

static void features_are_the_privileges(void **state)
{
    const struct fixture *f = *state;
    uint64_t privileges = hv_default_privileges();
    assert_int_equal(leaf(f, 0x40000003)->eax, (uint32_t)privileges);
    assert_int_equal(leaf(f, 0x40000003)->ebx, privileges >> 32);
    /* Linux takes itself for the root partition, or asks for its id and crashes, with these. */
    assert_int_equal(leaf(f, 0x40000003)->ebx & (1 << 12 | 1 << 1), 0);
    assert_int_equal(leaf(f, 0x40000003)->edx & (1 << 8 | 1 << 19), 1 << 8 | 1 << 19);
    assert_int_equal(leaf(f, 0x40000004)->eax, 1 << 2 | 1 << 5 | 7 << 9);
}

static void what_is_not_granted_is_not_shown(void **state)
{
    struct fixture *f = fixture_create(HV_PRIVILEGE(HV_HYPERCALL) | HV_PRIVILEGE(HV_VP_INDEX));
    (void)state;
    assert_int_equal(leaf(f, 0x40000003)->eax, 0x60);
    assert_int_equal(leaf(f, 0x40000003)->edx & (1 << 8 | 1 << 19 | 1 << 5), 0);
    assert_int_equal(leaf(f, 0x40000004)->eax, 1 << 2 | 1 << 5 | 3 << 10);
    fixture_destroy(f);
    f = fixture_create(HV_PRIVILEGE(HV_SYNIC));
    assert_int_equal(leaf(f, 0x40000003)->edx, 1 << 10);
    assert_int_equal(leaf(f, 0x40000004)->eax, 1 << 5 | 1 << 9);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(the_vendor_is_who_guests_look_for),
        HV_TEST(features_are_the_privileges),
        cmocka_unit_test(what_is_not_granted_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
