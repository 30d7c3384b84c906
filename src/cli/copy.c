/* partita copy: a file of the host into a guest. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/disk/tool.h"
#include "cli/order.h"

struct copy_command {
    struct order_words words;
    struct control_request request;
    struct tool tool; /* quiet */
    bool help;
};

/* How often it is asked how far it is. */
#define POLL_NS (100L * 1000000)

static int take_overwrite(void *command, const char *value)
{
    (void)value;
    ((struct copy_command *)command)->request.overwrite = true;
    return 0;
}

static int take_make_folders(void *command, const char *value)
{
    (void)value;
    ((struct copy_command *)command)->request.make_folders = true;
    return 0;
}

static int take_quiet(void *command, const char *value)
{
    (void)value;
    ((struct copy_command *)command)->tool.quiet = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct copy_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct copy_command *)command)->words, 2, "copy", word);
}

const struct cli_option copy_options[] = {
    {"overwrite", 'o', CLI_FLAG, NULL, NULL, "replace a file of that name", take_overwrite},
    {"parents", 'p', CLI_FLAG, NULL, NULL, "make the folders that are missing", take_make_folders},
    {"quiet", 'q', CLI_FLAG, NULL, NULL, "no progress", take_quiet},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita copy FILE NAME:PATH [OPTION]...\n"
               "Copy a file of the host into the guest of the running partition NAME, by its\n"
               "file copy service. PATH is absolute; when it ends with '/', the file keeps its\n"
               "name. The guest confirms each piece; Ctrl-C calls the copy off, and the guest\n"
               "removes the file.\n");
    cli_print_options(stdout, copy_options);
    (void)puts("\n"
               "Exit codes: 0 the guest has all of it, 1 refused or failed, 2 usage, 3 no such\n"
               "file, 5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita integration web --enable fcopy\n"
               "  partita copy site.tar web:/root/\n"
               "  partita copy motd web:/etc/motd --overwrite");
}

/* "web:/root/": the partition's name, and where the file goes. */
static int take_target(struct copy_command *command, const char *file, const char *target,
                       char name[64])
{
    const char *colon = strchr(target, ':');
    const char *slash = strrchr(file, '/');
    size_t length = colon != NULL ? (size_t)(colon - target) : 0;

    if (length == 0 || length >= 64 || colon[1] != '/') {
        cli_error("copy: '%s': NAME:PATH is wanted, with an absolute path", target);
        return CLI_EXIT_USAGE;
    }
    memcpy(name, target, length);
    name[length] = '\0';
    bool folder = colon[strlen(colon) - 1] == '/';
    int size = snprintf(command->request.destination, sizeof(command->request.destination), "%s%s",
                        colon + 1,
                        !folder         ? ""
                        : slash != NULL ? slash + 1
                                        : file);
    if (size > 0 && (size_t)size < sizeof(command->request.destination))
        return 0;
    cli_error("copy: the path is too long");
    return CLI_EXIT_USAGE;
}

/* -1: it is not at its end. */
static int poll_once(const char *name, unsigned id, struct progress *progress)
{
    struct control_request request = {.verb = CONTROL_COPY_STATUS, .id = id};
    struct control_reply reply;
    int code = order_send("copy", name, &request, &reply);

    if (code == 0) {
        json_int_t done = json_integer_value(json_object_get(reply.result, "done"));
        json_int_t size = json_integer_value(json_object_get(reply.result, "size"));
        code = json_is_true(json_object_get(reply.result, "running")) ? -1 : 0;
        if (progress_step(progress, (uint64_t)done, (uint64_t)size) < 0 && code < 0) {
            struct control_reply answer;
            request.verb = CONTROL_COPY_CANCEL;
            (void)order_send("copy", name, &request, &answer);
            control_reply_release(&answer);
        }
    }
    control_reply_release(&reply);
    return code;
}

static int follow(const struct copy_command *command, const char *name, unsigned id)
{
    const struct timespec pause = {.tv_nsec = POLL_NS};
    struct progress progress;
    int code = -1;

    progress_start(&progress, &command->tool, "copying");
    while (code < 0) {
        code = poll_once(name, id, &progress);
        if (code < 0)
            (void)nanosleep(&pause, NULL);
    }
    progress_end(&progress);
    return code;
}

static int copy(struct copy_command *command)
{
    const char *file = command->words.words[0];
    struct control_reply reply;
    char name[64];
    int code = take_target(command, file, command->words.words[1], name);

    if (code == 0)
        code = order_take_file("copy", file, command->request.path);
    if (code != 0)
        return code;
    code = order_send("copy", name, &command->request, &reply);
    json_int_t id = json_integer_value(json_object_get(reply.result, "id"));
    control_reply_release(&reply);
    return code != 0 ? code : follow(command, name, (unsigned)id);
}

int copy_main(int argc, char **argv)
{
    struct copy_command command = {.request.verb = CONTROL_COPY};
    int code = cli_parse_words(copy_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&command.words, 2, "copy", "FILE NAME:PATH");
    return code != 0 ? code : copy(&command);
}
