/* The host's side of a command in a guest: streams, signals and the terminal, up to its exit. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <stdbool.h>

#include "agent/request.h"

struct session_config {
    const char *command, *name; /* for what is said on errors */
    int fd;                     /* the connection to the agent; stays the caller's */
    const struct exec_request *request;
};

/* The exit code of the command in the guest, or GUEST_EXIT_FAILED after one line. */
int session_run(const struct session_config *config);

#endif
