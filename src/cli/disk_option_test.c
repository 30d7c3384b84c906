#include "cli/disk_option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char words[128];
static struct worker_disk disk;
static struct reason reason;

static bool parse(const char *text, bool dvd)
{
    (void)snprintf(words, sizeof(words), "%s", text);
    return disk_option_parse(words, dvd, &disk, &reason);
}

static void a_file_alone_is_enough(void **state)
{
    (void)state;
    assert_true(parse("/a/b.vhdx", false));
    assert_string_equal(disk.path, "/a/b.vhdx");
    assert_false(disk.placed || disk.read_only || disk.dvd);
    assert_null(disk.serial);
}

static void words_follow_in_any_order(void **state)
{
    (void)state;
    assert_true(parse("d,serial=A1,at=3:63,ro", false));
    assert_string_equal(disk.path, "d");
    assert_string_equal(disk.serial, "A1");
    assert_true(disk.placed && disk.read_only);
    assert_int_equal(disk.controller, 3);
    assert_int_equal(disk.lun, 63);
}

static void only_a_drive_may_be_empty(void **state)
{
    (void)state;
    assert_true(parse("", true));
    assert_null(disk.path);
    assert_true(parse(",at=1:0", true));
    assert_int_equal(disk.controller, 1);
    assert_false(parse("", false));
    assert_false(parse(",ro", false));
}

static void slips_are_named(void **state)
{
    static const char *const wrong[] = {"d,",        "d,rw",      "d,at=",     "d,at=1",
                                        "d,at=1:",   "d,at=:1",   "d,at=1:2x", "d,at=-1:0",
                                        "d,serial=", "d,at=0:999"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(parse(wrong[i], false));
    assert_non_null(strstr(reason.text, "at=0:999"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_alone_is_enough),
        cmocka_unit_test(words_follow_in_any_order),
        cmocka_unit_test(only_a_drive_may_be_empty),
        cmocka_unit_test(slips_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
