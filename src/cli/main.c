/* partita: the table of its commands. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/disk.h"
#include "cli/switch.h"

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);
static int complete_main(int argc, char **argv);

static const struct cli_command commands[] = {
    {"run", "boot a guest in this process", run_main, run_options, NULL},
    {"list", "show the partitions that run under a name", list_main, list_options, NULL},
    {"status", "show one of them, and its disks", status_main, status_options, "NAME"},
    {"attach", "plug a disk into one", attach_main, attach_options, "NAME FILE"},
    {"detach", "take a disk away from one", detach_main, detach_options, "NAME PLACE"},
    {"insert", "put a disc into a DVD drive of one", insert_main, insert_options,
     "NAME PLACE FILE"},
    {"eject", "take the disc out of a DVD drive", eject_main, eject_options, "NAME PLACE"},
    {"net", "plug a network card's cable in or out", net_main, net_options, "NAME link up|down"},
    {"memory", "show and set how much memory one has", memory_main, memory_options, "NAME set"},
    {"balance", "share memory among those that run", balance_main, balance_options, NULL},
    {"send-key", "press keys of its guest's keyboard", send_key_main, send_key_options, "NAME"},
    {"type", "type a text on its guest's keyboard", type_main, type_options, "NAME"},
    {"mouse", "move and click its guest's mouse", mouse_main, mouse_options,
     "NAME move|click|wheel"},
    {"screenshot", "what its guest's screen shows, as PNG", screenshot_main, screenshot_options,
     "NAME FILE"},
    {"vnc", "its guest's screen for VNC viewers", vnc_main, vnc_options, "NAME"},
    {"integration", "show and switch services in its guest", integration_main, integration_options,
     "NAME"},
    {"kvp", "key-value pairs and addresses of its guest", kvp_main, kvp_options, "NAME"},
    {"freeze", "freeze its guest's file systems, and thaw", freeze_main, freeze_options, "NAME"},
    {"copy", "copy a file into its guest", copy_main, copy_options, "FILE"},
    {"shell", "a root shell in its guest, without a network", shell_main, shell_options, "NAME"},
    {"exec", "run a command in its guest", exec_main, exec_options, "NAME"},
    {"cp", "copy files into its guest and out of it", cp_main, cp_options, "FILE FILE"},
    {"stop", "switch one off", stop_main, stop_options, "NAME"},
    {"disk", "make, look at and change disk images", disk_main, disk_options, NULL},
    {"switch", "virtual switches, their ports and rules", switch_main, switch_options, NULL},
    {"host", "show the engines, what they can do here, and the choice", host_main, host_options,
     NULL},
    {"help", "show this text, or that of a command", help_main, NULL, NULL},
    {"version", "show the version", version_main, NULL, NULL},
    {"__complete", NULL, complete_main, NULL, NULL},
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static const struct cli_command *find_command(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static int refuse_unknown(const char *typed)
{
    const char *names[COMMAND_COUNT];
    size_t count = 0;

    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (commands[i].summary != NULL)
            names[count++] = commands[i].name;
    }
    const char *meant = cli_nearest(typed, names, count);
    if (meant != NULL)
        cli_error("unknown command '%s'; did you mean %s?", typed, meant);
    else
        cli_error("unknown command '%s'; try 'partita help'", typed);
    return CLI_EXIT_USAGE;
}

static void print_help(FILE *to)
{
    (void)fputs("Usage: partita COMMAND [OPTION]...\n"
                "Run virtual machines, with hardware virtualisation or without.\n\n",
                to);
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (commands[i].summary != NULL)
            (void)fprintf(to, "  %-13s%s\n", commands[i].name, commands[i].summary);
    }
    (void)fputs("\n'partita COMMAND --help' says more; so do partita(1), partita-run(1)\nand "
                "partita-list(1).\n",
                to);
}

static int help_main(int argc, char **argv)
{
    static char help_option[] = "--help";

    if (argc < 2 || strcmp(argv[1], "help") == 0 || argv[1][0] == '-') {
        print_help(stdout);
        return 0;
    }
    const struct cli_command *command = find_command(argv[1]);
    if (command == NULL || command->options == NULL)
        return refuse_unknown(argv[1]);
    char *arguments[] = {argv[1], help_option, NULL};
    return command->main(2, arguments);
}

static int version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)puts("partita " PARTITA_VERSION);
    return 0;
}

static int complete_main(int argc, char **argv)
{
    (void)argc;
    cli_complete(commands, COMMAND_COUNT, argv + 1);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return CLI_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";

    const struct cli_command *command = find_command(name);
    return command != NULL ? command->main(argc - 1, argv + 1) : refuse_unknown(name);
}
