/* A command that has verbs of its own, as `partita disk create`. */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include "cli/cli.h"

/* `verbs` ends with one without a name; `about` follows the line of usage in the help. */
int cli_verb_main(const char *command, const char *about, const struct cli_command *verbs, int argc,
                  char **argv);

#endif
