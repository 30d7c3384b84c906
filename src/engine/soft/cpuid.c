/*
 * Asking the CPUID that cpuid_build.c made: the bits that depend on the processor asking, leaves
 * out of range, and which instructions exist.
 *
 * Live code (see cpu.h, rule 2).
 */
#include "engine/soft/cpuid.h"

#include <Zydis/Zydis.h>

#include "engine/soft/xsave.h"

const struct cpuid_entry *cpuid_find(const struct soft_partition *partition, uint32_t leaf,
                                     uint32_t subleaf)
{
    for (size_t i = 0; i < partition->cpuid_count; i++) {
        const struct cpuid_entry *entry = &partition->cpuid[i];
        if (entry->leaf == leaf && entry->subleaf == subleaf)
            return entry;
    }
    return NULL;
}

/* Leaves whose answer depends on ECX. */
static bool has_subleaves(uint32_t leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f;
}

/* A leaf that does not exist answers as the highest basic one (Intel SDM vol. 2A, CPUID). */
static uint32_t existing_leaf(const struct soft_partition *partition, uint32_t leaf)
{
    if (leaf <= CPUID_MAX_BASIC)
        return leaf;
    if (leaf >= CPUID_EXTENDED && leaf - CPUID_EXTENDED <= CPUID_MAX_EXTENDED)
        return leaf;
    bool hypervisor = leaf >= CPUID_HYPERVISOR && leaf < CPUID_HYPERVISOR_END;
    if (hypervisor && partition->config.hypervisor_leaf_count > 0)
        return leaf;
    return CPUID_MAX_BASIC;
}

static uint32_t area_size(uint64_t xcr0)
{
    return (xcr0 & XSTATE_AVX) ? CPUID_AVX_OFFSET + CPUID_AVX_SIZE : XSAVE_HEADER_END;
}

enum { EAX, EBX, ECX, EDX };
enum { APIC_BASE_ENABLE = 1 << 11 };

static void adjust_for_cpu(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    switch (leaf) {
    case 1:
        ret[EBX] |= (uint32_t)cpu->index << 24;
        if (cpu->cr4 & CR4_OSXSAVE)
            ret[ECX] |= CPUID1_ECX_OSXSAVE;
        if ((atomic_load(&cpu->lapic.base) & APIC_BASE_ENABLE) == 0)
            ret[EDX] &= ~(uint32_t)CPUID1_EDX_APIC;
        break;
    case 0xb:
    case 0x1f:
        ret[ECX] = (ret[ECX] & ~0xffu) | (subleaf & 0xff);
        ret[EDX] = cpu->index;
        break;
    case 0xd:
        if (subleaf <= 1)
            ret[EBX] = area_size(cpu->xcr0);
        break;
    case CPUID_EXTENDED + 1:
        if (!cpu_long(cpu))
            ret[EDX] &= ~(uint32_t)CPUIDX_EDX_SYSCALL;
        break;
    default:
        break;
    }
}

void cpuid_query(struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    leaf = existing_leaf(cpu->partition, leaf);
    const struct cpuid_entry *entry =
        cpuid_find(cpu->partition, leaf, has_subleaves(leaf) ? subleaf : 0);
    ret[EAX] = entry != NULL ? entry->eax : 0;
    ret[EBX] = entry != NULL ? entry->ebx : 0;
    ret[ECX] = entry != NULL ? entry->ecx : 0;
    ret[EDX] = entry != NULL ? entry->edx : 0;
    adjust_for_cpu(cpu, leaf, subleaf, ret);
}

bool xsave_has_xgetbv1(const struct cpu *cpu)
{
    const struct cpuid_entry *entry = cpuid_find(cpu->partition, 0xd, 1);
    return entry != NULL && (entry->eax & CPUIDD1_EAX_XGETBV1) != 0;
}

/* ---- which instructions exist ---- */

enum feature_word {
    WORD_ALWAYS, /* part of every processor that has long mode */
    WORD_1_ECX,
    WORD_7_EBX,
    WORD_7_ECX,
    WORD_71_EAX,
    WORD_D1_EAX,
    WORD_X_ECX,
    WORD_COUNT,
};

struct requirement {
    uint32_t bits; /* all of them */
    bool known;    /* else the engine does not have it */
    uint8_t word;  /* enum feature_word */
    bool avx;      /* and AVX */
};

/* clang-format off */
#define ALWAYS             {.known = true, .word = WORD_ALWAYS}
#define NEEDS(where, what) {.known = true, .word = (where), .bits = (what)}
#define VECTOR(where, what) {.known = true, .word = (where), .bits = (what), .avx = true}
/* clang-format on */

static const struct requirement requirements[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
    [ZYDIS_ISA_SET_I86] = ALWAYS,
    [ZYDIS_ISA_SET_I186] = ALWAYS,
    [ZYDIS_ISA_SET_I286PROTECTED] = ALWAYS,
    [ZYDIS_ISA_SET_I286REAL] = ALWAYS,
    [ZYDIS_ISA_SET_I386] = ALWAYS,
    [ZYDIS_ISA_SET_I486] = ALWAYS,
    [ZYDIS_ISA_SET_I486REAL] = ALWAYS,
    [ZYDIS_ISA_SET_PENTIUMREAL] = ALWAYS,
    [ZYDIS_ISA_SET_PENTIUMMMX] = ALWAYS,
    [ZYDIS_ISA_SET_PPRO] = ALWAYS,
    [ZYDIS_ISA_SET_LONGMODE] = ALWAYS,
    [ZYDIS_ISA_SET_CMOV] = ALWAYS,
    [ZYDIS_ISA_SET_FCMOV] = ALWAYS,
    [ZYDIS_ISA_SET_X87] = ALWAYS,
    [ZYDIS_ISA_SET_FAT_NOP] = ALWAYS,
    [ZYDIS_ISA_SET_PAUSE] = ALWAYS,
    [ZYDIS_ISA_SET_FXSAVE] = ALWAYS,
    [ZYDIS_ISA_SET_FXSAVE64] = ALWAYS,
    [ZYDIS_ISA_SET_SSE] = ALWAYS,
    [ZYDIS_ISA_SET_SSE_PREFETCH] = ALWAYS,
    [ZYDIS_ISA_SET_SSEMXCSR] = ALWAYS,
    [ZYDIS_ISA_SET_SSE2] = ALWAYS,
    [ZYDIS_ISA_SET_SSE2MMX] = ALWAYS,
    [ZYDIS_ISA_SET_CLFSH] = ALWAYS,
    [ZYDIS_ISA_SET_LAHF] = ALWAYS,
    [ZYDIS_ISA_SET_RDPMC] = ALWAYS,
    [ZYDIS_ISA_SET_RDTSCP] = ALWAYS,
    [ZYDIS_ISA_SET_PREFETCH_NOP] = ALWAYS,
    [ZYDIS_ISA_SET_PREFETCHWT1] = ALWAYS, /* a hint among the PREFETCHW group */
    [ZYDIS_ISA_SET_SSE3] = NEEDS(WORD_1_ECX, CPUID1_ECX_SSE3),
    [ZYDIS_ISA_SET_SSE3X87] = NEEDS(WORD_1_ECX, CPUID1_ECX_SSE3),
    [ZYDIS_ISA_SET_SSSE3] = NEEDS(WORD_1_ECX, CPUID1_ECX_SSSE3),
    [ZYDIS_ISA_SET_SSSE3MMX] = NEEDS(WORD_1_ECX, CPUID1_ECX_SSSE3),
    [ZYDIS_ISA_SET_SSE4] = NEEDS(WORD_1_ECX, CPUID1_ECX_SSE41),
    [ZYDIS_ISA_SET_SSE42] = NEEDS(WORD_1_ECX, CPUID1_ECX_SSE42),
    [ZYDIS_ISA_SET_POPCNT] = NEEDS(WORD_1_ECX, CPUID1_ECX_POPCNT),
    [ZYDIS_ISA_SET_CMPXCHG16B] = NEEDS(WORD_1_ECX, CPUID1_ECX_CX16),
    [ZYDIS_ISA_SET_MOVBE] = NEEDS(WORD_1_ECX, CPUID1_ECX_MOVBE),
    [ZYDIS_ISA_SET_AES] = NEEDS(WORD_1_ECX, CPUID1_ECX_AES),
    [ZYDIS_ISA_SET_PCLMULQDQ] = NEEDS(WORD_1_ECX, CPUID1_ECX_PCLMULQDQ),
    [ZYDIS_ISA_SET_RDRAND] = NEEDS(WORD_1_ECX, CPUID1_ECX_RDRAND),
    [ZYDIS_ISA_SET_XSAVE] = NEEDS(WORD_1_ECX, CPUID1_ECX_XSAVE),
    [ZYDIS_ISA_SET_XSAVEOPT] = NEEDS(WORD_D1_EAX, CPUIDD1_EAX_XSAVEOPT),
    [ZYDIS_ISA_SET_XSAVEC] = NEEDS(WORD_D1_EAX, CPUIDD1_EAX_XSAVEC),
    [ZYDIS_ISA_SET_AVX] = NEEDS(WORD_1_ECX, CPUID1_ECX_AVX),
    [ZYDIS_ISA_SET_AVXAES] = VECTOR(WORD_1_ECX, CPUID1_ECX_AES),
    [ZYDIS_ISA_SET_F16C] = VECTOR(WORD_1_ECX, CPUID1_ECX_F16C),
    [ZYDIS_ISA_SET_FMA] = VECTOR(WORD_1_ECX, CPUID1_ECX_FMA),
    [ZYDIS_ISA_SET_AVX2] = VECTOR(WORD_7_EBX, CPUID7_EBX_AVX2),
    [ZYDIS_ISA_SET_AVX2GATHER] = VECTOR(WORD_7_EBX, CPUID7_EBX_AVX2),
    [ZYDIS_ISA_SET_AVX_GFNI] = VECTOR(WORD_7_ECX, CPUID7_ECX_GFNI),
    [ZYDIS_ISA_SET_VAES] = VECTOR(WORD_7_ECX, CPUID7_ECX_VAES),
    [ZYDIS_ISA_SET_VPCLMULQDQ] = VECTOR(WORD_7_ECX, CPUID7_ECX_VPCLMULQDQ),
    [ZYDIS_ISA_SET_AVX_VNNI] = VECTOR(WORD_71_EAX, CPUID71_EAX_AVX_VNNI),
    [ZYDIS_ISA_SET_RDWRFSGS] = NEEDS(WORD_7_EBX, CPUID7_EBX_FSGSBASE),
    [ZYDIS_ISA_SET_BMI1] = NEEDS(WORD_7_EBX, CPUID7_EBX_BMI1),
    [ZYDIS_ISA_SET_BMI2] = NEEDS(WORD_7_EBX, CPUID7_EBX_BMI2),
    [ZYDIS_ISA_SET_INVPCID] = NEEDS(WORD_7_EBX, CPUID7_EBX_INVPCID),
    [ZYDIS_ISA_SET_RDSEED] = NEEDS(WORD_7_EBX, CPUID7_EBX_RDSEED),
    [ZYDIS_ISA_SET_ADOX_ADCX] = NEEDS(WORD_7_EBX, CPUID7_EBX_ADX),
    [ZYDIS_ISA_SET_SMAP] = NEEDS(WORD_7_EBX, CPUID7_EBX_SMAP),
    [ZYDIS_ISA_SET_CLFLUSHOPT] = NEEDS(WORD_7_EBX, CPUID7_EBX_CLFLUSHOPT),
    [ZYDIS_ISA_SET_CLWB] = NEEDS(WORD_7_EBX, CPUID7_EBX_CLWB),
    [ZYDIS_ISA_SET_SHA] = NEEDS(WORD_7_EBX, CPUID7_EBX_SHA),
    [ZYDIS_ISA_SET_GFNI] = NEEDS(WORD_7_ECX, CPUID7_ECX_GFNI),
    [ZYDIS_ISA_SET_RDPID] = NEEDS(WORD_7_ECX, CPUID7_ECX_RDPID),
    [ZYDIS_ISA_SET_LZCNT] = NEEDS(WORD_X_ECX, CPUIDX_ECX_LZCNT),
};

static uint32_t feature_word(const struct soft_partition *partition, enum feature_word word)
{
    static const struct {
        uint32_t leaf, subleaf;
        unsigned reg;
    } place[WORD_COUNT] = {
        [WORD_1_ECX] = {1, 0, ECX},    [WORD_7_EBX] = {7, 0, EBX},
        [WORD_7_ECX] = {7, 0, ECX},    [WORD_71_EAX] = {7, 1, EAX},
        [WORD_D1_EAX] = {0xd, 1, EAX}, [WORD_X_ECX] = {CPUID_EXTENDED + 1, 0, ECX},
    };
    const struct cpuid_entry *entry = cpuid_find(partition, place[word].leaf, place[word].subleaf);
    if (entry == NULL)
        return 0;
    const uint32_t words[] = {entry->eax, entry->ebx, entry->ecx, entry->edx};
    return words[place[word].reg];
}

bool cpuid_shows(const struct soft_partition *partition, unsigned zydis_isa_set)
{
    if (zydis_isa_set > ZYDIS_ISA_SET_MAX_VALUE || !requirements[zydis_isa_set].known)
        return false;
    const struct requirement *need = &requirements[zydis_isa_set];
    if (need->word == WORD_ALWAYS)
        return true;
    if (need->avx && (feature_word(partition, WORD_1_ECX) & CPUID1_ECX_AVX) == 0)
        return false;
    return (feature_word(partition, (enum feature_word)need->word) & need->bits) == need->bits;
}
