/* A bar on a terminal, a line now and then elsewhere; and the end that a signal asks for. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/disk/tool.h"
#include "cli/size.h"

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void progress_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESETHAND};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

void progress_start(struct progress *progress, const struct tool *tool, const char *what)
{
    progress_catch_signals();
    *progress = (struct progress){.what = what,
                                  .quiet = tool->quiet,
                                  .terminal = isatty(STDERR_FILENO) == 1,
                                  .started_ns = clock_monotonic_ns(),
                                  .last_ns = clock_monotonic_ns()};
}

static void show_bar(const struct progress *progress, uint64_t done, uint64_t total,
                     uint64_t elapsed_ns)
{
    enum { WIDTH = 30 };
    double part = total != 0 ? (double)done / (double)total : 1;
    double seconds = (double)elapsed_ns / NS_PER_SECOND;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    uint64_t left = rate > 0 ? (uint64_t)((double)(total - done) / rate) : 0;
    char bar[WIDTH + 1] = "";

    for (unsigned i = 0; i < WIDTH; i++)
        bar[i] = i < (unsigned)(part * WIDTH) ? '#' : '.';
    (void)fprintf(stderr, "\r%s [%s] %3u%%  %s/s  %" PRIu64 ":%02" PRIu64 " left \033[K",
                  progress->what, bar, (unsigned)(part * 100), size_text((uint64_t)rate).text,
                  left / 60, left % 60);
}

static void show_line(const struct progress *progress, uint64_t done, uint64_t total)
{
    (void)fprintf(stderr, "%s: %u%%, %s of %s\n", progress->what,
                  total != 0 ? (unsigned)(done * 100 / total) : 100U, size_text(done).text,
                  size_text(total).text);
}

int progress_step(void *owner, uint64_t done, uint64_t total)
{
    struct progress *progress = owner;
    uint64_t now = clock_monotonic_ns();
    uint64_t pause = progress->terminal ? NS_PER_SECOND / 10 : UINT64_C(5) * NS_PER_SECOND;

    if (interrupted != 0)
        return -ECANCELED;
    if (progress->quiet || now - progress->last_ns < pause)
        return 0;
    progress->last_ns = now;
    progress->shown = true;
    if (progress->terminal)
        show_bar(progress, done, total, now - progress->started_ns);
    else
        show_line(progress, done, total);
    return 0;
}

void progress_end(struct progress *progress)
{
    if (progress->shown && progress->terminal)
        (void)fputs("\r\033[K", stderr);
}
