/* partita send-key and partita type: a guest's keyboard. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/order.h"

struct input_command {
    const char *command, *name;
    struct control_request request;
    char text[16 << 10]; /* what is typed; or the keys, with spaces between */
    size_t length;
    bool enter, help;
};

static int take_enter(void *command, const char *value)
{
    (void)value;
    ((struct input_command *)command)->enter = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct input_command *)command)->help = true;
    return 0;
}

/* The name first, then words of the text. */
static int take_word(void *command, const char *word)
{
    struct input_command *input = command;
    size_t length = strlen(word);

    if (input->name == NULL) {
        input->name = word;
        return 0;
    }
    if (input->length + length + 2 > sizeof(input->text)) {
        cli_error("%s: at most %zu bytes at once", input->command, sizeof(input->text) - 2);
        return CLI_EXIT_USAGE;
    }
    if (input->length > 0)
        input->text[input->length++] = ' ';
    memcpy(input->text + input->length, word, length + 1);
    input->length += length;
    return 0;
}

static int parse(const struct cli_option *options, int argc, char **argv,
                 struct input_command *input, const char *usage)
{
    int code = cli_parse_words(options, argc, argv, input, take_word);

    if (code != 0 || input->help)
        return code;
    if (input->name != NULL && (input->length > 0 || input->enter))
        return 0;
    cli_error("%s: %s is wanted; try 'partita %s --help'", input->command, usage, input->command);
    return CLI_EXIT_USAGE;
}

static int send_request(struct input_command *input)
{
    struct control_reply reply;
    int code = order_send(input->command, input->name, &input->request, &reply);

    control_reply_release(&reply);
    return code;
}

/* ---- send-key ---- */

const struct cli_option send_key_options[] = {
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_send_key_help(void)
{
    (void)puts("Usage: partita send-key NAME KEY...\n"
               "Press keys of the keyboard of the running partition NAME, which was started with\n"
               "--input. Keys with '-' or '+' between are held together; words are pressed one\n"
               "after the other. Keys have the names that QEMU gives them: a to z, 0 to 9, f1 to\n"
               "f12, ctrl, alt, shift, meta, altgr, enter, esc, tab, space, backspace, delete,\n"
               "insert, home, end, pgup, pgdn, up, down, left, right, print, sysrq, menu, minus,\n"
               "caps_lock, num_lock, kp_0 ... and the characters that they make.\n");
    cli_print_options(stdout, send_key_options);
    (void)puts("\n"
               "Exit codes: 0 done, 1 no such key or no keyboard, 2 usage, 5 no such partition\n"
               "runs.\n"
               "\n"
               "Examples:\n"
               "  partita send-key web ctrl-alt-delete\n"
               "  partita send-key web alt-sysrq-s alt-sysrq-u\n"
               "  partita send-key web l s enter");
}

int send_key_main(int argc, char **argv)
{
    static struct input_command input = {.command = "send-key", .request.verb = CONTROL_KEYS};
    int code = parse(send_key_options, argc, argv, &input, "NAME KEY...");

    if (code == 0 && input.help) {
        print_send_key_help();
        return 0;
    }
    if (code == 0 && input.length >= sizeof(input.request.keys)) {
        cli_error("send-key: at most %zu bytes at once", sizeof(input.request.keys) - 1);
        code = CLI_EXIT_USAGE;
    }
    if (code != 0)
        return code;
    memcpy(input.request.keys, input.text, input.length + 1);
    return send_request(&input);
}

/* ---- type ---- */

const struct cli_option type_options[] = {
    {"enter", 'e', CLI_FLAG, NULL, NULL, "press enter at the end", take_enter},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_type_help(void)
{
    (void)puts("Usage: partita type NAME [OPTION]... TEXT...\n"
               "Type a text on the keyboard of the running partition NAME, which was started\n"
               "with --input. The guest is taken to have a US keyboard: the text is of ASCII.\n"
               "Words are typed with a space between.\n");
    cli_print_options(stdout, type_options);
    (void)puts("\n"
               "Exit codes: 0 done, 1 no key makes it or no keyboard, 2 usage, 5 no such\n"
               "partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita type web --enter root\n"
               "  partita type web -e 'systemctl status | head'");
}

/* As many at a time as a request has room for, and the guest's queue. */
static int type_pieces(struct input_command *input)
{
    enum { PIECE = 512 };

    for (size_t at = 0; at < input->length; at += PIECE) {
        size_t piece = input->length - at < PIECE ? input->length - at : PIECE;
        memcpy(input->request.text, input->text + at, piece);
        input->request.text[piece] = '\0';
        int code = send_request(input);
        if (code != 0)
            return code;
    }
    return 0;
}

int type_main(int argc, char **argv)
{
    static struct input_command input = {.command = "type", .request.verb = CONTROL_TYPE};
    int code = parse(type_options, argc, argv, &input, "NAME TEXT...");

    if (code != 0)
        return code;
    if (input.help) {
        print_type_help();
        return 0;
    }
    if (input.enter)
        input.text[input.length++] = '\n';
    return type_pieces(&input);
}
