/* What differed, for whoever looks for the fault. Never with live vector state. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/soft/lockstep_private.h"
#include "engine/soft/partition.h"

int lockstep_create(struct lockstep **ret)
{
    *ret = aligned_alloc(64, (sizeof(struct lockstep) + 63) & ~(size_t)63);
    if (*ret == NULL)
        return -ENOMEM;
    (*ret)->runs = 0;
    (*ret)->again = 0;
    return 0;
}

void lockstep_destroy(struct lockstep *lockstep)
{
    if (lockstep != NULL)
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
    (void)fprintf(stderr, "  code");
    for (unsigned i = 0; i < block->length; i++)
        (void)fprintf(stderr, " %02x", block->bytes[i]);
    (void)fputc('\n', stderr);
    abort();
}
