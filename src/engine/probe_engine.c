/* The probe's loop on an engine of ours, through the seam. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "engine/probe_private.h"

struct seam_probe {
    const struct engine_ops *ops;
    struct mem *mem;
    struct engine_partition *partition;
    struct engine_vcpu *vcpu;
    struct engine_registers registers;
};

/* Kicks the vCPU at the deadline, unless it is told before that the loop is done. */
struct watchdog {
    struct seam_probe *probe;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done; /* lock */
};

static void *watch(void *argument)
{
    struct watchdog *watchdog = argument;
    uint64_t deadline = clock_monotonic_ns() + PROBE_TIME_NS;
    struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_SECOND),
                             .tv_nsec = (long)(deadline % NS_PER_SECOND)};
    int error = 0;

    (void)pthread_mutex_lock(&watchdog->lock);
    while (!watchdog->done && error == 0)
        error =
            pthread_cond_clockwait(&watchdog->changed, &watchdog->lock, CLOCK_MONOTONIC, &until);
    bool late = !watchdog->done;
    (void)pthread_mutex_unlock(&watchdog->lock);
    if (late)
        watchdog->probe->ops->kick(watchdog->probe->vcpu);
    return NULL;
}

static void dismiss(struct watchdog *watchdog)
{
    (void)pthread_mutex_lock(&watchdog->lock);
    watchdog->done = true;
    (void)pthread_cond_signal(&watchdog->changed);
    (void)pthread_mutex_unlock(&watchdog->lock);
    (void)pthread_join(watchdog->thread, NULL);
}

static int judge_exit(const struct engine_exit *exit, struct reason *reason)
{
    if (exit->kind == ENGINE_EXIT_PORT_WRITE && exit->port.port == PROBE_GUEST_PORT)
        return 0;
    if (exit->kind == ENGINE_EXIT_KICKED)
        return -ETIME;
    if (exit->kind == ENGINE_EXIT_FAILED)
        return reason_set(reason, -EPROTO, "%s", exit->failed.reason.text);
    return reason_set(reason, -EPROTO, "a plain 64-bit loop ends with exit %d", exit->kind);
}

static int run_loop(void *engine, uint64_t rounds, struct probe_run *ret, struct reason *reason)
{
    struct seam_probe *probe = engine;
    struct engine_exit exit = {.kind = ENGINE_EXIT_NONE};

    probe_guest_start(&probe->registers, rounds);
    int error = probe->ops->set(probe->vcpu, &probe->registers);
    if (error < 0)
        return reason_set(reason, error, "the probe's registers are refused");
    uint64_t start = clock_monotonic_ns();
    error = probe->ops->run(probe->vcpu, &exit);
    ret->elapsed_ns = clock_monotonic_ns() - start;
    error = error < 0 ? reason_set(reason, error, "running the probe's loop failed")
                      : judge_exit(&exit, reason);
    if (error < 0 && error != -ETIME)
        return error;
    int got = probe->ops->get(probe->vcpu, &probe->registers);
    if (got < 0)
        return reason_set(reason, got, "the probe's registers cannot be read");
    const uint64_t *gpr = probe->registers.gpr;
    ret->instructions = probe_guest_done(rounds, gpr[GPR_RDI], gpr[GPR_R8]);
    return error;
}

static int create_probe(struct seam_probe *probe, struct reason *reason)
{
    static const uint64_t ram_size = UINT64_C(1) << 20;

    int error = mem_create(ram_size, ram_size, &probe->mem);
    if (error < 0)
        return reason_set(reason, error, "no memory for the probe");
    uint8_t ram[PROBE_GUEST_RAM] = {0};
    probe_guest_write(ram);
    error = mem_write(probe->mem, 0, ram, sizeof(ram));
    if (error < 0)
        return reason_set(reason, error, "the probe's guest cannot be written");

    const struct engine_config config = {.mem = probe->mem, .vcpu_count = 1};
    error = probe->ops->partition_create(&config, &probe->partition, reason);
    if (error == 0)
        error = probe->ops->vcpu_create(probe->partition, 0, &probe->vcpu, reason);
    if (error == 0 && probe->ops->get(probe->vcpu, &probe->registers) < 0)
        error = reason_set(reason, -EIO, "the probe's registers cannot be read");
    return error;
}

static void destroy_probe(struct seam_probe *probe)
{
    if (probe->vcpu != NULL)
        probe->ops->vcpu_destroy(probe->vcpu);
    if (probe->partition != NULL)
        probe->ops->partition_destroy(probe->partition);
    mem_destroy(probe->mem);
}

static int measure_with_deadline(struct seam_probe *probe, double *ret_mips, struct reason *reason)
{
    struct watchdog watchdog = {
        .probe = probe,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };

    int error = pthread_create(&watchdog.thread, NULL, watch, &watchdog);
    if (error != 0)
        return reason_set(reason, -error, "no thread for the probe");
    error = probe_measure(run_loop, probe, ret_mips, reason);
    dismiss(&watchdog);
    return error;
}

int probe_engine_speed(const struct engine_ops *ops, double *ret_mips, struct reason *reason)
{
    struct seam_probe probe = {.ops = ops};

    *ret_mips = 0;
    int error = create_probe(&probe, reason);
    if (error == 0)
        error = measure_with_deadline(&probe, ret_mips, reason);
    destroy_probe(&probe);
    return error;
}
