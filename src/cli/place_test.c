#include "cli/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void places_are_two_numbers(void **state)
{
    unsigned controller = 9;
    unsigned lun = 9;
    (void)state;

    assert_true(place_parse("0:0", &controller, &lun));
    assert_int_equal(controller + lun, 0);
    assert_true(place_parse("3:063", &controller, &lun));
    assert_int_equal(controller, 3);
    assert_int_equal(lun, 63);
}

static void other_texts_are_no_places(void **state)
{
    static const char *const bad[] = {"",     ":",    "1",    "1:",       ":1",    "1:2:3", "-1:0",
                                      "1:-0", "1: 0", " 1:0", "0:100000", "1.0:1", "a:b",   "1:2 "};
    unsigned controller = 0;
    unsigned lun = 0;
    (void)state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(place_parse(bad[i], &controller, &lun));
    assert_false(place_parse_number("1x", &lun));
    assert_true(place_parse_number("7", &lun));
    assert_true(place_parse_number("32767", &lun));
    assert_int_equal(lun, 32767);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_two_numbers),
        cmocka_unit_test(other_texts_are_no_places),
    };
    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
