#include "cli/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void rates_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t rate;
    } good[] = {{"0", 0},    {"8", 8}, {"64k", 64000}, {"100M", 100000000}, {"1.5G", 1500000000},
                {"2K", 2000}};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t rate = 1;
        assert_true(rate_parse(good[i].text, &rate));
        assert_true(rate == good[i].rate);
    }
}

static void other_texts_are_refused(void **state)
{
    static const char *const bad[] = {"",    "M",    "-1",  "1.5", "7",
                                      "10X", "10MM", "1 M", "1e3", "99999999999999999999G"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t rate = 1;
        assert_false(rate_parse(bad[i], &rate));
    }
}

static void rates_are_written_short(void **state)
{
    char text[RATE_SIZE];
    (void)state;
    rate_print(100000000, text);
    assert_string_equal(text, "100M");
    rate_print(1500, text);
    assert_string_equal(text, "1500");
    rate_print(0, text);
    assert_string_equal(text, "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_read),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(rates_are_written_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
