#include "agent/pipe.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 16384 };

static bool write_all(int to, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t part = write(to, bytes, length);
        if (part < 0 && errno != EINTR)
            return false;
        bytes += part > 0 ? part : 0;
        length -= part > 0 ? (size_t)part : 0;
    }
    return true;
}

static bool copy(int from, int to)
{
    static uint8_t bytes[CHUNK];

    for (;;) {
        ssize_t length = read(from, bytes, sizeof(bytes));
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return length == 0;
        if (!write_all(to, bytes, (size_t)length))
            return false;
    }
}

/* A process a direction: each may wait. */
int pipe_both(int socket)
{
    int status = 0;
    pid_t pid = fork();

    if (pid < 0)
        return EXIT_FAILURE;
    if (pid == 0) {
        (void)close(STDOUT_FILENO); /* its end is the other's to tell */
        bool done = copy(STDIN_FILENO, socket);
        (void)shutdown(socket, SHUT_WR);
        _exit(done ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    bool done = copy(socket, STDOUT_FILENO);
    (void)close(STDOUT_FILENO);
    (void)waitpid(pid, &status, 0);
    (void)close(socket);
    return done && status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
