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

#include "base/bytes.h"
#include "state/crc32c.h"

/* What a device would visit. */
struct sample {
    uint8_t byte;
    uint16_t word;
    uint32_t dword;
    uint64_t qword;
    bool flag;
    uint8_t bytes[5];
};

static const struct sample full = {0x12, 0x3456,         0x789abcde, UINT64_C(0x1122334455667788),
                                   true, {1, 2, 3, 4, 5}};

static int visit(struct state_visitor *v, const char *section, struct sample *s)
{
    state_begin(v, section, 3);
    state_u8(v, "byte", &s->byte);
    state_u16(v, "word", &s->word);
    state_u32(v, "dword", &s->dword);
    state_u64(v, "qword", &s->qword);
    state_bool(v, "flag", &s->flag);
    state_bytes(v, "bytes", s->bytes, sizeof(s->bytes));
    return state_end(v);
}

/* The saved bytes of one section, on the heap. */
static uint8_t *save_full(size_t *ret_length)
{
    struct state_visitor *v = NULL;
    struct sample s = full;
    assert_int_equal(state_save_create(&v), 0);
    assert_false(state_is_load(v));
    assert_int_equal(visit(v, "sample", &s), 0);
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

enum { SAMPLE_HEAD = 8 + 1 + 6, SAMPLE_VERSION = SAMPLE_HEAD, SAMPLE_BODY = SAMPLE_HEAD + 12 };

/* After a test has changed the only section: make its length and checksum fit. */
static void mend(uint8_t *bytes, size_t length)
{
    put_le32(bytes + SAMPLE_BODY - 8, (uint32_t)(length - SAMPLE_BODY));
    uint32_t crc = crc32c(0, bytes + 8, SAMPLE_BODY - 8 - 4);
    crc = crc32c(crc, bytes + SAMPLE_BODY, length - SAMPLE_BODY);
    put_le32(bytes + SAMPLE_BODY - 4, crc);
}

static void checksum_is_crc32c(void **state)
{
    (void)state;
    /* The check value of the catalogues, and RFC 3720 appendix B.4. */
    uint8_t zeroes[32] = {0};
    uint8_t ones[32];
    memset(ones, 0xff, sizeof(ones));
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, zeroes, 32), 0x8a9136aa);
    assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c_portable(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void both_checksums_agree_at_every_length(void **state)
{
    (void)state;
    uint8_t bytes[100];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t length = 0; length <= sizeof(bytes); length++)
        assert_int_equal(crc32c(0, bytes, length), crc32c_portable(0, bytes, length));
}

static void loads_what_was_saved(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    struct state_visitor *v = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit(v, "sample", &s), 0);
    assert_int_equal(s.byte, full.byte);
    assert_int_equal(s.word, full.word);
    assert_int_equal(s.dword, full.dword);
    assert_true(s.qword == full.qword);
    assert_true(s.flag);
    assert_memory_equal(s.bytes, full.bytes, sizeof(s.bytes));
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
    struct sample s = full;
    s.byte = 77;
    assert_int_equal(visit(v, "other", &s), -ENOENT);
    assert_int_equal(s.byte, 77);
    assert_int_equal(visit(v, "sample", &s), 0); /* the next section begins without error */
    assert_int_equal(s.byte, full.byte);
    state_destroy(v);
    free(bytes);
}

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
    struct sample s = full;
    assert_int_equal(visit(load, "sample", &s), 0);
    assert_int_equal(s.byte, 5);
    assert_int_equal(s.word, full.word);
    assert_memory_equal(s.bytes, full.bytes, sizeof(s.bytes));
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
    assert_int_equal(visit(load, "sample", &s), -EINVAL);
    state_destroy(load);
    state_destroy(v);
}

static void doubled_section_is_refused(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    struct state_visitor *load = NULL;
    struct sample s = full;
    assert_int_equal(state_save_create(&v), 0);
    assert_int_equal(visit(v, "one", &s), 0);
    assert_int_equal(visit(v, "two", &s), 0);
    assert_int_equal(visit(v, "one", &s), 0);
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
            error = visit(v, "sample", &s);
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
    mend(bytes, length);
    struct state_visitor *v = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit(v, "sample", &s), -EINVAL);
    assert_int_equal(s.byte, 0);
    state_destroy(v);
    put_le32(bytes + SAMPLE_VERSION + 4, 0xffffffff);
    assert_int_equal(state_load_create(bytes, length, &v), -EINVAL);
    free(bytes);
}

static void newer_version_with_known_fields_loads(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = save_full(&length);
    put_le32(bytes + SAMPLE_VERSION, 4);
    mend(bytes, length);
    struct state_visitor *v = loader(bytes, length);
    struct sample s = {0};
    assert_int_equal(visit(v, "sample", &s), 0);
    assert_int_equal(s.word, full.word);
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
    assert_int_equal(visit(load, "sample", &s), -EINVAL);
    assert_false(s.flag);
    state_destroy(load);
    state_destroy(v);
}

static void refused_section_is_taken_back(void **state)
{
    (void)state;
    struct state_visitor *v = NULL;
    struct sample s = full;
    size_t before;
    size_t after;
    assert_int_equal(state_save_create(&v), 0);
    assert_int_equal(visit(v, "one", &s), 0);
    (void)state_saved(v, &before);
    state_begin(v, "two", 1);
    state_u8(v, "byte", &s.byte);
    state_fail(v, -EBUSY);
    state_fail(v, -EIO); /* the first one counts */
    state_u8(v, "other", &s.byte);
    assert_int_equal(state_end(v), -EBUSY);
    (void)state_saved(v, &after);
    assert_int_equal(before, after);
    assert_int_equal(visit(v, "two", &s), 0);
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

static void destroy_takes_null(void **state)
{
    (void)state;
    state_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_is_crc32c),
        cmocka_unit_test(both_checksums_agree_at_every_length),
        cmocka_unit_test(loads_what_was_saved),
        cmocka_unit_test(sections_are_found_in_any_order),
        cmocka_unit_test(missing_section_is_an_error_of_its_own),
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
        cmocka_unit_test(refused_section_is_taken_back),
        cmocka_unit_test(names_are_short_and_plain),
        cmocka_unit_test(sections_do_not_nest),
        cmocka_unit_test(destroy_takes_null),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
