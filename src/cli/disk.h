/* partita disk: verbs of its own, for the table of commands and for completion. */
#ifndef CLI_DISK_H
#define CLI_DISK_H

#include "cli/cli.h"

extern const struct cli_command disk_verbs[]; /* ends with one without a name */
extern const struct cli_option disk_options[];
int disk_main(int argc, char **argv);

#endif
