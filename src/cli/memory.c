/* partita memory: how much a partition has, and how much it is to have. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/memory_option.h"
#include "cli/order.h"

struct memory_command {
    struct order_words words;
    struct control_request request;
    bool json, help, sets;
};

#define MIB UINT64_C(0x100000)

/* ---- options ---- */

static int refuse_value(const char *option, const char *value, const struct reason *reason)
{
    cli_error("memory: --%s '%s': %s", option, value, reason->text);
    return CLI_EXIT_USAGE;
}

static int take_mib(void *command, const char *option, const char *value, unsigned *ret)
{
    struct reason reason = {0};
    uint64_t size = 0;

    ((struct memory_command *)command)->sets = true;
    if (memory_option_size(value, &size, &reason) < 0)
        return refuse_value(option, value, &reason);
    *ret = (unsigned)(size / MIB);
    return 0;
}

static int take_min(void *command, const char *value)
{
    return take_mib(command, "min", value,
                    &((struct memory_command *)command)->request.minimum_mib);
}

static int take_max(void *command, const char *value)
{
    return take_mib(command, "max", value,
                    &((struct memory_command *)command)->request.maximum_mib);
}

static int take_target(void *command, const char *value)
{
    struct memory_command *memory = command;

    memory->sets = true;
    memory->request.automatic = strcmp(value, "auto") == 0;
    return memory->request.automatic
               ? 0
               : take_mib(command, "target", value, &memory->request.target_mib);
}

static int take_buffer(void *command, const char *value)
{
    struct memory_command *memory = command;
    struct reason reason = {0};

    memory->sets = true;
    return memory_option_buffer(value, &memory->request.buffer, &reason) == 0
               ? 0
               : refuse_value("buffer", value, &reason);
}

static int take_weight(void *command, const char *value)
{
    struct memory_command *memory = command;
    struct reason reason = {0};

    memory->sets = true;
    return memory_option_weight(value, &memory->request.weight, &reason) == 0
               ? 0
               : refuse_value("weight", value, &reason);
}

static int take_json(void *command, const char *value)
{
    (void)value;
    ((struct memory_command *)command)->json = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct memory_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct memory_command *)command)->words, 2, "memory", word);
}

const struct cli_option memory_options[] = {
    {"min", 0, CLI_TEXT, "SIZE", NULL, "set: no less", take_min},
    {"max", 0, CLI_TEXT, "SIZE", NULL, "set: no more; at most what it was started for", take_max},
    {"buffer", 0, CLI_TEXT, "PERCENT", NULL, "set: of its demand in reserve, 5 to 2000",
     take_buffer},
    {"weight", 0, CLI_TEXT, "N", NULL, "set: against others, 1 to 10000", take_weight},
    {"target", 0, CLI_WORDS, "SIZE|auto", "auto", "set: so much, whatever its demand", take_target},
    {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: a JSON object", take_json},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita memory NAME [--json]\n"
               "       partita memory NAME set OPTION...\n"
               "Show how much memory the running partition NAME has and uses, and say how much\n"
               "it is to have. That of a partition started without --memory-min and\n"
               "--memory-max is fixed.\n");
    cli_print_options(stdout, memory_options);
    (void)puts("\n"
               "Exit codes: 0 done, 1 the partition refused or does not answer, 2 usage, 5 no\n"
               "such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita memory web\n"
               "  partita memory web set --min 256M --buffer 50\n"
               "  partita memory web set --target 1G");
}

/* ---- report ---- */

static unsigned long long mib_of(const json_t *memory, const char *key)
{
    return (unsigned long long)json_integer_value(json_object_get(memory, key)) / MIB;
}

static int number_of(const json_t *memory, const char *key)
{
    return (int)json_integer_value(json_object_get(memory, key));
}

static void print_text(const json_t *memory, const char *key)
{
    const char *text = json_string_value(json_object_get(memory, key));
    order_print_text(text != NULL ? text : "-");
}

static void print_demand(const json_t *memory)
{
    if (json_is_integer(json_object_get(memory, "demand")))
        (void)printf("Demand:    %llu MiB, %d %% of what it has; %llu MiB are available in it\n",
                     mib_of(memory, "demand"), number_of(memory, "pressure"),
                     mib_of(memory, "available"));
    else
        (void)puts("Demand:    not reported yet");
}

static void print_dynamic(const json_t *memory)
{
    const char *by = json_is_true(json_object_get(memory, "automatic")) ? "by its demand"
                     : json_is_true(json_object_get(memory, "balanced"))
                         ? "as partita balance has it"
                         : "as was set";

    (void)printf("Assigned:  %llu MiB, of %llu to %llu; %llu at the start\n",
                 mib_of(memory, "assigned"), mib_of(memory, "minimum"), mib_of(memory, "maximum"),
                 mib_of(memory, "startup"));
    print_demand(memory);
    (void)printf("Target:    %llu MiB, %s; buffer %d %%, weight %d\n", mib_of(memory, "target"), by,
                 number_of(memory, "buffer"), number_of(memory, "weight"));
    (void)printf("Balloon:   %llu MiB, and %llu MiB were added; ", mib_of(memory, "balloon"),
                 mib_of(memory, "added"));
    print_text(memory, "state");
    (void)fputs("\nProtocol:  ", stdout);
    print_text(memory, "version");
    (void)putchar('\n');
}

static void print_memory(const json_t *memory)
{
    if (json_is_true(json_object_get(memory, "dynamic")))
        print_dynamic(memory);
    else
        (void)printf("Assigned:  %llu MiB, fixed\n", mib_of(memory, "assigned"));
    (void)printf("Host:      %llu MiB are in use for it\n", mib_of(memory, "resident"));
}

/* "set", with options, or neither. */
static int check_words(const struct memory_command *command)
{
    unsigned wanted = command->sets ? 2 : 1;

    if (command->words.count < 2 && command->sets) {
        cli_error("memory: options that set something follow NAME set");
        return CLI_EXIT_USAGE;
    }
    if (command->words.count == 2 && strcmp(command->words.words[1], "set") != 0) {
        cli_error("memory: '%s': set is wanted, or nothing", command->words.words[1]);
        return CLI_EXIT_USAGE;
    }
    if (command->words.count == 2 && !command->sets) {
        cli_error("memory: set what? try 'partita memory --help'");
        return CLI_EXIT_USAGE;
    }
    return order_check_words(&command->words, wanted, "memory", "NAME [set OPTION...]");
}

int memory_main(int argc, char **argv)
{
    struct memory_command command = {.request.verb = CONTROL_MEMORY};
    struct control_reply reply;
    int code = cli_parse_words(memory_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0)
        code = check_words(&command);
    if (code != 0)
        return code;
    if (command.sets)
        command.request.verb = CONTROL_MEMORY_SET;
    code = order_send("memory", command.words.words[0], &command.request, &reply);
    if (code == 0 && !command.sets && command.json)
        code = order_print_json("memory", json_incref(reply.result));
    else if (code == 0 && !command.sets)
        print_memory(reply.result);
    control_reply_release(&reply);
    return code;
}
