/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <string.h>

#include "state/sample.h"
#include "state/state.h"

static void refused_section_is_taken_back(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    struct sample s = full_sample;
    size_t before;
    size_t after;
    assert_int_equal(state_save_create(&v), 0);
    assert_int_equal(visit_sample(v, "one", &s), 0);
    (void)state_saved(v, &before);
    state_begin(v, "two", 1);
    state_u8(v, "byte", &s.byte);
    state_fail(v, -EBUSY);
    state_fail(v, -EIO); /* the first one counts */
    state_u8(v, "other", &s.byte);
    assert_int_equal(state_end(v), -EBUSY);
    (void)state_saved(v, &after);
    assert_int_equal(before, after);
    assert_int_equal(visit_sample(v, "two", &s), 0);
    state_destroy(v);
}

static void names_are_short_and_plain(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "Upper", "under_score",
                                      "a b", "\xff",  "a-name-of-thirty-two-characters-"};
    struct state_visitor *v = NULL;
    uint8_t byte = 0;
    assert_int_equal(state_save_create(&v), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        state_begin(v, bad[i], 1);
        assert_int_equal(state_end(v), -EINVAL);
        state_begin(v, "good", 1);
        state_u8(v, bad[i], &byte);
        assert_int_equal(state_end(v), -EINVAL);
    }
    state_begin(v, "a-name-of-31-characters-is-fine", 1);
    assert_int_equal(state_end(v), 0);
    state_destroy(v);
}

static void sections_do_not_nest(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    assert_int_equal(state_save_create(&v), 0);
    assert_int_equal(state_end(v), -EINVAL);
    state_begin(v, "outer", 1);
    state_begin(v, "inner", 1);
    assert_int_equal(state_end(v), -EINVAL);
    size_t length;
    (void)state_saved(v, &length);
    assert_int_equal(length, 8);
    uint8_t byte = 1;
    state_u8(v, "outside", &byte); /* between sections: nothing is written */
    (void)state_saved(v, &length);
    assert_int_equal(length, 8);
    state_destroy(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_section_is_taken_back),
        cmocka_unit_test(names_are_short_and_plain),
        cmocka_unit_test(sections_do_not_nest),
    };
    return cmocka_run_group_tests_name("save", tests, NULL, NULL);
}
