/*
 * Chains of blocks, compared: translated code runs on from block to block as it does without us,
 * and is made to stop at a random instruction of the host by what is pending. Live code: see cpu.h,
 * rule 2.
 *
 * 1. The interpreter walks ahead as far as both may go, with a record of memory, which is taken
 *    back.
 * 2. Translated code runs with the host's TF set. The trap counts the guest's instructions that
 *    begin, and sets a bit of cpu->pending when its time has come (lockstep_trap.c). Whenever C is
 *    called, what the registers are is noted.
 * 3. That is taken back, too, and the interpreter walks as many instructions: each note and the
 *    state in which translated code was left have to be what it finds there.
 *
 * Most blocks are only interpreted: the trap is slow.
 */
#include "engine/soft/code_private.h"
#include "engine/soft/lockstep_private.h"
#include "engine/soft/native.h"
#include "engine/soft/partition.h"
#include "engine/soft/run.h"
#include "engine/soft/tlb.h"

enum { LONGEST = 200, STEPS = 200, FLUSHES = 4, TRIES = 5 };

/* One at a time: no partition of two processors is compared, and no process has two partitions. */
static struct cpu *_Atomic watched;

struct cpu *lockstep_watched(void)
{
    return atomic_load(&watched);
}

/* ---- while translated code runs ---- */

static struct lockstep_chain *running_chain(const struct cpu *cpu)
{
    struct lockstep *lockstep = cpu->partition->lockstep;
    return lockstep != NULL && lockstep->chain.running ? &lockstep->chain : NULL;
}

bool lockstep_goes_on(const struct cpu *cpu)
{
    return running_chain(cpu) != NULL;
}

void lockstep_pause(const struct cpu *cpu)
{
    if (running_chain(cpu) != NULL)
        __asm__ volatile("pushfq; andq %0, (%%rsp); popfq" : : "i"(~FLAG_TF) : "cc", "memory");
}

void lockstep_resume(const struct cpu *cpu)
{
    if (running_chain(cpu) != NULL)
        __asm__ volatile("pushfq; orq %0, (%%rsp); popfq" : : "i"(FLAG_TF) : "cc", "memory");
}

void lockstep_begun(const struct cpu *cpu)
{
    struct lockstep_chain *chain = running_chain(cpu);
    if (chain != NULL)
        chain->done++;
}

void lockstep_called(struct cpu *cpu, const struct block *block, unsigned index)
{
    struct lockstep_chain *chain = running_chain(cpu);
    if (chain == NULL)
        return;
    chain->done--; /* this one has only begun */
    if (chain->note_count == MAX_NOTES)
        return;
    struct lockstep_note *note = &chain->note[chain->note_count++];
    note->done = chain->done;
    note->flags_dead = (block->translation->trait[index] & TRAIT_FLAGS_DEAD) != 0;
    note->rip = op_rip(cpu, &block->op[index]);
    note->flags = cpu->flags;
    copy_live(note->gpr, cpu->gpr, sizeof(note->gpr));
}

void lockstep_completed(const struct cpu *cpu)
{
    lockstep_begun(cpu);
}

/* ---- the interpreter's walk ---- */

struct walk {
    unsigned limit; /* instructions */
    bool records, checks;
    unsigned done;
    bool stopped; /* for other reasons than an instruction's */
    bool differs; /* from a note */
};

static void check_notes(struct cpu *cpu, struct walk *walk, uint64_t rip)
{
    const struct lockstep_chain *chain = &cpu->partition->lockstep->chain;
    for (unsigned i = 0; walk->checks && i < chain->note_count; i++) {
        const struct lockstep_note *note = &chain->note[i];
        uint64_t mask = note->flags_dead ? ~(uint64_t)FLAGS_ARITHMETIC : UINT64_MAX;
        if (note->done != walk->done)
            continue;
        walk->differs |= note->rip != rip || ((note->flags ^ cpu->flags) & mask) != 0 ||
                         lockstep_differs(note->gpr, cpu->gpr, sizeof(note->gpr));
    }
}

static bool ends_before(const struct block *block, unsigned i, const struct walk *walk)
{
    const struct translation *translation = atomic_load(&block->translation);
    return walk->done == walk->limit || (translation->trait[i] & TRAIT_INTERPRETED) != 0;
}

/* One instruction, or what stands behind the last. */
static int walk_op(struct cpu *cpu, struct walk *walk, const struct op *op)
{
    struct lockstep *lockstep = cpu->partition->lockstep;
    unsigned first = lockstep->range_count;
    if (walk->records)
        lockstep_record(cpu, op);
    if (walk->records && lockstep->range_count == MAX_RANGES) {
        lockstep->range_count = first;
        walk->stopped = true;
        return STEP_EXIT;
    }
    int step = __atomic_load_n(&op->run, __ATOMIC_RELAXED)(cpu, op);
    if (walk->records)
        lockstep_note_changes(lockstep, first);
    return step;
}

static int walk_block(struct cpu *cpu, struct walk *walk, struct block *block)
{
    cpu->block = block;
    cpu->partition->lockstep->last_start = cpu->rip;
    for (unsigned i = 0;; i++) {
        const struct op *op = &block->op[i];
        bool real = i < block->count;
        if (real && ends_before(block, i, walk)) {
            walk->stopped = true;
            cpu->rip = op_rip(cpu, op);
            return STEP_JUMP;
        }
        if (real)
            check_notes(cpu, walk, op_rip(cpu, op));
        int step = walk_op(cpu, walk, op);
        if (step == STEP_FAULT || step == STEP_EXIT)
            cpu->rip = op_rip(cpu, op);
        else if (real)
            walk->done++;
        if (step != STEP_NEXT)
            return step == STEP_EXIT && walk->stopped ? STEP_JUMP : step;
    }
}

static int walk(struct cpu *cpu, struct walk *walk)
{
    const struct code_cache *code = cpu->partition->code;
    uint64_t invalidated = code->stats.invalidated;
    int step = STEP_JUMP;
    while (step == STEP_JUMP && !walk->stopped && walk->done < walk->limit) {
        struct block *block;
        step = run_find_block(cpu, &block);
        if (step != STEP_NEXT || run_translation(cpu, block) == NULL)
            return step == STEP_NEXT ? STEP_JUMP : step;
        step = walk_block(cpu, walk, block);
        if (!translated_may_go_on(cpu) || code->stats.invalidated != invalidated)
            break;
    }
    return step;
}

/* ---- chains ---- */

/* What cannot be taken back: blocks that are gone. */
struct since {
    uint64_t invalidated, generation;
};

static struct since now(const struct cpu *cpu)
{
    const struct code_cache *code = cpu->partition->code;
    return (struct since){code->stats.invalidated, atomic_load(&code->generation)};
}

static bool has_changed(const struct cpu *cpu, struct since since)
{
    struct since then = now(cpu);
    return then.invalidated != since.invalidated || then.generation != since.generation;
}

static uint32_t draw(struct lockstep_chain *chain, uint32_t below)
{
    chain->random ^= chain->random << 13;
    chain->random ^= chain->random >> 7;
    chain->random ^= chain->random << 17;
    return (uint32_t)((chain->random >> 32) % below);
}

static int run_translated(struct cpu *cpu, struct translation *translation)
{
    struct lockstep_chain *chain = &cpu->partition->lockstep->chain;
    if (draw(chain, FLUSHES) == 0)
        tlb_flush_all(cpu); /* the more is called */
    chain->done = 0;
    chain->note_count = 0;
    chain->interrupted = false;
    chain->steps = 1 + draw(chain, STEPS);
    atomic_store(&watched, cpu);
    chain->running = true;
    int step = translated_enter(cpu, translation);
    chain->running = false;
    atomic_store(&watched, NULL);
    return step;
}

static void count(struct lockstep_chain *chain, int step)
{
    chain->compared++;
    chain->instructions += chain->done;
    chain->notes += chain->note_count;
    chain->stopped += chain->interrupted;
    chain->faults += step == STEP_FAULT;
}

static bool walk_as_far(struct cpu *cpu, int step)
{
    struct lockstep *lockstep = cpu->partition->lockstep;
    bool attempts = step == STEP_FAULT || step == STEP_EXIT;
    struct walk again = {.limit = lockstep->chain.done + attempts, .checks = true};
    int found = walk(cpu, &again);
    lockstep_save(cpu, found, &lockstep->interpreted, true);
    return !again.differs && again.done == lockstep->chain.done &&
           lockstep_is_same(lockstep, cpu->block);
}

static void go_back(struct cpu *cpu)
{
    lockstep_take_back(cpu->partition->lockstep);
    lockstep_restore(cpu, &cpu->partition->lockstep->start, true);
}

/* False: they differ. Else *ret_step, with the vCPU as it was left. */
static bool run_both(struct cpu *cpu, struct translation *translation, int *ret_step)
{
    struct lockstep *lockstep = cpu->partition->lockstep;
    struct walk ahead = {.limit = LONGEST, .records = true};
    struct since before = now(cpu);
    lockstep->range_count = 0;
    *ret_step = walk(cpu, &ahead);
    if (has_changed(cpu, before))
        return true;
    go_back(cpu);
    *ret_step = run_translated(cpu, translation);
    if (lockstep->chain.done > ahead.done || has_changed(cpu, before)) {
        lockstep->chain.uncompared++;
        return true;
    }
    lockstep_save(cpu, *ret_step, &lockstep->translated, true);
    lockstep_keep_after(lockstep);
    go_back(cpu);
    bool same = walk_as_far(cpu, *ret_step);
    *ret_step = lockstep->interpreted.step;
    if (same)
        count(&lockstep->chain, *ret_step);
    return same || has_changed(cpu, before);
}

static int interpret_block(struct cpu *cpu, struct block *block)
{
    struct walk all = {.limit = UINT32_MAX};
    return walk_block(cpu, &all, block);
}

/* Close together first, so that small guests have many; a long run has some hundred a second. */
static uint32_t next_skips(const struct lockstep_chain *chain)
{
    enum { LEAST = 16, MORE = 8 };
    return LEAST + MORE * (uint32_t)chain->compared;
}

int lockstep_run_chain(struct cpu *cpu, struct translation *translation)
{
    struct lockstep *lockstep = cpu->partition->lockstep;
    int step;
    if (lockstep->chain.skip-- != 0)
        return interpret_block(cpu, translation->block);
    lockstep->chain.skip = draw(&lockstep->chain, next_skips(&lockstep->chain));
    lockstep->vectors = true;
    lockstep_save(cpu, STEP_NEXT, &lockstep->start, true);
    for (unsigned i = 1; !run_both(cpu, translation, &step); i++) {
        if (i == TRIES)
            lockstep_fail(cpu, lockstep, translation->block);
        go_back(cpu);
        lockstep->again++;
    }
    return step;
}
