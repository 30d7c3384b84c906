#include "disk/utf16.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void text_comes_back(void **state)
{
    static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbe";
    uint8_t bytes[32];
    char back[32];

    (void)state;
    int used = utf16_encode(text, bytes, sizeof(bytes));
    assert_int_equal(used, 10);
    assert_memory_equal(bytes, "a\0\xe4\0\xac\x20\x3d\xd8\xbe\xdc", 10);
    utf16_decode(bytes, (size_t)used, back, sizeof(back));
    assert_string_equal(back, text);
}

static void half_a_pair_is_replaced(void **state)
{
    static const uint8_t bytes[] = {0x3d, 0xd8, 'x', 0, 0xbe, 0xdc, 0x3d, 0xd8, 'y'};
    char text[32];

    (void)state;
    utf16_decode(bytes, sizeof(bytes), text, sizeof(text));
    assert_string_equal(text, "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd");
}

static void zero_ends_a_text(void **state)
{
    char text[8];

    (void)state;
    utf16_decode((const uint8_t *)"a\0b\0\0\0c\0", 8, text, sizeof(text));
    assert_string_equal(text, "ab");
}

static void what_does_not_fit_is_left_out(void **state)
{
    char text[4];
    uint8_t bytes[4];

    (void)state;
    utf16_decode((const uint8_t *)"a\0\xac\x20", 4, text, sizeof(text));
    assert_string_equal(text, "a");
    assert_int_equal(utf16_encode("abc", bytes, sizeof(bytes)), -ENAMETOOLONG);
}

static void what_is_not_utf8_is_refused(void **state)
{
    static const char *const wrong[] = {"\x80",         "\xc0\x80", "\xe2\x82",
                                        "\xed\xa0\x80", "\xff",     "\xf4\x90\x80\x80"};
    uint8_t bytes[16];

    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(utf16_encode(wrong[i], bytes, sizeof(bytes)), -EILSEQ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_back),
        cmocka_unit_test(half_a_pair_is_replaced),
        cmocka_unit_test(zero_ends_a_text),
        cmocka_unit_test(what_does_not_fit_is_left_out),
        cmocka_unit_test(what_is_not_utf8_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
