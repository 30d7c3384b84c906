/* partita attach, detach, insert, eject and stop: orders to a running partition. */
#include "cli/order.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/place.h"
#include "control/call.h"

struct order_command {
    const char *name;
    const char *usage; /* of its words */
    unsigned word_count;
    struct order_words words;
    struct control_request request;
    bool force, help;
};

int order_take_word(struct order_words *words, unsigned most, const char *command, const char *word)
{
    if (words->count == most) {
        cli_error("%s: '%s' is one word too many; try 'partita %s --help'", command, word, command);
        return CLI_EXIT_USAGE;
    }
    words->words[words->count++] = word;
    return 0;
}

int order_check_words(const struct order_words *words, unsigned wanted, const char *command,
                      const char *usage)
{
    if (words->count == wanted)
        return 0;
    cli_error("%s: %s is wanted; try 'partita %s --help'", command, usage, command);
    return CLI_EXIT_USAGE;
}

int order_explain(const char *command, int error, const struct control_reply *reply,
                  const struct reason *reason)
{
    cli_error("%s: %s", command, reason->text);
    /* A refusal of the partition is none that says that there is no partition. */
    return error == -ENOENT && reply->error == 0 ? CLI_EXIT_NO_PARTITION : CLI_EXIT_FAILED;
}

int order_send(const char *command, const char *name, const struct control_request *request,
               struct control_reply *ret)
{
    struct reason reason = {""};
    int error = control_call(name, request, ORDER_TIMEOUT_MS, ret, &reason);

    return error == 0 ? 0 : order_explain(command, error, ret, &reason);
}

int order_print_json(const char *command, json_t *value)
{
    int failed = value == NULL || json_dumpf(value, stdout, JSON_INDENT(2)) < 0;

    json_decref(value);
    if (failed) {
        cli_error("%s: the JSON text cannot be written", command);
        return CLI_EXIT_FAILED;
    }
    (void)putchar('\n');
    return 0;
}

/* Neither C0 nor C1 reaches a terminal. */
void order_print_text(const char *text)
{
    cli_print_clean(stdout, text);
}

/* ---- options ---- */

static int take_at(void *command, const char *value)
{
    struct order_command *order = command;

    order->request.placed = true;
    if (place_parse(value, &order->request.controller, &order->request.lun))
        return 0;
    cli_error("%s: --at '%s': a place is wanted, as 0:3", order->name, value);
    return CLI_EXIT_USAGE;
}

static int take_read_only(void *command, const char *value)
{
    (void)value;
    ((struct order_command *)command)->request.read_only = true;
    return 0;
}

static int take_dvd(void *command, const char *value)
{
    (void)value;
    ((struct order_command *)command)->request.dvd = true;
    return 0;
}

static int take_force(void *command, const char *value)
{
    (void)value;
    ((struct order_command *)command)->force = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct order_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    struct order_command *order = command;
    return order_take_word(&order->words, order->word_count, order->name, word);
}

/* ---- what they share ---- */

/* Absolute, as the partition has a folder of its own; the name stays, for it tells the format. */
int order_take_file(const char *command, const char *file, char *ret)
{
    char folder[CONTROL_PATH_SIZE] = "";
    int error = access(file, F_OK) == 0 ? 0 : errno;

    if (error == 0 && file[0] != '/' && getcwd(folder, sizeof(folder)) == NULL)
        error = errno;
    int length =
        snprintf(ret, CONTROL_PATH_SIZE, "%s%s%s", folder, file[0] != '/' ? "/" : "", file);
    if (error == 0 && (length < 0 || length >= CONTROL_PATH_SIZE))
        error = ENAMETOOLONG;
    if (error == 0)
        return 0;
    cli_error("%s: %s: %s", command, file, strerrordesc_np(error));
    return CLI_EXIT_FILE;
}

static int take_place(struct order_command *order, const char *word)
{
    order->request.placed = true;
    if (place_parse(word, &order->request.controller, &order->request.lun))
        return 0;
    cli_error("%s: '%s': a place is wanted, as 0:3", order->name, word);
    return CLI_EXIT_USAGE;
}

/* Send what has no answer but that it was done. */
static int send_plain(const struct order_command *order)
{
    struct control_reply reply;
    int code = order_send(order->name, order->words.words[0], &order->request, &reply);

    control_reply_release(&reply);
    return code;
}

/* An exit code; with order->help nothing is left to do. */
static int parse_order(struct order_command *order, const struct cli_option *options, int argc,
                       char **argv, void (*print_help)(void))
{
    int code = cli_parse_words(options, argc, argv, order, take_word);

    if (code == 0 && order->help)
        print_help();
    return code;
}

static int check_words(const struct order_command *order)
{
    return order_check_words(&order->words, order->word_count, order->name, order->usage);
}

/* ---- attach ---- */

const struct cli_option attach_options[] = {
    {"at", 0, CLI_TEXT, "PLACE", NULL, "CONTROLLER:LUN (default: the first free one)", take_at},
    {"read-only", 'r', CLI_FLAG, NULL, NULL, "the guest may not write", take_read_only},
    {"dvd", 0, CLI_FLAG, NULL, NULL, "a DVD drive, with this image in it or empty", take_dvd},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_attach_help(void)
{
    (void)puts("Usage: partita attach NAME FILE [OPTION]...\n"
               "       partita attach NAME --dvd [OPTION]...\n"
               "Plug a disk into the running partition NAME, and print its place.\n");
    cli_print_options(stdout, attach_options);
    (void)puts(
        "\n"
        "Exit codes: 0 attached, 1 the partition refused, 2 usage, 3 no such file, 5 no such\n"
        "partition runs.\n"
        "\n"
        "Examples:\n"
        "  partita attach web data.raw\n"
        "  partita attach web install.iso --dvd --at 1:0");
}

static int attach(struct order_command *order)
{
    struct control_reply reply;
    const char *name = order->words.words[0];
    bool empty = order->request.dvd && order->words.count == 1;
    int code = empty ? 0 : check_words(order);

    if (code == 0 && !empty)
        code = order_take_file(order->name, order->words.words[1], order->request.path);
    if (code != 0)
        return code;
    code = order_send(order->name, name, &order->request, &reply);
    if (code == 0)
        (void)printf("%s: attached at %u:%u\n", name, reply.controller, reply.lun);
    control_reply_release(&reply);
    return code;
}

int attach_main(int argc, char **argv)
{
    struct order_command order = {
        .name = "attach", .usage = "NAME FILE", .word_count = 2, .request.verb = CONTROL_ATTACH};
    int code = parse_order(&order, attach_options, argc, argv, print_attach_help);

    return code != 0 || order.help ? code : attach(&order);
}

/* ---- detach ---- */

const struct cli_option detach_options[] = {
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_detach_help(void)
{
    (void)puts("Usage: partita detach NAME PLACE [OPTION]...\n"
               "Take a disk away from the running partition NAME, and wait until it is free.\n");
    cli_print_options(stdout, detach_options);
    (void)puts("\n"
               "Exit codes: 0 detached, 1 the partition refused or does not answer, 2 usage,\n"
               "5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita detach web 0:3");
}

static int send_with_place(struct order_command *order)
{
    int code = check_words(order);

    if (code == 0)
        code = take_place(order, order->words.words[1]);
    if (code == 0 && order->word_count > 2)
        code = order_take_file(order->name, order->words.words[2], order->request.path);
    return code != 0 ? code : send_plain(order);
}

int detach_main(int argc, char **argv)
{
    struct order_command order = {
        .name = "detach", .usage = "NAME PLACE", .word_count = 2, .request.verb = CONTROL_DETACH};
    int code = parse_order(&order, detach_options, argc, argv, print_detach_help);

    return code != 0 || order.help ? code : send_with_place(&order);
}

/* ---- insert and eject ---- */

const struct cli_option insert_options[] = {
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};
const struct cli_option eject_options[] = {
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_insert_help(void)
{
    (void)puts(
        "Usage: partita insert NAME PLACE FILE [OPTION]...\n"
        "Put a disc into a DVD drive of the running partition NAME; one that is in is taken\n"
        "out.\n");
    cli_print_options(stdout, insert_options);
    (void)puts(
        "\n"
        "Exit codes: 0 done, 1 the partition refused or does not answer, 2 usage, 3 no such\n"
        "file, 5 no such partition runs.\n"
        "\n"
        "Examples:\n"
        "  partita insert web 0:1 tools.iso");
}

static void print_eject_help(void)
{
    (void)puts(
        "Usage: partita eject NAME PLACE [OPTION]...\n"
        "Take the disc out of a DVD drive of the running partition NAME, whatever its guest\n"
        "does with it, and wait until it is free.\n");
    cli_print_options(stdout, eject_options);
    (void)puts(
        "\n"
        "Exit codes: 0 done, 1 the partition refused or does not answer, 2 usage, 5 no such\n"
        "partition runs.\n"
        "\n"
        "Examples:\n"
        "  partita eject web 0:1");
}

int insert_main(int argc, char **argv)
{
    struct order_command order = {.name = "insert",
                                  .usage = "NAME PLACE FILE",
                                  .word_count = 3,
                                  .request.verb = CONTROL_INSERT};
    int code = parse_order(&order, insert_options, argc, argv, print_insert_help);

    return code != 0 || order.help ? code : send_with_place(&order);
}

int eject_main(int argc, char **argv)
{
    struct order_command order = {
        .name = "eject", .usage = "NAME PLACE", .word_count = 2, .request.verb = CONTROL_EJECT};
    int code = parse_order(&order, eject_options, argc, argv, print_eject_help);

    return code != 0 || order.help ? code : send_with_place(&order);
}

/* ---- stop ---- */

static int take_way(void *command, const char *way)
{
    struct order_command *order = command;

    (void)snprintf(order->request.way, sizeof(order->request.way), "%s", way);
    return 0;
}

static int take_reboot(void *command, const char *value)
{
    (void)value;
    return take_way(command, "reboot");
}

static int take_hibernate(void *command, const char *value)
{
    (void)value;
    return take_way(command, "hibernate");
}

const struct cli_option stop_options[] = {
    {"reboot", 'r', CLI_FLAG, NULL, NULL, "the guest starts anew", take_reboot},
    {"hibernate", 0, CLI_FLAG, NULL, NULL, "the guest saves itself on its disk", take_hibernate},
    {"force", 'f', CLI_FLAG, NULL, NULL, "at once, as by pulling the plug", take_force},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_stop_help(void)
{
    (void)puts("Usage: partita stop NAME [OPTION]...\n"
               "Tell the guest of the running partition NAME to shut down, by its shutdown\n"
               "service or, when it has none, by its power button.\n");
    cli_print_options(stdout, stop_options);
    (void)puts("\n"
               "Exit codes: 0 told, 1 the guest refused, or has neither service nor power\n"
               "button, 2 usage, 5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita stop web\n"
               "  partita stop web --reboot\n"
               "  partita stop web --force");
}

int stop_main(int argc, char **argv)
{
    struct order_command order = {
        .name = "stop", .usage = "NAME", .word_count = 1, .request.verb = CONTROL_SHUTDOWN};
    int code = parse_order(&order, stop_options, argc, argv, print_stop_help);

    if (code != 0 || order.help)
        return code;
    if (order.force && order.request.way[0] != '\0') {
        cli_error("stop: --force and --%s exclude each other", order.request.way);
        return CLI_EXIT_USAGE;
    }
    if (order.request.way[0] == '\0')
        (void)take_way(&order, "power-off");
    if (order.force)
        order.request.verb = CONTROL_STOP;
    code = check_words(&order);
    return code != 0 ? code : send_plain(&order);
}
