/* What the commands of `partita` share: one table of commands, one of options a command. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* What may follow an option: for completion. */
enum cli_value_kind { CLI_FLAG, CLI_TEXT, CLI_FILE, CLI_WORDS };

struct cli_option {
    const char *name;
    char letter; /* 0: only the long form */
    enum cli_value_kind kind;
    const char *value; /* as shown in the help: "FILE" */
    const char *words; /* CLI_WORDS: those that may be typed, separated by spaces */
    const char *help;
    /* Take the value (NULL for a flag) into the command's own struct: 0, or an exit code. */
    int (*take)(void *command, const char *value);
};

struct cli_command {
    const char *name;
    const char *summary; /* NULL: not for people */
    int (*main)(int argc, char **argv);
    const struct cli_option *options; /* ends with one without a name; NULL: none */
    const char *words; /* what else it takes, for completion: "NAME FILE"; may be NULL */
};

enum cli_exit_code {
    CLI_EXIT_FAILED = 1, /* a partition refused, or did not answer */
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_FILE = 3,         /* a file cannot be used */
    CLI_EXIT_NO_PARTITION = 5, /* none of that name runs */
};

extern const struct cli_option run_options[];
int run_main(int argc, char **argv);

extern const struct cli_option host_options[];
int host_main(int argc, char **argv);

extern const struct cli_option list_options[];
int list_main(int argc, char **argv);

extern const struct cli_option status_options[];
int status_main(int argc, char **argv);

extern const struct cli_option attach_options[];
int attach_main(int argc, char **argv);

extern const struct cli_option detach_options[];
int detach_main(int argc, char **argv);

extern const struct cli_option insert_options[];
int insert_main(int argc, char **argv);

extern const struct cli_option eject_options[];
int eject_main(int argc, char **argv);

extern const struct cli_option net_options[];
int net_main(int argc, char **argv);

extern const struct cli_option send_key_options[];
int send_key_main(int argc, char **argv);

extern const struct cli_option type_options[];
int type_main(int argc, char **argv);

extern const struct cli_option mouse_options[];
int mouse_main(int argc, char **argv);

extern const struct cli_option screenshot_options[];
int screenshot_main(int argc, char **argv);

extern const struct cli_option vnc_options[];
int vnc_main(int argc, char **argv);

extern const struct cli_option balance_options[];
int balance_main(int argc, char **argv);

extern const struct cli_option memory_options[];
int memory_main(int argc, char **argv);

extern const struct cli_option integration_options[];
int integration_main(int argc, char **argv);

extern const struct cli_option kvp_options[];
int kvp_main(int argc, char **argv);

extern const struct cli_option freeze_options[];
int freeze_main(int argc, char **argv);

extern const struct cli_option copy_options[];
int copy_main(int argc, char **argv);

extern const struct cli_option exec_options[];
int exec_main(int argc, char **argv);

extern const struct cli_option shell_options[];
int shell_main(int argc, char **argv);

extern const struct cli_option cp_options[];
int cp_main(int argc, char **argv);

extern const struct cli_option stop_options[];
int stop_main(int argc, char **argv);

/* ---- options.c ---- */

/* Call take() for each option; `argv[0]` is the command's name. 0, or an exit code after one line.
 */
int cli_parse(const struct cli_option *options, int argc, char **argv, void *command);
/* The same for a command that takes words too, anywhere among its options. */
typedef int (*cli_word_fn)(void *command, const char *word);
int cli_parse_words(const struct cli_option *options, int argc, char **argv, void *command,
                    cli_word_fn word);
void cli_print_options(FILE *to, const struct cli_option *options);

/* The nearest of `count` names when it is near enough to be meant, else NULL. */
const char *cli_nearest(const char *typed, const char *const *names, size_t count);

/* ---- complete.c ---- */

/*
 * `words` are those after "partita"; the last one, which may be empty, is to be completed. Prints
 * the candidates, a line each; ":files" asks the shell for file names.
 */
void cli_complete(const struct cli_command *commands, int count, char *const *words);

/* What others say, on a terminal: without what would control it. */
void cli_print_clean(FILE *to, const char *text);
/* "partita: …" on standard error, one line; what it quotes is printed as above. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
