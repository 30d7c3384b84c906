#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keys/keys.h"

static void characters_take_the_keys_that_they_take(void **state)
{
    struct chord chord;
    (void)state;

    assert_true(keys_of_keysym('a', &chord));
    assert_int_equal(chord.count, 1);
    assert_int_equal(chord.keys[0].code, 0x1e);
    assert_true(keys_of_keysym('A', &chord));
    assert_int_equal(chord.count, 2);
    assert_int_equal(chord.keys[0].code, 0x2a);
    assert_int_equal(chord.keys[1].code, 0x1e);
    for (uint32_t character = 0x20; character < 0x7f; character++)
        assert_true(keys_of_keysym(character, &chord));
}

static void keys_without_a_character_have_their_codes(void **state)
{
    static const struct {
        uint32_t keysym;
        uint8_t code;
        bool e0;
    } wanted[] = {{0xff0d, 0x1c, false}, {0xffff, 0x53, true},  {0xff9f, 0x53, false},
                  {0xffe4, 0x1d, true},  {0xffc9, 0x58, false}, {0xff52, 0x48, true},
                  {0xfe03, 0x38, true},  {0xff08, 0x0e, false}};
    struct chord chord;
    (void)state;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_true(keys_of_keysym(wanted[i].keysym, &chord));
        assert_int_equal(chord.count, 1);
        assert_int_equal(chord.keys[0].code, wanted[i].code);
        assert_int_equal(chord.keys[0].e0, wanted[i].e0);
    }
}

static void others_are_no_keys(void **state)
{
    static const uint32_t others[] = {0,      0x1f,   0x7f,      0xe4,      0x20ac,
                                      0xff00, 0xffbd, 0x1000041, UINT32_MAX};
    struct chord chord;
    (void)state;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(keys_of_keysym(others[i], &chord));
}

/* Every name of the table is one that keys.c knows. */
static void each_keysym_of_the_keyboard_leads_somewhere(void **state)
{
    unsigned found = 0;
    struct chord chord;
    (void)state;

    for (uint32_t keysym = 0xfe00; keysym <= 0xffff; keysym++)
        found += keys_of_keysym(keysym, &chord);
    assert_int_equal(found, 71);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_take_the_keys_that_they_take),
        cmocka_unit_test(keys_without_a_character_have_their_codes),
        cmocka_unit_test(others_are_no_keys),
        cmocka_unit_test(each_keysym_of_the_keyboard_leads_somewhere),
    };
    return cmocka_run_group_tests_name("keysym", tests, NULL, NULL);
}
