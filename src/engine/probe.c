/*
 * What this machine offers to run guests: KVM by trying it, the software engine by the host's
 * CPUID.
 *
 * A /dev/kvm that opens proves little: one without hardware support behind it emulates the guest's
 * kernel instruction by instruction. So the probe asks for each ability and then times real code.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/engine.h"
#include "engine/probe_private.h"

static void add_ability(struct engine_report *report, const char *name, bool required, bool present)
{
    if (report->ability_count < ENGINE_MAX_ABILITIES)
        report->ability[report->ability_count++] =
            (struct engine_ability){.name = name, .required = required, .present = present};
}

static const char *first_missing(const struct engine_report *report)
{
    for (size_t i = 0; i < report->ability_count; i++) {
        if (report->ability[i].required && !report->ability[i].present)
            return report->ability[i].name;
    }
    return NULL;
}

/* ---- KVM ---- */

static const struct kvm_ability {
    const char *name;
    int capability;
    bool required;
} kvm_abilities[] = {
    {"user-space guest memory", KVM_CAP_USER_MEMORY, true},
    {"local APIC in the kernel, rest outside", KVM_CAP_SPLIT_IRQCHIP, true},
    {"interrupt messages", KVM_CAP_SIGNAL_MSI, true},
    {"user-space MSR exits", KVM_CAP_X86_USER_SPACE_MSR, true},
    {"MSR filter", KVM_CAP_X86_MSR_FILTER, true},
    {"XSAVE state", KVM_CAP_XSAVE, true},
    {"TSC deadline timer", KVM_CAP_TSC_DEADLINE_TIMER, true},
    {"immediate exit", KVM_CAP_IMMEDIATE_EXIT, true},
    {"read-only memory", KVM_CAP_READONLY_MEM, true},
    {"interrupts by descriptor", KVM_CAP_IRQFD, false},
    {"doorbells by descriptor", KVM_CAP_IOEVENTFD, false},
    {"TSC scaling", KVM_CAP_TSC_CONTROL, false},
    {"dirty page ring", KVM_CAP_DIRTY_LOG_RING, false},
    {"Hyper-V interface in the kernel", KVM_CAP_HYPERV, false},
};
_Static_assert(sizeof(kvm_abilities) / sizeof(kvm_abilities[0]) <= ENGINE_MAX_ABILITIES,
               "abilities");

static int open_kvm(struct reason *reason)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm >= 0)
        return kvm;
    int error = errno;
    switch (error) {
    case ENOENT:
        return reason_set(reason, -error, "there is no /dev/kvm");
    case EACCES:
    case EPERM:
        return reason_set(reason, -error, "no permission to open /dev/kvm");
    case ENODEV:
    case ENXIO:
        return reason_set(reason, -error, "/dev/kvm has no driver behind it");
    default: {
        char text[128];
        return reason_set(reason, -error, "/dev/kvm does not open: %s",
                          strerror_r(error, text, sizeof(text)));
    }
    }
}

static int ask_kvm_abilities(int kvm, struct engine_report *report)
{
    int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return reason_set(&report->reason, -EPROTO, "/dev/kvm speaks API version %d, not %d",
                          version, KVM_API_VERSION);
    for (size_t i = 0; i < sizeof(kvm_abilities) / sizeof(kvm_abilities[0]); i++) {
        const struct kvm_ability *ability = &kvm_abilities[i];
        bool present = ioctl(kvm, KVM_CHECK_EXTENSION, ability->capability) > 0;
        add_ability(report, ability->name, ability->required, present);
    }
    const char *missing = first_missing(report);
    if (missing != NULL)
        return reason_set(&report->reason, -EOPNOTSUPP, "KVM lacks: %s", missing);
    return 0;
}

static void judge_speed(struct engine_report *report, int error)
{
    report->usable = error == 0 && report->mips >= PROBE_NEEDED_MIPS;
    if (error < 0 && error != -ETIME)
        return; /* the reason is set */
    if (report->usable)
        (void)reason_set(&report->reason, 0, "KVM runs guest code at %.0f MIPS", report->mips);
    else if (report->mips < 1)
        (void)reason_set(&report->reason, 0, "KVM emulates guest code: %.2g MIPS, needs %d",
                         report->mips, PROBE_NEEDED_MIPS);
    else
        (void)reason_set(&report->reason, 0, "KVM emulates guest code: %.0f MIPS, needs %d",
                         report->mips, PROBE_NEEDED_MIPS);
}

void engine_probe_kvm(struct engine_report *ret)
{
    *ret = (struct engine_report){.name = "kvm"};
    auto_close int kvm = open_kvm(&ret->reason);
    if (kvm < 0 || ask_kvm_abilities(kvm, ret) < 0)
        return;
    judge_speed(ret, probe_kvm_speed(kvm, &ret->mips, &ret->reason));
}

/* ---- the software engine: it runs vector instructions on the host's own units ---- */

/* A word of the host's CPUID, and XCR0 for what the kernel switched on. */
struct host_cpu {
    uint32_t leaf1_ecx, leaf1_edx, leaf7_ebx, leaf80000001_ecx, leaf80000007_edx;
    uint64_t xcr0;
    bool fsgsbase; /* in user mode */
};

static uint64_t read_xcr0(void)
{
    uint32_t eax = 0;
    uint32_t edx = 0;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (uint64_t)edx << 32 | eax;
}

static void read_host_cpu(struct host_cpu *ret)
{
    uint32_t eax = 0;
    uint32_t ebx = 0;
    uint32_t ecx = 0;
    uint32_t edx = 0;

    *ret = (struct host_cpu){0};
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        ret->leaf1_ecx = ecx;
        ret->leaf1_edx = edx;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        ret->leaf7_ebx = ebx;
    if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
        ret->leaf80000001_ecx = ecx;
    if (__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx))
        ret->leaf80000007_edx = edx;
    if (ret->leaf1_ecx & bit_OSXSAVE)
        ret->xcr0 = read_xcr0();
    /* HWCAP2_FSGSBASE of Linux arch/x86/include/uapi/asm/hwcap2.h */
    ret->fsgsbase = (getauxval(AT_HWCAP2) & 2) != 0;
}

static bool has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

/* The levels are those of the x86-64 psABI, table 3.1. */
static bool host_has_v2(const struct host_cpu *cpu)
{
    return has(cpu->leaf1_ecx,
               bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT | bit_CMPXCHG16B) &&
           has(cpu->leaf80000001_ecx, bit_LAHF_LM);
}

static bool host_has_v3(const struct host_cpu *cpu)
{
    const uint64_t sse_and_avx_state = 6;

    return host_has_v2(cpu) && (cpu->xcr0 & sse_and_avx_state) == sse_and_avx_state &&
           has(cpu->leaf1_ecx, bit_AVX | bit_F16C | bit_FMA | bit_MOVBE) &&
           has(cpu->leaf7_ebx, bit_AVX2 | bit_BMI | bit_BMI2) &&
           has(cpu->leaf80000001_ecx, bit_ABM);
}

static void add_soft_abilities(struct engine_report *report, const struct host_cpu *cpu)
{
    const uint32_t invariant_tsc = 1 << 8; /* leaf 0x80000007 EDX, Intel SDM vol. 3B § 17.17.1 */

    add_ability(report, "x86-64-v2 (SSE4.2, POPCNT, CMPXCHG16B)", true, host_has_v2(cpu));
    add_ability(report, "x86-64-v3 (AVX2, BMI, FMA, MOVBE)", false, host_has_v3(cpu));
    add_ability(report, "AES and PCLMULQDQ", false, has(cpu->leaf1_ecx, bit_AES | bit_PCLMUL));
    add_ability(report, "SHA", false, has(cpu->leaf7_ebx, bit_SHA));
    add_ability(report, "ADX", false, has(cpu->leaf7_ebx, bit_ADX));
    add_ability(report, "RDRAND and RDSEED", false,
                has(cpu->leaf1_ecx, bit_RDRND) && has(cpu->leaf7_ebx, bit_RDSEED));
    add_ability(report, "FSGSBASE in user mode", false, cpu->fsgsbase);
    add_ability(report, "invariant TSC", false, has(cpu->leaf80000007_edx, invariant_tsc));
}

void probe_soft_abilities(struct engine_report *ret)
{
    struct host_cpu cpu;

    *ret = (struct engine_report){.name = "soft"};
    read_host_cpu(&cpu);
    add_soft_abilities(ret, &cpu);
    const char *missing = first_missing(ret);
    ret->usable = missing == NULL;
    if (missing != NULL)
        (void)reason_set(&ret->reason, 0, "the host's processor lacks: %s", missing);
    else
        (void)reason_set(&ret->reason, 0, "needs no hardware virtualisation; guests may have %s",
                         host_has_v3(&cpu) ? "x86-64-v3" : "x86-64-v2");
}
