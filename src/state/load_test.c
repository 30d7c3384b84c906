/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/sample.h"
#include "state/state.h"

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

/* Offsets in a file with one section "sample". */
enum { SAMPLE_VERSION = 8 + 1 + 6, SAMPLE_BODY_LENGTH = SAMPLE_VERSION + 4 };

static void missing_field_keeps_its_value(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    uint8_t byte = 5;
    assert_int_equal(state_save_create(&v), 0);
    state_begin(v, "sample", 1);
    state_u8(v, "byte", &byte);
    assert_int_equal(state_end(v), 0);
    size_t length;
    const uint8_t *bytes = state_saved(v, &length);
    struct state_visitor *load = loader(bytes, length);
    struct sample s = full_sample;
    assert_int_equal(visit_sample(load, "sample", &s), 0);
    assert_int_equal(s.byte, 5);
    assert_int_equal(s.word, full_sample.word);
    assert_memory_equal(s.bytes, full_sample.bytes, sizeof(s.bytes));
    state_destroy(load);
    state_destroy(v);
}

static void unknown_field_is_damage_or_the_future(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    for (uint32_t version = 1; version <= 3; version++) {
        struct state_visitor *v = loader(bytes, length);
        uint8_t byte = 0;
        state_begin(v, "sample", version);
        state_u8(v, "byte", &byte);
        assert_int_equal(state_end(v), version < 3 ? -EOPNOTSUPP : -EINVAL);
        state_destroy(v);
    }
    free(bytes);
}

static void field_of_another_length_is_refused(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    struct state_visitor *v = loader(bytes, length);
    uint32_t byte = 0xdddddddd;
    uint16_t word = 0xdddd;
    state_begin(v, "sample", 3);
    state_u32(v, "byte", &byte);
    state_u16(v, "word", &word); /* would fit, but the error sticks */
    assert_int_equal(state_end(v), -EINVAL);
    assert_int_equal(byte, 0xdddddddd);
    assert_int_equal(word, 0xdddd);
    state_destroy(v);
    free(bytes);
}

static void doubled_field_is_refused(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    uint8_t byte = 5;
    assert_int_equal(state_save_create(&v), 0);
    state_begin(v, "sample", 3);
    state_u8(v, "byte", &byte);
    state_u8(v, "byte", &byte);
    assert_int_equal(state_end(v), 0);
    size_t length;
    const uint8_t *bytes = state_saved(v, &length);
    struct state_visitor *load = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit_sample(load, "sample", &s), -EINVAL);
    state_destroy(load);
    state_destroy(v);
}

static void doubled_section_is_refused(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    struct state_visitor *load = NULL;
    struct sample s = full_sample;
    assert_int_equal(state_save_create(&v), 0);
    assert_int_equal(visit_sample(v, "one", &s), 0);
    assert_int_equal(visit_sample(v, "two", &s), 0);
    assert_int_equal(visit_sample(v, "one", &s), 0);
    size_t length;
    const uint8_t *bytes = state_saved(v, &length);
    assert_int_equal(state_load_create(bytes, length, &load), -EINVAL);
    state_destroy(v);
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    for (size_t bit = 0; bit < length * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct state_visitor *v = NULL;
        struct sample s = {0};
        static const struct sample untouched;
        int error = state_load_create(bytes, length, &v);
        if (error == 0)
            error = visit_sample(v, "sample", &s);
        assert_true(error == -EINVAL || error == -ENOENT);
        assert_memory_equal(&s, &untouched, sizeof(s));
        if (v != NULL)
            state_destroy(v);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
}

static void every_truncation_is_noticed(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *exact = malloc(cut + 1);
        assert_non_null(exact);
        memcpy(exact, bytes, cut);
        struct state_visitor *v = NULL;
        int error = state_load_create(exact, cut, &v);
        assert_int_equal(error, cut == 8 ? 0 : -EINVAL); /* no section at all is a file */
        if (error == 0)
            state_destroy(v);
        free(exact);
    }
    free(bytes);
}

static void lengths_that_lie_are_refused_before_a_field_changes(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    /* The last field's value length: name "bytes", four bytes of length, five of value. */
    put_le32(bytes + length - 9, 0xffffffff);
    mend_checksums(bytes, length);
    struct state_visitor *v = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit_sample(v, "sample", &s), -EINVAL);
    assert_int_equal(s.byte, 0);
    state_destroy(v);
    put_le32(bytes + SAMPLE_BODY_LENGTH, 0xffffffff);
    assert_int_equal(state_load_create(bytes, length, &v), -EINVAL);
    free(bytes);
}

static void newer_version_with_known_fields_loads(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    put_le32(bytes + SAMPLE_VERSION, 4);
    mend_checksums(bytes, length);
    struct state_visitor *v = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit_sample(v, "sample", &s), 0);
    assert_int_equal(s.word, full_sample.word);
    state_destroy(v);
    free(bytes);
}

static void bool_is_zero_or_one(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    uint8_t two = 2;
    assert_int_equal(state_save_create(&v), 0);
    state_begin(v, "sample", 3);
    state_u8(v, "flag", &two);
    assert_int_equal(state_end(v), 0);
    size_t length;
    const uint8_t *bytes = state_saved(v, &length);
    struct state_visitor *load = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit_sample(load, "sample", &s), -EINVAL);
    assert_false(s.flag);
    state_destroy(load);
    state_destroy(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_field_keeps_its_value),
        cmocka_unit_test(unknown_field_is_damage_or_the_future),
        cmocka_unit_test(field_of_another_length_is_refused),
        cmocka_unit_test(doubled_field_is_refused),
        cmocka_unit_test(doubled_section_is_refused),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(every_truncation_is_noticed),
        cmocka_unit_test(lengths_that_lie_are_refused_before_a_field_changes),
        cmocka_unit_test(newer_version_with_known_fields_loads),
        cmocka_unit_test(bool_is_zero_or_one),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
