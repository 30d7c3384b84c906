/* partita mouse: a guest's pointer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/order.h"
#include "cli/place.h"

enum { MOST_POSITION = 32767, MOST_PERCENT = 100, MOST_WORDS = 4 };

struct mouse_command {
    struct order_words words;
    struct control_request request;
    bool help;
};

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct mouse_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct mouse_command *)command)->words, MOST_WORDS, "mouse", word);
}

const struct cli_option mouse_options[] = {
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita mouse NAME move X Y\n"
               "       partita mouse NAME click [left|right|middle]\n"
               "       partita mouse NAME wheel up|down [STEPS]\n"
               "Use the mouse of the running partition NAME, which was started with --input. X\n"
               "and Y are percent of the screen's width and height, as 50% or 12.5%, or numbers\n"
               "from 0 to 32767 for as much.\n");
    cli_print_options(stdout, mouse_options);
    (void)puts("\n"
               "Exit codes: 0 done, 1 no mouse, 2 usage, 5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita mouse web move 50% 50%\n"
               "  partita mouse web click right");
}

static int refuse(const char *word, const char *wanted)
{
    cli_error("mouse: '%s': %s is wanted", word, wanted);
    return CLI_EXIT_USAGE;
}

static bool parse_position(const char *word, unsigned *ret)
{
    char *end = NULL;

    if (word[0] < '0' || word[0] > '9')
        return false;
    if (strchr(word, '%') == NULL)
        return place_parse_number(word, ret) && *ret <= MOST_POSITION;
    double percent = strtod(word, &end);
    if (strcmp(end, "%") != 0 || !(percent >= 0 && percent <= MOST_PERCENT))
        return false;
    *ret = (unsigned)(percent / MOST_PERCENT * MOST_POSITION + 0.5);
    return true;
}

static int read_move(struct mouse_command *command)
{
    const char *const *words = command->words.words;
    int code = order_check_words(&command->words, 4, "mouse", "NAME move X Y");

    if (code != 0)
        return code;
    command->request.moves = true;
    if (!parse_position(words[2], &command->request.x))
        return refuse(words[2], "0% to 100%, or 0 to 32767,");
    if (!parse_position(words[3], &command->request.y))
        return refuse(words[3], "0% to 100%, or 0 to 32767,");
    return 0;
}

static int read_click(struct mouse_command *command)
{
    static const char *const names[] = {"left", "right", "middle"};
    const char *name = command->words.count > 2 ? command->words.words[2] : names[0];

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            command->request.button = i + 1;
            return 0;
        }
    }
    return refuse(name, "left, right or middle");
}

static int read_wheel(struct mouse_command *command)
{
    const char *const *words = command->words.words;
    unsigned steps = 1;

    if (command->words.count < 3)
        return order_check_words(&command->words, 3, "mouse", "NAME wheel up|down [STEPS]");
    if (command->words.count > 3 && (!place_parse_number(words[3], &steps) || steps == 0))
        return refuse(words[3], "a number of steps");
    if (strcmp(words[2], "up") == 0)
        command->request.wheel_up = steps;
    else if (strcmp(words[2], "down") == 0)
        command->request.wheel_down = steps;
    else
        return refuse(words[2], "up or down");
    return 0;
}

static int read_words(struct mouse_command *command)
{
    const char *const *words = command->words.words;

    if (command->words.count < 2)
        return order_check_words(&command->words, 2, "mouse", "NAME move|click|wheel ...");
    if (strcmp(words[1], "move") == 0)
        return read_move(command);
    if (strcmp(words[1], "click") == 0)
        return read_click(command);
    if (strcmp(words[1], "wheel") == 0)
        return read_wheel(command);
    return refuse(words[1], "move, click or wheel");
}

int mouse_main(int argc, char **argv)
{
    static struct mouse_command command = {.request.verb = CONTROL_POINTER};
    struct control_reply reply;
    int code = cli_parse_words(mouse_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0)
        code = read_words(&command);
    if (code != 0)
        return code;
    code = order_send("mouse", command.words.words[0], &command.request, &reply);
    control_reply_release(&reply);
    return code;
}
