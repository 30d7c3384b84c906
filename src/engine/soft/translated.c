/*
 * Running translated code: the way in, and what it calls when it cannot go on by itself. Live code:
 * see cpu.h, rule 2.
 */
#include "engine/soft/code_private.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/native.h"
#include "engine/soft/partition.h"
#include "engine/soft/run.h"
#include "engine/soft/tlb.h"
#include "engine/soft/translation.h"

/* ---- flags: SF ZF AF PF CF in AH, as LAHF has them, OF in AL ---- */

enum { FLAGS_AH = FLAGS_ARITHMETIC & 0xff, OF_SHIFT = 11 };

static void take_flags(struct cpu *cpu)
{
    uint64_t flags = (cpu->saved_flags >> 8 & FLAGS_AH) | (uint64_t)(cpu->saved_flags & 1)
                                                              << OF_SHIFT;
    cpu->flags = (cpu->flags & ~(uint64_t)FLAGS_ARITHMETIC) | flags;
}

static void give_flags(struct cpu *cpu)
{
    cpu->saved_flags = (uint16_t)((cpu->flags & FLAGS_AH) << 8 | (cpu->flags >> OF_SHIFT & 1));
}

/* ---- in and out ---- */

/* What the vector units can do for the guest as its control registers are. */
static uint8_t vector_level(struct cpu *cpu)
{
    bool off = (cpu->cr0 & (CR0_EM | CR0_TS)) != 0 || (cpu->cr4 & CR4_OSFXSR) == 0;
    if (off)
        return VECTOR_NONE;
    return (cpu->cr4 & CR4_OSXSAVE) != 0 && (cpu->xcr0 & 6) == 6 ? VECTOR_AVX : VECTOR_SSE;
}

/* Before translated code goes on. */
static void prepare(struct cpu *cpu, bool with_vectors)
{
    uint8_t level = vector_level(cpu);
    give_flags(cpu);
    cpu->jump_key = tlb_code_context(cpu);
    cpu->page = cpu->rip & PAGE_MASK;
    if (with_vectors && level != VECTOR_NONE && !cpu->fpu_live)
        fpu_enter(cpu);
    cpu->vector_level = cpu->fpu_live ? level : (uint8_t)VECTOR_NONE;
}

static const uint8_t *leave(struct cpu *cpu, int step)
{
    cpu->left_with = step;
    return cpu->leave;
}

bool translated_may_go_on(const struct cpu *cpu)
{
    return cpu->activity == ENGINE_ACTIVITY_RUNNING && cpu->shadow == SHADOW_NONE &&
           (cpu->mode & (MODE_SINGLE | MODE_LONG)) == MODE_LONG && cpu->reply_count == 0;
}

static bool in_lockstep(const struct cpu *cpu)
{
    return cpu->partition->lockstep != NULL;
}

static bool may_go_on(const struct cpu *cpu)
{
    return atomic_load_explicit(&cpu->pending, memory_order_relaxed) == 0 &&
           translated_may_go_on(cpu) && (!in_lockstep(cpu) || lockstep_goes_on(cpu));
}

/* On with the block at cpu->rip, if it is translated. */
static const uint8_t *go_on(struct cpu *cpu, struct link *link)
{
    struct block *block;
    uint64_t generation = cpu->code_generation;
    if (!may_go_on(cpu))
        return leave(cpu, STEP_JUMP);
    int step = run_find_block(cpu, &block);
    if (step != STEP_NEXT)
        return leave(cpu, step);
    struct translation *to = atomic_load_explicit(&block->translation, memory_order_acquire);
    if (to == NULL || atomic_load(&block->verify_epoch) != 0)
        return leave(cpu, STEP_JUMP);
    uint64_t rip = cpu->rip;
    /* The search may have emptied the arena, and the link with it. */
    if (link != NULL && generation == cpu->code_generation)
        translator_link(cpu, link, to);
    else
        cpu->jump[rip % JUMP_COUNT] =
            (struct jump){.rip = rip, .key = tlb_code_context(cpu), .host = to->entry_jump};
    prepare(cpu, false);
    return to->entry_saved; /* without a poll: one block is run whatever is pending */
}

_Thread_local const struct translator *translated_by __attribute__((tls_model("initial-exec")));

int translated_enter(struct cpu *cpu, struct translation *translation)
{
    const struct code_cache *code = cpu->partition->code;
    cpu->self = cpu;
    cpu->leave = code->leave;
    __asm__ volatile("wrgsbase %0" : : "r"(cpu));
    prepare(cpu, false);
    cpu->stats.entries++;
    uint64_t start = stats_now(&cpu->stats);
    uint64_t helpers = cpu->stats.in_helpers;
    translated_by = code->translator;
    lockstep_resume(cpu);
    int step = code->enter(cpu, translation->entry_saved);
    lockstep_pause(cpu);
    translated_by = NULL;
    stats_add(&cpu->stats, start + (cpu->stats.in_helpers - helpers), &cpu->stats.in_translated);
    return step;
}

int translated_run(struct cpu *cpu, struct translation *translation)
{
    return in_lockstep(cpu) ? lockstep_run(cpu, translation) : translated_enter(cpu, translation);
}

/* ---- what translated code calls ---- */

/* Behind an instruction that did not just go on to the next. */
static const uint8_t *go_after(struct cpu *cpu, const struct op *op, int step)
{
    if (step == STEP_JUMP)
        return go_on(cpu, NULL);
    if (step == STEP_FAULT || step == STEP_EXIT)
        cpu->rip = op_rip(cpu, op);
    return leave(cpu, step);
}

/* A guest address that a translation of `block` knows. */
static uint64_t address_of(const struct cpu *cpu, const struct block *block, uint64_t address)
{
    return block->floats ? cpu->page + address : address;
}

static void begin(struct cpu *cpu, struct block *block, unsigned index)
{
    take_flags(cpu);
    cpu->rip = address_of(cpu, block, block->rip);
    cpu->block = block;
    /* The registers are still those that the instruction before had. */
    if (in_lockstep(cpu))
        lockstep_called(cpu, block, index);
    if (index > 0 && (block->translation->trait[index - 1] & TRAIT_LEFT) != 0)
        native_note_pointers(cpu, &block->op[index - 1]);
}

static int handle(struct cpu *cpu, const struct op *op)
{
    op_fn handler = __atomic_load_n(&op->run, __ATOMIC_RELAXED);
    int step = handler(cpu, op);
    bool completed = step != STEP_FAULT && step != STEP_EXIT;
    bool real = op - cpu->block->op < cpu->block->count;
    cpu->stats.handled += completed;
    if (in_lockstep(cpu) && real && completed)
        lockstep_completed(cpu);
    return step;
}

static bool is_interpreted(const struct block *block, unsigned index)
{
    return index < block->count && (block->translation->trait[index] & TRAIT_INTERPRETED) != 0;
}

/* In lock-step what is interpreted anyway is run once, and not here. */
static bool is_for_later(struct cpu *cpu, const struct op *op)
{
    const struct block *block = cpu->block;
    return in_lockstep(cpu) && is_interpreted(block, (unsigned)(op - block->op));
}

static int stop_before(struct cpu *cpu, const struct op *op)
{
    cpu->rip = op_rip(cpu, op);
    return STEP_JUMP;
}

/* The instructions behind *op, up to one that does not just go on to the next. */
static int handle_rest(struct cpu *cpu, const struct op **op)
{
    int step;
    do {
        ++*op;
        step = is_for_later(cpu, *op) ? stop_before(cpu, *op) : handle(cpu, *op);
    } while (step == STEP_NEXT);
    return step;
}

/*
 * The block has looked at the vector level once and may not do so again, but there is nothing in
 * the vector units for it: x87 instructions work without CR4.OSFXSR, and some with CR0.TS.
 */
static bool must_finish(struct cpu *cpu, const struct block *block)
{
    return block->translation->has_vectors && vector_level(cpu) == VECTOR_NONE;
}

static const uint8_t *interpret(struct cpu *cpu, struct block *block, unsigned index,
                                const uint8_t *resume)
{
    const struct op *op = &block->op[index];
    begin(cpu, block, index);
    int step = is_for_later(cpu, op) ? stop_before(cpu, op) : handle(cpu, op);
    if (step == STEP_NEXT && must_finish(cpu, block))
        step = handle_rest(cpu, &op);
    if (step != STEP_NEXT)
        return go_after(cpu, op, step);
    if (atomic_load_explicit(&block->valid, memory_order_relaxed)) {
        prepare(cpu, block->translation->has_vectors);
        return resume;
    }
    if (block->behind_sti != 0 && index + 1 == block->behind_sti)
        cpu->shadow = SHADOW_STI; /* the block was to see to it that nothing is delivered there */
    cpu->rip = op_next_rip(cpu, op);
    return go_on(cpu, NULL);
}

static const uint8_t *finish(struct cpu *cpu, struct block *block, unsigned index)
{
    const struct op *op = &block->op[index];
    begin(cpu, block, index);
    int step = handle(cpu, op);
    if (step == STEP_NEXT)
        step = handle_rest(cpu, &op);
    return go_after(cpu, op, step);
}

/* To where the flags are right again, and no further: behind that may be a CLI. */
static const uint8_t *pass(struct cpu *cpu, struct block *block)
{
    const uint8_t *trait = block->translation->trait;
    const struct op *op = block->op;
    begin(cpu, block, 0);
    for (unsigned i = 0; i < block->count && (trait[i] & TRAIT_FLAGS_DEAD) != 0; i++, op++) {
        int step = handle(cpu, op);
        if (step != STEP_NEXT)
            return go_after(cpu, op, step);
    }
    bool behind = op - block->op == block->count;
    return go_after(cpu, op, behind ? handle(cpu, op) : stop_before(cpu, op));
}

static const uint8_t *follow(struct cpu *cpu, struct link *link)
{
    take_flags(cpu);
    cpu->rip = address_of(cpu, link->from->block, link->target);
    return go_on(cpu, link);
}

static const uint8_t *go(struct cpu *cpu, uint64_t rip)
{
    take_flags(cpu);
    cpu->rip = rip;
    return go_on(cpu, NULL);
}

/* Around what translated code calls. */
static uint64_t begin_call(struct cpu *cpu)
{
    if (in_lockstep(cpu))
        lockstep_pause(cpu);
    return stats_now(&cpu->stats);
}

static const uint8_t *end_call(struct cpu *cpu, uint64_t start, const uint8_t *next)
{
    stats_add(&cpu->stats, start, &cpu->stats.in_helpers);
    if (in_lockstep(cpu))
        lockstep_resume(cpu);
    return next;
}

const uint8_t *translated_interpret(struct cpu *cpu, struct block *block, unsigned index,
                                    const uint8_t *resume)
{
    uint64_t start = begin_call(cpu);
    if (is_interpreted(block, index))
        cpu->stats.interpreted++;
    else
        cpu->stats.refused++;
    return end_call(cpu, start, interpret(cpu, block, index, resume));
}

const uint8_t *translated_finish(struct cpu *cpu, struct block *block, unsigned index,
                                 const uint8_t *resume)
{
    (void)resume;
    uint64_t start = begin_call(cpu);
    cpu->stats.refused++;
    return end_call(cpu, start, finish(cpu, block, index));
}

const uint8_t *translated_pass(struct cpu *cpu, struct block *block)
{
    uint64_t start = begin_call(cpu);
    cpu->stats.refused++;
    lockstep_begun(cpu);
    return end_call(cpu, start, pass(cpu, block));
}

const uint8_t *translated_follow(struct cpu *cpu, struct link *link)
{
    uint64_t start = begin_call(cpu);
    cpu->stats.asked++;
    return end_call(cpu, start, follow(cpu, link));
}

const uint8_t *translated_go(struct cpu *cpu, uint64_t rip)
{
    uint64_t start = begin_call(cpu);
    cpu->stats.asked++;
    return end_call(cpu, start, go(cpu, rip));
}
