/* The host's single steps through translated code: they count, and interrupt. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "engine/soft/code_private.h"
#include "engine/soft/lockstep_private.h"
#include "engine/soft/partition.h"

static void handle(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    const ucontext_t *state = context;
    struct cpu *cpu = lockstep_watched();
    if (cpu == NULL)
        return;
    struct lockstep_chain *chain = &cpu->partition->lockstep->chain;
    const struct translator *translator = cpu->partition->code->translator;
    unsigned begun;
    if (!translator_begins(translator, (uint64_t)state->uc_mcontext.gregs[REG_RIP], &begun))
        return;
    chain->done += begun;
    if (chain->steps == 0 || --chain->steps != 0)
        return;
    chain->interrupted = true;
    (void)atomic_fetch_or(&cpu->pending, PENDING_TIMER);
}

int lockstep_install_trap(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    (void)sigemptyset(&action.sa_mask);
    return sigaction(SIGTRAP, &action, NULL) < 0 ? -errno : 0;
}
