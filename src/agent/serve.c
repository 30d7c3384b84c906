#include "agent/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/request.h"
#include "agent/session.h"
#include "agent/tree.h"
#include "agent/users.h"
#include "base/cleanup.h"

enum { PATIENCE_MS = 10000, CODE_COPY = 1, CODE_PROTOCOL = 125, MODE_BITS = 07777 };

static const char *why_not(int error)
{
    return error == -EPROTONOSUPPORT ? "the agent in the guest is of another version of Partita"
                                     : "the agent in the guest does not know such a request";
}

/* What is under way must not hinder the other side from hearing of the failure. */
static void read_on(int fd, struct frame_reader *reader)
{
    do
        reader->start = reader->end = 0;
    while (frame_fill(reader, fd) > 0);
}

static void fail(int fd, struct frame_reader *reader, uint32_t code, const char *text)
{
    if (frame_fail(fd, code, text) == 0)
        read_on(fd, reader);
}

static void serve_exec(int fd, struct frame_reader *reader, const struct frame *frame)
{
    auto_free struct exec_request *request = calloc(1, sizeof(*request));
    auto_free uint8_t *payload = malloc(frame->length + 1);

    if (request == NULL || payload == NULL)
        return; /* NOLINT(clang-analyzer-unix.Malloc): auto_free */
    memcpy(payload, frame->payload, frame->length); /* the reader's goes */
    int error = exec_decode(payload, frame->length, request);
    if (error < 0)
        fail(fd, reader, CODE_PROTOCOL, why_not(error));
    else
        session_run(fd, reader, request);
}

/* Where a path begins that does not begin at the top: as of commands, in root's home. */
static void enter_home(void)
{
    struct user user;
    struct reason reason = {""};

    /* Without one, it is the top, where we are. */
    if (users_find("", "", &user, &reason) == 0 && chdir(user.home) < 0)
        return;
}

static void serve_get(int fd, struct frame_reader *reader, const struct frame *frame)
{
    struct tree_peer peer = {.fd = fd, .reader = reader};
    struct copy_request request;
    struct reason reason = {""};
    char path[REQUEST_MOST_PATH];
    int error = copy_decode(frame->payload, frame->length, &request);

    if (error < 0) {
        fail(fd, reader, CODE_PROTOCOL, why_not(error));
        return;
    }
    (void)snprintf(path, sizeof(path), "%s", request.path); /* the reader's goes */
    enter_home();
    if (tree_send(&peer, path, &reason) < 0)
        fail(fd, reader, CODE_COPY, reason.text);
}

static void serve_put(int fd, struct frame_reader *reader, const struct frame *frame)
{
    struct tree_peer peer = {.fd = fd, .reader = reader};
    struct copy_request request;
    struct reason reason = {""};
    auto_free char *payload = malloc(frame->length + 1);

    if (payload == NULL)
        return;
    memcpy(payload, frame->payload, frame->length);
    /* NOLINTBEGIN(clang-analyzer-unix.Malloc): auto_free */
    int error = copy_decode((const uint8_t *)payload, frame->length, &request);
    if (error < 0) {
        fail(fd, reader, CODE_PROTOCOL, why_not(error));
        return;
    }
    const struct tree_target target = {
        .path = request.path, .name = request.name, .mode_mask = MODE_BITS};
    enter_home();
    if (frame_write(fd, FRAME_STARTED, NULL, 0) < 0)
        return;
    if (tree_receive(&peer, &target, &reason) < 0)
        fail(fd, reader, CODE_COPY, reason.text);
    else
        (void)frame_write(fd, FRAME_DONE, NULL, 0);
    /* NOLINTEND(clang-analyzer-unix.Malloc) */
}

void serve_connection(int fd)
{
    auto_free struct frame_reader *reader = calloc(1, sizeof(*reader));
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct frame frame;

    /* One that says nothing is left. */
    if (reader == NULL || poll(&poll_fd, 1, PATIENCE_MS) <= 0 || frame_read(reader, fd, &frame) < 0)
        return; /* NOLINT(clang-analyzer-unix.Malloc): auto_free */
    switch (frame.type) {
    case FRAME_EXEC:
        serve_exec(fd, reader, &frame);
        break;
    case FRAME_GET:
        serve_get(fd, reader, &frame);
        break;
    case FRAME_PUT:
        serve_put(fd, reader, &frame);
        break;
    default:
        fail(fd, reader, CODE_PROTOCOL, why_not(-EPROTO));
    }
}
