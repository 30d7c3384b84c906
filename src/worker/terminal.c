#include "worker/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <termios.h>
#include <unistd.h>

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
enum { FATAL_SIGNAL_COUNT = sizeof(fatal_signals) / sizeof(fatal_signals[0]) };

/* File scope because a signal handler has no other way to it. */
static struct {
    int fd;
    atomic_bool raw;
    struct termios saved;
    struct sigaction previous[FATAL_SIGNAL_COUNT];
} terminal = {.fd = -1};

/* Async-signal-safe: tcsetattr is, POSIX.1-2017 § 2.4.3. */
static void restore_settings(void)
{
    if (atomic_exchange(&terminal.raw, false))
        (void)tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
}

/*
 * Give the terminal back and step aside: the previous action is in force again when the faulting
 * instruction, or abort(), raises the signal anew.
 */
static void handle_fatal(int signal)
{
    int saved_errno = errno;

    restore_settings();
    for (int i = 0; i < FATAL_SIGNAL_COUNT; i++) {
        if (fatal_signals[i] == signal)
            (void)sigaction(signal, &terminal.previous[i], NULL);
    }
    errno = saved_errno;
}

static void watch_fatal_signals(void)
{
    struct sigaction action = {.sa_handler = handle_fatal, .sa_flags = SA_ONSTACK};

    (void)sigemptyset(&action.sa_mask);
    for (int i = 0; i < FATAL_SIGNAL_COUNT; i++)
        (void)sigaction(fatal_signals[i], &action, &terminal.previous[i]);
}

/* Leave alone the handlers that others put over ours meanwhile. */
static void unwatch_fatal_signals(void)
{
    for (int i = 0; i < FATAL_SIGNAL_COUNT; i++) {
        struct sigaction current;
        if (sigaction(fatal_signals[i], NULL, &current) == 0 && current.sa_handler == handle_fatal)
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
    if (tcgetpgrp(fd) != getpgrp())
        return -EIO; /* touching it would stop the process, SIGTTOU */
    if (tcgetattr(fd, &terminal.saved) < 0)
        return -errno;
    terminal.fd = fd;
    watch_fatal_signals();
    int error = make_raw();
    if (error < 0)
        unwatch_fatal_signals();
    return error;
}

void terminal_reenter_raw(void)
{
    if (atomic_load(&terminal.raw) && tcgetpgrp(terminal.fd) == getpgrp())
        (void)make_raw();
}

void terminal_restore(void)
{
    if (!atomic_load(&terminal.raw))
        return;
    restore_settings();
    unwatch_fatal_signals();
}
