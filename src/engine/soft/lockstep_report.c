/* What differed, for whoever looks for the fault. Never with live vector state. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/soft/lockstep_private.h"
#include "engine/soft/partition.h"

int lockstep_create(uint64_t seed, struct lockstep **ret)
{
    *ret = aligned_alloc(64, (sizeof(struct lockstep) + 63) & ~(size_t)63);
    if (*ret == NULL)
        return -ENOMEM;
    memset(*ret, 0, sizeof(**ret));
    (*ret)->chain.random = seed * UINT64_C(0x9e3779b97f4a7c15); /* odd: never 0 of another */
    return seed == 0 ? 0 : lockstep_install_trap();
}

static void tell_chains(const struct lockstep_chain *chain)
{
    (void)fprintf(stderr,
                  "lockstep: %" PRIu64 " chains compared, of %" PRIu64 " instructions; %" PRIu64
                  " were interrupted, %" PRIu64 " ended in a fault;\n"
                  "lockstep: %" PRIu64 " calls compared; %" PRIu64 " chains could not be\n",
                  chain->compared, chain->instructions, chain->stopped, chain->faults, chain->notes,
                  chain->uncompared);
}

void lockstep_destroy(struct lockstep *lockstep)
{
    if (lockstep != NULL && lockstep->chain.random != 0)
        tell_chains(&lockstep->chain);
    else if (lockstep != NULL)
        (void)fprintf(stderr, "lockstep: %" PRIu64 " blocks compared, %" PRIu64 " of them again\n",
                      lockstep->runs, lockstep->again);
    free(lockstep);
}

static void tell_word(const char *name, uint64_t start, uint64_t interpreted, uint64_t translated)
{
    (void)fprintf(stderr, "%c %-12s %016" PRIx64 "  %016" PRIx64 "  %016" PRIx64 "\n",
                  interpreted == translated ? ' ' : '*', name, start, interpreted, translated);
}

static void tell_memory(const struct lockstep *lockstep)
{
    for (unsigned i = 0; i < lockstep->range_count; i++) {
        const struct lockstep_range *range = &lockstep->range[i];
        for (unsigned at = 0; at < range->size; at++) {
            if (range->after[at] != range->host[at])
                (void)fprintf(stderr, "* memory %016" PRIx64 ": %02x before, %02x, %02x\n",
                              range->linear + at, range->before[at], range->after[at],
                              range->host[at]);
        }
    }
}

static void tell_vectors(const struct lockstep *lockstep)
{
    for (unsigned i = 0; lockstep->vectors && i < sizeof(lockstep->start.xsave); i++) {
        if (lockstep->interpreted.xsave[i] != lockstep->translated.xsave[i])
            (void)fprintf(stderr, "* XSAVE byte %u: %02x before, %02x, %02x\n", i,
                          lockstep->start.xsave[i], lockstep->interpreted.xsave[i],
                          lockstep->translated.xsave[i]);
    }
}

/* What the interpreter has to find on its way: no more of the registers than flags. */
static void tell_chain(const struct lockstep_chain *chain)
{
    if (chain->random == 0)
        return;
    (void)fprintf(stderr, "  a chain of %u instructions, %s\n", chain->done,
                  chain->interrupted ? "interrupted" : "not interrupted");
    for (unsigned i = 0; i < chain->note_count; i++)
        (void)fprintf(stderr, "  called after %u at %016" PRIx64 ", RFLAGS %" PRIx64 "%s\n",
                      chain->note[i].done, chain->note[i].rip, chain->note[i].flags,
                      chain->note[i].flags_dead ? " (dead)" : "");
}

_Noreturn void lockstep_fail(struct cpu *cpu, const struct lockstep *lockstep,
                             const struct block *block)
{
    static const char *const names[GPR_COUNT] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                 "RSI", "RDI", "R8",  "R9",  "R10", "R11",
                                                 "R12", "R13", "R14", "R15"};
    const struct lockstep_state *start = &lockstep->start;
    const struct lockstep_state *a = &lockstep->interpreted;
    const struct lockstep_state *b = &lockstep->translated;
    fpu_leave(cpu);
    (void)fprintf(stderr,
                  "lockstep: the block at %016" PRIx64 " differs, of %u bytes\n"
                  "  %-12s %-16s  %-16s  %-16s\n",
                  start->rip, block->length, "", "before", "interpreted", "translated");
    tell_word("step", (uint64_t)start->step, (uint64_t)a->step, (uint64_t)b->step);
    tell_word("RIP", start->rip, a->rip, b->rip);
    tell_word("RFLAGS", start->flags, a->flags, b->flags);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        tell_word(names[i], start->gpr[i], a->gpr[i], b->gpr[i]);
    tell_word("GS base", start->gs_base, a->gs_base, b->gs_base);
    tell_word("fault", start->fault.vector, a->fault.vector, b->fault.vector);
    tell_word("its code", start->fault.code, a->fault.code, b->fault.code);
    tell_memory(lockstep);
    tell_vectors(lockstep);
    tell_chain(&lockstep->chain);
    (void)fprintf(stderr, "  code");
    for (unsigned i = 0; i < block->length; i++)
        (void)fprintf(stderr, " %02x", block->bytes[i]);
    (void)fputc('\n', stderr);
    abort();
}
