/* partita switch: the table of its verbs, and what they share. */
#include "cli/switch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/verb.h"
#include "switchd/nat.h"
#include "switchd/switchd.h"

static int switch_nat_main(int argc, char **argv);

const struct cli_command switch_verbs[] = {
    {"create", "make a switch", switch_create_main, switch_create_options, NULL},
    {"set", "change the rate of one's uplink", switch_set_main, switch_set_options, "SWITCH"},
    {"delete", "delete one", switch_delete_main, switch_delete_options, "SWITCH"},
    {"list", "show all switches", switch_list_main, switch_list_options, NULL},
    {"show", "show one, and its ports", switch_show_main, switch_show_options, "SWITCH"},
    {"port", "settings of a partition's port", switch_port_main, switch_port_options,
     "SWITCH NAME"},
    {"acl", "rules of a port: who may speak to its guest", switch_acl_main, switch_acl_options,
     "SWITCH NAME"},
    {"meters", "with whom guests exchange how much", switch_meters_main, switch_meters_options,
     "SWITCH"},
    {"statistics", "frames that passed, and that did not", switch_statistics_main,
     switch_statistics_options, "SWITCH"},
    {"serve", "be the process that holds them, in the foreground", switch_serve_main,
     switch_serve_options, NULL},
    {"nat", NULL, switch_nat_main, NULL, NULL},
    {0},
};

/* Started by the process of the switches only. */
static int switch_nat_main(int argc, char **argv)
{
    return nat_run((const char *const *)argv + 1, (unsigned)argc - 1);
}

const struct cli_option switch_options[] = {
    {0},
};

int switch_main(int argc, char **argv)
{
    return cli_verb_main("switch", "Virtual switches, for 'partita run --net switch=NAME'.",
                         switch_verbs, argc, argv);
}

/* ---- what they share ---- */

int switch_take_json(void *command, const char *value)
{
    (void)value;
    ((struct switch_command *)command)->json = true;
    return 0;
}

int switch_take_help(void *command, const char *value)
{
    (void)value;
    ((struct switch_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    struct switch_command *own = command;
    return order_take_word(&own->words, own->most, own->verb, word);
}

int switch_parse(struct switch_command *command, const struct cli_option *options, int argc,
                 char **argv, unsigned least)
{
    command->object = json_object();
    int code = cli_parse_words(options, argc, argv, command, take_word);
    if (code == 0 && !command->help && command->words.count < least)
        code = order_check_words(&command->words, least, command->verb, command->usage);
    return code;
}

void switch_print_help(const char *text, const struct cli_option *options)
{
    (void)puts(text);
    cli_print_options(stdout, options);
    (void)puts("\nExit codes: 0 done, 1 refused, 2 usage, 5 there is no such switch, port or"
               " rule.");
}

static int code_of(int error)
{
    if (error == -EINVAL)
        return CLI_EXIT_USAGE;
    return error == -ENOENT ? CLI_EXIT_NO_PARTITION : CLI_EXIT_FAILED;
}

int switch_ask(const struct switch_command *command, json_t *request, json_t **ret)
{
    struct reason reason = {""};
    int error = switchd_call(request, ret, &reason);

    if (error == 0)
        return 0;
    cli_error("%s: %s", command->verb, reason.text);
    return code_of(error);
}

int switch_tell(const struct switch_command *command, json_t *request)
{
    json_t *result = NULL;
    int code = switch_ask(command, request, &result);

    json_decref(result);
    return code;
}

/* ---- serve ---- */

const struct cli_option switch_serve_options[] = {
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", switch_take_help},
    {0},
};

int switch_serve_main(int argc, char **argv)
{
    struct switch_command command = {.verb = "switch serve"};
    struct reason reason = {""};
    int code = switch_parse(&command, switch_serve_options, argc, argv, 0);

    json_decref(command.object);
    if (code == 0 && command.help)
        switch_print_help(
            "Usage: partita switch serve\n"
            "Hold the switches until SIGTERM, or until none is left. Other commands start\n"
            "this process when they need it.\n",
            switch_serve_options);
    if (code != 0 || command.help)
        return code;
    if (switchd_run(&reason) == 0)
        return 0;
    cli_error("switch: %s", reason.text);
    return CLI_EXIT_FAILED;
}
