/* A process for EXEC: its user, its folder, its environment, and its standard streams. */
#ifndef AGENT_SPAWN_H
#define AGENT_SPAWN_H

#include <sys/types.h>

#include "agent/request.h"
#include "base/reason.h"

/* Our ends; with a terminal, input and output are the pty's master and error is -1. */
struct spawned {
    pid_t pid; /* the leader of a session of its own */
    int input, output, error;
};

/* As a shell has it: cannot be found, cannot be executed, Partita itself failed. */
enum { SPAWN_NOT_FOUND = 127, SPAWN_NOT_EXECUTABLE = 126, SPAWN_FAILED = 125 };

/* 0, or one of these with a reason. */
int spawn(const struct exec_request *request, struct spawned *ret, struct reason *reason);
void spawn_set_size(int terminal, uint16_t rows, uint16_t columns);

#endif
