/* partita freeze: a guest's file systems, frozen and thawed. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/order.h"

struct freeze_command {
    struct order_words words;
    bool thaw, help;
};

static int take_thaw(void *command, const char *value)
{
    (void)value;
    ((struct freeze_command *)command)->thaw = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct freeze_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct freeze_command *)command)->words, 1, "freeze", word);
}

const struct cli_option freeze_options[] = {
    {"thaw", 't', CLI_FLAG, NULL, NULL, "let them go on", take_thaw},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita freeze NAME [OPTION]...\n"
               "Have the guest of the running partition NAME write all to its disks and freeze\n"
               "its file systems, so that a copy of the disks is whole. It returns when that is\n"
               "so. Ten seconds after it began they are thawed in any case; a later --thaw fails\n"
               "then, as what was copied may not be whole.\n");
    cli_print_options(stdout, freeze_options);
    (void)puts("\n"
               "Exit codes: 0 done, 1 the guest could not, or was thawed before, 2 usage, 5 no\n"
               "such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita freeze web && cp --reflink=always web.raw copy.raw\n"
               "  partita freeze web --thaw");
}

int freeze_main(int argc, char **argv)
{
    struct freeze_command command = {.thaw = false};
    int code = cli_parse_words(freeze_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&command.words, 1, "freeze", "NAME");
    if (code != 0)
        return code;
    const struct control_request request = {.verb = command.thaw ? CONTROL_THAW : CONTROL_FREEZE};
    struct control_reply reply;
    code = order_send("freeze", command.words.words[0], &request, &reply);
    control_reply_release(&reply);
    return code;
}
