/* partita attach, detach and stop: orders to a running partition. */
#include "cli/order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/place.h"
#include "control/call.h"

struct order_command {
    struct order_words words;
    struct control_request request;
    bool has_controller, has_lun, force, help;
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

int order_send(const char *command, const char *name, const struct control_request *request,
               struct control_reply *ret)
{
    struct reason reason = {""};
    int error = control_call(name, request, ORDER_TIMEOUT_MS, ret, &reason);

    if (error == 0)
        return 0;
    cli_error("%s: %s", command, reason.text);
    /* A refusal of the partition is none that says that there is no partition. */
    return error == -ENOENT && ret->error == 0 ? CLI_EXIT_NO_PARTITION : CLI_EXIT_FAILED;
}

/* ---- options ---- */

static int take_number(const char *option, const char *value, unsigned *ret, bool *ret_has)
{
    *ret_has = true;
    if (place_parse_number(value, ret))
        return 0;
    cli_error("attach: --%s '%s': a number is wanted", option, value);
    return CLI_EXIT_USAGE;
}

static int take_controller(void *command, const char *value)
{
    struct order_command *order = command;
    return take_number("controller", value, &order->request.controller, &order->has_controller);
}

static int take_lun(void *command, const char *value)
{
    struct order_command *order = command;
    return take_number("lun", value, &order->request.lun, &order->has_lun);
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
    return order_take_word(&((struct order_command *)command)->words, 2, "attach", word);
}

static int take_detach_word(void *command, const char *word)
{
    return order_take_word(&((struct order_command *)command)->words, 2, "detach", word);
}

static int take_stop_word(void *command, const char *word)
{
    return order_take_word(&((struct order_command *)command)->words, 1, "stop", word);
}

/* ---- attach ---- */

const struct cli_option attach_options[] = {
    {"controller", 0, CLI_TEXT, "N", NULL, "with --lun: the place (default: the first free one)",
     take_controller},
    {"lun", 0, CLI_TEXT, "N", NULL, "with --controller: the place", take_lun},
    {"read-only", 'r', CLI_FLAG, NULL, NULL, "the guest may not write", take_read_only},
    {"dvd", 0, CLI_FLAG, NULL, NULL, "a DVD drive with this image in it", take_dvd},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_attach_help(void)
{
    (void)puts("Usage: partita attach NAME FILE [OPTION]...\n"
               "Plug a disk into the running partition NAME.\n");
    cli_print_options(stdout, attach_options);
    (void)puts("\n"
               "Exit codes: 0 attached, 1 the partition refused, 2 usage, 3 file, 5 no such\n"
               "partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita attach web data.vhdx\n"
               "  partita attach web install.iso --dvd --controller 1 --lun 0");
}

static int find_file(const char *file, struct control_request *request)
{
    char *path = realpath(file, NULL);
    int error = errno;

    if (path == NULL || strlen(path) >= sizeof(request->path)) {
        cli_error("attach: %s: %s", file, strerrordesc_np(path == NULL ? error : ENAMETOOLONG));
        free(path);
        return CLI_EXIT_FILE;
    }
    (void)snprintf(request->path, sizeof(request->path), "%s", path);
    free(path);
    return 0;
}

static int attach(struct order_command *order)
{
    struct control_reply reply;
    const char *name = order->words.words[0];

    if (order->has_controller != order->has_lun) {
        cli_error("attach: a place is --controller and --lun");
        return CLI_EXIT_USAGE;
    }
    order->request.verb = CONTROL_ATTACH;
    order->request.placed = order->has_lun;
    int code = find_file(order->words.words[1], &order->request);
    if (code != 0)
        return code;
    code = order_send("attach", name, &order->request, &reply);
    if (code == 0)
        (void)printf("%s: attached at %u:%u\n", name, reply.controller, reply.lun);
    control_reply_release(&reply);
    return code;
}

int attach_main(int argc, char **argv)
{
    struct order_command order = {.help = false};
    int code = cli_parse_words(attach_options, argc, argv, &order, take_word);

    if (code == 0 && order.help) {
        print_attach_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&order.words, 2, "attach", "NAME FILE");
    return code != 0 ? code : attach(&order);
}

/* ---- detach ---- */

const struct cli_option detach_options[] = {
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_detach_help(void)
{
    (void)puts("Usage: partita detach NAME CONTROLLER:LUN [OPTION]...\n"
               "Take a disk away from the running partition NAME, and wait until it is free.\n");
    cli_print_options(stdout, detach_options);
    (void)puts("\n"
               "Exit codes: 0 detached, 1 the partition refused or does not answer, 2 usage,\n"
               "5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita detach web 0:3");
}

static int detach(struct order_command *order)
{
    struct control_reply reply;

    order->request.verb = CONTROL_DETACH;
    order->request.placed = true;
    if (!place_parse(order->words.words[1], &order->request.controller, &order->request.lun)) {
        cli_error("detach: '%s': a place is wanted, as 0:3", order->words.words[1]);
        return CLI_EXIT_USAGE;
    }
    int code = order_send("detach", order->words.words[0], &order->request, &reply);
    control_reply_release(&reply);
    return code;
}

int detach_main(int argc, char **argv)
{
    struct order_command order = {.help = false};
    int code = cli_parse_words(detach_options, argc, argv, &order, take_detach_word);

    if (code == 0 && order.help) {
        print_detach_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&order.words, 2, "detach", "NAME CONTROLLER:LUN");
    return code != 0 ? code : detach(&order);
}

/* ---- stop ---- */

const struct cli_option stop_options[] = {
    {"force", 'f', CLI_FLAG, NULL, NULL, "at once, as by pulling the plug", take_force},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_stop_help(void)
{
    (void)puts("Usage: partita stop NAME [OPTION]...\n"
               "Press the power button of the running partition NAME: its guest shuts down.\n");
    cli_print_options(stdout, stop_options);
    (void)puts("\n"
               "Exit codes: 0 told, 1 the guest does not listen to its power button, 2 usage,\n"
               "5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita stop web\n"
               "  partita stop web --force");
}

static int stop(struct order_command *order)
{
    struct control_reply reply;

    order->request.verb = order->force ? CONTROL_STOP : CONTROL_POWER_BUTTON;
    int code = order_send("stop", order->words.words[0], &order->request, &reply);
    control_reply_release(&reply);
    return code;
}

int stop_main(int argc, char **argv)
{
    struct order_command order = {.help = false};
    int code = cli_parse_words(stop_options, argc, argv, &order, take_stop_word);

    if (code == 0 && order.help) {
        print_stop_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&order.words, 1, "stop", "NAME");
    return code != 0 ? code : stop(&order);
}
