/* Options by table: getopt_long does the syntax, the table does the rest. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

enum { MAX_OPTIONS = 40, MAX_NAME = 32 };

void cli_print_clean(FILE *to, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;
        (void)fputc(*at < ' ' || *at == 0x7f || c1 ? '?' : *at, to);
        at += c1;
    }
}

void cli_error(const char *format, ...)
{
    char text[4096];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)fputs("partita: ", stderr);
    cli_print_clean(stderr, text);
    (void)fputc('\n', stderr);
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance; names longer than MAX_NAME are far from everything. */
static unsigned distance(const char *left, const char *right)
{
    unsigned row[MAX_NAME + 1];
    size_t width = strlen(right);

    if (width > MAX_NAME || strlen(left) > MAX_NAME)
        return MAX_NAME;
    for (unsigned i = 0; i <= width; i++)
        row[i] = i;
    for (unsigned y = 1; *left != '\0'; left++, y++) {
        unsigned diagonal = row[0];
        row[0] = y;
        for (size_t x = 1; x <= width; x++) {
            unsigned change = diagonal + (*left != right[x - 1]);
            diagonal = row[x];
            row[x] = smaller(change, smaller(row[x], row[x - 1]) + 1);
        }
    }
    return row[width];
}

const char *cli_nearest(const char *typed, const char *const *names, size_t count)
{
    const char *best = NULL;
    unsigned best_distance = 3; /* beyond two slips it is another word */

    for (size_t i = 0; i < count; i++) {
        unsigned apart = distance(typed, names[i]);
        bool prefix = strlen(typed) >= 3 && strncmp(names[i], typed, strlen(typed)) == 0;
        if (prefix)
            apart = 1;
        if (apart < best_distance && apart < strlen(names[i])) {
            best = names[i];
            best_distance = apart;
        }
    }
    return best;
}

static int refuse_unknown(const struct cli_option *options, const char *command, const char *typed)
{
    const char *names[MAX_OPTIONS];
    char name[MAX_NAME + 1] = "";

    size_t count = 0;

    for (; options[count].name != NULL && count < MAX_OPTIONS; count++)
        names[count] = options[count].name;
    if (strncmp(typed, "--", 2) == 0)
        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(typed + 2, "="), typed + 2);
    const char *meant = name[0] != '\0' ? cli_nearest(name, names, count) : NULL;
    if (meant != NULL && strcmp(meant, name) == 0)
        cli_error("%s: --%s takes no value", command, name);
    else if (meant != NULL)
        cli_error("%s: unknown option '%s'; did you mean --%s?", command, typed, meant);
    else
        cli_error("%s: unknown option '%s'; try 'partita %s --help'", command, typed, command);
    return CLI_EXIT_USAGE;
}

/* Words that are no options end them, or are given in their turn as options of the letter 1. */
static void fill_getopt(const struct cli_option *options, bool with_words, struct option *ret_long,
                        char *ret_short)
{
    *ret_short++ = with_words ? '-' : '+';
    *ret_short++ = ':'; /* tell a missing value from an unknown option */
    size_t count = 0;

    for (; options[count].name != NULL && count < MAX_OPTIONS; count++) {
        const struct cli_option *option = &options[count];
        ret_long[count] = (struct option){
            .name = option->name,
            .has_arg = option->kind == CLI_FLAG ? no_argument : required_argument,
            .val = option->letter,
        };
        if (option->letter != 0)
            *ret_short++ = option->letter;
        if (option->letter != 0 && option->kind != CLI_FLAG)
            *ret_short++ = ':';
    }
    *ret_short = '\0';
    ret_long[count] = (struct option){0};
}

static const struct cli_option *by_letter(const struct cli_option *options, int letter)
{
    while (options->letter != letter)
        options++;
    return options;
}

/* What getopt_long found: 0, or an exit code after one line. */
static int take_found(const struct cli_option *options, int found, int index, cli_word_fn word,
                      void *command)
{
    enum { WORD = 1 };

    if (found == WORD && word != NULL)
        return word(command, optarg);
    const struct cli_option *option = index >= 0 ? &options[index] : by_letter(options, found);
    return option->take(command, option->kind == CLI_FLAG ? NULL : optarg);
}

int cli_parse_words(const struct cli_option *options, int argc, char **argv, void *command,
                    cli_word_fn word)
{
    struct option longs[MAX_OPTIONS + 1];
    char shorts[2 * MAX_OPTIONS + 3];

    fill_getopt(options, word != NULL, longs, shorts);
    opterr = 0;
    optind = 0;
    for (;;) {
        int index = -1;
        int at = optind == 0 ? 1 : optind;
        /* One thread, at the start of the process. */
        int found =
            getopt_long(argc, argv, shorts, longs, &index); /* NOLINT(concurrency-mt-unsafe) */
        if (found == -1)
            break;
        if (found == '?')
            return refuse_unknown(options, argv[0], argv[at]);
        if (found == ':') {
            cli_error("%s: %s needs a value", argv[0], argv[at]);
            return CLI_EXIT_USAGE;
        }
        int code = take_found(options, found, index, word, command);
        if (code != 0)
            return code;
    }
    for (; word != NULL && optind < argc; optind++) { /* behind "--" */
        int code = word(command, argv[optind]);
        if (code != 0)
            return code;
    }
    if (optind < argc) {
        cli_error("%s: '%s' is one word too many; try 'partita %s --help'", argv[0], argv[optind],
                  argv[0]);
        return CLI_EXIT_USAGE;
    }
    return 0;
}

int cli_parse(const struct cli_option *options, int argc, char **argv, void *command)
{
    return cli_parse_words(options, argc, argv, command, NULL);
}

void cli_print_options(FILE *to, const struct cli_option *options)
{
    enum { COLUMN = 26 };

    for (const struct cli_option *option = options; option->name != NULL; option++) {
        char left[64];
        char letter[8] = "";
        if (option->letter != 0)
            (void)snprintf(letter, sizeof(letter), "-%c, ", option->letter);
        (void)snprintf(left, sizeof(left), "  %s--%s%s%s", letter, option->name,
                       option->value != NULL ? " " : "",
                       option->value != NULL ? option->value : "");
        if (strlen(left) < COLUMN)
            (void)fprintf(to, "%-*s%s\n", COLUMN, left, option->help);
        else
            (void)fprintf(to, "%s\n%*s%s\n", left, COLUMN, "", option->help);
    }
}
