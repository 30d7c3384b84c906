/*
 * Software TLB: linear page → host page, one table a PCID slot and view.
 *
 * 1. An entry whose tag matches says: this access, by code of this view, is allowed, needs no A/D
 *    update, is RAM, and its bytes are at linear + delta. All else goes the slow way (memory.c).
 * 2. The write tag is never set for a page that holds translated code, is logged for dirt and still
 *    clean, or carries a data breakpoint; no tag is set for a page with a read breakpoint.
 *    Large pages have an entry for each 4 KiB used; cpu->large tells INVLPG where to look for them.
 * 3. Entries may vanish at any time; they must not survive what the architecture says flushes them.
 *    Those of global pages stay when an address space is forgotten: the kernel's, at each fork
 *    (Intel SDM vol. 3A § 4.10.2.4).
 * 4. cpu->near is a part of cpu->tlb and goes with whatever goes there, or sooner.
 */
#ifndef SOFT_TLB_H
#define SOFT_TLB_H

#include "engine/soft/cpu.h"

enum {
    TLB_ENTRIES = 4096,
    TLB_SLOTS = 8,
    TLB_WORDS = TLB_ENTRIES / 64,
};

/*
 * Who looks: CPL 3; CPL 3 with alignment checks (its data tags are never set, so that every access
 * goes the slow way); supervisor with user pages readable (no SMAP, or AC set); supervisor without.
 */
enum tlb_view { VIEW_USER, VIEW_USER_ALIGNED, VIEW_SUPERVISOR, VIEW_SUPERVISOR_SMAP, TLB_VIEWS };

#define PAGE_MASK (~UINT64_C(0xfff))

struct tlb_entry {
    /* The address of the last byte of the linear page, or 0. */
    uint64_t read, write, fetch;
    uint64_t delta; /* host address - linear address */
};

struct tlb {
    struct tlb_entry entry[TLB_ENTRIES];
    uint64_t context;             /* of user code: see tlb_code_context */
    struct fetched_pages fetched; /* since `context` began, at least; of user views */
    bool used;                    /* some bit of `filled` is set */
    uint64_t filled[TLB_WORDS];   /* a bit for each entry that may not be empty */
    uint64_t global[TLB_WORDS];   /* … that was filled from a global page */
};

static inline struct tlb_entry *tlb_entry(struct tlb *tlb, uint64_t linear)
{
    return &tlb->entry[(linear >> 12) % TLB_ENTRIES];
}

/* The tag an access of `size` bytes needs; it matches no entry when the access leaves its page. */
static inline uint64_t tlb_tag(uint64_t linear, unsigned size)
{
    return (linear + size - 1) | ~PAGE_MASK;
}

int tlb_create(struct cpu *cpu);
void tlb_destroy(struct cpu *cpu);
/* Point cpu->tlb at the table of the current slot and view. */
void tlb_select(struct cpu *cpu);
/* CR3 was loaded with this PCID (0 without CR4.PCIDE); `keep` = its entries may stay. */
void tlb_switch(struct cpu *cpu, uint16_t pcid, bool keep);
void tlb_flush_all(struct cpu *cpu);
void tlb_flush_pcid(struct cpu *cpu, uint16_t pcid);
/* The page of `linear`, whatever its size, in all slots and views. */
void tlb_flush_page(struct cpu *cpu, uint64_t linear);
/*
 * Names the mapping of code that the current privilege sees: what was found for a linear address
 * under this number is still there as long as the number is the same. For supervisor code it is one
 * number whatever CR3 holds, as long as all of it was in global pages.
 */
uint64_t tlb_code_context(const struct cpu *cpu);
/* The entry of a page that lies at linear + delta, without rights if it is new. */
struct tlb_entry *tlb_take(struct tlb *tlb, uint64_t linear, uint64_t delta, bool global);
/* An entry was filled for a fetch. */
void tlb_note_fetch(struct cpu *cpu, uint64_t linear, bool global);
/* An entry was filled from a page of 2^shift bytes, more than 4 KiB. */
void tlb_note_large(struct cpu *cpu, uint64_t linear, unsigned shift);
/* Forget every write tag: pages became code pages, or dirty logging restarted. */
void tlb_drop_writes(struct cpu *cpu);

#endif
