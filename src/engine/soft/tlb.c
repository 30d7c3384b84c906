#include "engine/soft/tlb.h"

#include <errno.h>
#include <sys/mman.h>

enum { TABLE_COUNT = TLB_SLOTS * TLB_VIEWS };
enum { NO_PCID = 0xffff };

/* Not a loop: of that the compiler would make a call of memset, which uses vector registers. */
static void clear_entries(struct tlb_entry *entry, uint64_t count)
{
    uint64_t words = count * sizeof(*entry) / 8;
    __asm__ volatile("rep stosq" : "+D"(entry), "+c"(words) : "a"(0) : "memory");
}

static void forget_near(struct cpu *cpu)
{
    for (unsigned i = 0; i < CPU_NEARS; i++)
        cpu->near[i].start = NEAR_NONE;
}

/* ---- which code is where ---- */

static uint64_t fetched_bit(uint64_t linear)
{
    enum { HALF = FETCHED_BITS / 2 };
    return (linear >> 63) * HALF + ((linear >> 12) ^ (linear >> 25)) % HALF;
}

static bool was_fetched(const struct fetched_pages *fetched, uint64_t linear)
{
    uint64_t bit = fetched_bit(linear);
    return (fetched->word[bit / 64] >> (bit % 64) & 1) != 0;
}

static void clear_fetched(struct fetched_pages *fetched)
{
    if (!fetched->any)
        return;
    fetched->any = false;
    uint64_t *word = fetched->word;
    uint64_t count = FETCHED_BITS / 64;
    __asm__ volatile("rep stosq" : "+D"(word), "+c"(count) : "a"(0) : "memory");
}

void tlb_note_fetch(struct cpu *cpu, uint64_t linear, bool global)
{
    struct fetched_pages *fetched = cpu->cpl == 3 ? &cpu->tlb->fetched : &cpu->supervisor_fetched;
    uint64_t bit = fetched_bit(linear);
    fetched->word[bit / 64] |= UINT64_C(1) << (bit % 64);
    fetched->any = true;
    if (cpu->cpl != 3 && !global)
        cpu->supervisor_local = true;
}

uint64_t tlb_code_context(const struct cpu *cpu)
{
    return cpu->cpl == 3 ? cpu->tlb->context : cpu->supervisor_context;
}

/* CR3 changed, or entries that are not global went. */
static void local_pages_went(struct cpu *cpu)
{
    if (cpu->supervisor_local)
        cpu->supervisor_context = ++cpu->last_context;
}

static void begin_context(struct cpu *cpu, struct tlb *tlb)
{
    tlb->context = ++cpu->last_context;
    if (!tlb->used) /* else code may be found again by an entry that is still there */
        clear_fetched(&tlb->fetched);
}

static unsigned take_lowest(uint64_t *bits)
{
    unsigned bit = (unsigned)__builtin_ctzll(*bits);
    *bits &= *bits - 1;
    return bit;
}

/* Empties 64 entries but for those whose bit in `keep` is set. */
static void clear_word(struct tlb *tlb, unsigned word, uint64_t keep)
{
    struct tlb_entry *entry = &tlb->entry[(size_t)word * 64];
    uint64_t gone = tlb->filled[word] & ~keep;
    if (gone == UINT64_MAX)
        clear_entries(entry, 64);
    else
        while (gone != 0)
            entry[take_lowest(&gone)] = (struct tlb_entry){0};
    tlb->filled[word] &= keep;
    tlb->global[word] &= keep;
}

static void flush_table(struct cpu *cpu, struct tlb *tlb, bool with_global)
{
    if (tlb->used) {
        uint64_t left = 0;
        for (unsigned i = 0; i < TLB_WORDS; i++) {
            clear_word(tlb, i, with_global ? 0 : tlb->global[i]);
            left |= tlb->filled[i];
        }
        tlb->used = left != 0;
    }
    forget_near(cpu);
    begin_context(cpu, tlb);
}

struct tlb_entry *tlb_take(struct tlb *tlb, uint64_t linear, uint64_t delta, bool global)
{
    uint64_t index = (linear >> 12) % TLB_ENTRIES;
    uint64_t bit = UINT64_C(1) << (index % 64);
    uint64_t *globals = &tlb->global[index / 64];
    struct tlb_entry *entry = &tlb->entry[index];
    bool same =
        (entry->read | entry->write | entry->fetch) == tlb_tag(linear, 1) && entry->delta == delta;
    if (!same)
        *entry = (struct tlb_entry){.delta = delta};
    /* One that is found again may have been global, or be so now: it is only if it always was. */
    bool stays = global && (!same || (*globals & bit) != 0);
    *globals = stays ? *globals | bit : *globals & ~bit;
    tlb->filled[index / 64] |= bit;
    tlb->used = true;
    return entry;
}

int tlb_create(struct cpu *cpu)
{
    void *tables = mmap(NULL, TABLE_COUNT * sizeof(struct tlb), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (tables == MAP_FAILED)
        return -ENOMEM;
    cpu->tables = tables;
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        cpu->tables[i].context = ++cpu->last_context;
    cpu->supervisor_context = ++cpu->last_context;
    for (unsigned i = 0; i < TLB_SLOTS; i++)
        cpu->slot_pcid[i] = NO_PCID;
    cpu->slot_pcid[0] = 0;
    cpu->tlb = cpu->tables;
    forget_near(cpu);
    return 0;
}

void tlb_destroy(struct cpu *cpu)
{
    if (cpu->tables != NULL)
        (void)munmap(cpu->tables, TABLE_COUNT * sizeof(struct tlb));
    cpu->tables = NULL;
}

void tlb_select(struct cpu *cpu)
{
    unsigned view = VIEW_SUPERVISOR;
    if (cpu->cpl == 3)
        view = cpu_checks_alignment(cpu) ? VIEW_USER_ALIGNED : VIEW_USER;
    else if ((cpu->cr4 & CR4_SMAP) != 0 && (cpu->flags & FLAG_AC) == 0)
        view = VIEW_SUPERVISOR_SMAP;
    cpu->tlb = &cpu->tables[cpu->slot * TLB_VIEWS + view];
    forget_near(cpu);
}

static void flush_slot(struct cpu *cpu, unsigned slot, bool with_global)
{
    for (unsigned view = 0; view < TLB_VIEWS; view++)
        flush_table(cpu, &cpu->tables[slot * TLB_VIEWS + view], with_global);
}

static unsigned find_slot(struct cpu *cpu, uint16_t pcid)
{
    for (unsigned slot = 0; slot < TLB_SLOTS; slot++) {
        if (cpu->slot_pcid[slot] == pcid)
            return slot;
    }
    return TLB_SLOTS;
}

void tlb_switch(struct cpu *cpu, uint16_t pcid, bool keep)
{
    unsigned slot = find_slot(cpu, pcid);
    if (slot == TLB_SLOTS) {
        slot = cpu->next_slot++ % TLB_SLOTS;
        cpu->slot_pcid[slot] = pcid;
        keep = false;
    }
    if (!keep)
        flush_slot(cpu, slot, false);
    local_pages_went(cpu);
    cpu->slot = slot;
    tlb_select(cpu);
}

void tlb_flush_all(struct cpu *cpu)
{
    for (unsigned i = 0; i < LARGE_WORDS; i++)
        cpu->large[i] = 0;
    cpu->giant = 0;
    for (unsigned slot = 0; slot < TLB_SLOTS; slot++)
        flush_slot(cpu, slot, true);
    clear_fetched(&cpu->supervisor_fetched);
    cpu->supervisor_context = ++cpu->last_context;
    cpu->supervisor_local = false;
}

void tlb_flush_pcid(struct cpu *cpu, uint16_t pcid)
{
    unsigned slot = find_slot(cpu, pcid);
    if (slot != TLB_SLOTS)
        flush_slot(cpu, slot, false);
    local_pages_went(cpu);
}

/* ---- large pages: every 4 KiB of one may have an entry (Intel SDM vol. 3A § 4.10.4.1) ---- */

enum { REGION_SHIFT = 22, REGION_PAGES = 1 << (REGION_SHIFT - 12), GIANT_SHIFT = 30 };

static uint64_t hash_region(uint64_t linear, unsigned shift)
{
    return (linear >> shift) * UINT64_C(0x9e3779b97f4a7c15) >> 54;
}

static uint64_t giant_bit(uint64_t linear)
{
    return UINT64_C(1) << (hash_region(linear, GIANT_SHIFT) % 64);
}

/* Each half of the addresses has bits of its own: kernels use large pages, and INVLPG for others.
 */
static uint64_t *large_word(struct cpu *cpu, uint64_t linear, uint64_t *ret_bit)
{
    uint64_t hash = hash_region(linear, REGION_SHIFT);
    uint64_t half = (linear >> 63) * (LARGE_WORDS / 2);
    *ret_bit = UINT64_C(1) << (hash % 64);
    return &cpu->large[half + hash / 64 % (LARGE_WORDS / 2)];
}

void tlb_note_large(struct cpu *cpu, uint64_t linear, unsigned shift)
{
    if (shift > REGION_SHIFT) {
        cpu->giant |= giant_bit(linear);
        return;
    }
    uint64_t bit;
    uint64_t *word = large_word(cpu, linear, &bit);
    *word |= bit;
}

static bool is_in_large_page(struct cpu *cpu, uint64_t linear)
{
    uint64_t bit;
    return (*large_word(cpu, linear, &bit) & bit) != 0;
}

static void flush_region(struct tlb *tlb, uint64_t linear)
{
    unsigned first = (unsigned)(linear >> REGION_SHIFT) * (REGION_PAGES / 64) % TLB_WORDS;
    for (unsigned i = 0; i < REGION_PAGES / 64; i++)
        clear_word(tlb, first + i, 0);
}

void tlb_flush_page(struct cpu *cpu, uint64_t linear)
{
    if (cpu->giant & giant_bit(linear)) {
        tlb_flush_all(cpu);
        return;
    }
    bool large = is_in_large_page(cpu, linear);
    forget_near(cpu);
    if (large || was_fetched(&cpu->supervisor_fetched, linear))
        cpu->supervisor_context = ++cpu->last_context;
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        struct tlb *tlb = &cpu->tables[i];
        if (!tlb->used)
            continue;
        if (large)
            flush_region(tlb, linear);
        else
            *tlb_entry(tlb, linear) = (struct tlb_entry){0};
        if (large || was_fetched(&tlb->fetched, linear))
            tlb->context = ++cpu->last_context;
    }
}

static void drop_table_writes(struct tlb *tlb)
{
    for (unsigned i = 0; tlb->used && i < TLB_WORDS; i++) {
        uint64_t filled = tlb->filled[i];
        while (filled != 0)
            tlb->entry[i * 64 + take_lowest(&filled)].write = 0;
    }
}

void tlb_drop_writes(struct cpu *cpu)
{
    forget_near(cpu);
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        drop_table_writes(&cpu->tables[i]);
}
