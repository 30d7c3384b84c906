/*
 * The privileged instructions as C functions, and the bit names that the tests use.
 * Sources: Intel SDM vol. 3A § 2.3 (EFLAGS), § 2.5 (control registers), vol. 4 (MSRs).
 */
#ifndef GUEST_CPU_H
#define GUEST_CPU_H

#include "types.h"

enum {
    FLAG_CF = 1 << 0,
    FLAG_FIXED = 1 << 1,
    FLAG_ZF = 1 << 6,
    FLAG_TF = 1 << 8,
    FLAG_IF = 1 << 9,
    FLAG_DF = 1 << 10,
    FLAG_OF = 1 << 11,
    FLAG_IOPL = 3 << 12,
    FLAG_NT = 1 << 14,
    FLAG_RF = 1 << 16,
    FLAG_AC = 1 << 18,
    FLAG_ID = 1 << 21,
};

#define CR0_PE (1ul << 0)
#define CR0_MP (1ul << 1)
#define CR0_EM (1ul << 2)
#define CR0_TS (1ul << 3)
#define CR0_NE (1ul << 5)
#define CR0_WP (1ul << 16)
#define CR0_AM (1ul << 18)
#define CR0_NW (1ul << 29)
#define CR0_CD (1ul << 30)
#define CR0_PG (1ul << 31)

#define CR4_TSD        (1ul << 2)
#define CR4_DE         (1ul << 3)
#define CR4_PSE        (1ul << 4)
#define CR4_PAE        (1ul << 5)
#define CR4_MCE        (1ul << 6)
#define CR4_PGE        (1ul << 7)
#define CR4_OSFXSR     (1ul << 9)
#define CR4_OSXMMEXCPT (1ul << 10)
#define CR4_UMIP       (1ul << 11)
#define CR4_LA57       (1ul << 12)
#define CR4_FSGSBASE   (1ul << 16)
#define CR4_PCIDE      (1ul << 17)
#define CR4_OSXSAVE    (1ul << 18)
#define CR4_SMEP       (1ul << 20)
#define CR4_SMAP       (1ul << 21)

enum {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_MTRRCAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_PAT = 0x277,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
};
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_SFMASK         0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u

enum { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

struct cpuid {
    uint32_t a, b, c, d;
};

struct table_pointer { /* what lgdt and lidt read */
    uint16_t limit;
    word base;
} __attribute__((packed));

static inline void out8(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t read_msr(uint32_t msr)
{
    uint32_t low;
    uint32_t high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
    asm volatile("wrmsr"
                 :
                 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                 : "memory");
}

static inline uint64_t read_tsc(void)
{
    uint32_t low;
    uint32_t high;
    asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}

#define CONTROL_REGISTER(name)                                          \
    static inline word read_##name(void)                                \
    {                                                                   \
        word value;                                                     \
        asm volatile("mov %%" #name ", %0" : "=r"(value) : : "memory"); \
        return value;                                                   \
    }                                                                   \
    static inline void write_##name(word value)                         \
    {                                                                   \
        asm volatile("mov %0, %%" #name : : "r"(value) : "memory");     \
    }
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)
CONTROL_REGISTER(dr0)
CONTROL_REGISTER(dr1)
CONTROL_REGISTER(dr2)
CONTROL_REGISTER(dr3)
CONTROL_REGISTER(dr6)
CONTROL_REGISTER(dr7)
#ifdef __x86_64__
CONTROL_REGISTER(cr8)
#endif
#undef CONTROL_REGISTER

static inline void invlpg(const volatile void *address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static inline word read_flags(void)
{
    word flags;
    asm volatile("pushf; pop %0" : "=r"(flags) : : "memory");
    return flags;
}

static inline void load_gdt(const struct table_pointer *table)
{
    asm volatile("lgdt %0" : : "m"(*table) : "memory");
}

static inline void load_idt(const struct table_pointer *table)
{
    asm volatile("lidt %0" : : "m"(*table) : "memory");
}

static inline void interrupts_on(void)
{
    asm volatile("sti" : : : "memory");
}

static inline void interrupts_off(void)
{
    asm volatile("cli" : : : "memory");
}

static inline void relax(void)
{
    asm volatile("pause" : : : "memory");
}

/* Opens the interrupt window for one instruction only, so a pending interrupt cannot be lost
 * between the test for work and the halt (SDM vol. 2B, STI). */
static inline void wait_for_interrupt(void)
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

/* --- features, from CPUID --- */

static inline bool has_leaf(uint32_t leaf)
{
    return cpuid(leaf & 0x80000000u, 0).a >= leaf;
}

static inline bool has_1c(unsigned bit)
{
    return cpuid(1, 0).c >> bit & 1;
}

static inline bool has_1d(unsigned bit)
{
    return cpuid(1, 0).d >> bit & 1;
}

static inline bool has_7b(unsigned bit)
{
    return has_leaf(7) && (cpuid(7, 0).b >> bit & 1);
}

static inline bool has_7c(unsigned bit)
{
    return has_leaf(7) && (cpuid(7, 0).c >> bit & 1);
}

static inline bool has_ext_d(unsigned bit)
{
    return has_leaf(0x80000001u) && (cpuid(0x80000001u, 0).d >> bit & 1);
}

#define HAS_PCID         has_1c(17)
#define HAS_X2APIC       has_1c(21)
#define HAS_TSC_DEADLINE has_1c(24)
#define HAS_XSAVE        has_1c(26)
#define HAS_AVX          has_1c(28)
#define HAS_RDRAND       has_1c(30)
#define HAS_CMPXCHG16B   has_1c(13)
#define HAS_MONITOR      has_1c(3)
#define HAS_PSE          has_1d(3)
#define HAS_PAE          has_1d(6)
#define HAS_SYSENTER     has_1d(11)
#define HAS_PGE          has_1d(13)
#define HAS_FSGSBASE     has_7b(0)
#define HAS_TSC_ADJUST   has_7b(1)
#define HAS_SMEP         has_7b(7)
#define HAS_INVPCID      has_7b(10)
#define HAS_SMAP         has_7b(20)
#define HAS_UMIP         has_7c(2)
#define HAS_PKU          has_7c(3)
#define HAS_RDPID        has_7c(22)
#define HAS_NX           has_ext_d(20)
#define HAS_1G_PAGES     has_ext_d(26)
#define HAS_RDTSCP       has_ext_d(27)

#endif
