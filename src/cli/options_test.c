#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"

static struct {
    const char *name;
    bool loud;
    unsigned calls;
    char words[64]; /* each followed by a comma */
} taken;

static int take_name(void *command, const char *value)
{
    assert_ptr_equal(command, &taken);
    taken.name = value;
    taken.calls++;
    return strcmp(value, "bad") == 0 ? 77 : 0;
}

static int take_loud(void *command, const char *value)
{
    assert_ptr_equal(command, &taken);
    assert_null(value);
    taken.loud = true;
    taken.calls++;
    return 0;
}

static const struct cli_option options[] = {
    {"name", 'n', CLI_TEXT, "NAME", NULL, "a name", take_name},
    {"loud", 0, CLI_FLAG, NULL, NULL, "no value", take_loud},
    {0},
};

static int take_word(void *command, const char *word)
{
    size_t used = strlen(taken.words);

    assert_ptr_equal(command, &taken);
    (void)snprintf(taken.words + used, sizeof(taken.words) - used, "%s,", word);
    return strcmp(word, "bad") == 0 ? 78 : 0;
}

static int parse_as(const char *const *words, cli_word_fn word)
{
    char *argv[8];
    int argc = 0;

    memset(&taken, 0, sizeof(taken));
    for (; words[argc] != NULL; argc++)
        argv[argc] = strdup(words[argc]);
    argv[argc] = NULL;
    int code = cli_parse_words(options, argc, argv, &taken, word);
    if (taken.name != NULL)
        taken.name = strcmp(taken.name, "x") == 0 ? "x" : "another";
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return code;
}

static int parse(const char *const *words)
{
    return parse_as(words, NULL);
}

#define WORDS(...) ((const char *const[]){"command", __VA_ARGS__, NULL})

static void both_forms_are_taken(void **state)
{
    (void)state;
    assert_int_equal(parse(WORDS("--name", "x", "--loud")), 0);
    assert_string_equal(taken.name, "x");
    assert_true(taken.loud);
    assert_int_equal(parse(WORDS("--name=x")), 0);
    assert_string_equal(taken.name, "x");
    assert_int_equal(parse(WORDS("-nx")), 0);
    assert_string_equal(taken.name, "x");
    assert_int_equal(parse(WORDS("-n", "x")), 0);
    assert_int_equal(taken.calls, 1);
}

static void mistakes_are_usage_errors(void **state)
{
    (void)state;
    assert_int_equal(parse(WORDS("--nmae", "x")), CLI_EXIT_USAGE);
    assert_int_equal(parse(WORDS("--name")), CLI_EXIT_USAGE);
    assert_int_equal(parse(WORDS("--loud=yes")), CLI_EXIT_USAGE);
    assert_int_equal(parse(WORDS("-q")), CLI_EXIT_USAGE);
    assert_int_equal(parse(WORDS("--loud", "word")), CLI_EXIT_USAGE);
    assert_int_equal(parse(WORDS("--name", "bad", "--loud")), 77);
    assert_false(taken.loud);
}

static void words_may_stand_among_options(void **state)
{
    (void)state;
    assert_int_equal(parse_as(WORDS("a", "--name", "x", "b", "--", "--loud"), take_word), 0);
    assert_string_equal(taken.words, "a,b,--loud,");
    assert_string_equal(taken.name, "x");
    assert_false(taken.loud);
    assert_int_equal(parse_as(WORDS("--loud", "bad", "--name", "x"), take_word), 78);
    assert_int_equal(parse_as(WORDS("--", "bad", "a"), take_word), 78);
    assert_string_equal(taken.words, "bad,");
    assert_int_equal(parse_as(WORDS("a", "--nmae"), take_word), CLI_EXIT_USAGE);
    assert_int_equal(parse_as(WORDS("a", "--name"), take_word), CLI_EXIT_USAGE);
}

static void near_names_are_found(void **state)
{
    static const char *const names[] = {"kernel", "initrd", "memory", "cpus", "cpu"};
    (void)state;

    assert_string_equal(cli_nearest("kernal", names, 5), "kernel");
    assert_string_equal(cli_nearest("memroy", names, 5), "memory");
    assert_string_equal(cli_nearest("mem", names, 5), "memory");
    assert_string_equal(cli_nearest("cpuss", names, 5), "cpus");
    assert_string_equal(cli_nearest("cpi", names, 5), "cpu");
    assert_null(cli_nearest("frobnicate", names, 5));
    assert_null(cli_nearest("", names, 5));
    assert_null(cli_nearest("a-name-that-is-much-longer-than-any-option-could-be", names, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_are_taken),
        cmocka_unit_test(mistakes_are_usage_errors),
        cmocka_unit_test(words_may_stand_among_options),
        cmocka_unit_test(near_names_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
