/* The other side: managers, who start the process when it is not there. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/socket.h"
#include "switchd/switchd.h"

enum { START_SECONDS = 10, POLL_MS = 20, ANSWER_SECONDS = 20, MOST_ANSWER = 16 << 20 };

/* ---- starting ---- */

/* What it says on standard error when it fails is its reason. */
static int spawn(int output, pid_t *ret)
{
    static char program[] = "partita";
    static char command[] = "switch";
    static char verb[] = "serve";
    char *words[] = {program, command, verb, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;

    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, output, 2);
    /* It outlives its caller: who waits for the end of a pipe of the caller's must see it. */
    (void)posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    int error = posix_spawn(ret, "/proc/self/exe", &actions, &attributes, words, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return -error;
}

static int tell_end(int output, struct reason *reason)
{
    char text[sizeof(reason->text)] = "";
    ssize_t length = pread(output, text, sizeof(text) - 1, 0);
    const char *start = text;

    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(start, "partita: switch: ", strlen("partita: switch: ")) == 0)
        start += strlen("partita: switch: ");
    return reason_set(reason, -EIO, "the process of the switches has ended: %.200s", start);
}

/* Until it answers. Another may have been faster: then ours ends, and the other answers. */
static int await(pid_t child, int output, int *ret_fd, struct reason *reason)
{
    uint64_t deadline = clock_monotonic_ns() + (uint64_t)START_SECONDS * NS_PER_SECOND;
    bool ended = false;

    for (;;) {
        if (control_connect_switch(ret_fd, NULL) == 0)
            return 0;
        if (ended)
            return tell_end(output, reason);
        if (clock_monotonic_ns() > deadline)
            return reason_set(reason, -ETIMEDOUT, "the process of the switches does not start");
        ended = waitpid(child, NULL, WNOHANG) == child;
        (void)poll(NULL, 0, POLL_MS);
    }
}

static int connect_or_start(int *ret_fd, struct reason *reason)
{
    pid_t child = -1;
    int error = control_connect_switch(ret_fd, reason);

    if (error != -ENOENT)
        return error;
    auto_close int output = memfd_create("switch", MFD_CLOEXEC);
    error = output < 0 ? -errno : spawn(output, &child);
    if (error < 0)
        return reason_set(reason, error, "the process of the switches cannot be started: %s",
                          strerrordesc_np(-error));
    return await(child, output, ret_fd, reason);
}

bool switchd_is_running(void)
{
    auto_close int fd = -1;
    return control_connect_switch(&fd, NULL) == 0;
}

int switchd_start(struct reason *reason)
{
    auto_close int fd = -1;
    return connect_or_start(&fd, reason);
}

/* ---- asking ---- */

static int send_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t part = send(fd, text, length, MSG_NOSIGNAL);
        if (part < 0 && errno != EINTR)
            return -errno;
        if (part > 0) {
            text += part;
            length -= (size_t)part;
        }
    }
    return 0;
}

/* To the end of the connection, for the caller to free. */
static int receive_all(int fd, char **ret, size_t *ret_length)
{
    auto_free char *text = NULL;
    size_t room = 0;
    size_t length = 0;

    for (;;) {
        if (length == room) {
            room = room == 0 ? BUFSIZ : room * 2;
            char *more = room <= MOST_ANSWER ? realloc(text, room) : NULL;
            if (more == NULL)
                return -ENOMEM;
            text = more;
        }
        ssize_t part = recv(fd, text + length, room - length, 0);
        if (part < 0 && errno != EINTR)
            return -errno;
        if (part == 0)
            break;
        length += part > 0 ? (size_t)part : 0;
    }
    *ret = TAKE_PTR(text);
    *ret_length = length;
    return length > 0 ? 0 : -ECONNRESET;
}

static int exchange(int fd, const char *line, char **ret, size_t *ret_length)
{
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int error = send_all(fd, line, strlen(line));
    if (error == 0)
        error = send_all(fd, "\n", 1);
    return error < 0 ? error : receive_all(fd, ret, ret_length);
}

static int take_answer(const char *text, size_t length, json_t **ret, struct reason *reason)
{
    json_t *answer = json_loadb(text, length, 0, NULL);
    const char *why = json_string_value(json_object_get(answer, "reason"));
    json_int_t error = json_integer_value(json_object_get(answer, "error"));

    if (json_is_true(json_object_get(answer, "ok"))) {
        *ret = json_incref(json_object_get(answer, "result"));
        json_decref(answer);
        return 0;
    }
    reason_fill(reason, "%s", why != NULL ? why : "the answer makes no sense");
    json_decref(answer);
    return error < 0 && error > -4096 ? (int)error : -EPROTO;
}

/* Once more when the process was just about to leave. */
static int ask(const char *line, json_t **ret, bool *ret_again, struct reason *reason)
{
    auto_close int fd = -1;
    auto_free char *text = NULL;
    size_t length = 0;

    *ret_again = false;
    int error = connect_or_start(&fd, reason);
    if (error < 0)
        return error;
    error = exchange(fd, line, &text, &length);
    *ret_again = error == -ECONNRESET || error == -EPIPE;
    if (error < 0)
        return reason_set(reason, error, "the process of the switches does not answer: %s",
                          strerrordesc_np(-error));
    return take_answer(text, length, ret, reason);
}

int switchd_call(json_t *request, json_t **ret, struct reason *reason)
{
    auto_free char *line = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    bool again = false;

    *ret = NULL;
    json_decref(request);
    if (line == NULL)
        return reason_set(reason, -EINVAL, "a text must be UTF-8");
    int error = ask(line, ret, &again, reason);
    return again ? ask(line, ret, &again, reason) : error;
}
