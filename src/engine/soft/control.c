/*
 * CR0, CR3, CR4 and EFER: what may be written, and what changes with it.
 *
 * 1. Every check comes before the first change.
 * 2. Flushing follows Intel SDM vol. 3A § 4.10.4.1; where TLB entries remember a permission that
 * the register decides (WP, SMEP, SMAP, NXE), a change of it flushes as well.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/paging.h"
#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"

#define CR0_WRITABLE                                                                            \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | (uint64_t)CR0_NW | CR0_CD | \
     CR0_PG)
#define CR3_NO_FLUSH (UINT64_C(1) << 63)

enum { PCID_MASK = 0xfff };

static int refuse(struct cpu *cpu)
{
    return fault_code(cpu, VECTOR_GP, 0);
}

/* PAE paging, as it would be with these values. */
static bool is_pae(const struct cpu *cpu, uint64_t cr0, uint64_t cr4)
{
    return (cr0 & CR0_PG) != 0 && (cr4 & CR4_PAE) != 0 && (cpu->efer & EFER_LME) == 0;
}

static uint16_t current_pcid(const struct cpu *cpu)
{
    return (cpu->cr4 & CR4_PCIDE) ? (uint16_t)(cpu->cr3 & PCID_MASK) : 0;
}

/* ---- CR0 ---- */

static bool cr0_is_possible(uint64_t value)
{
    if (value >> 32 != 0)
        return false;
    if ((value & CR0_PG) != 0 && (value & CR0_PE) == 0)
        return false;
    return (value & CR0_NW) == 0 || (value & CR0_CD) != 0;
}

/* Paging goes on: what IA-32e mode needs, Intel SDM vol. 3A § 9.8.5. */
static bool may_start_paging(const struct cpu *cpu)
{
    unsigned tss = cpu->segment[SEGMENT_TR].attributes & SEGMENT_TYPE;
    if ((cpu->efer & EFER_LME) == 0)
        return true;
    if ((cpu->cr4 & CR4_PAE) == 0 || (cpu->segment[SEGMENT_CS].attributes & SEGMENT_L) != 0)
        return false;
    return tss != SYSTEM_TSS16 && tss != (SYSTEM_TSS16 | TYPE_TSS_BUSY);
}

static bool may_stop_paging(const struct cpu *cpu)
{
    return !cpu_long(cpu) && (cpu->cr4 & CR4_PCIDE) == 0;
}

int control_write_cr0(struct cpu *cpu, uint64_t value)
{
    if (!cr0_is_possible(value))
        return refuse(cpu);
    value = (value & CR0_WRITABLE) | CR0_ET;
    uint64_t changed = cpu->cr0 ^ value;
    bool starts = (changed & value & CR0_PG) != 0;
    bool stops = (changed & cpu->cr0 & CR0_PG) != 0;
    if ((starts && !may_start_paging(cpu)) || (stops && !may_stop_paging(cpu)))
        return refuse(cpu);
    if (is_pae(cpu, value, cpu->cr4) && (changed & (CR0_PG | CR0_CD | (uint64_t)CR0_NW)) != 0) {
        int step = paging_load_pdptes(cpu, cpu->cr3);
        if (step != STEP_NEXT)
            return step;
    }
    cpu->cr0 = value;
    if (starts && (cpu->efer & EFER_LME) != 0)
        cpu->efer |= EFER_LMA;
    if (stops)
        cpu->efer &= ~(uint64_t)EFER_LMA;
    if (changed & (CR0_PG | CR0_WP | CR0_PE))
        tlb_flush_all(cpu);
    cpu_mode_changed(cpu);
    return STEP_NEXT;
}

/* ---- CR3 ---- */

int control_write_cr3(struct cpu *cpu, uint64_t value)
{
    bool pcid = (cpu->cr4 & CR4_PCIDE) != 0;
    bool keep = pcid && (value & CR3_NO_FLUSH) != 0;
    if (pcid)
        value &= ~CR3_NO_FLUSH;
    if (cpu_ia32e(cpu) && value >> cpu->partition->physical_bits != 0)
        return refuse(cpu);
    if (is_pae(cpu, cpu->cr0, cpu->cr4)) {
        int step = paging_load_pdptes(cpu, value);
        if (step != STEP_NEXT)
            return step;
    }
    cpu->cr3 = value;
    tlb_switch(cpu, current_pcid(cpu), keep);
    return STEP_NEXT;
}

/* ---- CR4 ---- */

/* A CR4 bit exists when CPUID shows the feature that it turns on. */
struct cr4_feature {
    uint32_t bit;
    uint8_t leaf; /* 1 or 7 */
    uint8_t word; /* 0..3: EAX, EBX, ECX, EDX */
    uint8_t cpuid_bit;
};

static const struct cr4_feature cr4_features[] = {
    {CR4_TSD, 1, 3, 4},      {CR4_DE, 1, 3, 2},          {CR4_PSE, 1, 3, 3},
    {CR4_PAE, 1, 3, 6},      {CR4_MCE, 1, 3, 7},         {CR4_PGE, 1, 3, 13},
    {CR4_OSFXSR, 1, 3, 24},  {CR4_OSXMMEXCPT, 1, 3, 25}, {CR4_PCIDE, 1, 2, 17},
    {CR4_OSXSAVE, 1, 2, 26}, {CR4_FSGSBASE, 7, 1, 0},    {CR4_SMEP, 7, 1, 7},
    {CR4_SMAP, 7, 1, 20},    {CR4_UMIP, 7, 2, 2},
};

/* Virtual-8086 extensions are never there; RDPMC's bit always is. */
static uint64_t cr4_possible(struct cpu *cpu)
{
    uint32_t one[4];
    uint32_t seven[4];
    uint64_t possible = CR4_PCE;
    cpuid_query(cpu, 1, 0, one);
    cpuid_query(cpu, 7, 0, seven);
    for (size_t i = 0; i < sizeof(cr4_features) / sizeof(cr4_features[0]); i++) {
        const struct cr4_feature *feature = &cr4_features[i];
        const uint32_t *words = feature->leaf == 1 ? one : seven;
        if ((words[feature->word] >> feature->cpuid_bit) & 1)
            possible |= feature->bit;
    }
    return possible;
}

static bool cr4_is_possible(struct cpu *cpu, uint64_t value)
{
    uint64_t set = value & ~cpu->cr4;
    uint64_t cleared = cpu->cr4 & ~value;
    if (value & ~cr4_possible(cpu))
        return false;
    if ((cleared & CR4_PAE) && cpu_ia32e(cpu))
        return false;
    return (set & CR4_PCIDE) == 0 || (cpu_ia32e(cpu) && (cpu->cr3 & PCID_MASK) == 0);
}

int control_write_cr4(struct cpu *cpu, uint64_t value)
{
    enum { PDPTE_BITS = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP };
    if (!cr4_is_possible(cpu, value))
        return refuse(cpu);
    uint64_t changed = cpu->cr4 ^ value;
    if (is_pae(cpu, cpu->cr0, value) && (changed & PDPTE_BITS) != 0) {
        int step = paging_load_pdptes(cpu, cpu->cr3);
        if (step != STEP_NEXT)
            return step;
    }
    cpu->cr4 = value;
    if (changed & (PDPTE_BITS | CR4_PCIDE | CR4_SMAP))
        tlb_flush_all(cpu);
    if (changed & CR4_PCIDE)
        tlb_switch(cpu, current_pcid(cpu), false);
    cpu_mode_changed(cpu);
    return STEP_NEXT;
}

/* ---- EFER ---- */

static uint64_t efer_possible(struct cpu *cpu)
{
    enum { EDX_NX = 1 << 20, EDX_LONG = 1 << 29 };
    uint32_t words[4];
    uint64_t possible = 0;
    cpuid_query(cpu, 0x80000001, 0, words);
    if (words[3] & EDX_NX)
        possible |= EFER_NXE;
    /* SYSCALL comes with long mode; CPUID shows its bit in 64-bit code only. */
    if (words[3] & EDX_LONG)
        possible |= EFER_LME | EFER_LMA | EFER_SCE;
    return possible;
}

int control_write_efer(struct cpu *cpu, uint64_t value)
{
    if (value & ~efer_possible(cpu))
        return refuse(cpu);
    uint64_t changed = cpu->efer ^ value;
    if ((changed & EFER_LME) && (cpu->cr0 & CR0_PG))
        return refuse(cpu);
    /* LMA is the processor's to set. */
    cpu->efer = (value & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
    if (changed & EFER_NXE)
        tlb_flush_all(cpu);
    cpu_mode_changed(cpu);
    return STEP_NEXT;
}
