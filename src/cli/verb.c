#include "cli/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void print_help(FILE *to, const char *command, const char *about,
                       const struct cli_command *verbs)
{
    (void)fprintf(to, "Usage: partita %s VERB [OPTION]...\n%s\n\n", command, about);
    for (; verbs->name != NULL; verbs++) {
        if (verbs->summary != NULL)
            (void)fprintf(to, "  %-14s%s\n", verbs->name, verbs->summary);
    }
    (void)fprintf(to, "\n'partita %s VERB --help' says more; so does partita-%s(1).\n", command,
                  command);
}

static const struct cli_command *find_verb(const struct cli_command *verbs, const char *name)
{
    for (; verbs->name != NULL; verbs++) {
        if (strcmp(verbs->name, name) == 0)
            return verbs;
    }
    return NULL;
}

static int refuse(const char *command, const struct cli_command *verbs, const char *typed)
{
    enum { MOST = 32 };
    const char *names[MOST];
    size_t count = 0;

    for (; verbs->name != NULL && count < MOST; verbs++) {
        if (verbs->summary != NULL)
            names[count++] = verbs->name;
    }
    const char *meant = cli_nearest(typed, names, count);
    if (meant != NULL)
        cli_error("%s: unknown verb '%s'; did you mean %s?", command, typed, meant);
    else
        cli_error("%s: unknown verb '%s'; try 'partita %s --help'", command, typed, command);
    return CLI_EXIT_USAGE;
}

int cli_verb_main(const char *command, const char *about, const struct cli_command *verbs, int argc,
                  char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(argc < 2 ? stderr : stdout, command, about, verbs);
        return argc < 2 ? CLI_EXIT_USAGE : 0;
    }
    const struct cli_command *verb = find_verb(verbs, argv[1]);
    auto_free char *name = NULL;

    if (verb == NULL)
        return refuse(command, verbs, argv[1]);
    /* Its lines begin with "disk create". */
    if (asprintf(&name, "%s %s", command, verb->name) < 0) {
        name = NULL;
        return CLI_EXIT_FAILED;
    }
    argv[1] = name;
    return verb->main(argc - 1, argv + 1);
}
