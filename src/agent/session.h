/* EXEC from its start to its end, on one connection. */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include "agent/frame.h"
#include "agent/request.h"

/* The connection stays the caller's. */
void session_run(int fd, struct frame_reader *reader, const struct exec_request *request);

#endif
