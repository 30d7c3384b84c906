#include "bootdisk/command_line.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *text, const char *words)
{
    char found[COMMAND_LINE_MOST_WORDS];

    command_line_grub_words(text, strlen(text), found);
    assert_string_equal(found, words);
}

static void words_of_both_variables_are_taken(void **state)
{
    (void)state;
    expect("# comment\nGRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet  splash\"\n"
           "GRUB_CMDLINE_LINUX='net.ifnames=0'\n",
           "net.ifnames=0 quiet splash");
    expect("GRUB_CMDLINE_LINUX=quiet", "quiet");
    expect("GRUB_CMDLINE_LINUX=\"\"\n", "");
}

static void last_assignment_counts(void **state)
{
    (void)state;
    expect("GRUB_CMDLINE_LINUX=a\nGRUB_CMDLINE_LINUX=b\n", "b");
    expect("GRUB_CMDLINE_LINUX=a\nGRUB_CMDLINE_LINUX=\"b $c\"\n", "");
    expect("#GRUB_CMDLINE_LINUX=a\n", "");
}

static void what_needs_a_shell_is_left_out(void **state)
{
    static const char *const texts[] = {
        "GRUB_CMDLINE_LINUX=\"a $(reboot)\"",
        "GRUB_CMDLINE_LINUX=\"a `b`\"",
        "GRUB_CMDLINE_LINUX=\"a \\\" b\"",
        "GRUB_CMDLINE_LINUX=\"a",
        "GRUB_CMDLINE_LINUX=a b",
        "GRUB_CMDLINE_LINUX=a;b",
        "GRUB_CMDLINE_LINUX=\"a\x1b[0m\"",
        "GRUB_CMDLINE_LINUX=\"a\"b\"",
        "GRUB_CMDLINE_LINUX=\"a\tb\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect(texts[i], "");
}

static void another_root_is_left_out(void **state)
{
    (void)state;
    expect("GRUB_CMDLINE_LINUX=\"root=/dev/sda1 quiet rootwait resume=/dev/sda2\"",
           "quiet rootwait");
}

static void too_many_words_are_none(void **state)
{
    char text[2048] = "GRUB_CMDLINE_LINUX=\"";
    (void)state;

    size_t length = strlen(text);
    memset(text + length, 'w', 1500);
    text[length + 1500] = '"';
    expect(text, "");
}

static void what_the_user_says_comes_last(void **state)
{
    const struct bootdisk_wish own = {.append = "console=tty0"};
    const struct bootdisk_wish none = {0};
    const struct bootdisk_wish screen = {.screen = true};
    char line[BOOTDISK_COMMAND_LINE_SIZE];
    (void)state;

    assert_int_equal(command_line_compose("PARTUUID=1-2", "quiet", &own, line, NULL), 0);
    assert_string_equal(line, "root=PARTUUID=1-2 ro quiet console=ttyS0 console=tty0");
    assert_int_equal(command_line_compose("UUID=3", "", &none, line, NULL), 0);
    assert_string_equal(line, "root=UUID=3 ro console=ttyS0");
    assert_int_equal(command_line_compose("UUID=3", "", &screen, line, NULL), 0);
    assert_string_equal(line, "root=UUID=3 ro console=tty0 console=ttyS0");
}

static void line_that_is_too_long_is_refused(void **state)
{
    char line[BOOTDISK_COMMAND_LINE_SIZE];
    char append[BOOTDISK_COMMAND_LINE_SIZE];
    const struct bootdisk_wish wish = {.append = append};
    struct reason reason = {""};
    (void)state;

    memset(append, 'a', sizeof(append));
    append[sizeof(append) - 1] = '\0';
    assert_int_equal(command_line_compose("UUID=3", "", &wish, line, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "longer than 2047"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_both_variables_are_taken),
        cmocka_unit_test(last_assignment_counts),
        cmocka_unit_test(what_needs_a_shell_is_left_out),
        cmocka_unit_test(another_root_is_left_out),
        cmocka_unit_test(too_many_words_are_none),
        cmocka_unit_test(what_the_user_says_comes_last),
        cmocka_unit_test(line_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests_name("command_line", tests, NULL, NULL);
}
