#include "worker/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/output_queue.h"
#include "worker/serial_input.h"
#include "worker/terminal.h"

struct serial {
    struct serial_host host;
    struct loop *loop;
    pthread_t loop_thread;
    int input_fd, output_fd; /* -1: none */
    bool owns_descriptors;
    int pty_slave; /* held open, so that the last reader's leaving is no hang-up */
    char pty_path[64];
    bool terminal;
    struct serial_input *input;  /* may be NULL */
    struct output_queue *output; /* may be NULL */
    int output_error;
};

static int system_error(struct reason *reason, const char *what)
{
    int error = errno;
    char text[128];
    return reason_set(reason, -error, "%s: %s", what, strerror_r(error, text, sizeof(text)));
}

static int open_stdio(struct serial *serial)
{
    int error = terminal_enter_raw(STDIN_FILENO);

    serial->output_fd = STDOUT_FILENO;
    serial->terminal = error == 0;
    if (error == 0 || error == -ENOTTY) /* a terminal that is another job's is left alone */
        serial->input_fd = STDIN_FILENO;
    return 0;
}

static int open_file(struct serial *serial, const char *path, struct reason *reason)
{
    serial->owns_descriptors = true;
    /* Non-blocking, or a named pipe without a reader would hang the open, signals and all. */
    serial->output_fd =
        open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    return serial->output_fd < 0 ? system_error(reason, path) : 0;
}

static int open_pty(struct serial *serial, struct reason *reason)
{
    struct termios raw;

    serial->owns_descriptors = true;
    serial->output_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (serial->output_fd < 0)
        return system_error(reason, "pseudo-terminal");
    serial->input_fd = serial->output_fd;
    if (grantpt(serial->output_fd) < 0 || unlockpt(serial->output_fd) < 0 ||
        ptsname_r(serial->output_fd, serial->pty_path, sizeof(serial->pty_path)) != 0)
        return system_error(reason, "pseudo-terminal");
    serial->pty_slave = open(serial->pty_path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (serial->pty_slave < 0 || tcgetattr(serial->pty_slave, &raw) < 0)
        return system_error(reason, serial->pty_path);
    cfmakeraw(&raw);
    return tcsetattr(serial->pty_slave, TCSANOW, &raw) < 0 ? system_error(reason, serial->pty_path)
                                                           : 0;
}

static int open_backend(struct serial *serial, const struct serial_config *config,
                        struct reason *reason)
{
    switch (config->kind) {
    case SERIAL_STDIO:
        return open_stdio(serial);
    case SERIAL_FILE:
        return open_file(serial, config->path, reason);
    case SERIAL_PTY:
        return open_pty(serial, reason);
    case SERIAL_NONE:
        break;
    }
    return 0;
}

static void report_output_error(void *owner)
{
    const struct serial *serial = owner;
    struct reason reason;
    char text[128];

    (void)reason_set(&reason, 0, "the serial output cannot be written: %s",
                     strerror_r(-serial->output_error, text, sizeof(text)));
    serial->host.failed(serial->host.owner, &reason);
}

static void output_failed(void *owner, int error)
{
    struct serial *serial = owner;

    serial->output_error = error;
    (void)loop_defer(serial->loop, report_output_error, serial);
}

static int start_transfers(struct serial *serial, struct reason *reason)
{
    const struct output_queue_config output = {
        .fd = serial->output_fd,
        .discard_fd = serial->pty_slave,
        .owner = serial,
        .failed = output_failed,
    };
    int error = 0;

    if (serial->input_fd >= 0)
        error = serial_input_create(serial->loop, serial->input_fd, serial->terminal, &serial->host,
                                    &serial->input);
    if (error == 0 && serial->output_fd >= 0)
        error = output_queue_create(&output, &serial->output);
    return error < 0 ? reason_set(reason, error, "the serial port cannot be connected") : 0;
}

static void release(struct serial *serial)
{
    serial_input_destroy(serial->input);
    terminal_restore();
    cleanup_close(&serial->pty_slave);
    if (serial->owns_descriptors)
        cleanup_close(&serial->output_fd);
    free(serial);
}

int serial_open(const struct serial_config *config, struct loop *loop,
                const struct serial_host *host, struct serial **ret, struct reason *reason)
{
    struct serial *serial = calloc(1, sizeof(*serial));
    if (serial == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    serial->host = *host;
    serial->loop = loop;
    serial->loop_thread = pthread_self();
    serial->input_fd = serial->output_fd = serial->pty_slave = -1;

    int error = open_backend(serial, config, reason);
    if (error == 0)
        error = start_transfers(serial, reason);
    if (error < 0) {
        release(serial);
        return error;
    }
    *ret = serial;
    return 0;
}

const char *serial_pty_path(const struct serial *serial)
{
    return serial->pty_slave >= 0 ? serial->pty_path : NULL;
}

bool serial_is_terminal(const struct serial *serial)
{
    return serial->terminal;
}

void serial_output(struct serial *serial, const uint8_t *bytes, size_t length)
{
    if (serial->output != NULL)
        output_queue_put(serial->output, bytes, length,
                         !pthread_equal(pthread_self(), serial->loop_thread));
}

void serial_ready(struct serial *serial)
{
    if (serial->input != NULL)
        serial_input_ready(serial->input);
}

void serial_continued(struct serial *serial)
{
    if (serial->terminal)
        terminal_reenter_raw();
}

void serial_stop_waiting(struct serial *serial)
{
    if (serial->output != NULL)
        output_queue_stop_waiting(serial->output);
}

void serial_close(struct serial *serial, uint64_t limit_ns)
{
    if (serial == NULL)
        return;
    if (serial->output == NULL || output_queue_finish(serial->output, limit_ns)) {
        release(serial);
        return;
    }
    /* The stuck writer still uses the descriptors, for the short time until the process ends. */
    serial_input_destroy(serial->input);
    terminal_restore();
}
