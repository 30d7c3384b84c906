/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "state/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/sample.h"

/* The saved bytes of one section, on the heap. */
static uint8_t *save_full(size_t *ret_length)
{
    struct state_visitor *v = NULL;
    struct sample s = full_sample;
    assert_int_equal(state_save_create(&v), 0);
    assert_false(state_is_load(v));
    assert_int_equal(visit_sample(v, "sample", &s), 0);
    const uint8_t *saved = state_saved(v, ret_length);
    uint8_t *copy = malloc(*ret_length);
    assert_non_null(copy);
    memcpy(copy, saved, *ret_length);
    state_destroy(v);
    return copy;
}

static struct state_visitor *loader(const uint8_t *bytes, size_t length)
{
    struct state_visitor *v = NULL;
    assert_int_equal(state_load_create(bytes, length, &v), 0);
    assert_true(state_is_load(v));
    return v;
}

static void loads_what_was_saved(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    struct state_visitor *v = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit_sample(v, "sample", &s), 0);
    assert_int_equal(s.byte, full_sample.byte);
    assert_int_equal(s.word, full_sample.word);
    assert_int_equal(s.dword, full_sample.dword);
    assert_true(s.qword == full_sample.qword);
    assert_true(s.flag);
    assert_memory_equal(s.bytes, full_sample.bytes, sizeof(s.bytes));
    state_destroy(v);
    free(bytes);
}

static void sections_are_found_in_any_order(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    assert_int_equal(state_save_create(&v), 0);
    for (uint8_t i = 0; i < 3; i++) {
        char name[] = "unit-0";
        name[5] = (char)('0' + i);
        state_begin(v, name, 1);
        state_u8(v, "number", &i);
        assert_int_equal(state_end(v), 0);
    }
    size_t length;
    const uint8_t *bytes = state_saved(v, &length);
    struct state_visitor *load = loader(bytes, length);
    static const char *const names[] = {"unit-2", "unit-0", "unit-1", "unit-1"};
    static const uint8_t numbers[] = {2, 0, 1, 1};
    for (unsigned i = 0; i < 4; i++) {
        uint8_t number = 99;
        state_begin(load, names[i], 1);
        state_u8(load, "number", &number);
        assert_int_equal(state_end(load), 0);
        assert_int_equal(number, numbers[i]);
    }
    state_destroy(load);
    state_destroy(v);
}

static void missing_section_is_an_error_of_its_own(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    struct state_visitor *v = loader(bytes, length);
    struct sample s = full_sample;
    s.byte = 77;
    assert_int_equal(visit_sample(v, "other", &s), -ENOENT);
    assert_int_equal(s.byte, 77);
    assert_int_equal(visit_sample(v, "sample", &s), 0); /* the next section begins without error */
    assert_int_equal(s.byte, full_sample.byte);
    state_destroy(v);
    free(bytes);
}

static void destroy_takes_null(void **state)
{
    (void)state;
    state_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_was_saved),
        cmocka_unit_test(sections_are_found_in_any_order),
        cmocka_unit_test(missing_section_is_an_error_of_its_own),
        cmocka_unit_test(destroy_takes_null),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
