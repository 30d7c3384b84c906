/*
 * 1. Nothing waits but poll(), and a write to standard output that it said to be possible. A frame
 * of output is written before the next is looked at; the agent waits meanwhile.
 * 2. Input is read only while the agent has said that it takes it.
 * 3. What the guest sends goes to standard output as it is, and is believed in nothing else.
 */
#include "cli/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/guest.h"
#include "worker/terminal.h"

enum {
    FROM_GUEST,
    INPUT,
    OUTPUT,
    SIGNALS,
    POLL_COUNT,
    PIECE = 4096, /* that a pipe takes at once when it takes any: PIPE_BUF */
    MOST_ENDINGS = 3,
    CODE_PIPE = 128 + SIGPIPE,
};

struct session {
    const struct session_config *config;
    struct frame_reader reader;
    struct frame frame; /* of output; `length` 0: none waits */
    int signals;
    uint32_t window; /* bytes of input that the agent takes */
    bool input_open, started, raw;
    bool size_due;
    int signal_due;   /* 0: none */
    unsigned endings; /* how often we were told to end */
    bool ended;
    int code;
    size_t out_at, out_end; /* of `out`: for the agent */
    uint8_t out[FRAME_HEADER + FRAME_MOST];
};

static void end(struct session *session, int code)
{
    if (!session->ended)
        session->code = code;
    session->ended = true;
}

/* Raw terminals need a carriage return, so the terminal is given back before a word is said. */
static void fail(struct session *session, const char *why)
{
    if (session->ended)
        return;
    terminal_restore();
    cli_error("%s: %s: %s", session->config->command, session->config->name, why);
    end(session, GUEST_EXIT_FAILED);
}

/* ---- to the agent ---- */

static void send_out(struct session *session)
{
    while (session->out_at < session->out_end) {
        ssize_t part = send(session->config->fd, session->out + session->out_at,
                            session->out_end - session->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0) {
            /* Its last words may still be there to be read. */
            if (errno != EAGAIN)
                session->out_at = session->out_end;
            return;
        }
        session->out_at += (size_t)part;
    }
}

static bool may_send(const struct session *session)
{
    return session->out_at == session->out_end;
}

static void begin_send(struct session *session, enum frame_type type, size_t length)
{
    frame_put_header(session->out, type, length);
    session->out_at = 0;
    session->out_end = FRAME_HEADER + length;
    send_out(session);
}

static void read_input(struct session *session)
{
    size_t room = session->window < FRAME_DATA ? session->window : FRAME_DATA;
    ssize_t length = read(STDIN_FILENO, session->out + FRAME_HEADER, room);

    if (length < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (length <= 0) {
        session->input_open = false;
        begin_send(session, FRAME_INPUT_END, 0);
        return;
    }
    session->window -= (uint32_t)length;
    begin_send(session, FRAME_INPUT, (size_t)length);
}

static void read_size(uint16_t *ret_rows, uint16_t *ret_columns)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};

    (void)ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    *ret_rows = size.ws_row;
    *ret_columns = size.ws_col;
}

static void send_size(struct session *session)
{
    uint16_t rows = 0;
    uint16_t columns = 0;

    read_size(&rows, &columns);
    session->size_due = false;
    put_le16(session->out + FRAME_HEADER, rows);
    put_le16(session->out + FRAME_HEADER + 2, columns);
    begin_send(session, FRAME_SIZE, 4);
}

static void send_signal(struct session *session)
{
    put_le32(session->out + FRAME_HEADER, (uint32_t)session->signal_due);
    session->signal_due = 0;
    begin_send(session, FRAME_SIGNAL, 4);
}

static void send_what_is_due(struct session *session)
{
    if (may_send(session) && session->started && session->signal_due != 0)
        send_signal(session);
    if (may_send(session) && session->started && session->size_due)
        send_size(session);
}

/* ---- from the agent ---- */

static void take_window(struct session *session)
{
    uint32_t more = session->frame.length == 4 ? get_le32(session->frame.payload) : UINT32_MAX;

    session->frame.length = 0;
    if (more > AGENT_WINDOW_SIZE - session->window)
        fail(session, "the agent does not keep to the protocol");
    else
        session->window += more;
}

static void take_exit(struct session *session)
{
    if (session->frame.length == 4)
        end(session, (int)(get_le32(session->frame.payload) & 0xff));
    else
        fail(session, "the agent does not keep to the protocol");
}

static void take_refusal(struct session *session)
{
    terminal_restore();
    end(session, guest_refused(session->config->command, session->config->name, &session->frame));
}

static void take_frame(struct session *session)
{
    switch (session->frame.type) {
    case FRAME_STARTED:
        session->started = true;
        session->frame.length = 0;
        break;
    case FRAME_OUTPUT:
    case FRAME_ERROR_OUTPUT:
        break; /* written as standard output takes it */
    case FRAME_WINDOW:
        take_window(session);
        break;
    case FRAME_EXIT:
        take_exit(session);
        break;
    default:
        take_refusal(session);
    }
}

static int output_of(const struct session *session)
{
    return session->frame.type == FRAME_ERROR_OUTPUT ? STDERR_FILENO : STDOUT_FILENO;
}

static void write_output(struct session *session)
{
    struct frame *frame = &session->frame;
    size_t piece = frame->length < PIECE ? frame->length : PIECE;
    ssize_t part = write(output_of(session), frame->payload, piece);

    if (part < 0 && errno != EINTR && errno != EAGAIN) {
        end(session, errno == EPIPE ? CODE_PIPE : GUEST_EXIT_FAILED);
        return;
    }
    frame->payload += part > 0 ? part : 0;
    frame->length -= part > 0 ? (size_t)part : 0;
}

/* Frames that are whole, up to one whose bytes have to be written. */
static void take_frames(struct session *session)
{
    int found = 0;

    while (!session->ended && session->frame.length == 0 &&
           (found = frame_next(&session->reader, &session->frame)) > 0)
        take_frame(session);
    if (found < 0)
        fail(session, "the agent does not keep to the protocol");
}

static void hear_guest(struct session *session)
{
    ssize_t length = frame_fill(&session->reader, session->config->fd);

    if (length == -EINTR || length == -EAGAIN)
        return;
    if (length <= 0)
        fail(session, "the connection to the guest broke");
}

/* ---- signals ---- */

static void take_signals(struct session *session)
{
    static const int watched[] = {SIGINT,  SIGTERM, SIGQUIT,  SIGHUP,
                                  SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
        (void)sigaddset(&set, watched[i]);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    session->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/*
 * The guest's command gets it, if there is one yet; who insists gets away from a guest that does
 * not heed it.
 */
static void hear_signal(struct session *session)
{
    struct signalfd_siginfo info;

    if (read(session->signals, &info, sizeof(info)) != sizeof(info))
        return;
    int number = (int)info.ssi_signo;
    if (number == SIGCONT) {
        terminal_reenter_raw();
        session->size_due = session->config->request->terminal;
    } else if (number == SIGWINCH) {
        session->size_due = session->config->request->terminal;
    } else {
        session->signal_due = number;
        session->endings += number == SIGINT || number == SIGTERM;
        bool ends = number == SIGINT || number == SIGTERM || number == SIGQUIT;
        if (number == SIGHUP || session->endings == MOST_ENDINGS || (ends && !session->started))
            end(session, 128 + number);
    }
}

/* ---- the loop ---- */

static void await(const struct session *session, struct pollfd polls[POLL_COUNT])
{
    bool sends = !may_send(session);
    bool writes = session->frame.length > 0;
    bool reads = session->started && session->input_open && !sends && session->window > 0;

    polls[FROM_GUEST] = (struct pollfd){session->config->fd, 0, 0};
    polls[FROM_GUEST].events = (short)((writes ? 0 : POLLIN) | (sends ? POLLOUT : 0));
    if (polls[FROM_GUEST].events == 0)
        polls[FROM_GUEST].fd = -1;
    polls[INPUT] = (struct pollfd){reads ? STDIN_FILENO : -1, POLLIN, 0};
    polls[OUTPUT] = (struct pollfd){writes ? output_of(session) : -1, POLLOUT, 0};
    polls[SIGNALS] = (struct pollfd){session->signals, POLLIN, 0};
    (void)poll(polls, POLL_COUNT, -1);
}

static void turn(struct session *session)
{
    struct pollfd polls[POLL_COUNT];

    await(session, polls);
    if (polls[SIGNALS].revents != 0)
        hear_signal(session);
    if (polls[OUTPUT].revents != 0)
        write_output(session);
    if (session->frame.length == 0 && (polls[FROM_GUEST].revents & ~POLLOUT) != 0)
        hear_guest(session);
    take_frames(session);
    send_out(session);
    if (polls[INPUT].revents != 0 && may_send(session))
        read_input(session);
    send_what_is_due(session);
}

static void send_request(struct session *session)
{
    struct exec_request request = *session->config->request;

    if (request.terminal)
        read_size(&request.rows, &request.columns);
    int length = exec_encode(&request, session->out + FRAME_HEADER);
    if (length < 0)
        fail(session, "the command is too long");
    else
        begin_send(session, FRAME_EXEC, (size_t)length);
}

static int run(struct session *session)
{
    take_signals(session);
    send_request(session);
    if (!session->ended && session->config->request->terminal && isatty(STDIN_FILENO) == 1) {
        terminal_guard();
        session->raw = terminal_enter_raw(STDIN_FILENO) == 0;
    }
    while (!session->ended)
        turn(session);
    terminal_restore();
    (void)close(session->signals);
    return session->code;
}

int session_run(const struct session_config *config)
{
    struct session *session = calloc(1, sizeof(*session));

    if (session == NULL) {
        cli_error("out of memory");
        return GUEST_EXIT_FAILED;
    }
    session->config = config;
    session->window = AGENT_WINDOW_SIZE;
    session->input_open = config->request->input;
    int code = run(session);
    free(session);
    return code;
}
