/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "firmware/placement.h"

#include <errno.h>

#define MIB      UINT64_C(0x100000)
#define FOUR_GIB UINT64_C(0x100000000)

static struct placement start(struct mem **ret_mem)
{
    struct placement placement;
    assert_int_equal(mem_create(8 * MIB, 4 * MIB, ret_mem), 0);
    placement_start(&placement, *ret_mem);
    return placement;
}

static void taken_places_cannot_be_taken_again(void **state)
{
    (void)state;
    struct mem *mem;
    struct placement placement = start(&mem);
    assert_int_equal(placement_take(&placement, 2 * MIB, 4096), 0);
    assert_int_equal(placement_take(&placement, 2 * MIB, 4096), -EEXIST);
    assert_int_equal(placement_take(&placement, 2 * MIB + 4095, 1), -EEXIST);
    assert_int_equal(placement_take(&placement, 2 * MIB - 1, 2), -EEXIST);
    assert_int_equal(placement_take(&placement, 2 * MIB - 1, 5000), -EEXIST);
    assert_int_equal(placement_take(&placement, 2 * MIB - 1, 1), 0);
    assert_int_equal(placement_take(&placement, 2 * MIB + 4096, 1), 0);
    mem_destroy(mem);
}

static void only_low_ram_outside_the_firmware_can_be_taken(void **state)
{
    (void)state;
    struct mem *mem;
    struct placement placement = start(&mem);
    assert_int_equal(placement_take(&placement, 0xfff, 1), -EEXIST);
    assert_int_equal(placement_take(&placement, 0x1000, 1), 0);
    assert_int_equal(placement_take(&placement, 0x9fc00, 1), -EEXIST);
    assert_int_equal(placement_take(&placement, 0xfffff, 1), -EEXIST);
    assert_int_equal(placement_take(&placement, MIB, 3 * MIB), 0);
    assert_int_equal(placement_take(&placement, 4 * MIB, 1), -EFAULT);
    assert_int_equal(placement_take(&placement, FOUR_GIB, 1), -EFAULT);
    assert_int_equal(placement_take(&placement, UINT64_MAX, 2), -EFAULT);
    mem_destroy(mem);
}

static void room_is_found_from_the_top_between_what_is_taken(void **state)
{
    (void)state;
    struct mem *mem;
    struct placement placement = start(&mem);
    uint64_t gpa;
    assert_int_equal(placement_take(&placement, 3 * MIB, MIB / 2), 0);
    assert_int_equal(placement_find(&placement, MIB / 2, 4096, FOUR_GIB, &gpa), 0);
    assert_int_equal(gpa, 3 * MIB + MIB / 2);
    assert_int_equal(placement_find(&placement, 5000, 4096, FOUR_GIB, &gpa), 0);
    assert_int_equal(gpa, 3 * MIB - 8192);
    /* What is left over of the last page is still free. */
    assert_int_equal(placement_find(&placement, 1, 1, FOUR_GIB, &gpa), 0);
    assert_int_equal(gpa, 3 * MIB - 1);
    assert_int_equal(placement_find(&placement, 4096, 4096, 0x9fc00, &gpa), 0);
    assert_int_equal(gpa, 0x9e000);
    mem_destroy(mem);
}

static void limit_chooses_between_the_ranges(void **state)
{
    (void)state;
    struct mem *mem;
    struct placement placement = start(&mem);
    uint64_t gpa;
    assert_int_equal(placement_find(&placement, MIB, 4096, UINT64_MAX, &gpa), 0);
    assert_int_equal(gpa, FOUR_GIB + 3 * MIB);
    assert_int_equal(placement_find(&placement, 3 * MIB, 4096, UINT64_MAX, &gpa), 0);
    assert_int_equal(gpa, FOUR_GIB);
    assert_int_equal(placement_find(&placement, 3 * MIB, 4096, UINT64_MAX, &gpa), 0);
    assert_int_equal(gpa, MIB);
    assert_int_equal(placement_find(&placement, MIB, 4096, UINT64_MAX, &gpa), -ENOMEM);
    mem_destroy(mem);
}

static void absurd_wishes_find_no_room(void **state)
{
    (void)state;
    struct mem *mem;
    struct placement placement = start(&mem);
    uint64_t gpa = 1;
    assert_int_equal(placement_find(&placement, UINT64_MAX, 4096, UINT64_MAX, &gpa), -ENOMEM);
    assert_int_equal(placement_find(&placement, 1, UINT64_C(1) << 63, MIB, &gpa), -ENOMEM);
    assert_int_equal(placement_find(&placement, 1, 1, 0, &gpa), -ENOMEM);
    assert_int_equal(placement_find(&placement, 1, 1, 0x1000, &gpa), -ENOMEM);
    assert_int_equal(gpa, 1);
    mem_destroy(mem);
}

static void a_full_list_is_told(void **state)
{
    (void)state;
    struct mem *mem;
    struct placement placement = start(&mem);
    uint64_t gpa;
    while (placement.count < PLACEMENT_MAX)
        assert_int_equal(placement_find(&placement, 1, 1, FOUR_GIB, &gpa), 0);
    assert_int_equal(placement_find(&placement, 1, 1, FOUR_GIB, &gpa), -ENOSPC);
    assert_int_equal(placement_take(&placement, 2 * MIB, 1), -ENOSPC);
    mem_destroy(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_places_cannot_be_taken_again),
        cmocka_unit_test(only_low_ram_outside_the_firmware_can_be_taken),
        cmocka_unit_test(room_is_found_from_the_top_between_what_is_taken),
        cmocka_unit_test(limit_chooses_between_the_ranges),
        cmocka_unit_test(absurd_wishes_find_no_room),
        cmocka_unit_test(a_full_list_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
