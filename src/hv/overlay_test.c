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

static struct hv_overlay overlay;

static void fill(struct fixture *f, uint64_t gpa, uint8_t value)
{
    assert_int_equal(mem_fill(f->mem, gpa, value, MEM_PAGE_SIZE), 0);
}

static uint8_t byte(struct fixture *f, uint64_t gpa)
{
    uint8_t value = 0;
    assert_int_equal(mem_read(f->mem, gpa, &value, 1), 0);
    return value;
}

static void what_lies_under_comes_back(void **state)
{
    struct fixture *f = *state;
    overlay = (struct hv_overlay){0};
    fill(f, 0x5000, 0xaa);
    assert_int_equal(overlay_place(f->hv, &overlay, 0x5000 | 1, NULL), 0);
    assert_int_equal(byte(f, 0x5000), 0);
    assert_int_equal(overlay_place(f->hv, &overlay, 0, NULL), 0);
    assert_int_equal(byte(f, 0x5000), 0xaa);
    assert_int_equal(byte(f, 0x5fff), 0xaa);
}

static void its_bytes_move_along(void **state)
{
    struct fixture *f = *state;
    overlay = (struct hv_overlay){0};
    fill(f, 0x5000, 0xaa);
    fill(f, 0x6000, 0xbb);
    assert_int_equal(overlay_place(f->hv, &overlay, 0x5000 | 1, NULL), 0);
    fill(f, 0x5000, 0x11); /* the guest writes into the overlay */
    assert_int_equal(overlay_place(f->hv, &overlay, 0x6000 | 1, NULL), 0);
    assert_int_equal(byte(f, 0x5000), 0xaa);
    assert_int_equal(byte(f, 0x6000), 0x11);
    assert_int_equal(overlay_place(f->hv, &overlay, 0x6000 | 1, NULL), 0); /* stays */
    assert_int_equal(byte(f, 0x6000), 0x11);
    assert_int_equal(overlay_place(f->hv, &overlay, 0, NULL), 0);
    assert_int_equal(byte(f, 0x6000), 0xbb);
}

static void it_must_lie_in_ram(void **state)
{
    struct fixture *f = *state;
    overlay = (struct hv_overlay){0};
    assert_int_equal(overlay_place(f->hv, &overlay, FIXTURE_RAM | 1, NULL), -EFAULT);
    assert_int_equal(overlay_place(f->hv, &overlay, UINT64_MAX, NULL), -EFAULT);
    assert_false(overlay.placed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(what_lies_under_comes_back),
        HV_TEST(its_bytes_move_along),
        HV_TEST(it_must_lie_in_ram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
