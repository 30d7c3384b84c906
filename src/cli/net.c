/* partita net: a network card's cable. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/order.h"
#include "cli/place.h"

struct net_command {
    struct order_words words;
    struct control_request request;
    bool help;
};

static int take_card(void *command, const char *value)
{
    if (place_parse_number(value, &((struct net_command *)command)->request.card))
        return 0;
    cli_error("net: --card '%s': a number is wanted, from 0 on", value);
    return CLI_EXIT_USAGE;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct net_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct net_command *)command)->words, ORDER_MOST_WORDS, "net", word);
}

const struct cli_option net_options[] = {
    {"card", 0, CLI_TEXT, "N", NULL, "which, from 0 on (default 0)", take_card},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita net NAME link up|down [OPTION]...\n"
               "Plug the cable of a network card of the running partition NAME in or out.\n");
    cli_print_options(stdout, net_options);
    (void)puts("\n"
               "Exit codes: 0 done, 1 no such card, 2 usage, 5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita net web link down\n"
               "  partita net web link up --card 1");
}

/* "link up" or "link down". */
static int read_words(struct net_command *command)
{
    const char *const *words = command->words.words;
    int code = order_check_words(&command->words, 3, "net", "NAME link up|down");

    if (code != 0)
        return code;
    command->request.up = strcmp(words[2], "up") == 0;
    if (strcmp(words[1], "link") == 0 && (command->request.up || strcmp(words[2], "down") == 0))
        return 0;
    cli_error("net: '%s %s': link up or link down is wanted", words[1], words[2]);
    return CLI_EXIT_USAGE;
}

int net_main(int argc, char **argv)
{
    struct net_command command = {.request.verb = CONTROL_LINK};
    struct control_reply reply;
    int code = cli_parse_words(net_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0)
        code = read_words(&command);
    if (code != 0)
        return code;
    code = order_send("net", command.words.words[0], &command.request, &reply);
    control_reply_release(&reply);
    return code;
}
