/* Standard input and output as a socket's two directions. */
#ifndef AGENT_PIPE_H
#define AGENT_PIPE_H

/* Until both have ended: an exit code. The socket is closed. */
int pipe_both(int socket);

#endif
