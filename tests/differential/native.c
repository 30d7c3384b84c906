/*
 * The native child as seen from the tester. The child exits only on our order or by a case that
 * escaped it; either way its memory is gone and a new one starts.
 */
#include "native.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "native_exit.h"

enum { WAIT_STEP_MS = 20, STUCK_STEPS = 250 };

static const char child_name[] = "partita-difftest-native";

static int find_program(struct native *native, struct reason *reason)
{
    ssize_t length = readlink("/proc/self/exe", native->program, sizeof(native->program) - 64);
    if (length <= 0)
        return reason_set(reason, -errno, "cannot find my own program: %s", strerrordesc_np(errno));
    native->program[length] = '\0';
    char *name = strrchr(native->program, '/');
    if (name == NULL)
        return reason_set(reason, -ENOENT, "my own program has no folder");
    memcpy(name + 1, child_name, sizeof(child_name));
    return 0;
}

static int spawn(struct native *native, struct reason *reason)
{
    char number[16];
    (void)snprintf(number, sizeof(number), "%d", native->ring_fd);
    native->ring->asked = 0;
    native->ring->done = 0;
    native->child = fork();
    if (native->child < 0)
        return reason_set(reason, -errno, "cannot fork: %s", strerrordesc_np(errno));
    if (native->child == 0) {
        (void)execl(native->program, child_name, number, (char *)NULL);
        _exit(NATIVE_EXIT_SETUP);
    }
    return 0;
}

int native_start(struct native *ret, struct reason *reason)
{
    *ret = (struct native){.ring_fd = -1, .child = -1};
    int error = find_program(ret, reason);
    if (error != 0)
        return error;
    ret->ring_fd = memfd_create("ring", 0);
    if (ret->ring_fd < 0 || ftruncate(ret->ring_fd, sizeof(*ret->ring)) != 0)
        return reason_set(reason, -errno, "no memory for the ring");
    ret->ring = mmap(NULL, sizeof(*ret->ring), PROT_READ | PROT_WRITE, MAP_SHARED, ret->ring_fd, 0);
    if (ret->ring == MAP_FAILED) {
        ret->ring = NULL;
        return reason_set(reason, -errno, "no memory for the ring");
    }
    error = spawn(ret, reason);
    if (error != 0)
        return error;
    ret->ring->count = 0; /* an empty batch: it is up, and its local descriptor table is known */
    return native_run_batch(ret, reason);
}

static void end_child(struct native *native)
{
    if (native->child > 0) {
        (void)kill(native->child, SIGKILL);
        (void)waitpid(native->child, NULL, 0);
    }
    native->child = -1;
}

void native_stop(struct native *native)
{
    end_child(native);
    if (native->ring != NULL)
        (void)munmap(native->ring, sizeof(*native->ring));
    if (native->ring_fd >= 0)
        (void)close(native->ring_fd);
    *native = (struct native){.ring_fd = -1, .child = -1};
}

/* ---- batches ---- */

static void futex_wait(const uint32_t *word, uint32_t value)
{
    struct timespec step = {.tv_nsec = WAIT_STEP_MS * 1000000L};
    (void)syscall(SYS_futex, word, FUTEX_WAIT, value, &step, NULL, 0);
}

/* DIFF_TRAPPED when the batch is done, else what became of the child. */
static enum diff_outcome wait_for_child(struct native *native, int *ret_status)
{
    struct diff_ring *ring = native->ring;
    uint32_t last = UINT32_MAX;
    unsigned steps = 0;
    for (;;) {
        uint32_t done = __atomic_load_n(&ring->done, __ATOMIC_ACQUIRE);
        if (done == ring->asked)
            return DIFF_TRAPPED;
        futex_wait(&ring->done, done);
        if (waitpid(native->child, ret_status, WNOHANG) == native->child) {
            native->child = -1;
            return DIFF_DIED;
        }
        uint32_t running = __atomic_load_n(&ring->running, __ATOMIC_ACQUIRE);
        steps = running == last ? steps + 1 : 0;
        last = running;
        if (steps > STUCK_STEPS)
            return DIFF_STUCK;
    }
}

static int refuse_to_start(int status, struct reason *reason)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == NATIVE_EXIT_NO_FSGSBASE)
        return reason_set(reason, -ENOTSUP, "this host has no FSGSBASE instructions in user mode");
    return reason_set(reason, -EIO, "the native child did not start");
}

int native_run_batch(struct native *native, struct reason *reason)
{
    struct diff_ring *ring = native->ring;
    for (;;) {
        int status = 0;
        ring->running = 0;
        __atomic_store_n(&ring->asked, ring->asked + 1, __ATOMIC_RELEASE);
        (void)syscall(SYS_futex, &ring->asked, FUTEX_WAKE, 1, NULL, NULL, 0);
        enum diff_outcome outcome = wait_for_child(native, &status);
        if (outcome == DIFF_TRAPPED)
            return 0;
        uint32_t at = ring->running;
        end_child(native);
        if (ring->count == 0 || at >= ring->count)
            return refuse_to_start(status, reason);
        ring->results[at].outcome = outcome;
        native->restarts++;
        int error = spawn(native, reason);
        if (error != 0)
            return error;
    }
}
