#include "worker/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <termios.h>
#include <unistd.h>

/* The last four are blocked while the worker watches them, and end it before and after that. */
static const int fatal_signals[] = {SIGSEGV, SIGBUS,  SIGILL, SIGFPE, SIGABRT, SIGSYS,
                                    SIGTRAP, SIGTERM, SIGINT, SIGHUP, SIGQUIT};
enum { FATAL_SIGNAL_COUNT = sizeof(fatal_signals) / sizeof(fatal_signals[0]) };

/* File scope because a signal handler has no other way to it. */
static struct {
    int fd;
    atomic_bool raw;
    struct termios saved;
    struct sigaction previous[FATAL_SIGNAL_COUNT];
} terminal = {.fd = -1};

/* Else it is another job's by now, and touching it would stop the process, SIGTTOU. */
static bool is_ours(int fd)
{
    return tcgetpgrp(fd) == getpgrp();
}

/* Async-signal-safe: all that is called here is, POSIX.1-2017 § 2.4.3. */
static void restore_settings(void)
{
    if (atomic_exchange(&terminal.raw, false) && is_ours(terminal.fd))
        (void)tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
}

/* Of an instruction that will fault again; all else was sent and has to be sent again. */
static bool is_fault(int signal, const siginfo_t *info)
{
    switch (signal) {
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGSYS:
    case SIGTRAP:
        return info->si_code > 0;
    default:
        return false;
    }
}

/*
 * Give the terminal back and step aside: the previous action is in force again when the faulting
 * instruction runs anew, or when the signal, if somebody sent it, is sent once more.
 */
static void handle_fatal(int signal, siginfo_t *info, void *context)
{
    int saved_errno = errno;

    (void)context;
    restore_settings();
    for (int i = 0; i < FATAL_SIGNAL_COUNT; i++) {
        if (fatal_signals[i] == signal)
            (void)sigaction(signal, &terminal.previous[i], NULL);
    }
    if (!is_fault(signal, info))
        (void)raise(signal);
    errno = saved_errno;
}

void terminal_guard(void)
{
    struct sigaction action = {.sa_sigaction = handle_fatal, .sa_flags = SA_ONSTACK | SA_SIGINFO};

    (void)sigemptyset(&action.sa_mask);
    for (int i = 0; i < FATAL_SIGNAL_COUNT; i++) {
        (void)sigaction(fatal_signals[i], NULL, &terminal.previous[i]);
        if (terminal.previous[i].sa_handler != SIG_IGN) /* nohup(1) */
            (void)sigaction(fatal_signals[i], &action, NULL);
    }
}

void terminal_unguard(void)
{
    for (int i = 0; i < FATAL_SIGNAL_COUNT; i++) {
        struct sigaction current;
        bool ours = sigaction(fatal_signals[i], NULL, &current) == 0 &&
                    (current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == handle_fatal;
        if (ours) /* an engine may have put its own over it, and keeps it */
            (void)sigaction(fatal_signals[i], &terminal.previous[i], NULL);
    }
}

static int make_raw(void)
{
    struct termios raw = terminal.saved;

    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    atomic_store(&terminal.raw, true);
    if (tcsetattr(terminal.fd, TCSANOW, &raw) == 0)
        return 0;
    atomic_store(&terminal.raw, false);
    return -errno;
}

int terminal_enter_raw(int fd)
{
    if (!isatty(fd))
        return -ENOTTY;
    if (!is_ours(fd))
        return -EIO;
    if (tcgetattr(fd, &terminal.saved) < 0)
        return -errno;
    terminal.fd = fd;
    return make_raw();
}

void terminal_reenter_raw(void)
{
    if (atomic_load(&terminal.raw) && is_ours(terminal.fd))
        (void)make_raw();
}

void terminal_restore(void)
{
    restore_settings();
}
