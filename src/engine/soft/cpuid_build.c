/*
 * What the guest's CPUID shows: the level asked for, limited by what the host's processor has (for
 * instructions that run on it) and by what the engine does (for those it executes itself).
 *
 * Source: Intel SDM vol. 2A, CPUID. Vendor and signature are Intel's, since the engine follows
 * Intel where the two makers differ; the signature is of a part that none of the known flaws
 * concern.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine/soft/cpuid.h"
#include "engine/soft/xsave.h"

enum {
    SIGNATURE = 0x806f8, /* family 6, model 0x8f, stepping 8 */
    LINEAR_BITS = 48,
    MAX_PHYSICAL_BITS = 46,
};

/* Feature words that depend on host and level. */
struct features {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf71_eax, extended_ecx;
};

/* Executed by the host's units; level by level. */
static const struct features native_v2 = {
    .leaf1_ecx = CPUID1_ECX_SSE3 | CPUID1_ECX_SSSE3 | CPUID1_ECX_CX16 | CPUID1_ECX_SSE41 |
                 CPUID1_ECX_SSE42 | CPUID1_ECX_POPCNT | CPUID1_ECX_RDRAND,
    .leaf7_ebx = CPUID7_EBX_RDSEED,
};

static const struct features native_v3 = {
    .leaf1_ecx = CPUID1_ECX_PCLMULQDQ | CPUID1_ECX_FMA | CPUID1_ECX_MOVBE | CPUID1_ECX_AES |
                 CPUID1_ECX_AVX | CPUID1_ECX_F16C,
    .leaf7_ebx =
        CPUID7_EBX_BMI1 | CPUID7_EBX_AVX2 | CPUID7_EBX_BMI2 | CPUID7_EBX_ADX | CPUID7_EBX_SHA,
    .extended_ecx = CPUIDX_ECX_LZCNT,
};

static const struct features native_host = {
    .leaf7_ecx = CPUID7_ECX_GFNI | CPUID7_ECX_VAES | CPUID7_ECX_VPCLMULQDQ,
    .leaf71_eax = CPUID71_EAX_AVX_VNNI,
};

/* Executed by the engine, whatever the host has. */
static const struct features engine_all = {
    .leaf1_ecx = CPUID1_ECX_PCID | CPUID1_ECX_X2APIC | CPUID1_ECX_TSC_DEADLINE | CPUID1_ECX_XSAVE,
    .leaf7_ebx = CPUID7_EBX_FSGSBASE | CPUID7_EBX_TSC_ADJUST | CPUID7_EBX_SMEP | CPUID7_EBX_ERMS |
                 CPUID7_EBX_INVPCID | CPUID7_EBX_NO_FCS | CPUID7_EBX_CLFLUSHOPT,
    .leaf7_ecx = CPUID7_ECX_UMIP | CPUID7_ECX_RDPID,
    .extended_ecx = CPUIDX_ECX_LAHF | CPUIDX_ECX_PREFETCHW,
};

/* Makes guests slower rather than faster: only for those who ask for everything. */
static const struct features engine_host = {.leaf7_ebx = CPUID7_EBX_SMAP | CPUID7_EBX_CLWB};

static void add(struct features *to, const struct features *more)
{
    to->leaf1_ecx |= more->leaf1_ecx;
    to->leaf7_ebx |= more->leaf7_ebx;
    to->leaf7_ecx |= more->leaf7_ecx;
    to->leaf71_eax |= more->leaf71_eax;
    to->extended_ecx |= more->extended_ecx;
}

static void mask(struct features *to, const struct features *with)
{
    to->leaf1_ecx &= with->leaf1_ecx;
    to->leaf7_ebx &= with->leaf7_ebx;
    to->leaf7_ecx &= with->leaf7_ecx;
    to->leaf71_eax &= with->leaf71_eax;
    to->extended_ecx &= with->extended_ecx;
}

/* ---- the host ---- */

struct host {
    struct features features;
    uint64_t xcr0; /* that its operating system enabled */
    unsigned physical_bits;
};

static uint64_t host_xcr0(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void look_at_host(struct host *ret)
{
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
    memset(ret, 0, sizeof(*ret));
    __cpuid(1, eax, ebx, ecx, edx);
    ret->features.leaf1_ecx = ecx;
    if (ecx & CPUID1_ECX_OSXSAVE)
        ret->xcr0 = host_xcr0();
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        ret->features.leaf7_ebx = ebx;
        ret->features.leaf7_ecx = ecx;
    }
    if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx))
        ret->features.leaf71_eax = eax;
    if (__get_cpuid(CPUID_EXTENDED + 1, &eax, &ebx, &ecx, &edx))
        ret->features.extended_ecx = ecx;
    ret->physical_bits = 36;
    if (__get_cpuid(CPUID_EXTENDED + 8, &eax, &ebx, &ecx, &edx))
        ret->physical_bits = eax & 0xff;
}

/* AVX state must be where the area of struct cpu has it. */
static bool has_avx_state(const struct host *host)
{
    uint32_t size;
    uint32_t offset;
    uint32_t ecx;
    uint32_t edx;
    enum { AVX_STATES = XSTATE_SSE | XSTATE_AVX };
    return (host->xcr0 & AVX_STATES) == AVX_STATES &&
           __get_cpuid_count(0xd, 2, &size, &offset, &ecx, &edx) && size == CPUID_AVX_SIZE &&
           offset == CPUID_AVX_OFFSET;
}

static void without_avx(struct features *features)
{
    features->leaf1_ecx &= ~(uint32_t)(CPUID1_ECX_AVX | CPUID1_ECX_FMA | CPUID1_ECX_F16C);
    features->leaf7_ebx &= ~(uint32_t)CPUID7_EBX_AVX2;
    features->leaf7_ecx &= ~(uint32_t)(CPUID7_ECX_VAES | CPUID7_ECX_VPCLMULQDQ);
    features->leaf71_eax &= ~(uint32_t)CPUID71_EAX_AVX_VNNI;
}

static void choose_features(enum engine_cpu_level level, const struct host *host,
                            struct features *ret)
{
    *ret = native_v2;
    if (level != ENGINE_CPU_V2)
        add(ret, &native_v3);
    if (level == ENGINE_CPU_HOST)
        add(ret, &native_host);
    mask(ret, &host->features);
    if ((ret->leaf1_ecx & CPUID1_ECX_AVX) == 0 || !has_avx_state(host))
        without_avx(ret);
    add(ret, &engine_all);
    if (level == ENGINE_CPU_HOST)
        add(ret, &engine_host);
}

/* ---- the leaves ---- */

static void put(struct soft_partition *partition, struct cpuid_entry entry)
{
    if (partition->cpuid_count < SOFT_MAX_CPUID)
        partition->cpuid[partition->cpuid_count++] = entry;
}

/* Bits that number `count` things. */
static unsigned id_bits(unsigned count)
{
    unsigned bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

static uint32_t word(const char *text)
{
    uint32_t value;
    memcpy(&value, text, sizeof(value));
    return value;
}

static void put_identity(struct soft_partition *partition, const struct features *features)
{
    unsigned logical = 1u << id_bits(partition->config.vcpu_count);
    uint32_t ecx = features->leaf1_ecx;
    uint32_t edx = CPUID1_EDX_FPU | CPUID1_EDX_DE | CPUID1_EDX_PSE | CPUID1_EDX_TSC |
                   CPUID1_EDX_MSR | CPUID1_EDX_PAE | CPUID1_EDX_MCE | CPUID1_EDX_CX8 |
                   CPUID1_EDX_APIC | CPUID1_EDX_SEP | CPUID1_EDX_MTRR | CPUID1_EDX_PGE |
                   CPUID1_EDX_MCA | CPUID1_EDX_CMOV | CPUID1_EDX_PAT | CPUID1_EDX_PSE36 |
                   CPUID1_EDX_CLFSH | CPUID1_EDX_MMX | CPUID1_EDX_FXSR | CPUID1_EDX_SSE |
                   CPUID1_EDX_SSE2 | CPUID1_EDX_SS;
    if (partition->config.vcpu_count > 1)
        edx |= CPUID1_EDX_HTT;
    if (partition->config.hypervisor_leaf_count > 0)
        ecx |= CPUID1_ECX_HYPERVISOR;
    put(partition, (struct cpuid_entry){.leaf = 0,
                                        .eax = CPUID_MAX_BASIC,
                                        .ebx = word("Genu"),
                                        .edx = word("ineI"),
                                        .ecx = word("ntel")});
    put(partition, (struct cpuid_entry){.leaf = 1,
                                        .eax = SIGNATURE,
                                        .ebx = logical << 16 | 8 << 8 /* CLFLUSH: 8 × 8 bytes */,
                                        .ecx = ecx,
                                        .edx = edx});
    /* "Ask leaf 4 and leaf 0x18"; 64-byte prefetch. */
    put(partition, (struct cpuid_entry){.leaf = 2, .eax = 0x00feff01, .edx = 0xf0});
}

enum cache_type { CACHE_DATA = 1, CACHE_CODE = 2, CACHE_UNIFIED = 3 };

static void put_caches(struct soft_partition *partition)
{
    static const struct {
        enum cache_type type;
        unsigned level, ways, sets;
        bool shared;
    } caches[] = {
        {CACHE_DATA, 1, 12, 64, false},
        {CACHE_CODE, 1, 8, 64, false},
        {CACHE_UNIFIED, 2, 16, 2048, false},
        {CACHE_UNIFIED, 3, 16, 16384, true},
    };
    unsigned ids = 1u << id_bits(partition->config.vcpu_count);
    for (uint32_t i = 0; i < sizeof(caches) / sizeof(caches[0]); i++) {
        unsigned sharing = caches[i].shared ? ids : 1;
        uint32_t eax = (uint32_t)caches[i].type | caches[i].level << 5 | 1u << 8 |
                       (sharing - 1) << 14 | (ids - 1) << 26;
        put(partition, (struct cpuid_entry){.leaf = 4,
                                            .subleaf = i,
                                            .eax = eax,
                                            .ebx = (caches[i].ways - 1) << 22 | (64 - 1),
                                            .ecx = caches[i].sets - 1});
    }
}

static void put_features(struct soft_partition *partition, const struct features *features)
{
    uint32_t edx = CPUID7_EDX_FSRM | CPUID7_EDX_SPEC_CTRL | CPUID7_EDX_STIBP |
                   CPUID7_EDX_ARCH_CAPABILITIES | CPUID7_EDX_SSBD;
    /* The APIC's timer runs in every idle state. */
    put(partition, (struct cpuid_entry){.leaf = 6, .eax = 1 << 2});
    put(partition, (struct cpuid_entry){.leaf = 7,
                                        .eax = 2,
                                        .ebx = features->leaf7_ebx,
                                        .ecx = features->leaf7_ecx,
                                        .edx = edx});
    put(partition, (struct cpuid_entry){.leaf = 7, .subleaf = 1, .eax = features->leaf71_eax});
    /* Linux guards itself against BHI by a loop at each system call unless the processor can. */
    put(partition, (struct cpuid_entry){.leaf = 7, .subleaf = 2, .edx = CPUID72_EDX_BHI_CTRL});
}

/* One package of as many cores as there are vCPUs; APIC ids are their numbers. */
static void put_topology(struct soft_partition *partition)
{
    enum { LEVEL_SMT = 1, LEVEL_CORE = 2 };
    static const uint32_t leaves[] = {0xb, 0x1f};
    unsigned count = partition->config.vcpu_count;
    for (unsigned i = 0; i < 2; i++) {
        put(partition, (struct cpuid_entry){.leaf = leaves[i], .ebx = 1, .ecx = LEVEL_SMT << 8});
        put(partition, (struct cpuid_entry){.leaf = leaves[i],
                                            .subleaf = 1,
                                            .eax = id_bits(count),
                                            .ebx = count,
                                            .ecx = LEVEL_CORE << 8 | 1});
    }
}

static void put_xsave(struct soft_partition *partition)
{
    bool avx = (partition->xcr0_supported & XSTATE_AVX) != 0;
    uint32_t size = XSAVE_HEADER_END + (avx ? CPUID_AVX_SIZE : 0);
    put(partition,
        (struct cpuid_entry){.leaf = 0xd, .eax = (uint32_t)partition->xcr0_supported, .ecx = size});
    put(partition, (struct cpuid_entry){.leaf = 0xd,
                                        .subleaf = 1,
                                        .eax = CPUIDD1_EAX_XSAVEOPT | CPUIDD1_EAX_XSAVEC |
                                               CPUIDD1_EAX_XGETBV1});
    if (avx)
        put(partition,
            (struct cpuid_entry){
                .leaf = 0xd, .subleaf = 2, .eax = CPUID_AVX_SIZE, .ebx = CPUID_AVX_OFFSET});
}

/*
 * The ratio TSC : crystal, which is what the APIC's timer counts, with the least error. Linux
 * multiplies the crystal's kHz with the numerator in 32 bits (arch/x86/kernel/tsc.c), which bounds
 * the numerator.
 */
static void put_frequencies(struct soft_partition *partition)
{
    uint64_t max_numerator = UINT32_MAX / (LAPIC_TIMER_HZ / 1000);
    uint64_t best_error = UINT64_MAX;
    uint32_t numerator = 1;
    uint32_t denominator = 1;
    for (uint64_t d = 1; d <= max_numerator; d++) {
        uint64_t n = (partition->tsc_hz * d + LAPIC_TIMER_HZ / 2) / LAPIC_TIMER_HZ;
        if (n == 0 || n > max_numerator)
            continue;
        uint64_t hz = LAPIC_TIMER_HZ * n / d;
        uint64_t error = hz > partition->tsc_hz ? hz - partition->tsc_hz : partition->tsc_hz - hz;
        if (error < best_error) {
            best_error = error;
            numerator = (uint32_t)n;
            denominator = (uint32_t)d;
        }
    }
    uint32_t mhz = (uint32_t)(partition->tsc_hz / 1000000);
    put(partition, (struct cpuid_entry){
                       .leaf = 0x15, .eax = denominator, .ebx = numerator, .ecx = LAPIC_TIMER_HZ});
    put(partition, (struct cpuid_entry){.leaf = 0x16, .eax = mhz, .ebx = mhz, .ecx = 100});
}

static void put_brand(struct soft_partition *partition)
{
    char brand[49] = "";
    uint64_t mhz = partition->tsc_hz / 1000000;
    (void)snprintf(brand, sizeof(brand), "Partita soft vCPU @ %u.%02uGHz", (unsigned)(mhz / 1000),
                   (unsigned)(mhz % 1000 / 10));
    for (uint32_t i = 0; i < 3; i++) {
        const char *part = brand + (size_t)i * 16;
        put(partition, (struct cpuid_entry){.leaf = CPUID_EXTENDED + 2 + i,
                                            .eax = word(part),
                                            .ebx = word(part + 4),
                                            .ecx = word(part + 8),
                                            .edx = word(part + 12)});
    }
}

static void put_extended(struct soft_partition *partition, const struct features *features)
{
    put(partition,
        (struct cpuid_entry){.leaf = CPUID_EXTENDED, .eax = CPUID_EXTENDED + CPUID_MAX_EXTENDED});
    put(partition, (struct cpuid_entry){.leaf = CPUID_EXTENDED + 1,
                                        .ecx = features->extended_ecx,
                                        .edx = CPUIDX_EDX_SYSCALL | CPUIDX_EDX_NX | CPUIDX_EDX_1G |
                                               CPUIDX_EDX_RDTSCP | CPUIDX_EDX_LM});
    put_brand(partition);
    /* L2: 2 MiB, 16 ways, 64-byte lines. */
    put(partition,
        (struct cpuid_entry){.leaf = CPUID_EXTENDED + 6, .ecx = 2048 << 16 | 8 << 12 | 64});
    put(partition,
        (struct cpuid_entry){.leaf = CPUID_EXTENDED + 7, .edx = 1 << 8 /* invariant TSC */});
    put(partition, (struct cpuid_entry){.leaf = CPUID_EXTENDED + 8,
                                        .eax = partition->physical_bits | LINEAR_BITS << 8});
}

static int put_hypervisor(struct soft_partition *partition, struct reason *reason)
{
    const struct engine_config *config = &partition->config;
    for (size_t i = 0; i < config->hypervisor_leaf_count; i++) {
        const struct engine_cpuid_leaf *leaf = &config->hypervisor_leaves[i];
        if (leaf->leaf < CPUID_HYPERVISOR || leaf->leaf >= CPUID_HYPERVISOR_END)
            return reason_set(reason, -EINVAL, "CPUID leaf 0x%x is not a hypervisor's", leaf->leaf);
        if (partition->cpuid_count == SOFT_MAX_CPUID)
            return reason_set(reason, -E2BIG, "too many hypervisor CPUID leaves");
        put(partition, (struct cpuid_entry){.leaf = leaf->leaf,
                                            .eax = leaf->eax,
                                            .ebx = leaf->ebx,
                                            .ecx = leaf->ecx,
                                            .edx = leaf->edx});
    }
    return 0;
}

int cpuid_build(struct soft_partition *partition, struct reason *reason)
{
    struct host host;
    struct features features;
    uint32_t needed = CPUID1_ECX_SSE3 | CPUID1_ECX_SSSE3 | CPUID1_ECX_CX16 | CPUID1_ECX_SSE41 |
                      CPUID1_ECX_SSE42 | CPUID1_ECX_POPCNT | CPUID1_ECX_OSXSAVE;
    look_at_host(&host);
    if ((host.features.leaf1_ecx & needed) != needed)
        return reason_set(
            reason, -ENOTSUP,
            "the host's processor lacks x86-64-v2 with XSAVE, which guest code is run on");
    choose_features(partition->config.cpu_level, &host, &features);
    partition->cpuid_count = 0;
    partition->mxcsr_mask = MXCSR_MASK;
    partition->xcr0_supported = XSTATE_X87 | XSTATE_SSE;
    if (features.leaf1_ecx & CPUID1_ECX_AVX)
        partition->xcr0_supported |= XSTATE_AVX;
    partition->physical_bits =
        host.physical_bits < MAX_PHYSICAL_BITS ? host.physical_bits : MAX_PHYSICAL_BITS;
    partition->tsc_hz = engine_tsc_hz();
    put_identity(partition, &features);
    put_caches(partition);
    put_features(partition, &features);
    put_topology(partition);
    put_xsave(partition);
    put_frequencies(partition);
    put_extended(partition, &features);
    return put_hypervisor(partition, reason);
}
