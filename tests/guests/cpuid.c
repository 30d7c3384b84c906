/*
 * What the CPU says of itself and whether it keeps to it: CPUID, control registers, MSRs.
 * Source: Intel SDM vol. 2A (CPUID), vol. 3A § 2.5, vol. 4.
 */
#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "smp.h"
#include "tap.h"
#include "trial.h"

/* --- CPUID --- */

static bool is_intel(void)
{
    return cpuid(0, 0).b == 0x756e6547;
}

static bool same(struct cpuid a, struct cpuid b)
{
    return a.a == b.a && a.b == b.b && a.c == b.c && a.d == b.d;
}

static void leaves(void)
{
    uint32_t most = cpuid(0, 0).a;
    uint32_t extended = cpuid(0x80000000u, 0).a;

    check(most >= 1 && most < 0x100, "the highest leaf is %x", most);
    check(extended >= 0x80000008u && extended < 0x80000100u, "the highest extended leaf is %x",
          extended);
    check(!HAS_XSAVE || most >= 0xd, "leaf 0xd exists with XSAVE");
    check(has_1d(0) && has_1d(4) && has_1d(5) && has_1d(6) && has_1d(8) && has_1d(15) &&
              has_1d(24) && has_1d(25) && has_1d(26),
          "FPU, TSC, MSR, PAE, CX8, CMOV, FXSR, SSE and SSE2, as long mode asks");
    check(has_ext_d(29), "long mode");
    check((cpuid(0x80000008u, 0).a & 255) >= 36 && (cpuid(0x80000008u, 0).a & 255) <= 52,
          "the width of physical addresses is from 36 to 52");
    check((cpuid(0x80000008u, 0).a >> 8 & 255) == 48 || (cpuid(0x80000008u, 0).a >> 8 & 255) == 57,
          "the width of linear addresses is 48 or 57");
    check_equal(cpuid(1, 0).b >> 8 & 255, 8, "lines of 64 bytes");
    if (is_intel())
        check(same(cpuid(most + 1, 0), cpuid(most, 0)) || cpuid(most + 1, 0).a == 0,
              "a leaf too high shows the highest or nothing");
    else
        skip("a leaf too high", "only Intel's say");
}

static void levels(void)
{
    struct {
        bool has;
        const char *needs;
        bool needed;
    } rows[] = {
        {has_1c(0), "SSE3 needs SSE2", has_1d(26)},
        {has_1c(9), "SSSE3 needs SSE3", has_1c(0)},
        {has_1c(19), "SSE4.1 needs SSSE3", has_1c(9)},
        {has_1c(20), "SSE4.2 needs SSE4.1", has_1c(19)},
        {has_1c(28), "AVX needs XSAVE", has_1c(26)},
        {has_1c(12), "FMA needs AVX", has_1c(28)},
        {has_1c(29), "F16C needs AVX", has_1c(28)},
        {has_7b(5), "AVX2 needs AVX", has_1c(28)},
        {has_7b(16), "AVX512F needs AVX2", has_7b(5)},
        {has_1c(24), "TSC deadline needs an APIC", has_1d(9)},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++)
        check(!rows[i].has || rows[i].needed, "%s", rows[i].needs);
}

static void dynamic_bits(void)
{
    word cr4 = read_cr4();

    if (!HAS_XSAVE) {
        skip("OSXSAVE", "no XSAVE");
        return;
    }
    write_cr4(cr4 | CR4_OSXSAVE);
    check_equal(has_1c(27), 1, "OSXSAVE follows CR4");
    write_cr4(cr4 & ~CR4_OSXSAVE);
    check_equal(has_1c(27), 0, "and goes with it");
}

/* --- topology --- */

static struct cpuid by_cpu[CPUS_MAX][3];

static void note_topology(void *unused)
{
    unsigned i = cpu_index();
    (void)unused;
    by_cpu[i][0] = cpuid(1, 0);
    by_cpu[i][1] = cpuid(0xb, 0);
    by_cpu[i][2] = cpuid(0xb, 1);
}

static void topology(void)
{
    bool ids = true;
    bool domains = true;
    unsigned shift;

    cpus_run(note_topology, NULL);
    for (unsigned i = 0; i < cpu_count(); i++)
        ids = ids && by_cpu[i][0].b >> 24 == i;
    check(ids, "leaf 1 shows each CPU its id");
    if (!has_leaf(0xb) || !cpuid(0xb, 0).b) {
        skip("leaf 0xb", "not there");
        return;
    }
    shift = by_cpu[0][2].a & 31;
    for (unsigned i = 0; i < cpu_count(); i++) {
        ids = ids && by_cpu[i][1].d == i && by_cpu[i][2].d == i;
        domains = domains && (by_cpu[i][1].c >> 8 & 255) == 1 && (by_cpu[i][2].c >> 8 & 255) == 2 &&
                  (by_cpu[i][2].b & 0xffff) <= 1u << shift;
    }
    check(ids, "leaf 0xb shows each CPU its x2APIC id");
    check(domains, "its levels are threads, then cores, and fit their shift");
    check_equal(cpuid(0xb, 0).c & 255, 0, "it echoes the level");
    check_equal(cpuid(0xb, 5).c & 0xffff, 5, "a level that is not there is of type 0");
    if ((by_cpu[0][2].b & 0xffff) > 1 || cpu_count() == 1)
        check_equal(by_cpu[0][2].b & 0xffff, cpu_count(), "one package has all CPUs");
    else
        skip("one package has all CPUs", "each CPU is its own package");
}

/* --- XCR0 and the sizes of the state --- */

SNIPPET(set_xcr, "mov %edi, %eax; xor %edx, %edx; xor %ecx, %ecx", "xsetbv", "");
SNIPPET(set_xcr1, "mov $1, %eax; xor %edx, %edx; mov $1, %ecx", "xsetbv", "");
SNIPPET(set_xcr_high, "mov $1, %eax; mov $0x40000000, %edx; xor %ecx, %ecx", "xsetbv", "");
SNIPPET(get_xcr, "mov %edi, %ecx", "xgetbv", "");

static void state_sizes(uint32_t possible)
{
    check_runs(KERNEL, &set_xcr, 1);
    check_equal(cpuid(0xd, 0).b, 576, "x87 alone takes 576 bytes");
    check_runs(KERNEL, &set_xcr, 3);
    check_equal(cpuid(0xd, 0).b, 576, "x87 and SSE take 576 bytes");
    if ((possible & 7) == 7) {
        check_runs(KERNEL, &set_xcr, 7);
        check_equal(cpuid(0xd, 0).b, 832, "with AVX 832 bytes");
        check(cpuid(0xd, 2).a == 256 && cpuid(0xd, 2).b == 576, "AVX's part is 256 bytes at 576");
    }
    for (unsigned i = 2; i < 32; i++) {
        struct cpuid part = cpuid(0xd, i);
        if (possible >> i & 1)
            check(part.a && part.b >= 576 && part.a + part.b <= cpuid(0xd, 0).c,
                  "part %u lies within the whole", i);
        else
            check(!(part.a && part.b && !(part.c & 1)), "part %u is not there", i);
    }
    check_runs(KERNEL, &set_xcr, possible);
    check_equal(cpuid(0xd, 0).b, cpuid(0xd, 0).c, "all parts take the most bytes");
    check_equal(trial_in(USER, &get_xcr, 0)->value, possible, "xgetbv in ring 3");
}

static void extended_state(void)
{
    word cr4 = read_cr4();
    uint32_t possible;

    if (!HAS_XSAVE) {
        skip("XCR0", "no XSAVE");
        return;
    }
    check_fault(KERNEL, &set_xcr, 3, UD, 0);
    write_cr4(cr4 | CR4_OSXSAVE);
    possible = cpuid(0xd, 0).a;
    check((possible & 3) == 3, "x87 and SSE can be saved");
    check_equal(HAS_AVX, possible >> 2 & 1, "AVX can be saved when it is there");
    check_fault(KERNEL, &set_xcr, 0, GP, 0);
    check_fault(KERNEL, &set_xcr, 2, GP, 0);
    check_fault(KERNEL, &set_xcr, 5, GP, 0);
    check_fault(KERNEL, &set_xcr, 0x80000003u, GP, 0);
    check_fault(KERNEL, &set_xcr_high, 0, GP, 0);
    check_fault(KERNEL, &set_xcr1, 0, GP, 0);
    check_fault(USER, &set_xcr, 3, GP, 0);
    check_fault(KERNEL, &get_xcr, 2, GP, 0);
    for (unsigned bit = 2; bit < 31; bit++) {
        if (!(possible >> bit & 1))
            check_fault(KERNEL, &set_xcr, 3 | 1u << bit, GP, 0);
    }
    state_sizes(possible);
    check_runs(KERNEL, &set_xcr, 3);
    write_cr4(cr4);
}

/* --- control registers --- */

SNIPPET(set_cr4_bit, "mov %cr4, %rax; bts %rdi, %rax", "mov %rax, %cr4", "");
SNIPPET(set_cr0_low, "mov %cr0, %rax; bts %rdi, %rax", "mov %rax, %cr0", "");

struct cr4_row {
    const char *name;
    unsigned bit;
    bool has;
};

static void cr4_bits(void)
{
    const struct cr4_row rows[] = {
        {"DE", 3, has_1d(2)},       {"PSE", 4, HAS_PSE},        {"MCE", 6, has_1d(7)},
        {"PGE", 7, HAS_PGE},        {"UMIP", 11, HAS_UMIP},     {"FSGSBASE", 16, HAS_FSGSBASE},
        {"PCIDE", 17, HAS_PCID},    {"OSXSAVE", 18, HAS_XSAVE}, {"SMEP", 20, HAS_SMEP},
        {"SMAP", 21, HAS_SMAP},     {"PKE", 22, HAS_PKU},       {"bit 15", 15, false},
        {"bit 19", 19, has_7c(23)}, {"bit 31", 31, false},      {"bit 32", 32, false},
    };
    word cr4 = read_cr4();

    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        const struct trap *trap = trial_in(KERNEL, &set_cr4_bit, rows[i].bit);
        check_equal(trap->vector, rows[i].has ? NO_TRAP : GP, "CR4 %s can be set: %s", rows[i].name,
                    rows[i].has ? "yes" : "no, #GP");
        write_cr4(cr4);
    }
    check_equal(trial_in(KERNEL, &set_cr4_bit, 12)->vector, GP,
                "CR4.LA57 cannot be set in long mode");
    write_cr4(cr4);
}

static void cr0_bits(void)
{
    static const unsigned reserved[] = {6, 7, 15, 17, 19, 28};
    word cr0 = read_cr0();

    check_equal(cr0 >> 4 & 1, 1, "CR0.ET is one");
    write_cr0(cr0 & ~(1ul << 4));
    check_equal(read_cr0() >> 4 & 1, 1, "and stays one");
    for (unsigned i = 0; i < ARRAY_LENGTH(reserved); i++) {
        check_runs(KERNEL, &set_cr0_low, reserved[i]);
        check_equal(read_cr0(), cr0, "reserved bit %u of CR0 is dropped", reserved[i]);
    }
    write_cr0(cr0 | CR0_CD | CR0_NW);
    check_equal(read_cr0(), cr0 | CR0_CD | CR0_NW, "CD and NW can be set together");
    write_cr0(cr0);
    asm volatile("lmsw %w0" : : "r"(0xfff0 | CR0_TS | CR0_MP));
    check_equal(read_cr0(), (cr0 & ~0xeul) | CR0_TS | CR0_MP,
                "lmsw sets MP, EM and TS and cannot clear PE");
    write_cr0(cr0);
}

/* --- MSRs --- */

SNIPPET(wrmsr_di, "mov %edi, %ecx; mov %rdi, %rax; shr $32, %rax; xor %edx, %edx", "wrmsr", "");
SNIPPET(wrmsr_efer, "mov $0xc0000080, %ecx; mov %edi, %eax; xor %edx, %edx", "wrmsr", "");
SNIPPET(rdmsr_di, "mov %edi, %ecx", "rdmsr", "");

static void efer(void)
{
    word now = read_msr(MSR_EFER);

    check((now & EFER_LMA) && (now & EFER_LME), "LMA and LME are set in long mode");
    check_fault(KERNEL, &wrmsr_efer, now & ~(word)EFER_LME, GP, 0);
    check_runs(KERNEL, &wrmsr_efer, now & ~(word)EFER_LMA);
    check_equal(read_msr(MSR_EFER) & EFER_LMA, EFER_LMA, "LMA cannot be written");
    check_runs(KERNEL, &wrmsr_efer, now | EFER_SCE);
    check_equal(read_msr(MSR_EFER) & EFER_SCE, EFER_SCE, "SCE can be set");
    if (!HAS_NX)
        check_fault(KERNEL, &wrmsr_efer, now | EFER_NXE, GP, 0);
    check_fault(KERNEL, &wrmsr_efer, now | 1 << 9, GP, 0);
    write_msr(MSR_EFER, now);
}

static void known_msrs(void)
{
    static const uint32_t readable[] = {0x10,  0x17,  0x1b,  0x8b,  0xfe, 0x179,
                                        0x17a, 0x1a0, 0x1d9, 0x277, 0x2ff};
    static const struct {
        uint32_t msr;
        uint64_t value;
    } holds[] = {{MSR_PAT, 0x0007010600070406ull},
                 {MSR_SYSENTER_CS, 0x10},
                 {0x200, 0x80000006},
                 {0x201, 0xff0000800}};

    for (unsigned i = 0; i < ARRAY_LENGTH(readable); i++)
        check_runs(KERNEL, &rdmsr_di, readable[i]);
    for (unsigned i = 0; i < ARRAY_LENGTH(holds); i++) {
        uint64_t before = read_msr(holds[i].msr);
        if ((holds[i].msr & ~1u) == 0x200 && !(read_msr(MSR_MTRRCAP) & 255)) {
            skip("variable MTRRs", "none");
            continue;
        }
        write_msr(holds[i].msr, holds[i].value);
        check_equal(read_msr(holds[i].msr), holds[i].value, "MSR %x holds its value", holds[i].msr);
        write_msr(holds[i].msr, before);
    }
    check_fault(KERNEL, &wrmsr_di, MSR_MTRRCAP, GP, 0);
    check_fault(KERNEL, &wrmsr_di, 3ull << 32 | MSR_PAT, GP, 0);
    check_runs(KERNEL, &wrmsr_di, 0x06060606ull << 32 | MSR_PAT);
    check_fault(KERNEL, &rdmsr_di, 0xc0001234, GP, 0);
    check_fault(KERNEL, &rdmsr_di, 0x800 + 0x100, GP, 0);
    write_msr(MSR_PAT, 0x0007040600070406ull);
}

/* --- instructions that come with features --- */

SNIPPET(run_rdrand, "", "rdrand %rax", "setc %al; movzbl %al, %eax");
SNIPPET(run_rdseed, "", "1: rdseed %rax", "jnc 1b; mov $1, %eax");
SNIPPET(run_monitor, "mov %rsp, %rax; xor %ecx, %ecx; xor %edx, %edx", "monitor", "");
SNIPPET(run_stac, "", "stac", "clac");
SNIPPET(run_vmxon, "", ".byte 0xf3, 0x0f, 0xc7, 0x37", "");
SNIPPET(run_vmread, "", "vmread %rax, %rcx", "");
SNIPPET(run_rdpid_, "", "rdpid %rax", "");
SNIPPET(run_popcnt, "", "popcnt %rax, %rax", "");
SNIPPET(run_movbe, "", "movbe (%rsp), %eax", "");
SNIPPET(run_crc32, "", "crc32b %al, %eax", "");
SNIPPET(run_cmpxchg16b, "sub $32, %rsp; mov %rsp, %rcx; and $-16, %rcx; push %rbx",
        "cmpxchg16b (%rcx)", "pop %rbx; add $32, %rsp");
SNIPPET(run_clflushopt, "", "clflushopt (%rsp)", "");
SNIPPET(run_rdtscp_, "", "rdtscp", "");
SNIPPET(run_invpcid_, "sub $16, %rsp; movq $0, (%rsp); movq $0, 8(%rsp); mov $2, %eax",
        "invpcid (%rsp), %rax", "add $16, %rsp");
SNIPPET(run_xbegin, "", "xbegin 1f", "xend\n 1:");

static void instructions(void)
{
    const struct {
        const struct snippet *code;
        bool has;
    } rows[] = {
        {&run_rdrand, HAS_RDRAND},         {&run_rdseed, has_7b(18)},
        {&run_monitor, HAS_MONITOR},       {&run_stac, HAS_SMAP},
        {&run_rdpid_, HAS_RDPID},          {&run_popcnt, has_1c(23)},
        {&run_movbe, has_1c(22)},          {&run_crc32, has_1c(20)},
        {&run_cmpxchg16b, HAS_CMPXCHG16B}, {&run_clflushopt, has_7b(23)},
        {&run_rdtscp_, HAS_RDTSCP},        {&run_invpcid_, HAS_INVPCID},
        {&run_xbegin, has_7b(11)},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (rows[i].has)
            check_runs(KERNEL, rows[i].code, 0);
        else
            check_fault(KERNEL, rows[i].code, 0, UD, 0);
    }
    check_fault(KERNEL, &run_vmxon, (word)areas, UD, 0);
    check_fault(KERNEL, &run_vmread, 0, UD, 0);
    if (HAS_RDRAND)
        check_equal(trial_in(KERNEL, &run_rdrand, 0)->value, 1, "rdrand sets CF");
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"leaves", leaves},
        {"levels", levels},
        {"dynamic", dynamic_bits},
        {"topology", topology},
        {"extended-state", extended_state},
        {"cr4", cr4_bits},
        {"cr0", cr0_bits},
        {"efer", efer},
        {"msrs", known_msrs},
        {"instructions", instructions},
    };
    smp_start();
    run_groups(groups, ARRAY_LENGTH(groups));
}
