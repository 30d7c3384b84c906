/*
 * The other end of the guest's serial port: standard input and output, a file, a pseudo-terminal,
 * or nothing.
 *
 * Output is queued and written by a thread of its own: a full queue makes vCPU threads wait, never
 * the loop thread. All calls but serial_output and serial_ready are for the loop thread.
 */
#ifndef WORKER_SERIAL_H
#define WORKER_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/reason.h"

enum serial_kind { SERIAL_STDIO, SERIAL_FILE, SERIAL_PTY, SERIAL_NONE };

struct serial_config {
    enum serial_kind kind;
    const char *path; /* SERIAL_FILE */
};

struct serial_host {
    void *owner;
    /* Bytes for the guest; returns how many it took. When not all: serial_ready follows. */
    size_t (*input)(void *owner, const uint8_t *bytes, size_t length);
    /* ^] was typed. Loop thread. */
    void (*left)(void *owner);
    /* Output cannot be written any more. Loop thread. */
    void (*failed)(void *owner, const struct reason *reason);
};

struct serial;

int serial_open(const struct serial_config *config, struct loop *loop,
                const struct serial_host *host, struct serial **ret, struct reason *reason);
/* The path of the pseudo-terminal to attach to, or NULL. */
const char *serial_pty_path(const struct serial *serial);
/* Whether ^] is watched for: standard input is a terminal. */
bool serial_is_terminal(const struct serial *serial);

void serial_output(struct serial *serial, const uint8_t *bytes, size_t length);
void serial_ready(struct serial *serial);
/* The process was stopped and goes on: the terminal may have been changed meanwhile. */
void serial_continued(struct serial *serial);

/* From now on nobody waits for room in the queue: what does not fit is lost. */
void serial_stop_waiting(struct serial *serial);
/*
 * Write what is queued, for at most `limit_ns` (UINT64_MAX: as long as it takes), restore the
 * terminal and release everything.
 */
void serial_close(struct serial *serial, uint64_t limit_ns);

#endif
