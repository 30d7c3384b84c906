/*
 * Faults of native instructions: the signal is turned into the thunk's return value.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "engine/soft/native.h"
#include "engine/soft/translation.h"

static const int caught[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
enum { CAUGHT = sizeof(caught) / sizeof(caught[0]) };

static struct sigaction previous[CAUGHT];

enum { TRAP_PAGE_FAULT = 14 };

/* Set while the previous handler runs: were it to chain to us in turn, that would never end. */
static _Thread_local bool chaining;

/* What would have happened without us. */
static void chain(int signal, siginfo_t *info, void *context)
{
    for (unsigned i = 0; i < CAUGHT; i++) {
        if (caught[i] != signal)
            continue;
        const struct sigaction *old = &previous[i];
        bool plain = (old->sa_flags & SA_SIGINFO) == 0;
        if (chaining || (plain && (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN))) {
            /* Returning runs the instruction again, now with the default action. */
            struct sigaction fallback;
            memset(&fallback, 0, sizeof(fallback));
            fallback.sa_handler = SIG_DFL;
            (void)sigaction(signal, &fallback, NULL);
            return;
        }
        chaining = true;
        if (plain)
            old->sa_handler(signal);
        else
            old->sa_sigaction(signal, info, context);
        chaining = false;
    }
}

static void handle(int signal, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    greg_t *regs = state->uc_mcontext.gregs;
    uint64_t rip = (uint64_t)regs[REG_RIP];
    uint64_t next;
    /* A page fault there is the host's memory missing, nothing the guest did. */
    bool in_thunk = regs[REG_TRAPNO] != TRAP_PAGE_FAULT && thunk_contains(rip, &next);
    bool translated =
        regs[REG_TRAPNO] != TRAP_PAGE_FAULT && translator_contains(translated_by, rip, &next);
    if (!in_thunk && !translated) {
        chain(signal, info, context);
        return;
    }
    if (in_thunk)
        regs[REG_RAX] = 1 + regs[REG_TRAPNO];
    regs[REG_RIP] = (greg_t)next;
    regs[REG_EFL] &= ~(greg_t)(FLAG_DF | FLAG_TF | FLAG_AC);
}

static int install(unsigned i)
{
    struct sigaction action;
    if (sigaction(caught[i], NULL, &action) < 0)
        return -errno;
    if ((action.sa_flags & SA_SIGINFO) && action.sa_sigaction == handle)
        return 0;
    previous[i] = action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    (void)sigemptyset(&action.sa_mask);
    return sigaction(caught[i], &action, NULL) < 0 ? -errno : 0;
}

int thunk_install_signals(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int error = 0;
    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < CAUGHT && error == 0; i++)
        error = install(i);
    (void)pthread_mutex_unlock(&lock);
    return error;
}
