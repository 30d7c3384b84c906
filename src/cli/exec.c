/* partita exec and partita shell: a command in a guest, without a network. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/guest.h"
#include "cli/session.h"

struct exec_command {
    const char *command; /* "exec" or "shell" */
    const char *name;
    struct exec_request request;
    char *terminal_variable; /* TERM=... of ours */
    unsigned wait_seconds;
    bool help;
};

/* ---- options ---- */

static int take_interactive(void *command, const char *value)
{
    (void)value;
    ((struct exec_command *)command)->request.input = true;
    return 0;
}

static int take_terminal(void *command, const char *value)
{
    (void)value;
    ((struct exec_command *)command)->request.terminal = true;
    return 0;
}

static int add_variable(struct exec_command *exec, const char *variable)
{
    struct exec_request *request = &exec->request;

    if (request->environment_count == REQUEST_MOST_WORDS) {
        cli_error("%s: more than %d variables", exec->command, REQUEST_MOST_WORDS);
        return CLI_EXIT_USAGE;
    }
    request->environment[request->environment_count++] = variable;
    return 0;
}

static int take_variable(void *command, const char *value)
{
    struct exec_command *exec = command;

    if (strchr(value, '=') != NULL && value[0] != '=')
        return add_variable(exec, value);
    cli_error("%s: --env '%s': NAME=VALUE is wanted", exec->command, value);
    return CLI_EXIT_USAGE;
}

static int take_directory(void *command, const char *value)
{
    ((struct exec_command *)command)->request.directory = value;
    return 0;
}

static int take_user(void *command, const char *value)
{
    ((struct exec_command *)command)->request.user = value;
    return 0;
}

static int take_wait(void *command, const char *value)
{
    struct exec_command *exec = command;
    return guest_parse_wait(exec->command, value, &exec->wait_seconds);
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct exec_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    struct exec_command *exec = command;

    if (exec->name != NULL) {
        cli_error("%s: '%s' is one word too many; try 'partita %s --help'", exec->command, word,
                  exec->command);
        return CLI_EXIT_USAGE;
    }
    exec->name = word;
    return 0;
}

const struct cli_option exec_options[] = {
    {"interactive", 'i', CLI_FLAG, NULL, NULL, "standard input goes to the command",
     take_interactive},
    {"tty", 't', CLI_FLAG, NULL, NULL, "the command has a terminal", take_terminal},
    {"env", 'e', CLI_TEXT, "NAME=VALUE", NULL, "a variable; may be repeated", take_variable},
    {"cwd", 'w', CLI_TEXT, "FOLDER", NULL, "where it starts (default: the user's home)",
     take_directory},
    {"user", 'u', CLI_TEXT, "USER[:GROUP]", NULL, "who runs it (default root)", take_user},
    {"wait", 0, CLI_TEXT, "SECONDS", NULL, "so long, for a guest that still boots", take_wait},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

const struct cli_option shell_options[] = {
    {"env", 'e', CLI_TEXT, "NAME=VALUE", NULL, "a variable; may be repeated", take_variable},
    {"cwd", 'w', CLI_TEXT, "FOLDER", NULL, "where it starts (default: the user's home)",
     take_directory},
    {"user", 'u', CLI_TEXT, "USER[:GROUP]", NULL, "whose shell it is (default root)", take_user},
    {"wait", 0, CLI_TEXT, "SECONDS", NULL, "so long, for a guest that still boots", take_wait},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_exec_help(void)
{
    (void)puts("Usage: partita exec NAME [OPTION]... [--] COMMAND [ARGUMENT]...\n"
               "Run a command in the guest of the running partition NAME, without a network: by\n"
               "partita-agent in the guest, over a socket of Hyper-V's.\n");
    cli_print_options(stdout, exec_options);
    (void)puts("\n"
               "Signals go to the command; the third Ctrl-C or SIGTERM leaves it to itself.\n"
               "\n"
               "Exit codes: those of the command, 128 and the signal that ended it; 125 Partita\n"
               "failed, 126 it cannot be executed, 127 it is not there, 2 usage, 5 no such\n"
               "partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita exec web uname -a\n"
               "  partita exec web -it -- top\n"
               "  partita exec web -i -- tar -xC /srv <files.tar");
}

static void print_shell_help(void)
{
    (void)puts("Usage: partita shell NAME [OPTION]...\n"
               "A root shell in the guest of the running partition NAME, without a network: by\n"
               "partita-agent in the guest, over a socket of Hyper-V's.\n");
    cli_print_options(stdout, shell_options);
    (void)puts("\n"
               "Exit codes: those of the shell; 125 Partita failed, 2 usage, 5 no such partition\n"
               "runs.\n"
               "\n"
               "Examples:\n"
               "  partita shell web\n"
               "  partita shell web --wait 60\n"
               "  echo 'ip addr' | partita shell web");
}

/* ---- where the guest's command begins ---- */

static const struct cli_option *find_long(const struct cli_option *options, const char *word)
{
    for (; options->name != NULL; options++) {
        if (strcmp(options->name, word) == 0)
            return options;
    }
    return NULL;
}

static const struct cli_option *find_letter(const struct cli_option *options, char letter)
{
    for (; options->name != NULL; options++) {
        if (options->letter == letter)
            return options;
    }
    return NULL;
}

/* Does the option `word` take the next word, too? */
static bool takes_next(const struct cli_option *options, const char *word)
{
    if (strncmp(word, "--", 2) == 0) {
        const struct cli_option *option = find_long(options, word + 2);
        return option != NULL && option->kind != CLI_FLAG;
    }
    for (word++; *word != '\0'; word++) {
        const struct cli_option *option = find_letter(options, *word);
        if (option != NULL && option->kind != CLI_FLAG)
            return word[1] == '\0';
    }
    return false;
}

/* The second plain word, or what is behind "--"; argc: there is none. */
static int find_command(const struct cli_option *options, int argc, char **argv, int *ret_own)
{
    unsigned plain = 0;

    for (int i = 1; i < argc; i++) {
        *ret_own = i;
        if (strcmp(argv[i], "--") == 0)
            return i + 1;
        if (argv[i][0] != '-' || argv[i][1] == '\0')
            plain++;
        else if (takes_next(options, argv[i]))
            i++;
        if (plain == 2)
            return i;
    }
    *ret_own = argc;
    return argc;
}

static int take_command(struct exec_command *exec, int count, char **words)
{
    if (count > REQUEST_MOST_WORDS) {
        cli_error("%s: more than %d words", exec->command, REQUEST_MOST_WORDS);
        return CLI_EXIT_USAGE;
    }
    for (int i = 0; i < count; i++)
        exec->request.arguments[i] = words[i];
    exec->request.argument_count = (unsigned)count;
    return 0;
}

/* ---- running ---- */

/* Programs of the guest draw for our terminal. */
static int pass_terminal(struct exec_command *exec)
{
    const char *own = getenv("TERM"); /* NOLINT(concurrency-mt-unsafe) */

    if (!exec->request.terminal || own == NULL)
        return 0;
    if (asprintf(&exec->terminal_variable, "TERM=%s", own) < 0) {
        exec->terminal_variable = NULL;
        return 0;
    }
    for (unsigned i = 0; i < exec->request.environment_count; i++) {
        if (strncmp(exec->request.environment[i], "TERM=", 5) == 0)
            return 0;
    }
    return add_variable(exec, exec->terminal_variable);
}

static int run_command(struct exec_command *exec)
{
    int fd = -1;
    int code = pass_terminal(exec);

    if (code == 0 && exec->request.terminal && exec->request.input && isatty(STDIN_FILENO) != 1) {
        cli_error("%s: --tty: standard input is no terminal", exec->command);
        code = GUEST_EXIT_FAILED;
    }
    if (code == 0)
        code = guest_connect(exec->command, exec->name, exec->wait_seconds, &fd);
    if (code == 0) {
        const struct session_config session = {
            .command = exec->command, .name = exec->name, .fd = fd, .request = &exec->request};
        code = session_run(&session);
        (void)close(fd);
    }
    free(exec->terminal_variable);
    return code;
}

static int check_name(const struct exec_command *exec, const char *usage)
{
    if (exec->name != NULL)
        return 0;
    cli_error("%s: %s is wanted; try 'partita %s --help'", exec->command, usage, exec->command);
    return CLI_EXIT_USAGE;
}

int exec_main(int argc, char **argv)
{
    static struct exec_command exec = {.command = "exec", .request = {.user = "", .directory = ""}};
    int own = argc;
    int first = find_command(exec_options, argc, argv, &own);
    int code = cli_parse_words(exec_options, own, argv, &exec, take_word);

    if (code != 0)
        return code;
    if (exec.help) {
        print_exec_help();
        return 0;
    }
    code = check_name(&exec, "NAME COMMAND");
    if (code == 0 && first == argc) {
        cli_error("exec: NAME COMMAND is wanted; try 'partita exec --help'");
        code = CLI_EXIT_USAGE;
    }
    if (code == 0)
        code = take_command(&exec, argc - first, argv + first);
    return code != 0 ? code : run_command(&exec);
}

int shell_main(int argc, char **argv)
{
    static struct exec_command shell = {.command = "shell",
                                        .request = {.user = "", .directory = "", .input = true}};
    int code = cli_parse_words(shell_options, argc, argv, &shell, take_word);

    if (code != 0)
        return code;
    if (shell.help) {
        print_shell_help();
        return 0;
    }
    shell.request.terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    code = check_name(&shell, "NAME");
    return code != 0 ? code : run_command(&shell);
}
