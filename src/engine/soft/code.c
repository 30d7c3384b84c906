/* Finding blocks of decoded code, and who has seen which epoch; see code.h for the invariants. */
#include "engine/soft/code_private.h"
#include "engine/soft/memory.h"
#include "engine/soft/tlb.h"

/* ---- marks and epochs ---- */

bool code_is_marked(const struct code_cache *code, uint64_t gpa)
{
    uint64_t page = gpa >> 12;
    return page < code->page_count &&
           atomic_load_explicit(&code->pages[page], memory_order_relaxed) != NULL;
}

/* Every vCPU has dropped the write tags that it had when `epoch` began. */
bool code_all_have_seen(struct soft_partition *partition, uint64_t epoch)
{
    for (unsigned i = 0; i < partition->config.vcpu_count; i++) {
        struct cpu *cpu = partition->cpu[i];
        if (cpu != NULL && atomic_load(&cpu->epoch_seen) < epoch && !atomic_load(&cpu->outside))
            return false;
    }
    return true;
}

static void forget_recent(struct cpu *cpu)
{
    for (unsigned i = 0; i < RECENT_COUNT; i++)
        cpu->recent[i].block = NULL;
    for (unsigned i = 0; i < JUMP_COUNT; i++)
        cpu->jump[i].key = 0; /* no context has it */
}

void code_pass_epoch(struct cpu *cpu)
{
    struct code_cache *code = cpu->partition->code;
    uint64_t epoch = atomic_load(&cpu->partition->epoch);
    tlb_drop_writes(cpu);
    uint64_t generation = atomic_load(&code->generation);
    if (cpu->code_generation != generation) {
        forget_recent(cpu);
        cpu->code_generation = generation;
    }
    atomic_store(&cpu->epoch_seen, epoch);
}

/* ---- hash ---- */

struct block *code_lookup(struct code_cache *code, uint64_t gpa, uint64_t rip, uint32_t mode)
{
    struct block *block =
        atomic_load_explicit(&code->hash[code_hash(gpa, rip, mode)], memory_order_acquire);
    while (block != NULL && (block->gpa != gpa || block->rip != rip || block->mode != mode))
        block = atomic_load_explicit(&block->hash_next, memory_order_acquire);
    return block;
}

int code_fetch_page(struct cpu *cpu, uint64_t linear, uint64_t *ret_gpa)
{
    struct tlb_entry *entry = tlb_entry(cpu->tlb, linear);
    if (entry->fetch != tlb_tag(linear, 1)) {
        int step = memory_fetch(cpu, linear, ret_gpa);
        return step;
    }
    *ret_gpa = linear + entry->delta - (uint64_t)cpu->partition->ram;
    return STEP_NEXT;
}

uint64_t code_fetch_linear(const struct cpu *cpu, uint64_t rip)
{
    if (cpu->mode & MODE_LONG)
        return rip;
    return (uint32_t)(cpu->segment[SEGMENT_CS].base + rip);
}

static int fetch_begin(struct cpu *cpu, uint32_t mode, struct fetch *ret)
{
    uint64_t rip = cpu->rip;
    if ((mode & MODE_LONG) ? !is_canonical(rip) : rip > cpu->segment[SEGMENT_CS].limit)
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t linear = code_fetch_linear(cpu, rip);
    *ret = (struct fetch){.rip = rip, .anchor = rip, .mode = mode};
    if (code_floats(rip, mode))
        ret->anchor = rip & ~PAGE_MASK;
    int step = code_fetch_page(cpu, linear, &ret->gpa);
    if (step != STEP_NEXT)
        return step;
    ret->host = cpu->partition->ram + ret->gpa;
    ret->room = (unsigned)(MEM_PAGE_SIZE - (linear & ~PAGE_MASK));
    return STEP_NEXT;
}

/* ---- finding ---- */

/*
 * Invariant 3: look whether all have passed before comparing, so that the last comparison counts.
 * Itself it passes now, else the block could change its own bytes through an old write tag without
 * noticing; since the block may be gone after that, it is looked up again.
 */
static bool verify(struct cpu *cpu, struct block *block)
{
    uint64_t epoch = atomic_load(&block->verify_epoch);
    if (epoch == 0)
        return true;
    if (atomic_load(&cpu->epoch_seen) != atomic_load(&cpu->partition->epoch)) {
        code_pass_epoch(cpu);
        return false;
    }
    bool settled = code_all_have_seen(cpu->partition, epoch);
    if (!code_matches(cpu, block)) {
        code_retire(cpu, block);
        return false;
    }
    if (settled)
        atomic_store(&block->verify_epoch, 0);
    return true;
}

/* The second page of a crossing instruction is not part of the key. */
static int check_second_page(struct cpu *cpu, const struct fetch *fetch, struct block *block,
                             bool *ret_same)
{
    *ret_same = true;
    if (block->second_gpa == UINT64_MAX)
        return STEP_NEXT;
    uint64_t gpa;
    int step = code_fetch_page(cpu, code_fetch_linear(cpu, fetch->rip + fetch->room), &gpa);
    *ret_same = step == STEP_NEXT && gpa == block->second_gpa;
    return step;
}

int code_find(struct cpu *cpu, uint32_t mode, struct block **ret)
{
    struct fetch fetch;
    int step = fetch_begin(cpu, mode, &fetch);
    if (step != STEP_NEXT)
        return step;
    for (;;) {
        struct block *block = code_lookup(cpu->partition->code, fetch.gpa, fetch.anchor, mode);
        if (block == NULL)
            step = code_build(cpu, &fetch, &block);
        if (step != STEP_NEXT)
            return step;
        bool same;
        step = check_second_page(cpu, &fetch, block, &same);
        if (step != STEP_NEXT)
            return step;
        if (!same) {
            code_retire(cpu, block);
            continue;
        }
        if (!verify(cpu, block))
            continue;
        bool in_limit = (mode & MODE_LONG) != 0 ||
                        fetch.rip + block->length - 1 <= cpu->segment[SEGMENT_CS].limit;
        if (!in_limit && (mode & MODE_SINGLE) == 0) {
            mode |= MODE_SINGLE;
            fetch.mode = mode;
            continue;
        }
        *ret = block;
        return in_limit ? STEP_NEXT : fault_code(cpu, VECTOR_GP, 0);
    }
}
