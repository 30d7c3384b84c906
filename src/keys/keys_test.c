#include "keys/keys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void chords_are_read_in_order(void **state)
{
    struct chord chord;
    (void)state;

    assert_int_equal(keys_parse_chord("ctrl-alt-delete", &chord, NULL), 0);
    assert_int_equal(chord.count, 3);
    assert_int_equal(chord.keys[0].code, 0x1d);
    assert_int_equal(chord.keys[1].code, 0x38);
    assert_int_equal(chord.keys[2].code, 0x53);
    assert_true(chord.keys[2].e0 && !chord.keys[0].e0);
    assert_int_equal(keys_parse_chord("Alt+SysRq+b", &chord, NULL), 0);
    assert_int_equal(chord.keys[2].code, 0x30);
    assert_int_equal(keys_parse_chord("1", &chord, NULL), 0);
    assert_int_equal(chord.keys[0].code, 0x02);
}

static void what_is_no_key_is_named(void **state)
{
    static const char *const wrong[] = {"",         "ctrl-",           "-",
                                        "ctrl--a",  "ctrl-alt-remove", "A",
                                        "ctrl alt", "\xc3\xa4",        "a-b-c-d-e-f-g-h-i"};
    struct chord chord;
    struct reason reason = {""};
    (void)state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(keys_parse_chord(wrong[i], &chord, &reason), -EINVAL);
    assert_int_equal(keys_parse_chord("ctrl-alt-remove", &chord, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "'remove'"));
}

/* Shift is held for exactly the characters that need it, and no two share a key and a shift. */
static void each_character_has_keys_of_its_own(void **state)
{
    unsigned char seen[2][0x80] = {{0}};
    (void)state;

    for (int c = ' '; c < 0x7f; c++) {
        struct chord chord;
        assert_true(keys_of_character((char)c, &chord));
        assert_in_range(chord.count, 1, 2);
        bool shifted = chord.count == 2;
        assert_true(!shifted || chord.keys[0].code == 0x2a);
        assert_int_equal(seen[shifted][chord.keys[chord.count - 1].code]++, 0);
        if (c >= 'a' && c <= 'z')
            assert_false(shifted);
        if (c >= 'A' && c <= 'Z')
            assert_true(shifted);
    }
}

static void characters_without_a_key_are_told(void **state)
{
    struct chord chord;
    (void)state;

    assert_false(keys_of_character('\0', &chord));
    assert_false(keys_of_character('\r', &chord));
    assert_false(keys_of_character((char)0xe4, &chord));
    assert_true(keys_of_character('\n', &chord));
    assert_int_equal(chord.keys[0].code, 0x1c);
    assert_true(keys_of_character('~', &chord));
    assert_int_equal(chord.keys[1].code, 0x29);
    assert_true(keys_of_character('|', &chord));
    assert_int_equal(chord.keys[1].code, 0x2b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chords_are_read_in_order),
        cmocka_unit_test(what_is_no_key_is_named),
        cmocka_unit_test(each_character_has_keys_of_its_own),
        cmocka_unit_test(characters_without_a_key_are_told),
    };
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
