#include "base/reason.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void error_passes_through_and_text_is_formatted(void **state)
{
    (void)state;
    struct reason reason = {.text = "old"};
    assert_int_equal(reason_set(&reason, -EINVAL, "%s: no HdrS at 0x%x", "vmlinuz", 0x202),
                     -EINVAL);
    assert_string_equal(reason.text, "vmlinuz: no HdrS at 0x202");
}

static void nobody_has_to_listen(void **state)
{
    (void)state;
    assert_int_equal(reason_set(NULL, -ENOENT, "%s", "gone"), -ENOENT);
}

static void long_text_is_cut_and_terminated(void **state)
{
    (void)state;
    char path[1024];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    struct {
        struct reason reason;
        char fence;
    } place = {.fence = '#'};
    assert_int_equal(reason_set(&place.reason, -EIO, "%s", path), -EIO);
    assert_int_equal(strlen(place.reason.text), sizeof(place.reason.text) - 1);
    assert_int_equal(place.fence, '#');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_passes_through_and_text_is_formatted),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(long_text_is_cut_and_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
