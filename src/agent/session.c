/*
 * 1. Nothing waits but poll(). One frame at a time waits to be sent; while it does, nothing is read
 *    from the process.
 * 2. Input is kept until the process takes it, and only so much may come: that is the window. So
 *    signals and sizes are never behind input that nobody reads.
 * 3. After the process has ended, what it wrote is sent, and then its exit code; those that it left
 *    behind may keep its streams open, and are not waited for.
 */
#include "agent/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/spawn.h"
#include "base/bytes.h"

enum { FROM_HOST, TO_PROCESS, OUTPUT, ERROR_OUTPUT, CHILDREN, POLL_COUNT, END_OF_INPUT = 4 };

struct session {
    int fd, signals;
    struct frame_reader *reader;
    struct spawned process;
    bool terminal;
    bool lost; /* the host has gone, or broke the protocol */
    bool exited, exit_sent;
    int status;
    bool error_turn;        /* whose output comes first */
    size_t out_at, out_end; /* of `out`: to be sent */
    size_t in_length;       /* of `in`: for the process */
    bool in_ended;
    uint32_t window_due; /* taken by the process, and not told yet */
    uint8_t out[FRAME_HEADER + FRAME_DATA];
    uint8_t in[AGENT_WINDOW_SIZE];
};

/* ---- to the host ---- */

static void send_out(struct session *session)
{
    while (session->out_at < session->out_end && !session->lost) {
        ssize_t part = send(session->fd, session->out + session->out_at,
                            session->out_end - session->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part < 0 && errno == EAGAIN)
            return;
        session->lost = part < 0 && errno != EINTR;
        session->out_at += part > 0 ? (size_t)part : 0;
    }
}

static bool may_send(const struct session *session)
{
    return session->out_at == session->out_end && !session->lost;
}

/* The payload is in `out` already. */
static void begin_send(struct session *session, enum frame_type type, size_t length)
{
    frame_put_header(session->out, type, length);
    session->out_at = 0;
    session->out_end = FRAME_HEADER + length;
    send_out(session);
}

static void send_number(struct session *session, enum frame_type type, uint32_t number)
{
    put_le32(session->out + FRAME_HEADER, number);
    begin_send(session, type, 4);
}

static void close_stream(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* True when there was something. */
static bool forward(struct session *session, int *fd, enum frame_type type)
{
    if (*fd < 0 || !may_send(session))
        return false;
    ssize_t length = read(*fd, session->out + FRAME_HEADER, FRAME_DATA);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (length <= 0) {
        if (session->terminal)
            session->process.input = -1; /* the same */
        close_stream(fd);
        return false;
    }
    begin_send(session, type, (size_t)length);
    return true;
}

static bool forward_any(struct session *session)
{
    struct spawned *process = &session->process;
    bool error_first = session->error_turn;
    bool found = error_first ? forward(session, &process->error, FRAME_ERROR_OUTPUT)
                             : forward(session, &process->output, FRAME_OUTPUT);

    session->error_turn = !error_first;
    return found || (error_first ? forward(session, &process->output, FRAME_OUTPUT)
                                 : forward(session, &process->error, FRAME_ERROR_OUTPUT));
}

/* As a shell has it. */
static uint32_t exit_code(int status)
{
    return WIFSIGNALED(status) ? 128U + (uint32_t)WTERMSIG(status) : (uint32_t)WEXITSTATUS(status);
}

static void send_what_is_due(struct session *session)
{
    if (may_send(session) && session->window_due > 0) {
        send_number(session, FRAME_WINDOW, session->window_due);
        session->window_due = 0;
    }
    while (may_send(session) && forward_any(session))
        continue;
    if (may_send(session) && session->exited) {
        send_number(session, FRAME_EXIT, exit_code(session->status));
        session->exit_sent = true;
    }
}

/* ---- to the process ---- */

static void end_input(struct session *session)
{
    static const uint8_t end = END_OF_INPUT;
    ssize_t told = 0;

    session->in_ended = false;
    if (session->terminal && session->process.input >= 0)
        told = write(session->process.input, &end, 1);
    else
        close_stream(&session->process.input);
    (void)told;
}

static void take_in(struct session *session, size_t length)
{
    session->in_length -= length;
    memmove(session->in, session->in + length, session->in_length);
    session->window_due += (uint32_t)length;
}

static void write_in(struct session *session)
{
    if (session->process.input < 0) {
        take_in(session, session->in_length); /* nobody reads it */
    } else if (session->in_length > 0) {
        ssize_t part = write(session->process.input, session->in, session->in_length);
        if (part < 0 && errno != EAGAIN && errno != EINTR) {
            if (!session->terminal)
                close_stream(&session->process.input);
            part = (ssize_t)session->in_length;
        }
        take_in(session, part > 0 ? (size_t)part : 0);
    }
    if (session->in_length == 0 && session->in_ended)
        end_input(session);
}

static void take_input(struct session *session, const struct frame *frame)
{
    if (frame->length > sizeof(session->in) - session->in_length || session->in_ended) {
        session->lost = true;
        return;
    }
    memcpy(session->in + session->in_length, frame->payload, frame->length);
    session->in_length += frame->length;
}

static void take_signal(struct session *session, const struct frame *frame)
{
    uint32_t number = frame->length == 4 ? get_le32(frame->payload) : 0;

    session->lost |= number == 0 || number >= NSIG;
    if (!session->lost && !session->exited)
        (void)kill(-session->process.pid, (int)number);
}

static void take_size(struct session *session, const struct frame *frame)
{
    session->lost |= frame->length != 4;
    if (!session->lost && session->terminal && session->process.output >= 0)
        spawn_set_size(session->process.output, get_le16(frame->payload),
                       get_le16(frame->payload + 2));
}

static void take_frame(struct session *session, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_INPUT:
        take_input(session, frame);
        break;
    case FRAME_INPUT_END:
        session->in_ended = true;
        break;
    case FRAME_SIGNAL:
        take_signal(session, frame);
        break;
    case FRAME_SIZE:
        take_size(session, frame);
        break;
    default:
        session->lost = true;
    }
}

static void take_frames(struct session *session)
{
    struct frame frame;
    int found = 0;

    while (!session->lost && (found = frame_next(session->reader, &frame)) > 0)
        take_frame(session, &frame);
    session->lost |= found < 0;
}

static void hear_host(struct session *session)
{
    ssize_t length = frame_fill(session->reader, session->fd);

    session->lost |= length == 0 || (length < 0 && length != -EAGAIN && length != -EINTR);
    take_frames(session);
}

/* ---- the loop ---- */

static void reap(struct session *session)
{
    struct signalfd_siginfo info;
    ssize_t length = read(session->signals, &info, sizeof(info));
    int status = 0;

    (void)length;
    if (!session->exited && waitpid(session->process.pid, &status, WNOHANG) > 0) {
        session->exited = true;
        session->status = status;
    }
}

static void await(const struct session *session, struct pollfd polls[POLL_COUNT])
{
    bool idle = may_send(session);

    polls[FROM_HOST] = (struct pollfd){session->fd, POLLIN, 0};
    if (!idle)
        polls[FROM_HOST].events |= POLLOUT;
    polls[TO_PROCESS] =
        (struct pollfd){session->in_length > 0 ? session->process.input : -1, POLLOUT, 0};
    polls[OUTPUT] = (struct pollfd){idle ? session->process.output : -1, POLLIN, 0};
    polls[ERROR_OUTPUT] = (struct pollfd){idle ? session->process.error : -1, POLLIN, 0};
    polls[CHILDREN] = (struct pollfd){session->signals, POLLIN, 0};
    (void)poll(polls, POLL_COUNT, -1);
}

static void turn(struct session *session)
{
    struct pollfd polls[POLL_COUNT];

    await(session, polls);
    if (polls[CHILDREN].revents != 0)
        reap(session);
    if ((polls[FROM_HOST].revents & ~POLLOUT) != 0)
        hear_host(session);
    write_in(session);
    send_out(session);
    send_what_is_due(session);
}

/* Hang up, as a terminal does; who does not go is made to. */
static void end_process(const struct session *session)
{
    const struct timespec pause = {.tv_nsec = 20000000};

    if (session->exited)
        return;
    (void)kill(-session->process.pid, SIGHUP);
    (void)kill(-session->process.pid, SIGCONT);
    for (int i = 0; i < 100; i++) {
        if (waitpid(session->process.pid, NULL, WNOHANG) != 0)
            return;
        (void)nanosleep(&pause, NULL);
    }
    (void)kill(-session->process.pid, SIGKILL);
    (void)waitpid(session->process.pid, NULL, 0);
}

static int watch_children(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void serve(struct session *session)
{
    (void)fcntl(session->fd, F_SETFL, O_NONBLOCK);
    begin_send(session, FRAME_STARTED, 0);
    take_frames(session); /* that came with the request */
    while (!session->lost && !(session->exit_sent && may_send(session)))
        turn(session);
    close_stream(&session->process.output);
    if (!session->terminal)
        close_stream(&session->process.input);
    close_stream(&session->process.error);
    end_process(session);
}

void session_run(int fd, struct frame_reader *reader, const struct exec_request *request)
{
    static struct session session; /* one a process, and large */
    struct reason reason = {""};

    session = (struct session){.fd = fd, .reader = reader, .terminal = request->terminal};
    session.signals = watch_children();
    int code = spawn(request, &session.process, &reason);
    if (code != 0)
        (void)frame_fail(fd, (uint32_t)code, reason.text);
    else
        serve(&session);
    (void)close(session.signals);
}
