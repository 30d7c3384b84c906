/* partita integration: the services in a guest, shown and switched. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/order.h"

struct integration_command {
    struct order_words words;
    struct control_request request;
    bool json, help;
};

#define SERVICES "heartbeat shutdown timesync kvp vss fcopy"

/* Is it one of the words? */
static bool is_service(const char *word)
{
    size_t length = strlen(word);

    for (const char *at = SERVICES; *at != '\0'; at += strspn(at, " ")) {
        size_t end = strcspn(at, " ");
        if (end == length && memcmp(at, word, length) == 0)
            return true;
        at += end;
    }
    return false;
}

static int take_service(struct integration_command *command, const char *service, bool enabled)
{
    struct control_request *request = &command->request;

    if (request->verb == CONTROL_INTEGRATION_SET) {
        cli_error("integration: one service is switched at a time");
        return CLI_EXIT_USAGE;
    }
    if (!is_service(service)) {
        cli_error("integration: no service '%s'; the services are " SERVICES, service);
        return CLI_EXIT_USAGE;
    }
    request->verb = CONTROL_INTEGRATION_SET;
    request->enabled = enabled;
    (void)snprintf(request->service, sizeof(request->service), "%s", service);
    return 0;
}

static int take_enable(void *command, const char *value)
{
    return take_service(command, value, true);
}

static int take_disable(void *command, const char *value)
{
    return take_service(command, value, false);
}

static int take_json(void *command, const char *value)
{
    (void)value;
    ((struct integration_command *)command)->json = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct integration_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct integration_command *)command)->words, 1, "integration", word);
}

const struct cli_option integration_options[] = {
    {"enable", 'e', CLI_WORDS, "SERVICE", SERVICES, "offer it to the guest", take_enable},
    {"disable", 'd', CLI_WORDS, "SERVICE", SERVICES, "take it away from the guest", take_disable},
    {"json", 'j', CLI_FLAG, NULL, NULL, "for programs: a JSON array of objects", take_json},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita integration NAME [OPTION]...\n"
               "Show the integration services of the running partition NAME: whether each is\n"
               "enabled, what its guest makes of it, the version that they agreed on against the\n"
               "newest, when the guest last said something, and what to do where that is wrong.\n");
    cli_print_options(stdout, integration_options);
    (void)puts("\n"
               "The services: heartbeat, shutdown, timesync (the host's time), kvp (key-value\n"
               "pairs), vss (freezing), fcopy (file copy).\n"
               "\n"
               "Exit codes: 0 done, 1 the partition refused or does not answer, 2 usage, 5 no\n"
               "such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita integration web\n"
               "  partita integration web --enable fcopy");
}

static const char *text_of(const json_t *service, const char *key)
{
    const char *text = json_string_value(json_object_get(service, key));
    return text != NULL ? text : "-";
}

static void print_contact(const json_t *contact)
{
    if (json_is_integer(contact))
        (void)printf("%.1f s ago\n", (double)json_integer_value(contact) / NS_PER_SECOND);
    else
        (void)puts("never");
}

static void print_service(const json_t *service)
{
    bool enabled = json_is_true(json_object_get(service, "enabled"));

    (void)printf("%-10s %-8s %-25.25s %-8.8s %-7.7s ", text_of(service, "service"),
                 enabled ? "yes" : "no", text_of(service, "state"), text_of(service, "version"),
                 text_of(service, "newest"));
    print_contact(json_object_get(service, "contact_ns"));
    const char *advice = text_of(service, "advice");
    if (advice[0] != '\0')
        (void)printf("           %s\n", advice);
}

static int show(const char *name, const struct control_request *request, bool json)
{
    struct control_reply reply;
    size_t index = 0;
    json_t *service = NULL;
    int code = order_send("integration", name, request, &reply);

    if (code == 0 && json) {
        code = order_print_json("integration", json_incref(reply.result));
    } else if (code == 0) {
        (void)printf("%-10s %-8s %-25s %-8s %-7s %s\n", "SERVICE", "ENABLED", "STATE", "VERSION",
                     "NEWEST", "CONTACT");
        json_array_foreach(reply.result, index, service) print_service(service);
    }
    control_reply_release(&reply);
    return code;
}

static int set(const char *name, const struct control_request *request)
{
    struct control_reply reply;
    int code = order_send("integration", name, request, &reply);

    control_reply_release(&reply);
    return code;
}

int integration_main(int argc, char **argv)
{
    struct integration_command command = {.request.verb = CONTROL_INTEGRATION};
    int code = cli_parse_words(integration_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&command.words, 1, "integration", "NAME");
    if (code != 0)
        return code;
    if (command.request.verb == CONTROL_INTEGRATION_SET)
        return set(command.words.words[0], &command.request);
    return show(command.words.words[0], &command.request, command.json);
}
