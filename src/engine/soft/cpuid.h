/* Numbers of CPUID that its two files share: what is shown is made once, then asked per processor.
 */
#ifndef SOFT_CPUID_H
#define SOFT_CPUID_H

#include "engine/soft/partition.h"

enum {
    CPUID_MAX_BASIC = 0x1f,
    CPUID_MAX_EXTENDED = 0x80000008 - 0x80000000, /* above 0x80000000 */
};
#define CPUID_EXTENDED   0x80000000u
#define CPUID_HYPERVISOR 0x40000000u
/* The range that is the hypervisor's. */
#define CPUID_HYPERVISOR_END 0x50000000u

enum { CPUID_AVX_OFFSET = 576, CPUID_AVX_SIZE = 256 };

/* Leaf 1. */
enum {
    CPUID1_EDX_FPU = 1 << 0,
    CPUID1_EDX_DE = 1 << 2,
    CPUID1_EDX_PSE = 1 << 3,
    CPUID1_EDX_TSC = 1 << 4,
    CPUID1_EDX_MSR = 1 << 5,
    CPUID1_EDX_PAE = 1 << 6,
    CPUID1_EDX_MCE = 1 << 7,
    CPUID1_EDX_CX8 = 1 << 8,
    CPUID1_EDX_APIC = 1 << 9,
    CPUID1_EDX_SEP = 1 << 11,
    CPUID1_EDX_MTRR = 1 << 12,
    CPUID1_EDX_PGE = 1 << 13,
    CPUID1_EDX_MCA = 1 << 14,
    CPUID1_EDX_CMOV = 1 << 15,
    CPUID1_EDX_PAT = 1 << 16,
    CPUID1_EDX_PSE36 = 1 << 17,
    CPUID1_EDX_CLFSH = 1 << 19,
    CPUID1_EDX_MMX = 1 << 23,
    CPUID1_EDX_FXSR = 1 << 24,
    CPUID1_EDX_SSE = 1 << 25,
    CPUID1_EDX_SSE2 = 1 << 26,
    CPUID1_EDX_SS = 1 << 27,
    CPUID1_EDX_HTT = 1 << 28,

    CPUID1_ECX_SSE3 = 1 << 0,
    CPUID1_ECX_PCLMULQDQ = 1 << 1,
    CPUID1_ECX_SSSE3 = 1 << 9,
    CPUID1_ECX_FMA = 1 << 12,
    CPUID1_ECX_CX16 = 1 << 13,
    CPUID1_ECX_PCID = 1 << 17,
    CPUID1_ECX_SSE41 = 1 << 19,
    CPUID1_ECX_SSE42 = 1 << 20,
    CPUID1_ECX_X2APIC = 1 << 21,
    CPUID1_ECX_MOVBE = 1 << 22,
    CPUID1_ECX_POPCNT = 1 << 23,
    CPUID1_ECX_TSC_DEADLINE = 1 << 24,
    CPUID1_ECX_AES = 1 << 25,
    CPUID1_ECX_XSAVE = 1 << 26,
    CPUID1_ECX_OSXSAVE = 1 << 27,
    CPUID1_ECX_AVX = 1 << 28,
    CPUID1_ECX_F16C = 1 << 29,
    CPUID1_ECX_RDRAND = 1 << 30,
};
#define CPUID1_ECX_HYPERVISOR (1u << 31)

/* Leaf 7. */
enum {
    CPUID7_EBX_FSGSBASE = 1 << 0,
    CPUID7_EBX_TSC_ADJUST = 1 << 1,
    CPUID7_EBX_BMI1 = 1 << 3,
    CPUID7_EBX_AVX2 = 1 << 5,
    CPUID7_EBX_SMEP = 1 << 7,
    CPUID7_EBX_BMI2 = 1 << 8,
    CPUID7_EBX_ERMS = 1 << 9,
    CPUID7_EBX_INVPCID = 1 << 10,
    CPUID7_EBX_NO_FCS = 1 << 13, /* FCS and FDS are always 0 */
    CPUID7_EBX_RDSEED = 1 << 18,
    CPUID7_EBX_ADX = 1 << 19,
    CPUID7_EBX_SMAP = 1 << 20,
    CPUID7_EBX_CLFLUSHOPT = 1 << 23,
    CPUID7_EBX_CLWB = 1 << 24,
    CPUID7_EBX_SHA = 1 << 29,

    CPUID7_ECX_UMIP = 1 << 2,
    CPUID7_ECX_GFNI = 1 << 8,
    CPUID7_ECX_VAES = 1 << 9,
    CPUID7_ECX_VPCLMULQDQ = 1 << 10,
    CPUID7_ECX_RDPID = 1 << 22,

    CPUID7_EDX_FSRM = 1 << 4,
    CPUID7_EDX_SPEC_CTRL = 1 << 26,
    CPUID7_EDX_STIBP = 1 << 27,
    CPUID7_EDX_ARCH_CAPABILITIES = 1 << 29,

    CPUID71_EAX_AVX_VNNI = 1 << 4,
};
#define CPUID7_EDX_SSBD (1u << 31)
enum { CPUID72_EDX_BHI_CTRL = 1 << 4 };

/* Leaf 0xD. */
enum { CPUIDD1_EAX_XSAVEOPT = 1 << 0, CPUIDD1_EAX_XSAVEC = 1 << 1, CPUIDD1_EAX_XGETBV1 = 1 << 2 };

/* Leaf 0x80000001. */
enum {
    CPUIDX_ECX_LAHF = 1 << 0,
    CPUIDX_ECX_LZCNT = 1 << 5,
    CPUIDX_ECX_PREFETCHW = 1 << 8,
    CPUIDX_EDX_SYSCALL = 1 << 11,
    CPUIDX_EDX_NX = 1 << 20,
    CPUIDX_EDX_1G = 1 << 26,
    CPUIDX_EDX_RDTSCP = 1 << 27,
    CPUIDX_EDX_LM = 1 << 29,
};

/* The entry of a leaf, or NULL. */
const struct cpuid_entry *cpuid_find(const struct soft_partition *partition, uint32_t leaf,
                                     uint32_t subleaf);

#endif
