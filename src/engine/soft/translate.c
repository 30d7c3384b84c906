/*
 * One translation, from front to end:
 *
 *     ways in: flags put where the first instruction wants them, a poll of cpu->pending
 *     door, and the instructions
 *     stubs: each interprets one instruction and goes on behind it
 *     ways out of the block, and what the polls lead to
 */
#include <stddef.h>
#include <string.h>

#include "engine/soft/translate_private.h"

enum { DOOR_SIZE = 5, DOOR_ALIGNMENT = 8, ENTRY_ALIGNMENT = 16 };

/* TRANSLATE_MAX_OPS instructions are far from 64 KiB. */
static uint16_t offset_here(const struct work *work)
{
    return (uint16_t)(translator_executable(work->translator, work->emit.at) - work->made->base);
}

/* ---- ways in ---- */

static uint8_t *write_poll(struct work *work)
{
    assemble_compare_field(&work->emit, 4, offsetof(struct cpu, pending), 0);
    return assemble_jump_if(&work->emit, CONDITION_NE);
}

/*
 * What the flags are to the block. When it needs them, its first instruction that does anything
 * with them either reads them, or has to put them aside: they had better be where it wants them.
 */
enum entry_kind { ENTRY_DEAD, ENTRY_LIVE, ENTRY_SAVED };

static bool looks_up(const struct reach *reach)
{
    return reach->size != 0 && (reach->group == NO_GROUP || reach->first);
}

static bool touches_aside(enum kind kind)
{
    return kind == KIND_INTERPRET || (kind >= KIND_STOS && kind <= KIND_SWAPGS);
}

static enum entry_kind entry_kind(const struct work *work)
{
    if (!work->plan[0].flags_needed_before)
        return ENTRY_DEAD;
    for (unsigned i = 0; i < work->block->count; i++) {
        const struct plan *plan = &work->plan[i];
        bool aside = looks_up(&plan->reach[REACH_OPERAND]) || looks_up(&plan->reach[REACH_STACK]) ||
                     touches_aside(plan->kind);
        if (aside)
            return ENTRY_SAVED;
        if (plan->reads_flags || plan->writes_flags)
            return ENTRY_LIVE;
    }
    return ENTRY_LIVE;
}

/* Polls whose jumps, when something is pending, are set later. */
struct polls {
    uint8_t *saved; /* of who comes with saved flags */
    uint8_t *dead;  /* of who comes with live ones that the poll loses, where they do not matter */
};

static uint8_t *write_door(struct work *work)
{
    assemble_align(&work->emit, DOOR_ALIGNMENT, 0);
    uint8_t *door = work->emit.at;
    assemble_align(&work->emit, DOOR_ALIGNMENT, DOOR_SIZE);
    return door;
}

/* The way into a floating block from another page. What is to be led to entry_saved_poll, or NULL:
 * that follows. */
static uint8_t *write_entry_jump(struct work *work, enum entry_kind kind)
{
    struct place page = place_of_cpu(offsetof(struct cpu, page));
    struct place start = place_at(SCRATCH_ADDRESS, -(int32_t)work->block->rip);
    work->made->entry_jump = translator_executable(work->translator, work->emit.at);
    assemble_memory(&work->emit, true, OPCODE_LEA, SCRATCH_ADDRESS, &start);
    assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &page);
    return kind == ENTRY_SAVED ? assemble_jump(&work->emit) : NULL;
}

/* In the order in which they fall into each other; the door is behind them all. */
static struct polls write_entries(struct work *work, enum entry_kind kind)
{
    const struct translator *translator = work->translator;
    struct translation *made = work->made;
    struct emit *emit = &work->emit;
    struct polls polls = {NULL, NULL};
    made->door_saved = NULL;
    assemble_align(emit, ENTRY_ALIGNMENT, 0);
    uint8_t *over = work->block->floats ? write_entry_jump(work, kind) : NULL;
    made->entry = made->entry_poll = translator_executable(translator, emit->at);
    if (kind == ENTRY_SAVED)
        assemble_save_flags(emit, offsetof(struct cpu, saved_flags), SCRATCH_ADDRESS);
    if (over != NULL)
        write_branch_to(emit, over, emit->at);
    made->entry_saved_poll = translator_executable(translator, emit->at);
    if (!work->block->floats)
        made->entry_jump = made->entry_saved_poll;
    polls.saved = write_poll(work);
    made->entry_saved = translator_executable(translator, emit->at);
    if (kind == ENTRY_LIVE)
        assemble_restore_flags(emit, offsetof(struct cpu, saved_flags), SCRATCH_A);
    if (kind == ENTRY_DEAD) {
        made->door_saved = write_door(work);
        made->entry_saved = translator_executable(translator, made->door_saved);
        uint8_t *past = assemble_jump(emit);
        made->entry_poll = translator_executable(translator, emit->at);
        polls.dead = write_poll(work);
        write_branch_to(emit, past, emit->at);
    }
    made->door = write_door(work);
    if (kind != ENTRY_SAVED)
        made->entry = translator_executable(translator, made->door);
    work->flags = kind == ENTRY_SAVED ? FLAGS_SAVED : FLAGS_LIVE;
    return polls;
}

/* ---- behind the instructions ---- */

/* Also where the host may raise a fault: memory operands that must be aligned (CMPXCHG16B, MOVAPS),
 * locks that must not be split, the vector units, division. */
static bool needs_stub(const struct work *work, unsigned i)
{
    const struct plan *plan = &work->plan[i];
    if (work->stub[i].count != 0)
        return true;
    ZydisMnemonic mnemonic = plan->instruction.mnemonic;
    bool divides = mnemonic == ZYDIS_MNEMONIC_DIV || mnemonic == ZYDIS_MNEMONIC_IDIV;
    bool has_memory = plan->reach[REACH_OPERAND].size != 0;
    return plan->kind == KIND_COPY && (plan->level != VECTOR_NONE || divides || has_memory);
}

/* What follows a group's first access counts on its look-up. */
static bool begins_group(const struct plan *plan)
{
    return plan->reach[REACH_OPERAND].first || plan->reach[REACH_STACK].first;
}

static uint8_t *routine_of_stub(const struct work *work, unsigned i)
{
    const struct routines *routine = &work->translator->routine;
    if (begins_group(&work->plan[i]))
        return work->stub[i].saved ? routine->finish_saved : routine->finish_live;
    return work->stub[i].saved ? routine->interpret_saved : routine->interpret_live;
}

static void write_stub(struct work *work, unsigned i, uint8_t **tail)
{
    unsigned kind = (work->stub[i].saved ? 1 : 0) + (begins_group(&work->plan[i]) ? 2 : 0);
    work->made->op_stub[i] = offset_here(work);
    for (unsigned site = 0; site < work->stub[i].count; site++)
        write_branch_to(&work->emit, work->stub[i].site[site], work->emit.at);
    assemble_constant(&work->emit, SCRATCH_ADDRESS, i);
    uint8_t *call = assemble_call(&work->emit);
    if (work->stub[i].held != NO_GROUP)
        write_held_again(work, work->stub[i].held);
    write_branch_to(&work->emit, assemble_jump(&work->emit), work->stub[i].resume);
    if (tail[kind] == NULL) {
        tail[kind] = work->emit.at;
        assemble_constant(&work->emit, SCRATCH_A, (uint64_t)work->block);
        write_branch_to(&work->emit, assemble_jump(&work->emit), routine_of_stub(work, i));
    }
    write_branch_to(&work->emit, call, tail[kind]);
}

static uint8_t traits_of(const struct plan *plan)
{
    unsigned traits = plan->leaves_pointers ? TRAIT_LEFT : 0;
    traits |= plan->kind == KIND_INTERPRET ? TRAIT_INTERPRETED : 0;
    traits |= plan->flags_needed_before ? 0 : TRAIT_FLAGS_DEAD;
    return (uint8_t)traits;
}

static void write_stubs(struct work *work)
{
    uint8_t *tail[4] = {NULL};
    for (unsigned i = 0; i < work->block->count; i++) {
        work->made->trait[i] = traits_of(&work->plan[i]);
        work->made->op_stub[i] = 0;
        if (needs_stub(work, i))
            write_stub(work, i, tail);
    }
}

/* To the block's own address by way of C, which looks at what is pending and for the block. */
static uint8_t *write_return_to_start(struct work *work, uint8_t *routine)
{
    uint8_t *at = work->emit.at;
    write_guest_address(&work->emit, work->block, work->block->rip, SCRATCH_ADDRESS);
    write_branch_to(&work->emit, assemble_jump(&work->emit), routine);
    return at;
}

/* An entry for backward links that keeps live flags: what it compares with jumps on RCX alone. */
static void write_live_poll(struct work *work)
{
    static const uint8_t jrcxz_over_jump[] = {0xe3, 5};
    struct emit *emit = &work->emit;
    struct place pending = place_of_cpu(offsetof(struct cpu, pending));
    work->made->entry_poll = translator_executable(work->translator, emit->at);
    assemble_registers(emit, true, OPCODE_STORE, GPR_RCX, SCRATCH_ADDRESS);
    assemble_memory(emit, false, OPCODE_LOAD, GPR_RCX, &pending);
    emit_bytes(emit, jrcxz_over_jump, sizeof(jrcxz_over_jump));
    uint8_t *busy = assemble_jump(emit);
    assemble_registers(emit, true, OPCODE_LOAD, GPR_RCX, SCRATCH_ADDRESS);
    write_branch_to(&work->emit, assemble_jump(emit), work->made->door);
    write_branch_to(&work->emit, busy, emit->at);
    assemble_registers(emit, true, OPCODE_LOAD, GPR_RCX, SCRATCH_ADDRESS);
    (void)write_return_to_start(work, work->translator->routine.go_live);
}

/* The flags are lost, and what is pending would see them: first run what sets them. */
static void write_dead_poll(struct work *work, uint8_t *site)
{
    write_branch_to(&work->emit, site, work->emit.at);
    assemble_constant(&work->emit, SCRATCH_ADDRESS, (uint64_t)work->block);
    write_branch_to(&work->emit, assemble_jump(&work->emit), work->translator->routine.pass);
}

static void write_behind(struct work *work, enum entry_kind kind, struct polls polls)
{
    const struct routines *routine = &work->translator->routine;
    write_misses(work);
    write_stubs(work);
    for (unsigned i = 0; i < work->exit_count; i++)
        write_exit_stub(work, &work->exit[i]);
    work->made->leave_saved = write_return_to_start(work, routine->go_saved);
    work->made->leave = work->made->leave_saved;
    if (kind != ENTRY_SAVED)
        work->made->leave = write_return_to_start(work, routine->go_live);
    write_branch_to(&work->emit, polls.saved, work->made->leave_saved);
    if (kind == ENTRY_DEAD)
        write_dead_poll(work, polls.dead);
    if (kind == ENTRY_LIVE)
        write_live_poll(work);
}

/* ---- all of it ---- */

static void write_block(struct work *work)
{
    const struct block *block = work->block;
    enum entry_kind kind = entry_kind(work);
    work->made->base = translator_executable(work->translator, work->emit.at);
    struct polls polls = write_entries(work, kind);
    work->open = true;
    for (unsigned i = 0; i < block->count; i++) {
        work->made->op_start[i] = offset_here(work);
        write_op(work, i);
    }
    if (work->open)
        write_exit(work, block->rip + block->length);
    work->made->op_start[block->count] = offset_here(work);
    write_behind(work, kind, polls);
    work->made->length = offset_here(work);
}

static struct translation *make(struct code_cache *code, struct block *block)
{
    struct translation *made = code_arena_take(code, sizeof(*made));
    unsigned count = block->count;
    uint16_t *starts = code_arena_take(code, (2 * count + 1) * sizeof(*starts) + count);
    if (made == NULL || starts == NULL)
        return NULL;
    uint16_t *stubs = starts + count + 1;
    uint8_t *traits = (uint8_t *)(stubs + count);
    *made =
        (struct translation){.block = block, .op_start = starts, .op_stub = stubs, .trait = traits};
    return made;
}

static void start(struct work *work)
{
    struct translator *translator = work->translator;
    work->emit = (struct emit){.at = translator->writable + translator->used,
                               .end = translator->writable + translator->size};
    work->again = false;
    work->level = VECTOR_NONE;
    work->held = NO_GROUP;
    work->exit_count = 0;
    work->miss_count = 0;
    memset(work->stub, 0, sizeof(work->stub));
    plan_block(work);
    group_accesses(work->block, work->plan, work->group);
}

/* Under the code lock. False: there is no room. */
static bool add(const struct cpu *cpu, struct block *block)
{
    static struct work work;
    struct code_cache *code = cpu->partition->code;
    struct translator *translator = code->translator;
    work.translator = translator;
    work.block = block;
    work.made = make(code, block);
    if (work.made == NULL)
        return false;
    memset(work.refused, 0, sizeof(work.refused));
    do {
        start(&work);
        write_block(&work);
    } while (work.again && !work.emit.full);
    if (work.emit.full || !translator_keep(translator, work.made))
        return false;
    translator->used = (size_t)(work.emit.at - translator->writable);
    code->stats.translated++;
    code->stats.guest_bytes += block->length;
    code->stats.host_bytes += work.made->length;
    if (code->partition->config.code_trace != NULL)
        translation_trace(code->partition->config.code_trace, translator, work.made);
    translation_tell(cpu, block, work.made->base, work.made->length);
    atomic_store_explicit(&block->translation, work.made, memory_order_release);
    return true;
}

void translator_add(struct cpu *cpu, struct block *block)
{
    struct code_cache *code = cpu->partition->code;
    fpu_leave(cpu);
    uint64_t start = stats_now(&cpu->stats);
    (void)pthread_mutex_lock(&code->lock);
    bool wanted = code->translator != NULL && !code->resetting && atomic_load(&block->valid) &&
                  atomic_load(&block->verify_epoch) == 0 && block->translation == NULL &&
                  block->count <= TRANSLATE_MAX_OPS && block->count > 0;
    if (wanted && !add(cpu, block))
        code_arena_exhaust(code);
    if (block->translation == NULL)
        block->heat = TRANSLATION_REFUSED;
    (void)pthread_mutex_unlock(&code->lock);
    stats_add(&cpu->stats, start, &cpu->stats.in_translator);
}
