/* Commands that run until they are told to end, and then put things back. */
#ifndef CLI_ENDING_H
#define CLI_ENDING_H

#include "base/reason.h"

/*
 * A descriptor, the caller's, that is readable once SIGINT, SIGTERM or SIGHUP has come, which from
 * now on do nothing else. -EMFILE and a reason. Before the process makes threads.
 */
int cli_watch_ending(struct reason *reason);

#endif
