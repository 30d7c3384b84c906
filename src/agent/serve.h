/* One connection of the agent, whatever it carries: a socket from the host. */
#ifndef AGENT_SERVE_H
#define AGENT_SERVE_H

/* Take its first frame and do what it asks. The connection stays the caller's. */
void serve_connection(int fd);

#endif
