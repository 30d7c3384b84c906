#include "cli/size.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void units_are_powers_of_1024(void **state)
{
    static const struct {
        const char *text;
        uint64_t size;
    } cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"4096B", 4096},
        {"512M", UINT64_C(512) << 20},
        {"512m", UINT64_C(512) << 20},
        {"512MB", UINT64_C(512) << 20},
        {"2GiB", UINT64_C(2) << 30},
        {"2gib", UINT64_C(2) << 30},
        {"1K", 1024},
        {"3T", UINT64_C(3) << 40},
        {"8E", UINT64_C(8) << 60},
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t size = 1;
        assert_int_equal(size_parse(cases[i].text, &size), 0);
        assert_int_equal(size, cases[i].size);
    }
}

static void malformed_is_einval(void **state)
{
    static const char *const texts[] = {"",     "M",     "-1M",   " 1M",   "+1M", "1.5G",
                                        "1 M",  "1MM",   "1Mi",   "1iB",   "1X",  "0x10M",
                                        "1MBi", "1MiBB", "512M ", "0b11M", "1BB"};
    (void)state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint64_t size = 1;
        if (size_parse(texts[i], &size) != -EINVAL)
            fail_msg("'%s' is taken", texts[i]);
        assert_int_equal(size, 1);
    }
}

static void too_large_is_erange(void **state)
{
    static const char *const texts[] = {"9E", "16E", "99999999999999999999", "9007199254740993M"};
    uint64_t size = 1;
    (void)state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(size_parse(texts[i], &size), -ERANGE);
        assert_int_equal(size, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_are_powers_of_1024),
        cmocka_unit_test(malformed_is_einval),
        cmocka_unit_test(too_large_is_erange),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
