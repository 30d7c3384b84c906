/*
 * The page walker. One loop serves the three formats: what differs between legacy 32-bit, PAE and
 * 4-level paging is the entry size, the bits a level indexes, and the reserved bits.
 */
#include "engine/soft/paging.h"

#include "engine/soft/memory.h"
#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"

enum {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
};
#define PTE_XD      (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)

/* Page-fault error code, Intel SDM vol. 3A § 4.7. */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

enum format { FORMAT_LEGACY, FORMAT_PAE, FORMAT_LONG };

struct walk {
    struct cpu *cpu;
    uint64_t linear;
    unsigned access;
    enum format format;
    int level;      /* 1 = page table … 4 = PML4 */
    uint64_t table; /* physical address of the table at `level` */
    uint64_t entry; /* last one read */
    uint64_t entry_gpa;
    uint64_t size; /* of the page found */
    struct walked_page to;
};

static bool is_user_access(const struct walk *walk)
{
    if (walk->access & ACCESS_SYSTEM)
        return false;
    return walk->cpu->cpl == 3 || (walk->access & ACCESS_USER) != 0;
}

static int page_fault(struct walk *walk, uint32_t code)
{
    const struct cpu *cpu = walk->cpu;
    if (walk->access & ACCESS_WRITE)
        code |= PF_W;
    if (is_user_access(walk))
        code |= PF_U;
    bool nx_or_smep =
        ((cpu->cr4 & CR4_PAE) != 0 && (cpu->efer & EFER_NXE) != 0) || (cpu->cr4 & CR4_SMEP) != 0;
    if ((walk->access & ACCESS_FETCH) && nx_or_smep)
        code |= PF_I;
    walk->cpu->fault = (struct fault){
        .vector = VECTOR_PF, .has_code = true, .code = code, .address = walk->linear};
    return STEP_FAULT;
}

static unsigned entry_size(const struct walk *walk)
{
    return walk->format == FORMAT_LEGACY ? 4 : 8;
}

static unsigned level_shift(const struct walk *walk)
{
    unsigned bits = walk->format == FORMAT_LEGACY ? 10 : 9;
    return 12 + bits * (unsigned)(walk->level - 1);
}

/* Outside RAM a table reads as all ones, as an unclaimed bus address does. */
static uint64_t load_entry(const struct walk *walk)
{
    const struct soft_partition *partition = walk->cpu->partition;
    if (!mem_is_ram(partition->mem, walk->entry_gpa, entry_size(walk)))
        return walk->format == FORMAT_LEGACY ? UINT32_MAX : UINT64_MAX;
    const uint8_t *host = partition->ram + walk->entry_gpa;
    if (walk->format == FORMAT_LEGACY)
        return __atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_ACQUIRE);
    return __atomic_load_n((const uint64_t *)(const void *)host, __ATOMIC_ACQUIRE);
}

/* Set bits by locked compare-exchange; false when another processor changed the entry meanwhile. */
static bool set_entry_bits(struct walk *walk, uint64_t bits)
{
    struct soft_partition *partition = walk->cpu->partition;
    if ((walk->entry & bits) == bits)
        return true;
    if (!mem_is_ram(partition->mem, walk->entry_gpa, entry_size(walk)))
        return true;
    uint8_t *host = partition->ram + walk->entry_gpa;
    uint64_t wanted = walk->entry | bits;
    bool done;
    if (walk->format == FORMAT_LEGACY) {
        uint32_t old = (uint32_t)walk->entry;
        done = __atomic_compare_exchange_n((uint32_t *)(void *)host, &old, (uint32_t)wanted, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else {
        uint64_t old = walk->entry;
        done = __atomic_compare_exchange_n((uint64_t *)(void *)host, &old, wanted, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    if (done) {
        walk->entry = wanted;
        partition_mark_dirty(partition, walk->entry_gpa);
    }
    return done;
}

static bool is_leaf(const struct walk *walk)
{
    if (walk->level == 1)
        return true;
    if ((walk->entry & PTE_PS) == 0)
        return false;
    if (walk->format == FORMAT_LEGACY)
        return (walk->cpu->cr4 & CR4_PSE) != 0;
    return walk->level == 2 || (walk->level == 3 && walk->format == FORMAT_LONG);
}

/* Bits that must be zero in the current entry, Intel SDM vol. 3A tables 4-4 to 4-20. */
static uint64_t reserved_bits(const struct walk *walk)
{
    const struct cpu *cpu = walk->cpu;
    uint64_t high = ~((UINT64_C(1) << cpu->partition->physical_bits) - 1);
    if (walk->format == FORMAT_LEGACY) {
        /* 4 MiB pages with PSE-36: bits 13-20 carry address bits 32-39; bit 21 is reserved. */
        return is_leaf(walk) && walk->level == 2 ? UINT64_C(1) << 21 : 0;
    }
    uint64_t reserved = high & (walk->format == FORMAT_PAE ? ~UINT64_C(0) : PTE_ADDRESS);
    reserved &= ~PTE_XD;
    if ((cpu->efer & EFER_NXE) == 0)
        reserved |= PTE_XD;
    if (walk->level == 4)
        reserved |= PTE_PS;
    if (walk->level > 1 && is_leaf(walk))
        reserved |= ((UINT64_C(1) << level_shift(walk)) - 1) & ~UINT64_C(0x1fff);
    return reserved;
}

static void begin(struct walk *walk)
{
    struct cpu *cpu = walk->cpu;
    walk->to = (struct walked_page){.user = true, .writable = true, .executable = true};
    if (walk->format == FORMAT_LONG) {
        walk->level = 4;
        walk->table = cpu->cr3 & PTE_ADDRESS;
    } else if (walk->format == FORMAT_PAE) {
        walk->level = 2;
        walk->table = cpu->pae_pdpte[(walk->linear >> 30) & 3] & PTE_ADDRESS;
    } else {
        walk->level = 2;
        walk->table = cpu->cr3 & UINT64_C(0xfffff000);
    }
}

static uint64_t leaf_base(const struct walk *walk)
{
    if (walk->format == FORMAT_LEGACY && walk->level == 2)
        return (walk->entry & UINT64_C(0xffc00000)) | ((walk->entry >> 13) & 0xff) << 32;
    uint64_t mask = walk->format == FORMAT_LEGACY ? UINT64_C(0xfffff000) : PTE_ADDRESS;
    return walk->entry & mask & ~(walk->size - 1);
}

/* Read the entry of the current level: 1 = leaf found, 0 = went one level down, < 0 = fault taken.
 */
static int descend(struct walk *walk)
{
    unsigned bits = walk->format == FORMAT_LEGACY ? 10 : 9;
    uint64_t index = (walk->linear >> level_shift(walk)) & ((UINT64_C(1) << bits) - 1);
    walk->entry_gpa = walk->table + index * entry_size(walk);
    walk->entry = load_entry(walk);
    if ((walk->entry & PTE_P) == 0) {
        (void)page_fault(walk, 0);
        return -1;
    }
    if (walk->entry & reserved_bits(walk)) {
        (void)page_fault(walk, PF_P | PF_RSVD);
        return -1;
    }
    walk->to.user &= (walk->entry & PTE_U) != 0;
    walk->to.writable &= (walk->entry & PTE_W) != 0;
    walk->to.executable &= walk->format == FORMAT_LEGACY || (walk->entry & PTE_XD) == 0;
    if (is_leaf(walk)) {
        walk->size = UINT64_C(1) << level_shift(walk);
        return 1;
    }
    return 0;
}

/* Intel SDM vol. 3A § 4.6.1. */
static bool is_allowed(const struct walk *walk)
{
    const struct cpu *cpu = walk->cpu;
    const struct walked_page *to = &walk->to;
    bool user = is_user_access(walk);
    if (user && !to->user)
        return false;
    if (walk->access & ACCESS_FETCH)
        return to->executable && !(!user && to->user && (cpu->cr4 & CR4_SMEP) != 0);
    bool ac = (cpu->flags & FLAG_AC) != 0 && (walk->access & ACCESS_SYSTEM) == 0;
    if (!user && to->user && (cpu->cr4 & CR4_SMAP) != 0 && !ac)
        return false;
    if (walk->access & ACCESS_WRITE)
        return to->writable || (!user && (cpu->cr0 & CR0_WP) == 0);
    return true;
}

/* 1 = done, 0 = an entry changed under us: walk again, < 0 = fault. */
static int walk_once(struct walk *walk)
{
    uint64_t path[4];
    uint64_t gpa[4];
    int depth = 0;
    int found = 0;
    for (begin(walk); found == 0; walk->level--) {
        found = descend(walk);
        if (found < 0)
            return -1;
        gpa[depth] = walk->entry_gpa;
        path[depth++] = walk->entry;
        if (found == 1)
            break;
        walk->table =
            walk->entry & (walk->format == FORMAT_LEGACY ? UINT64_C(0xfffff000) : PTE_ADDRESS);
    }
    if (!is_allowed(walk)) {
        (void)page_fault(walk, PF_P);
        return -1;
    }
    uint64_t base = leaf_base(walk);
    /* Accessed bits only once the access is known to be allowed, leaf last with D. */
    for (int i = 0; i < depth; i++) {
        walk->entry = path[i];
        walk->entry_gpa = gpa[i];
        bool dirty = i == depth - 1 && (walk->access & ACCESS_WRITE) != 0;
        if (!set_entry_bits(walk, dirty ? PTE_A | PTE_D : PTE_A))
            return 0;
    }
    walk->to.dirty = (walk->entry & PTE_D) != 0;
    walk->to.global = (walk->entry & PTE_G) != 0 && (walk->cpu->cr4 & CR4_PGE) != 0;
    walk->to.shift = (uint8_t)level_shift(walk);
    walk->to.gpa = base + (walk->linear & (walk->size - 1));
    return 1;
}

static enum format current_format(const struct cpu *cpu)
{
    if (cpu->efer & EFER_LMA)
        return FORMAT_LONG;
    return (cpu->cr4 & CR4_PAE) ? FORMAT_PAE : FORMAT_LEGACY;
}

int paging_walk(struct cpu *cpu, uint64_t linear, unsigned access, struct walked_page *ret)
{
    if ((cpu->cr0 & CR0_PG) == 0) {
        *ret = (struct walked_page){.gpa = linear,
                                    .user = true,
                                    .writable = true,
                                    .executable = true,
                                    .shift = 12,
                                    .dirty = true,
                                    .global = true};
        return STEP_NEXT;
    }
    struct walk walk = {
        .cpu = cpu, .linear = linear, .access = access, .format = current_format(cpu)};
    if (walk.format == FORMAT_PAE && (cpu->pae_pdpte[(linear >> 30) & 3] & PTE_P) == 0)
        return page_fault(&walk, 0);
    for (;;) {
        int result = walk_once(&walk);
        if (result < 0)
            return STEP_FAULT;
        if (result > 0)
            break;
    }
    *ret = walk.to;
    return STEP_NEXT;
}

int paging_load_pdptes(struct cpu *cpu, uint64_t cr3)
{
    uint64_t pdpte[4];
    uint64_t high = ~((UINT64_C(1) << cpu->partition->physical_bits) - 1);
    uint64_t table = cr3 & UINT64_C(0xffffffe0);
    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = UINT64_MAX;
        if (mem_is_ram(cpu->partition->mem, table + i * 8, 8))
            pdpte[i] = __atomic_load_n(
                (const uint64_t *)(const void *)(cpu->partition->ram + table + i * 8),
                __ATOMIC_ACQUIRE);
        /* Table 4-8: bits 1, 2, 5-8 and those above MAXPHYADDR. */
        if ((pdpte[i] & PTE_P) != 0 && (pdpte[i] & (high | UINT64_C(0x1e6))) != 0)
            return fault_code(cpu, VECTOR_GP, 0);
    }
    for (unsigned i = 0; i < 4; i++)
        cpu->pae_pdpte[i] = pdpte[i];
    return STEP_NEXT;
}
