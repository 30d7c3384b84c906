#include "cli/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "agent/request.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "control/call.h"
#include "control/stream.h"

enum { TRY_MS = 15000, PAUSE_NS = 200000000, MOST_WAIT = 86400, MOST_CODE = 255 };

int guest_parse_wait(const char *command, const char *value, unsigned *ret)
{
    char *end = NULL;
    unsigned long seconds = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || seconds > MOST_WAIT) {
        cli_error("%s: --wait '%s': seconds are wanted", command, value);
        return CLI_EXIT_USAGE;
    }
    *ret = (unsigned)seconds;
    return 0;
}

/* The guest may yet come to it. */
static bool may_change(int error)
{
    return error == -ECONNREFUSED || error == -ETIMEDOUT;
}

/* One that starts may not have its sockets yet. */
static int try_connect(const char *name, int *ret_fd, struct reason *reason)
{
    int error = control_connect_stream(name, AGENT_PORT, TRY_MS, ret_fd, reason);

    if (error != -ENOTSUP)
        return error;
    error = control_await(name, TRY_MS, reason);
    return error < 0 ? error : control_connect_stream(name, AGENT_PORT, TRY_MS, ret_fd, reason);
}

int guest_connect(const char *command, const char *name, unsigned wait_seconds, int *ret_fd)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    uint64_t deadline = clock_monotonic_ns() + wait_seconds * (uint64_t)NS_PER_SECOND;
    struct reason reason = {""};
    int error = try_connect(name, ret_fd, &reason);

    /* It may not have been started yet, either: the shell that does it goes on at once. */
    while ((may_change(error) || error == -ENOENT) && clock_monotonic_ns() < deadline) {
        (void)nanosleep(&pause, NULL);
        error = try_connect(name, ret_fd, &reason);
    }
    if (error == 0)
        return 0;
    if (may_change(error))
        cli_error("%s: %s: no agent answers; the guest may not have booted yet (--wait SECONDS), "
                  "or has no partita-agent",
                  command, reason.text);
    else
        cli_error("%s: %s", command, reason.text);
    return error == -ENOENT ? CLI_EXIT_NO_PARTITION : GUEST_EXIT_FAILED;
}

int guest_refused(const char *command, const char *name, const struct frame *frame)
{
    char text[256];
    uint32_t code = 0;

    if (frame->type != FRAME_FAILED ||
        failure_decode(frame->payload, frame->length, &code, text, sizeof(text)) < 0) {
        cli_error("%s: %s: what answers in the guest is no partita-agent", command, name);
        return GUEST_EXIT_FAILED;
    }
    cli_error("%s: %s: %s", command, name, text);
    return code > 0 && code <= MOST_CODE ? (int)code : GUEST_EXIT_FAILED;
}
