#include "engine/soft/timer.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* In run() on this thread. Not longer: another thread may destroy it before a signal that its timer
 * sent is delivered here. */
static _Thread_local struct cpu *volatile current;
static _Thread_local const struct cpu *attached; /* last; only compared with */
static _Thread_local pid_t self;                 /* this thread; 0 until it is known */

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    (void)context;
    if (current != NULL)
        (void)atomic_fetch_or(&current->pending, PENDING_TIMER);
}

int timer_install(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    return sigaction(SIGRTMIN, &action, NULL) == 0 ? 0 : -errno;
}

static int make_timer(struct cpu *cpu)
{
    if (self == 0)
        self = (pid_t)syscall(SYS_gettid);
    if (attached == cpu && cpu->timer_made && cpu->timer_thread == self)
        return 0;
    timer_destroy(cpu);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    event._sigev_un._tid = self;
    if (timer_create(CLOCK_MONOTONIC, &event, &cpu->timer) != 0)
        return -errno;
    cpu->timer_made = true;
    cpu->timer_thread = self;
    cpu->wake_timer_ns = 0;
    attached = cpu;
    return 0;
}

int timer_attach(struct cpu *cpu)
{
    int error = make_timer(cpu);
    if (error == 0)
        current = cpu;
    return error;
}

void timer_detach(void)
{
    current = NULL;
}

void timer_destroy(struct cpu *cpu)
{
    if (cpu->timer_made)
        (void)timer_delete(cpu->timer);
    cpu->timer_made = false;
}

void timer_arm(struct cpu *cpu)
{
    uint64_t deadline = lapic_timer_deadline_ns(cpu);
    if (deadline == cpu->wake_timer_ns)
        return;
    cpu->wake_timer_ns = deadline;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(deadline / NS_PER_SECOND),
                                           .tv_nsec = (long)(deadline % NS_PER_SECOND)}};
    (void)timer_settime(cpu->timer, TIMER_ABSTIME, &when, NULL);
}

void timer_sleep(struct cpu *cpu, uint32_t idle)
{
    atomic_store(&cpu->waiting, true);
    atomic_store(&cpu->outside, true);
    if (atomic_load(&cpu->pending) == idle)
        (void)syscall(SYS_futex, &cpu->pending, FUTEX_WAIT_PRIVATE, idle, NULL, NULL, 0);
    atomic_store(&cpu->outside, false);
    atomic_store(&cpu->waiting, false);
}
