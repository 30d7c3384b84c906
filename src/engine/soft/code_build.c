/*
 * Making and dropping blocks of decoded code. Everything here is reached through a gate; see code.h
 * for the invariants.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/soft/code_private.h"
#include "engine/soft/decode.h"
#include "engine/soft/ops_integer.h"
#include "engine/soft/tlb.h"
#include "engine/soft/translation.h"

/* ---- tuning ---- */

enum {
    MAX_OPS = 48, /* instructions a block */
    MAX_INSTRUCTION = 15,
    MAX_IDLE = 100, /* writes until a page without blocks is no longer marked */
};

/* ---- set-up ---- */

static void *map_anonymous(uint64_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int code_create(struct soft_partition *partition, struct code_cache **ret)
{
    struct code_cache *code = calloc(1, sizeof(*code));
    if (code == NULL)
        return -ENOMEM;
    (void)pthread_mutex_init(&code->lock, NULL);
    code->partition = partition;
    code->page_count = (partition->ram_end + MEM_PAGE_SIZE - 1) / MEM_PAGE_SIZE;
    size_t memory = partition->config.code_memory;
    if (memory == 0)
        memory = ENGINE_CODE_MEMORY;
    /* Measured: of a gibibyte of gcc's and of a boot's, translations are a sixth to a tenth. */
    code->arena_size = (memory / 6 * 5) & PAGE_MASK;
    code->host_size = (memory / 6) & PAGE_MASK;
    code->arena = map_anonymous(code->arena_size);
    code->pages = map_anonymous(code->page_count * sizeof(code->pages[0]));
    code->idle = map_anonymous(code->page_count);
    int error = code->arena == NULL || code->pages == NULL || code->idle == NULL ? -ENOMEM : 0;
    if (error == 0)
        error = decoder_create(partition, &code->decoder);
    if (error == 0 && partition->config.translate != ENGINE_TRANSLATE_NEVER &&
        translator_is_possible())
        error = translator_create(code, &code->translator);
    if (error != 0) {
        code_destroy(code);
        return error;
    }
    *ret = code;
    return 0;
}

/* Whatever the qualifiers of what lies there. */
static void unmap(volatile void *at, uint64_t size)
{
    void *p;
    memcpy(&p, &at, sizeof(p));
    (void)munmap(p, size);
}

void code_destroy(struct code_cache *code)
{
    if (code == NULL)
        return;
    translator_destroy(code->translator);
    decoder_destroy(code->decoder);
    if (code->arena != NULL)
        (void)munmap(code->arena, code->arena_size);
    if (code->pages != NULL)
        unmap(code->pages, code->page_count * sizeof(code->pages[0]));
    if (code->idle != NULL)
        (void)munmap(code->idle, code->page_count);
    (void)pthread_mutex_destroy(&code->lock);
    free(code);
}

/* ---- epochs ---- */

void code_begin_epoch(struct soft_partition *partition, struct cpu *self)
{
    (void)atomic_fetch_add(&partition->epoch, 1);
    for (unsigned i = 0; i < partition->config.vcpu_count; i++) {
        struct cpu *cpu = partition->cpu[i];
        if (cpu != NULL && cpu != self)
            (void)atomic_fetch_or(&cpu->pending, PENDING_EPOCH);
    }
    if (self != NULL)
        code_pass_epoch(self);
}

/* ---- hash ---- */

static void hash_insert(struct code_cache *code, struct block *block)
{
    struct block *_Atomic *head = &code->hash[code_hash(block->gpa, block->rip, block->mode)];
    atomic_store_explicit(&block->hash_next, atomic_load(head), memory_order_relaxed);
    atomic_store_explicit(head, block, memory_order_release);
}

/* Of a reset under way it may be gone from the table while another vCPU still holds it. */
static void hash_remove(struct code_cache *code, struct block *block)
{
    struct block *_Atomic *at = &code->hash[code_hash(block->gpa, block->rip, block->mode)];
    struct block *there = atomic_load(at);
    while (there != NULL && there != block) {
        at = &there->hash_next;
        there = atomic_load(at);
    }
    if (there != NULL)
        atomic_store_explicit(at, atomic_load(&block->hash_next), memory_order_release);
}

/* ---- invalidation ---- */

static bool overlaps(const struct block *block, uint64_t gpa, uint64_t length)
{
    uint64_t in_first = block->length;
    if (block->second_gpa != UINT64_MAX) {
        in_first = MEM_PAGE_SIZE - (block->gpa & ~PAGE_MASK);
        uint64_t in_second = block->length - in_first;
        if (gpa < block->second_gpa + in_second && block->second_gpa < gpa + length)
            return true;
    }
    return gpa < block->gpa + in_first && block->gpa < gpa + length;
}

static void invalidate(struct code_cache *code, struct block *block)
{
    if (!atomic_load(&block->valid))
        return;
    code->stats.invalidated++;
    atomic_store(&block->valid, false);
    hash_remove(code, block);
    for (unsigned i = 0; i <= block->count; i++)
        __atomic_store_n(&block->op[i].run, op_stale, __ATOMIC_RELEASE);
    translator_withdraw(block);
}

static struct page_link page_link_end;

/* A page that loses its last block stays marked for some more writes: who changes code and runs it
 * in turns would else have every vCPU drop its write tags each time. */
static struct page_link *end_of_page(struct code_cache *code, uint64_t gpa)
{
    uint8_t *idle = &code->idle[gpa >> 12];
    if (++*idle < MAX_IDLE)
        return &page_link_end;
    *idle = 0;
    return NULL;
}

static void invalidate_in_page(struct code_cache *code, uint64_t gpa, uint64_t length)
{
    struct page_link *_Atomic *head = &code->pages[gpa >> 12];
    struct page_link *link = atomic_load(head);
    struct page_link *kept = NULL;
    while (link != NULL && link->block != NULL) {
        struct page_link *next = link->next;
        if (overlaps(link->block, gpa, length))
            invalidate(code, link->block);
        if (atomic_load(&link->block->valid)) {
            link->next = kept;
            kept = link;
        }
        link = next;
    }
    atomic_store(head, kept != NULL ? kept : end_of_page(code, gpa));
}

void code_written(struct soft_partition *partition, uint64_t gpa, uint64_t length)
{
    struct code_cache *code = partition->code;
    uint64_t end = gpa + length;
    while (gpa < end) {
        uint64_t room = MEM_PAGE_SIZE - (gpa & ~PAGE_MASK);
        uint64_t piece = end - gpa < room ? end - gpa : room;
        if (code_is_marked(code, gpa)) {
            (void)pthread_mutex_lock(&code->lock);
            invalidate_in_page(code, gpa, piece);
            (void)pthread_mutex_unlock(&code->lock);
        }
        gpa += piece;
    }
}

/* ---- making blocks ---- */

void *code_arena_take(struct code_cache *code, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (code->arena_used + size > code->arena_size)
        return NULL;
    void *p = code->arena + code->arena_used;
    code->arena_used += size;
    return p;
}

void code_arena_exhaust(struct code_cache *code)
{
    code->arena_used = code->arena_size;
}

/* A block under construction; too large for the stack of a deep call. */
struct draft {
    struct op op[MAX_OPS + 1];
    uint8_t bytes[MAX_OPS * MAX_INSTRUCTION + MAX_INSTRUCTION];
    unsigned count, length, behind_sti;
    uint64_t second_gpa;
    bool ends;
};

static unsigned lesser(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Nothing is delivered within a block, so that an STI may have the one instruction behind it there.
 */
static void join_sti(struct draft *draft, uint32_t mode, unsigned limit)
{
    struct op *last = &draft->op[draft->count - 1];
    if (draft->count > 1 && last[-1].run == op_sti && (mode & MODE_LONG) != 0) {
        last[-1].run = op_sti_within;
        draft->behind_sti = draft->count - 1;
        draft->ends = true;
    } else if (last->run == op_sti && (mode & MODE_LONG) != 0 && draft->count < limit) {
        draft->ends = false;
    }
}

/* Where decode() is to count addresses from. */
static uint64_t decode_start(const struct fetch *fetch)
{
    return (fetch->mode & MODE_LONG) ? 0 : fetch->rip;
}

/* Decode instructions of one page. False: there was no room for a thunk. */
static bool draft_page(struct code_cache *code, const struct fetch *fetch, struct draft *draft)
{
    unsigned limit = (fetch->mode & MODE_SINGLE) ? 1 : MAX_OPS;
    unsigned available = lesser(fetch->room, limit * MAX_INSTRUCTION);
    memcpy(draft->bytes, fetch->host, available);
    while (draft->count < limit && !draft->ends) {
        struct op *op = &draft->op[draft->count];
        enum decode_result result =
            decode(code->decoder, draft->bytes + draft->length, available - draft->length,
                   decode_start(fetch) + draft->length, fetch->mode, op);
        if (result == DECODE_FULL)
            return false;
        if (result == DECODE_TRUNCATED)
            break;
        op->offset = (uint16_t)draft->length;
        draft->length += op->length;
        draft->count++;
        draft->ends = result == DECODE_ENDS;
        join_sti(draft, fetch->mode, limit);
    }
    return true;
}

/* One instruction whose bytes go on in the next page. */
static int draft_crossing(struct cpu *cpu, const struct fetch *fetch, struct draft *draft)
{
    struct code_cache *code = cpu->partition->code;
    bool beyond = fetch->rip + fetch->room > cpu->segment[SEGMENT_CS].limit;
    if ((fetch->mode & MODE_LONG) == 0 && beyond)
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t next = code_fetch_linear(cpu, fetch->rip + fetch->room);
    int step = code_fetch_page(cpu, next, &draft->second_gpa);
    if (step != STEP_NEXT)
        return step;
    memcpy(draft->bytes, fetch->host, fetch->room);
    memcpy(draft->bytes + fetch->room, cpu->partition->ram + draft->second_gpa, MAX_INSTRUCTION);
    enum decode_result result = decode(code->decoder, draft->bytes, fetch->room + MAX_INSTRUCTION,
                                       decode_start(fetch), fetch->mode, &draft->op[0]);
    if (result == DECODE_TRUNCATED)
        draft->op[0].run = op_too_long;
    draft->op[0].offset = 0;
    draft->count = 1;
    draft->length = draft->op[0].length;
    draft->ends = result == DECODE_ENDS;
    /* Another processor may have made it a shorter one since it was found to go on. */
    if (draft->length <= fetch->room)
        draft->second_gpa = UINT64_MAX;
    return result == DECODE_FULL ? STEP_EXIT : STEP_NEXT;
}

static struct page_link *link_page(struct code_cache *code, struct block *block, uint64_t gpa)
{
    struct page_link *link = code_arena_take(code, sizeof(*link));
    if (link == NULL)
        return NULL;
    struct page_link *_Atomic *head = &code->pages[gpa >> 12];
    *link = (struct page_link){block, atomic_load(head)};
    code->idle[gpa >> 12] = 0;
    return link;
}

/* Leave the page(s) marked before the bytes are looked at again: see invariant 3. */
static bool publish(struct code_cache *code, struct block *block)
{
    struct page_link *first = link_page(code, block, block->gpa);
    struct page_link *second = NULL;
    if (block->second_gpa != UINT64_MAX)
        second = link_page(code, block, block->second_gpa);
    if (first == NULL || (block->second_gpa != UINT64_MAX && second == NULL))
        return false;
    atomic_store(&code->pages[block->gpa >> 12], first);
    if (second != NULL)
        atomic_store(&code->pages[block->second_gpa >> 12], second);
    hash_insert(code, block);
    code->stats.decoded++;
    return true;
}

static struct block *make_block(struct code_cache *code, const struct fetch *fetch,
                                const struct draft *draft)
{
    size_t ops = (draft->count + 1) * sizeof(struct op);
    struct block *block = code_arena_take(code, sizeof(*block) + ops);
    uint8_t *bytes = code_arena_take(code, draft->length);
    if (block == NULL || bytes == NULL)
        return NULL;
    memset(block, 0, sizeof(*block));
    block->rip = fetch->anchor;
    block->floats = code_floats(fetch->rip, fetch->mode);
    block->gpa = fetch->gpa;
    block->mode = fetch->mode;
    block->length = (uint16_t)draft->length;
    block->count = (uint16_t)draft->count;
    block->behind_sti = (uint16_t)draft->behind_sti;
    block->second_gpa = draft->second_gpa;
    block->bytes = bytes;
    memcpy(bytes, draft->bytes, draft->length);
    memcpy(block->op, draft->op, draft->count * sizeof(struct op));
    block->op[draft->count] = (struct op){.run = op_leave_block, .offset = block->length};
    atomic_store(&block->valid, true);
    atomic_store(&block->verify_epoch, UINT64_MAX); /* until build_locked knows better */
    return block;
}

/* ---- gates ---- */

static int build_locked(struct cpu *cpu, const struct fetch *fetch, struct block **ret)
{
    struct code_cache *code = cpu->partition->code;
    static _Thread_local struct draft draft;
    draft.count = 0;
    draft.length = 0;
    draft.behind_sti = 0;
    draft.ends = false;
    draft.second_gpa = UINT64_MAX;
    *ret = NULL;
    bool was_marked = code_is_marked(code, fetch->gpa);
    if (!draft_page(code, fetch, &draft))
        return STEP_NEXT;
    if (draft.count == 0) {
        int step = draft_crossing(cpu, fetch, &draft);
        if (step != STEP_NEXT)
            return step == STEP_EXIT ? STEP_NEXT : step;
        if (draft.second_gpa != UINT64_MAX)
            was_marked = was_marked && code_is_marked(code, draft.second_gpa);
    }
    struct block *block = make_block(code, fetch, &draft);
    if (block == NULL || !publish(code, block))
        return STEP_NEXT;
    if (!was_marked)
        code_begin_epoch(cpu->partition, cpu);
    /* Even a page marked earlier may still be written through a tag of an earlier epoch. */
    atomic_store(&block->verify_epoch, atomic_load(&cpu->partition->epoch));
    *ret = block;
    return STEP_NEXT;
}

static int build(struct cpu *cpu, const struct fetch *fetch, struct block **ret)
{
    struct code_cache *code = cpu->partition->code;
    for (;;) {
        (void)pthread_mutex_lock(&code->lock);
        *ret = code_lookup(code, fetch->gpa, fetch->anchor, fetch->mode);
        int step = *ret != NULL ? STEP_NEXT : build_locked(cpu, fetch, ret);
        (void)pthread_mutex_unlock(&code->lock);
        if (step != STEP_NEXT || *ret != NULL)
            return step;
        code_reset(cpu);
    }
}

int code_build(struct cpu *cpu, const struct fetch *fetch, struct block **ret)
{
    fpu_leave(cpu);
    uint64_t start = stats_now(&cpu->stats);
    int step = build(cpu, fetch, ret);
    stats_add(&cpu->stats, start, &cpu->stats.in_translator);
    return step;
}

bool code_matches(struct cpu *cpu, const struct block *block)
{
    const struct soft_partition *partition = cpu->partition;
    fpu_leave(cpu);
    unsigned first = block->length;
    if (block->second_gpa != UINT64_MAX)
        first = (unsigned)(MEM_PAGE_SIZE - (block->gpa & ~PAGE_MASK));
    if (memcmp(block->bytes, partition->ram + block->gpa, first) != 0)
        return false;
    return first == block->length ||
           memcmp(block->bytes + first, partition->ram + block->second_gpa,
                  block->length - first) == 0;
}

void code_retire(struct cpu *cpu, struct block *block)
{
    struct code_cache *code = cpu->partition->code;
    fpu_leave(cpu);
    (void)pthread_mutex_lock(&code->lock);
    invalidate(code, block);
    (void)pthread_mutex_unlock(&code->lock);
}
