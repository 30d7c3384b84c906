/*
 * Many signals of many kinds, and nothing may be lost by them: what the loop computes with integer,
 * x87 and SSE registers is the same however often a handler, which uses them all, comes between.
 * Prints what does not depend on timing. Static, so that it runs in the guest as on the host.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

enum { FAULTS = 300, PAGE = 4096, TICK_US = 500 };

static volatile sig_atomic_t ticks, faults, traps, undefined;
static uint8_t *page;
static sigjmp_buf again;

/* Leaves nothing in the registers as it was. */
static void disturb(void)
{
    volatile long double x = 3.25L;
    volatile double y = 1.5;
    for (int i = 0; i < 20; i++) {
        x = x * 1.0625L + y;
        y = y * 0.75 + (double)i;
    }
    __asm__ volatile(
        "pcmpeqd %%xmm0, %%xmm0\n pcmpeqd %%xmm7, %%xmm7\n pcmpeqd %%xmm15, %%xmm15\n std\n cld"
        :
        :
        : "xmm0", "xmm7", "xmm15", "cc");
}

static void on_tick(int signal)
{
    (void)signal;
    ticks++;
    disturb();
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    disturb();
    faults++;
    if (info->si_addr < (void *)page || info->si_addr >= (void *)(page + PAGE))
        _exit(1);
    (void)mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

static void on_trap(int signal)
{
    (void)signal;
    traps++;
}

static void on_undefined(int signal)
{
    (void)signal;
    undefined++;
    siglongjmp(again, 1);
}

static void catch (int signal, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    (void)sigaction(signal, &action, NULL);
}

static void set_up(void)
{
    static uint8_t stack[64 * 1024];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const struct itimerval timer = {{0, TICK_US}, {0, TICK_US}};

    (void)sigaltstack(&other, NULL);
    (void)sigaction(SIGSEGV, &action, NULL);
    catch (SIGALRM, on_tick);
    catch (SIGTRAP, on_trap);
    catch (SIGILL, on_undefined);
    page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

static uint64_t work(unsigned round)
{
    uint64_t hash = 14695981039346656037u;
    long double x = 1.0L + round;
    double y = 2.0;

    for (unsigned i = 1; i < 3000; i++) {
        hash = (hash ^ (i * round)) * 1099511628211u;
        x = x * 0.999L + (long double)i / 7.0L;
        y = y * 1.0001 + 1.0 / (double)i;
    }
    uint64_t bits = 0;
    memcpy(&bits, &y, sizeof(bits));
    return hash ^ bits ^ (uint64_t)(x * 1000.0L);
}

int main(void)
{
    volatile uint64_t sum = 0;

    set_up();
    for (volatile unsigned round = 0; round < FAULTS; round++) {
        sum = sum * 31 + work(round);
        (void)mprotect(page, PAGE, PROT_READ);
        page[round] = (uint8_t)sum; /* faults, is mended, goes on */
        __asm__ volatile("int3");
        if (sigsetjmp(again, 1) == 0)
            __asm__ volatile("ud2");
        (void)raise(SIGTRAP);
    }
    while (ticks < 5)
        (void)pause();
    printf("faults %d traps %d undefined %d\n", (int)faults, (int)traps, (int)undefined);
    printf("sum %016llx\n", (unsigned long long)sum);
    return 0;
}
