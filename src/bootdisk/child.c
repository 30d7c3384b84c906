/*
 * A message is a header of 16 bytes (kind, zero, length; little-endian) and its bytes. The last
 * one, of kind END, has the error and the text of the reason.
 */
#include "bootdisk/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "bootdisk/sandbox.h"

enum { HEADER_SIZE = 16, PIPE_ROOM = 1 << 20, NS_PER_MS = 1000000 };
#define KIND_END UINT32_MAX

struct child_pipe {
    int fd;
    uint64_t left; /* of the message that was begun */
};

/* ---- in the child ---- */

static int write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t part = write(fd, bytes, length);
        if (part < 0 && errno != EINTR)
            return -errno;
        if (part > 0) {
            bytes += part;
            length -= (size_t)part;
        }
    }
    return 0;
}

int child_begin(struct child_pipe *pipe, unsigned kind, uint64_t length)
{
    uint8_t header[HEADER_SIZE] = {0};

    if (pipe->left > 0)
        return -EPROTO;
    put_le32(header, kind);
    put_le64(header + 8, length);
    pipe->left = length;
    return write_all(pipe->fd, header, sizeof(header));
}

int child_send(struct child_pipe *pipe, const void *bytes, size_t length)
{
    if (length > pipe->left)
        return -EPROTO;
    pipe->left -= length;
    return write_all(pipe->fd, bytes, length);
}

static void send_end(struct child_pipe *pipe, int error, const struct reason *reason)
{
    uint8_t code[4];
    size_t length = strnlen(reason->text, sizeof(reason->text));

    put_le32(code, (uint32_t)error);
    if (child_begin(pipe, KIND_END, sizeof(code) + length) == 0 &&
        child_send(pipe, code, sizeof(code)) == 0)
        (void)child_send(pipe, reason->text, length);
}

static void child_main(const struct child_work *work, int fd)
{
    struct child_pipe pipe = {.fd = fd};
    struct reason reason = {""};

    int error = sandbox_enter(fd);
    if (error < 0)
        (void)reason_set(&reason, error, "the host grants no sandbox for reading file systems: %s",
                         strerrordesc_np(-error));
    else
        error = work->run(work->owner, &pipe, &reason);
    send_end(&pipe, error, &reason);
    _exit(0);
}

/* ---- in the parent ---- */

struct receiver {
    const struct child_work *work;
    int fd;
    uint64_t deadline_ns;
    struct child_message *messages;
};

/* 0, or -ETIMEDOUT, or -EPROTO at the end of the pipe. */
static int read_exactly(const struct receiver *receiver, uint8_t *to, size_t length)
{
    while (length > 0) {
        uint64_t now = clock_monotonic_ns();
        if (now >= receiver->deadline_ns)
            return -ETIMEDOUT;
        struct pollfd poll_fd = {.fd = receiver->fd, .events = POLLIN};
        uint64_t wait_ms = (receiver->deadline_ns - now) / NS_PER_MS + 1;
        int ready = poll(&poll_fd, 1, wait_ms < 60000 ? (int)wait_ms : 60000);
        if (ready <= 0)
            continue;
        ssize_t part = read(receiver->fd, to, length);
        if (part == 0 || (part < 0 && errno != EINTR && errno != EAGAIN))
            return -EPROTO;
        if (part > 0) {
            to += part;
            length -= (size_t)part;
        }
    }
    return 0;
}

static int receive_bytes(const struct receiver *receiver, uint32_t kind, uint64_t length)
{
    struct child_message *message = &receiver->messages[kind];
    size_t room = length > 0 ? (size_t)length : 1;
    void *bytes = mmap(NULL, room, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (bytes == MAP_FAILED)
        return -ENOMEM;
    *message = (struct child_message){.bytes = bytes, .length = (size_t)length};
    return read_exactly(receiver, bytes, (size_t)length);
}

/* What the child says ends up on a terminal. */
static void copy_text(struct reason *to, const uint8_t *from, size_t length)
{
    char text[sizeof(to->text)];

    memset(text, '?', sizeof(text));
    for (size_t i = 0; i < length; i++) {
        if (from[i] >= ' ' && from[i] <= '~')
            text[i] = (char)from[i];
    }
    reason_fill(to, "%.*s", (int)length, text);
}

static int receive_end(const struct receiver *receiver, uint64_t length, struct reason *reason)
{
    uint8_t bytes[4 + sizeof(reason->text) - 1];

    if (length < 4 || length > sizeof(bytes))
        return -EPROTO;
    int error = read_exactly(receiver, bytes, (size_t)length);
    if (error < 0)
        return error;
    int code = (int)get_le32(bytes);
    if (code > 0 || code < -4095)
        return -EPROTO;
    if (length > 4)
        copy_text(reason, bytes + 4, (size_t)length - 4);
    return code;
}

/* `*ret_end`: that was the last message, and its error is returned. */
static int receive_message(const struct receiver *receiver, bool *ret_end, struct reason *reason)
{
    uint8_t header[HEADER_SIZE];
    int error = read_exactly(receiver, header, sizeof(header));

    if (error < 0)
        return error;
    uint32_t kind = get_le32(header);
    uint64_t length = get_le64(header + 8);
    *ret_end = kind == KIND_END;
    if (kind == KIND_END)
        return receive_end(receiver, length, reason);
    if (kind >= receiver->work->kinds || length > receiver->work->limits[kind] ||
        receiver->messages[kind].bytes != NULL)
        return -EPROTO;
    return receive_bytes(receiver, kind, length);
}

int child_receive(const struct child_work *work, int fd, uint64_t deadline_ns,
                  struct child_message *ret, struct reason *reason)
{
    const struct receiver receiver = {work, fd, deadline_ns, ret};
    struct reason why = {""};
    bool end = false;
    int error = 0;

    for (unsigned i = 0; i < work->kinds; i++)
        ret[i] = (struct child_message){0};
    while (error == 0 && !end)
        error = receive_message(&receiver, &end, &why);
    if (error == 0)
        return 0;
    child_release(ret, work->kinds);
    if (why.text[0] == '\0')
        reason_fill(&why, error == -ETIMEDOUT ? "reading its file systems takes too long"
                          : error == -EPROTO  ? "its file systems are damaged: reading them failed"
                          : error == -ENOMEM  ? "out of memory"
                                              : "its file systems cannot be read");
    return reason_set(reason, error, "%s", why.text);
}

void child_release(struct child_message *messages, unsigned kinds)
{
    for (unsigned i = 0; i < kinds; i++) {
        if (messages[i].bytes != NULL)
            (void)munmap(messages[i].bytes, messages[i].length > 0 ? messages[i].length : 1);
        messages[i] = (struct child_message){0};
    }
}

/* Whatever it is at, it is not needed any more. */
static void end_child(pid_t child)
{
    int status;

    (void)kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
}

int child_run(const struct child_work *work, struct child_message *ret, struct reason *reason)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return reason_set(reason, -errno, "no pipe to a child process");
    auto_close int output = ends[1];
    auto_close int input = ends[0];
    (void)fcntl(input, F_SETPIPE_SZ, PIPE_ROOM);
    uint64_t deadline = clock_monotonic_ns() + work->timeout_ns;
    pid_t child = fork();
    if (child < 0)
        return reason_set(reason, -errno, "no child process");
    if (child == 0)
        child_main(work, output);
    (void)close(take_fd(&output)); /* so that the child's end is the pipe's end */
    int error = child_receive(work, input, deadline, ret, reason);
    end_child(child);
    return error;
}
