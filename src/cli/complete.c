/* Candidates for the shell's completion, from the same tables that parse and help. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/disk.h"
#include "cli/switch.h"
#include "control/call.h"
#include "control/socket.h"
#include "switchd/switchd.h"

enum { PLACES_TIMEOUT_MS = 1000 };

static void offer(const char *candidate, size_t length, const char *start)
{
    size_t typed = strlen(start);

    if (typed <= length && strncmp(candidate, start, typed) == 0)
        (void)printf("%.*s\n", (int)length, candidate);
}

static void offer_commands(const struct cli_command *commands, int count, const char *start)
{
    for (int i = 0; i < count; i++) {
        if (commands[i].summary != NULL)
            offer(commands[i].name, strlen(commands[i].name), start);
    }
}

static void offer_options(const struct cli_option *options, const char *start)
{
    char name[64];

    for (; options->name != NULL; options++) {
        int length = snprintf(name, sizeof(name), "--%s", options->name);
        if (length > 0)
            offer(name, (size_t)length, start);
    }
}

static void offer_values(const struct cli_option *option, const char *start)
{
    if (option->kind == CLI_FILE)
        (void)puts(":files");
    if (option->kind != CLI_WORDS)
        return;
    for (const char *word = option->words; *word != '\0';) {
        size_t length = strcspn(word, " ");
        offer(word, length, start);
        word += length + (word[length] == ' ');
    }
}

/* The option that `word` is, when its value is the next word. */
static const struct cli_option *option_awaiting_value(const struct cli_option *options,
                                                      const char *word)
{
    for (; options->name != NULL; options++) {
        bool long_form = strncmp(word, "--", 2) == 0 && strcmp(word + 2, options->name) == 0;
        bool short_form =
            word[0] == '-' && options->letter != 0 && word[1] == options->letter && word[2] == '\0';
        if (options->kind != CLI_FLAG && (long_form || short_form))
            return options;
    }
    return NULL;
}

static void offer_name(void *owner, const char *name)
{
    offer(name, strlen(name), owner);
}

/* Neither an option nor the value of one. */
static bool is_plain(const struct cli_option *options, char *const *words, int i)
{
    return option_awaiting_value(options, words[i - 1]) == NULL && words[i][0] != '-';
}

/* How many such words were typed between "COMMAND" and the last. */
static unsigned count_words(const struct cli_option *options, char *const *words, int length)
{
    unsigned count = 0;

    for (int i = 1; i < length - 1; i++)
        count += is_plain(options, words, i);
    return count;
}

/* Where the partition named by the first word has disks. */
static void offer_places(const struct cli_option *options, char *const *words, int length,
                         const char *start)
{
    const struct control_request request = {.verb = CONTROL_STATUS};
    struct control_reply reply = {0};
    int first = 1;

    while (first < length - 1 && !is_plain(options, words, first))
        first++;
    if (control_call(words[first], &request, PLACES_TIMEOUT_MS, &reply, NULL) == 0) {
        for (size_t i = 0; i < reply.status.disk_count; i++) {
            char place[32];
            int size = snprintf(place, sizeof(place), "%u:%u", reply.status.disks[i].controller,
                                reply.status.disks[i].lun);
            if (size > 0)
                offer(place, (size_t)size, start);
        }
    }
    control_reply_release(&reply);
}

/* Not by starting the process that holds them: who completes asks for nothing yet. */
static void offer_switches(const char *start)
{
    json_t *list = NULL;
    size_t index = 0;
    const json_t *item = NULL;

    if (!switchd_is_running() || switchd_call(json_pack("{s:s}", "verb", "list"), &list, NULL) < 0)
        return;
    json_array_foreach(list, index, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name != NULL)
            offer(name, strlen(name), start);
    }
    json_decref(list);
}

/* `kinds` as "NAME FILE": the word of this number there. */
static const char *kind_of_word(const char *kinds, unsigned number)
{
    for (; number > 0 && kinds != NULL; number--) {
        kinds = strchr(kinds, ' ');
        kinds = kinds != NULL ? kinds + 1 : NULL;
    }
    return kinds != NULL ? kinds : "";
}

static void offer_word(const struct cli_command *command, char *const *words, int length,
                       char *start)
{
    const char *kind = kind_of_word(command->words, count_words(command->options, words, length));

    if (strncmp(kind, "SWITCH", 6) == 0)
        offer_switches(start);
    else if (strncmp(kind, "NAME", 4) == 0)
        (void)control_list(offer_name, start, NULL);
    else if (strncmp(kind, "FILE", 4) == 0)
        (void)puts(":files");
    else if (strncmp(kind, "PLACE", 5) == 0)
        offer_places(command->options, words, length, start);
}

/* Verbs of the command, or NULL. */
static const struct cli_command *verbs_of(const char *command, int *ret_count)
{
    const struct cli_command *verbs = NULL;

    if (strcmp(command, "disk") == 0)
        verbs = disk_verbs;
    else if (strcmp(command, "switch") == 0)
        verbs = switch_verbs;
    for (*ret_count = 0; verbs != NULL && verbs[*ret_count].name != NULL;)
        ++*ret_count;
    return verbs;
}

void cli_complete(const struct cli_command *commands, int count, char *const *words)
{
    const struct cli_command *command = NULL;
    static char nothing[] = "";
    char *last = nothing;
    const char *before = "";
    int length = 0;

    for (; words[length] != NULL; length++) {
        before = last;
        last = words[length];
    }
    if (length <= 1) {
        offer_commands(commands, count, last);
        return;
    }
    int verb_count = 0;
    const struct cli_command *verbs = verbs_of(words[0], &verb_count);
    if (verbs != NULL && commands != disk_verbs && commands != switch_verbs) {
        cli_complete(verbs, verb_count, words + 1);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (strcmp(words[0], commands[i].name) == 0)
            command = &commands[i];
    }
    if (strcmp(words[0], "help") == 0 && length == 2)
        offer_commands(commands, count, last);
    if (command == NULL || command->options == NULL)
        return;
    const struct cli_option *options = command->options;
    const struct cli_option *awaiting = option_awaiting_value(options, before);
    if (awaiting != NULL)
        offer_values(awaiting, last);
    else if (command->words != NULL && last[0] != '-')
        offer_word(command, words, length, last);
    else
        offer_options(options, last);
}
