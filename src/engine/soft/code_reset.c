/*
 * All blocks and translations go: when their memory is full, and when the guest rests and can do
 * without. Reached through a gate on a vCPU's thread; see code.h for the invariants.
 */
#include <sched.h>
#include <sys/mman.h>

#include "engine/soft/code_private.h"
#include "engine/soft/decode.h"
#include "engine/soft/translation.h"

static void empty_hash(struct code_cache *code)
{
    for (unsigned i = 0; i < HASH_SIZE; i++) {
        atomic_store(&code->hash[i], NULL);
    }
}

/* Only when no block can be running any more: until then writes to its page must be seen. */
static void unmark_pages(struct code_cache *code)
{
    for (uint64_t i = 0; i < code->page_count; i++) {
        if (atomic_load_explicit(&code->pages[i], memory_order_relaxed) != NULL)
            atomic_store(&code->pages[i], NULL);
    }
}

/* Under the lock; returns the epoch that all have to see. Nothing is taken from the arena until
 * then. `self`: as code_begin_epoch(). */
static uint64_t begin_reset(struct code_cache *code, struct cpu *self)
{
    code->resetting = true;
    code->arena_used = code->arena_size;
    empty_hash(code);
    (void)atomic_fetch_add(&code->generation, 1);
    code_begin_epoch(code->partition, self);
    return atomic_load(&code->partition->epoch);
}

/* Wait until no vCPU can hold a pointer into the arena, then begin anew. Without the lock. */
static void finish_reset(struct code_cache *code, uint64_t epoch, bool give_back)
{
    while (!code_all_have_seen(code->partition, epoch))
        (void)sched_yield();
    (void)pthread_mutex_lock(&code->lock);
    code->stats.resets++;
    unmark_pages(code);
    if (give_back)
        (void)madvise(code->arena, code->arena_size, MADV_DONTNEED);
    decoder_reset(code->decoder);
    if (code->translator != NULL)
        translator_reset(code->translator, give_back);
    code->arena_used = 0;
    code->resetting = false;
    (void)pthread_mutex_unlock(&code->lock);
}

void code_reset(struct cpu *cpu)
{
    struct code_cache *code = cpu->partition->code;
    uint64_t epoch = 0;
    (void)pthread_mutex_lock(&code->lock);
    bool mine = !code->resetting;
    if (mine)
        epoch = begin_reset(code, cpu);
    (void)pthread_mutex_unlock(&code->lock);
    if (mine) {
        finish_reset(code, epoch, false);
    } else {
        code_pass_epoch(cpu);
        (void)sched_yield();
    }
}

void code_trim(struct soft_partition *partition, size_t enough)
{
    struct code_cache *code = partition->code;
    uint64_t epoch = 0;
    (void)pthread_mutex_lock(&code->lock);
    size_t used = code->arena_used + translator_used(code->translator);
    bool mine = !code->resetting && used > enough;
    if (mine)
        epoch = begin_reset(code, NULL);
    (void)pthread_mutex_unlock(&code->lock);
    if (mine)
        finish_reset(code, epoch, true);
}
