#include "worker/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/cards.h"
#include "worker/disks.h"
#include "worker/display.h"
#include "worker/images.h"
#include "worker/memory.h"
#include "worker/perf_map.h"
#include "worker/report.h"
#include "worker/sockets.h"
#include "worker/symbols.h"
#include "worker/terminal.h"
#include "worker/verbs.h"

/* How the worker came to its end, when it was not by the guest. */
enum worker_cause { CAUSE_GUEST, CAUSE_LEFT, CAUSE_SIGNAL, CAUSE_OUTPUT, CAUSE_STOPPED };

struct worker {
    const struct worker_config *config;
    struct loop *loop;
    struct images images;
    struct boot_file symbols_file;
    struct symbols *symbols;
    struct perf_map *perf_map;
    struct disks *disks;
    struct cards *cards;
    struct machine *machine;
    struct memory *memory;
    struct serial *serial;
    struct control_listener listener;
    struct verbs verbs;
    struct serve *serve;
    struct sockets *sockets;
    struct display *display;
    int signal_fd;
    struct loop_watch *signal_watch;
    sigset_t signals_before;
    /* loop thread */
    enum worker_cause cause;
    int signal;
    struct reason reason;
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("partita: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

/* ---- what machine and serial port tell ---- */

static void machine_output(void *owner, const uint8_t *bytes, size_t length)
{
    const struct worker *worker = owner;
    serial_output(worker->serial, bytes, length);
}

static void machine_ready(void *owner)
{
    const struct worker *worker = owner;
    serial_ready(worker->serial);
}

/* On a vCPU's thread, which is about to end or to wait for ever: what it costs does not matter. */
static void guest_crashed(void *owner, const struct machine_crash *crash)
{
    (void)owner;
    report_crash(stderr, crash);
}

static void machine_stopped(void *owner)
{
    const struct worker *worker = owner;
    loop_stop(worker->loop);
}

static size_t input_arrived(void *owner, const uint8_t *bytes, size_t length)
{
    const struct worker *worker = owner;
    return machine_serial_input(worker->machine, bytes, length);
}

static void leave(struct worker *worker, enum worker_cause cause)
{
    if (worker->cause == CAUSE_GUEST)
        worker->cause = cause;
    loop_stop(worker->loop);
}

static void escape_typed(void *owner)
{
    leave(owner, CAUSE_LEFT);
}

static void output_failed(void *owner, const struct reason *reason)
{
    struct worker *worker = owner;

    worker->reason = *reason;
    leave(worker, CAUSE_OUTPUT);
}

static void stop_asked(void *owner)
{
    leave(owner, CAUSE_STOPPED);
}

/* ---- signals ---- */

static void signal_arrived(void *owner, uint32_t events)
{
    struct worker *worker = owner;
    struct signalfd_siginfo info;

    (void)events;
    if (read(worker->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCONT) {
        serial_continued(worker->serial);
        return;
    }
    worker->signal = (int)info.ssi_signo;
    leave(worker, CAUSE_SIGNAL);
}

/* nohup(1), or a shell that started it in the background, wants it so. */
static bool is_ignored(int signal)
{
    struct sigaction action;
    return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* SIGPIPE stays blocked, so that a closed output is an error of write(). */
static int take_signals(struct worker *worker, struct reason *reason)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCONT};
    sigset_t watched;
    sigset_t blocked;

    (void)sigemptyset(&watched);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (!is_ignored(signals[i]))
            (void)sigaddset(&watched, signals[i]);
    }
    blocked = watched;
    (void)sigaddset(&blocked, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &blocked, &worker->signals_before);

    worker->signal_fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (worker->signal_fd < 0)
        return reason_set(reason, -EMFILE, "signals cannot be watched");
    int error = loop_watch_create(worker->loop, worker->signal_fd, EPOLLIN, signal_arrived, worker,
                                  &worker->signal_watch);
    return error < 0 ? reason_set(reason, error, "signals cannot be watched") : 0;
}

static void give_signals_back(struct worker *worker)
{
    if (worker->signal_watch != NULL)
        loop_watch_destroy(worker->signal_watch);
    worker->signal_watch = NULL;
    if (worker->signal_fd >= 0)
        (void)close(worker->signal_fd);
    worker->signal_fd = -1;
    (void)pthread_sigmask(SIG_SETMASK, &worker->signals_before, NULL);
}

/* ---- set-up: each step returns an exit code, 0 to go on ---- */

/* Without a kernel of its own the partition boots what its first disk holds. */
static int find_images(struct worker *worker, struct reason *reason)
{
    size_t count = 0;
    const struct machine_disk *places = disks_places(worker->disks, &count);
    struct reason why = {0};

    for (size_t i = 0; i < count; i++) {
        if (places[i].disk == NULL || places[i].dvd)
            continue;
        int error = images_find(worker->config, places[i].disk, &worker->images, &why);
        return error < 0
                   ? reason_set(reason, error, "%s: %s", worker->config->disks[i].path, why.text)
                   : 0;
    }
    return reason_set(reason, -ENOENT, "neither a kernel nor a disk to boot from");
}

static int read_files(struct worker *worker, struct reason *reason)
{
    const char *path = worker->config->symbols_path;

    int error = worker->config->kernel_path != NULL
                    ? images_read(worker->config, &worker->images, reason)
                    : find_images(worker, reason);
    if (error < 0)
        return WORKER_EXIT_IMAGE;
    if (path == NULL)
        return 0;
    if (image_read(path, &worker->symbols_file, reason) < 0)
        return WORKER_EXIT_IMAGE;
    struct reason why = {0};
    if (symbols_parse(worker->symbols_file.bytes, worker->symbols_file.length, &worker->symbols,
                      &why) < 0) {
        (void)reason_set(reason, 0, "%s: %s", path, why.text);
        return WORKER_EXIT_IMAGE;
    }
    return 0;
}

static int open_perf_map(struct worker *worker, struct reason *reason)
{
    char path[PERF_MAP_PATH];

    if (!worker->config->perf_map)
        return 0;
    perf_map_path(getpid(), path);
    return perf_map_create(path, worker->symbols, &worker->perf_map, reason) < 0 ? WORKER_EXIT_IMAGE
                                                                                 : 0;
}

static int create_machine(struct worker *worker, struct reason *reason)
{
    struct machine_config config = worker->config->machine;

    config.boot = worker->images.boot;
    config.loop = worker->loop;
    config.owner = worker;
    config.serial_output = machine_output;
    config.serial_ready = machine_ready;
    config.stopped = machine_stopped;
    config.crashed = guest_crashed;
    if (worker->perf_map != NULL)
        config.code_watch = perf_map_watch(worker->perf_map);
    config.disks = disks_places(worker->disks, &config.disk_count);
    config.cards = cards_places(worker->cards, &config.card_count);
    switch (machine_create(&config, &worker->machine, reason)) {
    case 0:
        images_set_aside(&worker->images);
        return 0;
    case -ENOEXEC:
        return WORKER_EXIT_IMAGE;
    case -ENOMEM:
    case -EINVAL:
        return WORKER_EXIT_REFUSED;
    default:
        return WORKER_EXIT_FAILED;
    }
}

static int connect_serial(struct worker *worker, struct reason *reason)
{
    const struct serial_host host = {
        .owner = worker,
        .input = input_arrived,
        .left = escape_typed,
        .failed = output_failed,
    };
    const struct serial_config *config = &worker->config->serial;

    if (serial_open(config, worker->loop, &host, &worker->serial, reason) < 0)
        return config->kind == SERIAL_FILE ? WORKER_EXIT_IMAGE : WORKER_EXIT_FAILED;
    if (serial_pty_path(worker->serial) != NULL) {
        (void)printf("serial port: %s\n", serial_pty_path(worker->serial));
        (void)fflush(stdout);
    }
    return 0;
}

/* Before all that takes long, so that of two with one name the second ends at once. */
static int take_name(struct worker *worker, struct reason *reason)
{
    const char *name = worker->config->name;

    if (name == NULL || control_listen(name, &worker->listener, reason) == 0)
        return 0;
    return WORKER_EXIT_REFUSED;
}

static int serve_control(struct worker *worker, struct reason *reason)
{
    if (worker->listener.fd < 0)
        return 0;
    worker->verbs = (struct verbs){
        .machine = worker->machine,
        .disks = worker->disks,
        .cards = worker->cards,
        .memory = worker->memory,
        .loop = worker->loop,
        .config = &worker->config->machine,
        .started_ns = clock_monotonic_ns(),
        .stop = stop_asked,
        .worker = worker,
    };
    if (serve_create(worker->loop, &worker->listener, &worker_verbs, &worker->verbs,
                     &worker->serve) < 0) {
        (void)reason_set(reason, 0, "the control socket cannot be watched");
        return WORKER_EXIT_FAILED;
    }
    worker->listener.fd = -1; /* the server's now */
    if (!worker->config->machine.hyperv)
        return 0;
    int error = sockets_create(worker->config->name, worker->loop, worker->machine,
                               &worker->sockets, reason);
    if (error == 0 && machine_video(worker->machine) != NULL)
        error = display_create(worker->config->name, worker->loop, worker->machine,
                               &worker->display, reason);
    return error < 0 ? WORKER_EXIT_FAILED : 0;
}

static int prepare(struct worker *worker, struct reason *reason)
{
    int code = take_name(worker, reason);
    if (code == 0 && loop_create(&worker->loop) < 0) {
        (void)reason_set(reason, 0, "the host gives no event loop");
        code = WORKER_EXIT_FAILED;
    }
    if (code == 0 && disks_open(worker->config, worker->loop, &worker->disks, reason) < 0)
        code = WORKER_EXIT_IMAGE;
    if (code == 0 && cards_open(worker->config, worker->loop, &worker->cards, reason) < 0)
        code = WORKER_EXIT_REFUSED;
    if (code == 0)
        code = read_files(worker, reason);
    if (code == 0)
        code = open_perf_map(worker, reason);
    if (code == 0)
        code = create_machine(worker, reason);
    if (code != 0)
        return code;
    if (memory_create(worker->config, worker->machine, &worker->memory) < 0) {
        (void)reason_set(reason, -ENOMEM, "out of memory");
        return WORKER_EXIT_FAILED;
    }
    if (disks_serve(worker->disks, worker->machine, reason) < 0)
        return WORKER_EXIT_FAILED;
    if (take_signals(worker, reason) < 0)
        return WORKER_EXIT_FAILED;
    code = connect_serial(worker, reason);
    if (code == 0)
        code = serve_control(worker, reason);
    if (code == 0 && cards_check(worker->cards, reason) < 0)
        code = WORKER_EXIT_REFUSED;
    if (code != 0)
        return code;
    if (serial_is_terminal(worker->serial))
        (void)fprintf(stderr, "partita: ^] leaves; all else, Ctrl-C too, goes to the guest\r\n");
    return machine_start(worker->machine, reason) < 0 ? WORKER_EXIT_FAILED : 0;
}

/* ---- the end ---- */

static int tell_guest_end(struct worker *worker, const struct machine_end *end)
{
    switch (end->kind) {
    case MACHINE_END_POWER_OFF:
        return WORKER_EXIT_POWER_OFF;
    case MACHINE_END_DEBUG_EXIT:
        return (int)(end->code & 0xff);
    case MACHINE_END_RESET:
        say("the guest reset itself");
        return WORKER_EXIT_RESET;
    case MACHINE_END_TRIPLE_FAULT:
        say("the guest crashed: triple fault on vCPU %u", end->vcpu);
        report_vcpu(stderr, worker->machine, end->vcpu, worker->symbols);
        return WORKER_EXIT_CRASH;
    case MACHINE_END_FAILED:
        say("%s", end->reason.text);
        return WORKER_EXIT_FAILED;
    case MACHINE_END_STOPPED:
        break;
    }
    say("the partition was stopped");
    return WORKER_EXIT_FAILED;
}

static int tell_end(struct worker *worker, const struct machine_end *end)
{
    switch (worker->cause) {
    case CAUSE_GUEST:
        break;
    case CAUSE_LEFT:
        say("left with ^]; the guest is switched off");
        return WORKER_EXIT_LEFT;
    case CAUSE_SIGNAL:
        say("ended by SIG%s; the guest is switched off", sigabbrev_np(worker->signal));
        return WORKER_EXIT_SIGNAL;
    case CAUSE_OUTPUT:
        say("%s", worker->reason.text);
        return WORKER_EXIT_FAILED;
    case CAUSE_STOPPED:
        say("stopped by order; the guest is switched off");
        return WORKER_EXIT_STOPPED;
    }
    return tell_guest_end(worker, end);
}

/*
 * The guest's last words are worth waiting for, however slow the reader; but one who asked to leave
 * is not kept. From here on signals do what they always do.
 */
static void close_serial(struct worker *worker)
{
    serial_close(worker->serial, worker->cause == CAUSE_GUEST ? UINT64_MAX : NS_PER_SECOND / 2);
    worker->serial = NULL;
}

/* After the machine: only then is nothing in flight any more. */
static int close_disks(struct worker *worker, int code)
{
    struct reason reason = {0};

    disks_drain(worker->disks);
    memory_destroy(worker->memory);
    worker->memory = NULL;
    machine_destroy(worker->machine);
    worker->machine = NULL;
    cards_close(worker->cards);
    worker->cards = NULL;
    if (disks_close(worker->disks, &reason) < 0) {
        say("%s", reason.text);
        code = code == WORKER_EXIT_POWER_OFF ? WORKER_EXIT_FAILED : code;
    }
    worker->disks = NULL;
    return code;
}

static int serve(struct worker *worker)
{
    struct machine_end end = {0};

    int error = loop_run(worker->loop);
    if (error < 0) {
        (void)reason_set(&worker->reason, error, "the event loop failed: error %d", -error);
        leave(worker, CAUSE_OUTPUT);
    }
    serve_destroy(worker->serve);
    worker->serve = NULL;
    display_destroy(worker->display);
    worker->display = NULL;
    sockets_destroy(worker->sockets);
    worker->sockets = NULL;
    serial_stop_waiting(worker->serial);
    machine_stop(worker->machine);
    machine_wait(worker->machine, &end);
    give_signals_back(worker);
    close_serial(worker);
    return close_disks(worker, tell_end(worker, &end));
}

static void release(struct worker *worker)
{
    serve_destroy(worker->serve);
    display_destroy(worker->display);
    sockets_destroy(worker->sockets);
    control_unlisten(&worker->listener);
    memory_destroy(worker->memory);
    machine_destroy(worker->machine);
    cards_close(worker->cards);
    copy_destroy(worker->verbs.copy);
    (void)disks_close(worker->disks, NULL);
    serial_close(worker->serial, 0);
    give_signals_back(worker);
    loop_destroy(worker->loop);
    perf_map_destroy(worker->perf_map);
    symbols_destroy(worker->symbols);
    image_release(&worker->symbols_file);
    images_release(&worker->images);
}

int worker_run(const struct worker_config *config)
{
    struct worker worker = {.config = config, .listener.fd = -1, .signal_fd = -1};
    struct reason reason = {0};

    (void)pthread_sigmask(SIG_SETMASK, NULL, &worker.signals_before);
    terminal_guard();
    int code = prepare(&worker, &reason);
    if (code == 0) {
        code = serve(&worker);
    } else {
        serial_close(worker.serial, 0);
        worker.serial = NULL;
        say("%s", reason.text);
    }
    release(&worker);
    terminal_unguard();
    return code;
}
