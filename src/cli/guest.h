/* A connection to the agent in a partition's guest, for exec, shell and cp. */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include "agent/frame.h"

/* As docker has it: the command's own exit codes are below, with few exceptions. */
enum { GUEST_EXIT_FAILED = 125 };

/* "10": seconds to wait for a guest that boots; an exit code after one line. */
int guest_parse_wait(const char *command, const char *value, unsigned *ret);
/* Waits for an agent for so many seconds, at least for one try. 0, or an exit code after one line.
 */
int guest_connect(const char *command, const char *name, unsigned wait_seconds, int *ret_fd);
/* Say why the agent refused, from FAILED; its code. */
int guest_refused(const char *command, const char *name, const struct frame *frame);

#endif
