/*
 * Where running partitions are found: a socket for each name, in a folder that is its user's alone.
 *
 * The folder is $PARTITA_RUNTIME_DIR, else /run/partita for root, else $XDG_RUNTIME_DIR/partita. A
 * socket whose worker has died is replaced by the next one of its name. Not for several threads at
 * a time: the environment is read.
 */
#ifndef CONTROL_SOCKET_H
#define CONTROL_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/reason.h"

enum { CONTROL_NAME_SIZE = 64, CONTROL_SOCKET_PATH_SIZE = 108 };

/* Letters, digits, '.', '_' and '-'; not '.' or '-' first; shorter than CONTROL_NAME_SIZE. */
bool control_name_is_valid(const char *name);

struct control_listener {
    int fd;                              /* non-blocking */
    char path[CONTROL_SOCKET_PATH_SIZE]; /* of the socket */
};

/* Makes the folder when it is not there. -EEXIST: a partition of this name runs. */
int control_listen(const char *name, struct control_listener *ret, struct reason *reason);
/* Remove the socket; an empty listener (fd -1) is accepted. */
void control_unlisten(struct control_listener *listener);

/*
 * Sockets of a partition that lead into its guest and out of it: "vsock" in its own folder, which
 * is made, and removed with the socket if it is empty then. The name must be the caller's already,
 * by control_listen().
 */
int control_listen_streams(const char *name, struct control_listener *ret, struct reason *reason);
/* The same for its "display", where viewers of its screen connect (display/rfb.h). */
int control_listen_display(const char *name, struct control_listener *ret, struct reason *reason);
int control_display_path(const char *name, char ret[CONTROL_SOCKET_PATH_SIZE],
                         struct reason *reason);
/* -ENOENT: no partition of this name runs; -ENOTSUP: it has no screen. */
int control_connect_display(const char *name, int *ret_fd, struct reason *reason);
/* For either. */
void control_unlisten_in_folder(struct control_listener *listener);
/* Where a program of the host listens for the guest: "vsock_SERVICE"; NULL: "vsock" itself. */
int control_stream_path(const char *name, const char *service, char ret[CONTROL_SOCKET_PATH_SIZE],
                        struct reason *reason);

/*
 * Sockets of the process that holds this user's switches: "control" of SOCK_STREAM takes orders,
 * "ports" of SOCK_SEQPACKET cards. They lie in a folder whose name no partition can have.
 * -EEXIST: that process runs already; -ENOENT: it does not.
 */
int control_switch_path(const char *which, char ret[CONTROL_SOCKET_PATH_SIZE],
                        struct reason *reason);
int control_listen_switch(const char *which, int type, struct control_listener *ret,
                          struct reason *reason);
int control_connect_switch(int *ret_fd, struct reason *reason);

/* A connection of a client that may give orders, else -EAGAIN (none), -EACCES or another error. */
int control_accept(const struct control_listener *listener, int *ret_fd);

/* -ENOENT: no partition of this name runs. */
int control_connect(const char *name, int *ret_fd, struct reason *reason);

/* Call `each` for every name that has a socket, in alphabetical order; 0 or a negative errno. */
int control_list(void (*each)(void *owner, const char *name), void *owner, struct reason *reason);

#endif
