/*
 * One block, twice: interpreted with a record of what memory held before each instruction, taken
 * back, translated, compared. Live code: see cpu.h, rule 2.
 *
 * What the translation leaves to the interpreter anyway is run once: both runs stop there.
 * lockstep_chain.c runs more than one block.
 */
#include "engine/soft/lockstep_private.h"
#include "engine/soft/memory.h"
#include "engine/soft/native.h"
#include "engine/soft/ops_integer.h"
#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"
#include "engine/soft/xsave.h"

/* ---- what is compared ---- */

void lockstep_save(struct cpu *cpu, int step, struct lockstep_state *ret, bool vectors)
{
    ret->step = step;
    copy_live(ret->gpr, cpu->gpr, sizeof(ret->gpr));
    ret->rip = cpu->rip;
    ret->flags = cpu->flags;
    ret->gs_base = cpu->segment[SEGMENT_GS].base;
    ret->kernel_gs_base = cpu->kernel_gs_base;
    ret->debug_trap = cpu->debug_trap;
    ret->fault = cpu->fault;
    ret->shadow = cpu->shadow;
    if (!vectors)
        return;
    fpu_to_image(cpu);
    copy_live(ret->xsave, cpu->xsave, sizeof(ret->xsave));
}

void lockstep_restore(struct cpu *cpu, const struct lockstep_state *state, bool vectors)
{
    copy_live(cpu->gpr, state->gpr, sizeof(state->gpr));
    cpu->rip = state->rip;
    cpu->flags = state->flags;
    cpu->segment[SEGMENT_GS].base = state->gs_base;
    cpu->kernel_gs_base = state->kernel_gs_base;
    cpu->debug_trap = state->debug_trap;
    cpu->fault = state->fault;
    cpu->shadow = state->shadow;
    cpu_mode_changed(cpu);
    if (!vectors)
        return;
    fpu_leave(cpu);
    copy_live(cpu->xsave, state->xsave, sizeof(state->xsave));
}

bool lockstep_differs(const void *a, const void *b, size_t size)
{
    const uint8_t *p = a;
    const uint8_t *q = b;
    for (size_t i = 0; i < size; i++) {
        if (p[i] != q[i])
            return true;
    }
    return false;
}

/* ---- memory ---- */

/* The part of [linear, linear + size) that lies in one page; what cannot be read is not written. */
static void record_part(struct cpu *cpu, uint64_t linear, unsigned size)
{
    struct lockstep *lockstep = cpu->partition->lockstep;
    uint64_t unused;
    struct fault kept = cpu->fault;
    int step = linear_read(cpu, linear, 1, ACCESS_READ, &unused);
    cpu->fault = kept;
    const struct tlb_entry *entry = tlb_entry(cpu->tlb, linear);
    if (step != STEP_NEXT || entry->read != tlb_tag(linear, 1) ||
        lockstep->range_count == MAX_RANGES)
        return;
    struct lockstep_range *range = &lockstep->range[lockstep->range_count++];
    range->host = (uint8_t *)(linear + entry->delta); // NOLINT(performance-no-int-to-ptr)
    range->linear = linear;
    range->size = size;
    copy_live(range->before, range->host, size);
}

static void record(struct cpu *cpu, uint64_t linear, unsigned size)
{
    uint64_t room = MEM_PAGE_SIZE - (linear & ~PAGE_MASK);
    unsigned first = size < room ? size : (unsigned)room;
    record_part(cpu, linear, first);
    if (first < size)
        record_part(cpu, linear + first, size - first);
}

/* No more than the translation does by itself: what is longer, both interpret to the same end. */
static void record_string(struct cpu *cpu, const struct op *op)
{
    bool repeated = (op->flags & (OP_REP | OP_REPNE)) != 0;
    uint64_t count = repeated ? cpu->gpr[GPR_RCX] : 1;
    if (count > MEM_PAGE_SIZE / op->width || (cpu->flags & FLAG_DF) != 0) {
        cpu->partition->lockstep->range_count = MAX_RANGES;
        return;
    }
    uint64_t end = cpu->gpr[GPR_RDI] + count * op->width;
    for (uint64_t at = cpu->gpr[GPR_RDI]; at < end; at += RANGE_SIZE)
        record(cpu, at, end - at < RANGE_SIZE ? (unsigned)(end - at) : (unsigned)RANGE_SIZE);
}

/* What the instruction may write: its operand, and the word below the stack. */
void lockstep_record(struct cpu *cpu, const struct op *op)
{
    uint64_t base = op->segment == SEGMENT_FLAT ? 0 : cpu->segment[op->segment].base;
    if (op->flags & OP_MEMORY)
        record(cpu, base + op_address(cpu, op), RANGE_SIZE);
    if (op->run == op_stos || op->run == op_movs)
        record_string(cpu, op);
    record(cpu, cpu->gpr[GPR_RSP] - 8, 8);
}

void lockstep_note_changes(struct lockstep *lockstep, unsigned first)
{
    for (unsigned i = first; i < lockstep->range_count; i++) {
        struct lockstep_range *range = &lockstep->range[i];
        range->changed = 0;
        for (unsigned at = 0; at < range->size; at++)
            range->changed |= (uint64_t)(range->before[at] != range->host[at]) << at;
    }
}

void lockstep_keep_after(struct lockstep *lockstep)
{
    for (unsigned i = 0; i < lockstep->range_count; i++)
        copy_live(lockstep->range[i].after, lockstep->range[i].host, lockstep->range[i].size);
}

void lockstep_take_back(struct lockstep *lockstep)
{
    for (unsigned i = lockstep->range_count; i-- > 0;) {
        const struct lockstep_range *range = &lockstep->range[i];
        for (unsigned at = 0; at < range->size; at++) {
            if (range->changed >> at & 1)
                range->host[at] = range->before[at];
        }
    }
}

static bool memory_differs(const struct lockstep *lockstep)
{
    for (unsigned i = 0; i < lockstep->range_count; i++) {
        const struct lockstep_range *range = &lockstep->range[i];
        if (lockstep_differs(range->after, range->host, range->size))
            return true;
    }
    return false;
}

/* ---- the two runs ---- */

static int interpret(struct cpu *cpu, const struct translation *translation)
{
    const struct block *block = translation->block;
    cpu->block = translation->block;
    for (unsigned i = 0;; i++) {
        const struct op *op = &block->op[i];
        if (i < block->count && (translation->trait[i] & TRAIT_INTERPRETED)) {
            cpu->rip = op_rip(cpu, op);
            return STEP_JUMP;
        }
        unsigned first = cpu->partition->lockstep->range_count;
        lockstep_record(cpu, op);
        int step = __atomic_load_n(&op->run, __ATOMIC_RELAXED)(cpu, op);
        lockstep_note_changes(cpu->partition->lockstep, first);
        if (step == STEP_FAULT || step == STEP_EXIT)
            cpu->rip = op_rip(cpu, op);
        if (step != STEP_NEXT)
            return step;
    }
}

/* An instruction that both leave to the interpreter. */
static int run_once(struct cpu *cpu, const struct block *block)
{
    const struct op *op = block->op;
    int step = __atomic_load_n(&op->run, __ATOMIC_RELAXED)(cpu, op);
    if (step == STEP_FAULT || step == STEP_EXIT)
        cpu->rip = op_rip(cpu, op);
    if (step != STEP_NEXT)
        return step;
    cpu->rip = op_next_rip(cpu, op);
    return STEP_JUMP;
}

/* Where they are dead, what stops there finds others in a translation: see translation.h. */
static bool flags_count(const struct lockstep_state *state, uint64_t start,
                        const struct block *block)
{
    const struct translation *translation = atomic_load(&block->translation);
    uint64_t offset = state->rip - start;
    bool begun = state->step == STEP_FAULT || state->step == STEP_EXIT;
    if (translation == NULL || offset >= block->length || (offset == 0 && !begun))
        return true;
    for (unsigned i = 0; i < block->count; i++) {
        if (block->op[i].offset == offset)
            return (translation->trait[i] & TRAIT_FLAGS_DEAD) == 0;
    }
    return true;
}

/* XSTATE_BV may tell of registers in their initial state that they are in use, or not: a signal
 * between two chains' steps changes that (Intel SDM vol. 1 § 13.6). */
static bool vectors_differ(const struct lockstep *lockstep)
{
    enum { BEHIND = XSAVE_STATES + 8 };
    const uint8_t *a = lockstep->interpreted.xsave;
    const uint8_t *b = lockstep->translated.xsave;
    if (lockstep->chain.random == 0)
        return lockstep_differs(a, b, ENGINE_XSAVE_SIZE);
    return lockstep_differs(a, b, XSAVE_STATES) ||
           lockstep_differs(a + BEHIND, b + BEHIND, ENGINE_XSAVE_SIZE - BEHIND);
}

static bool states_differ(const struct lockstep *lockstep, const struct block *block)
{
    const struct lockstep_state *a = &lockstep->interpreted;
    const struct lockstep_state *b = &lockstep->translated;
    uint64_t mask =
        flags_count(a, lockstep->last_start, block) ? UINT64_MAX : ~(uint64_t)FLAGS_ARITHMETIC;
    if (a->step != b->step || a->rip != b->rip || ((a->flags ^ b->flags) & mask) != 0 ||
        lockstep_differs(a->gpr, b->gpr, sizeof(a->gpr)))
        return true;
    if (a->gs_base != b->gs_base || a->kernel_gs_base != b->kernel_gs_base ||
        a->debug_trap != b->debug_trap || a->shadow != b->shadow)
        return true;
    if (a->step == STEP_FAULT &&
        (a->fault.vector != b->fault.vector || a->fault.code != b->fault.code ||
         a->fault.address != b->fault.address))
        return true;
    return lockstep->vectors && vectors_differ(lockstep);
}

bool lockstep_is_same(const struct lockstep *lockstep, const struct block *block)
{
    return !states_differ(lockstep, block) && !memory_differs(lockstep);
}

/* False: they differ. */
static bool run_both(struct cpu *cpu, struct translation *translation)
{
    struct lockstep *lockstep = cpu->partition->lockstep;
    lockstep->range_count = 0;
    int step = interpret(cpu, translation);
    lockstep_save(cpu, step, &lockstep->interpreted, lockstep->vectors);
    /* It wrote over code, perhaps its own: that cannot be taken back. */
    if (!atomic_load(&translation->block->valid) || lockstep->range_count == MAX_RANGES)
        return true;
    lockstep_keep_after(lockstep);
    lockstep_take_back(lockstep);
    lockstep_restore(cpu, &lockstep->start, lockstep->vectors);
    step = translated_enter(cpu, translation);
    lockstep_save(cpu, step, &lockstep->translated, lockstep->vectors);
    return lockstep_is_same(lockstep, translation->block);
}

int lockstep_run(struct cpu *cpu, struct translation *translation)
{
    enum { TRIES = 5 };
    struct lockstep *lockstep = cpu->partition->lockstep;
    struct block *block = translation->block;
    if (translation->trait[0] & TRAIT_INTERPRETED)
        return run_once(cpu, block);
    if (lockstep->chain.random != 0)
        return lockstep_run_chain(cpu, translation);
    lockstep->vectors = translation->has_vectors;
    lockstep->last_start = cpu->rip;
    lockstep_save(cpu, STEP_NEXT, &lockstep->start, lockstep->vectors);
    lockstep->runs++;
    for (unsigned i = 1; !run_both(cpu, translation); i++) {
        if (i == TRIES)
            lockstep_fail(cpu, lockstep, block);
        lockstep_take_back(lockstep);
        lockstep_restore(cpu, &lockstep->start, lockstep->vectors);
        lockstep->again++;
    }
    return lockstep->interpreted.step;
}
