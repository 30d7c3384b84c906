/*
 * State of x87, SSE and AVX: when it may be touched, and how it is saved and restored.
 * Source: Intel SDM vol. 1 chapters 8, 10 and 13, vol. 3A § 2.5, vol. 2 (FXSAVE, XSAVE, XRSTOR).
 */
#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "smp.h"
#include "tap.h"
#include "timing.h"
#include "trial.h"

static uint8_t image[4096] __attribute__((aligned(64)));
static uint8_t second[4096] __attribute__((aligned(64)));

#define LEGACY 512
#define HEADER 512 /* XSTATE_BV, then XCOMP_BV */

static uint64_t *header(uint8_t *of)
{
    return (uint64_t *)(void *)(of + HEADER);
}

static void set_xcr0(uint32_t value)
{
    asm volatile("xsetbv" : : "c"(0), "a"(value), "d"(0));
}

/* --- who faults with CR0.EM, TS and MP (SDM vol. 3A table 2-2, vol. 2 for each) --- */

SNIPPET(x87, "", "fld1", "fninit");
SNIPPET(x87_wait, "", "fwait", "");
SNIPPET(mmx, "", "pxor %mm0, %mm0", "emms");
SNIPPET(sse, "", "pxor %xmm0, %xmm0", "");
SNIPPET(sse_control, "sub $8, %rsp", "stmxcsr (%rsp)", "add $8, %rsp");
SNIPPET(fxsave, "", "fxsave (%rdi)", "");
SNIPPET(xsave, "mov $3, %eax; xor %edx, %edx", "xsave (%rdi)", "");
SNIPPET(avx, "", "vpxor %xmm0, %xmm0, %xmm0", "");
SNIPPET(sfence, "", "sfence", "");
SNIPPET(popcnt, "", "popcnt %rax, %rcx", "");

enum outcome { RUNS = NO_TRAP };

static unsigned expected_trap(const struct snippet *code, bool em, bool ts, bool mp)
{
    if (code == &sfence || code == &popcnt)
        return RUNS;
    if (code == &x87_wait)
        return mp && ts ? NM : RUNS;
    if (code == &x87)
        return em || ts ? NM : RUNS;
    if (code == &xsave || code == &avx) /* CR0.EM is not theirs */
        return ts ? NM : RUNS;
    return em ? UD : ts ? NM : RUNS;
}

static void check_matrix_row(const struct snippet *code)
{
    word cr0 = read_cr0() & ~(CR0_EM | CR0_TS | CR0_MP);
    bool good = true;

    for (unsigned bits = 0; bits < 8; bits++) {
        bool em = bits & 1;
        bool ts = bits & 2;
        bool mp = bits & 4;
        const struct trap *trap;
        write_cr0(cr0 | (em ? CR0_EM : 0) | (ts ? CR0_TS : 0) | (mp ? CR0_MP : 0));
        trap = trial_in(KERNEL, code, (word)image);
        if (code == &fxsave && em && trap->vector == NM)
            continue; /* with EM the SDM says #UD, AMD's manual #NM */
        if (trap->vector != expected_trap(code, em, ts, mp)) {
            note("  EM %u TS %u MP %u: %s, should be %s", em, ts, mp, trap_name(trap->vector),
                 trap_name(expected_trap(code, em, ts, mp)));
            good = false;
        }
    }
    write_cr0(cr0 | CR0_MP);
    check(good, "%s with all of CR0.EM, TS and MP", code->name);
}

static void matrix(void)
{
    bool vectors = HAS_XSAVE && HAS_AVX;

    static const struct snippet *const all[] = {&x87,    &x87_wait, &mmx,    &sse,   &sse_control,
                                                &fxsave, &sfence,   &popcnt, &xsave, &avx};
    if (vectors)
        set_xcr0(7);
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++) {
        if ((all[i] == &xsave && !HAS_XSAVE) || (all[i] == &avx && !vectors))
            skip(all[i]->name, "not there");
        else
            check_matrix_row(all[i]);
    }
}

/* --- FNINIT, FXSAVE --- */

static void do_fxsave(uint8_t *to)
{
    asm volatile("fxsave64 (%0)" : : "r"(to) : "memory");
}

static void do_fxrstor(const uint8_t *from)
{
    asm volatile("fxrstor64 (%0)" : : "r"(from) : "memory");
}

/* A legacy image with everything different from its initial value. */
static void fill_image(uint8_t *to, unsigned seed)
{
    for (unsigned i = 0; i < LEGACY; i++)
        to[i] = (uint8_t)(i * 7 + seed);
    *(uint16_t *)(void *)to = 0x027f;       /* FCW: 53 bits */
    *(uint16_t *)(void *)(to + 2) = 0x3000; /* FSW: top 6 */
    to[4] = 0xff;                           /* all registers in use */
    to[5] = 0;
    *(uint16_t *)(void *)(to + 6) = 0x123; /* FOP */
    *(uint64_t *)(void *)(to + 8) = 0x00007fff12345678ull + seed;
    *(uint64_t *)(void *)(to + 16) = 0x00007eee12345678ull + seed;
    *(uint32_t *)(void *)(to + 24) = 0x5f80; /* MXCSR: round up */
    *(uint32_t *)(void *)(to + 28) = 0xffff;
    for (unsigned i = 0; i < 8; i++) {
        __builtin_memset(to + 32 + i * 16 + 10, 0, 6);
        to[32 + i * 16 + 7] |= 0x80; /* normal numbers */
    }
}

static void fxsave_state(void)
{
    bool good;

    asm volatile("fninit; fxsave64 (%0)" : : "r"(image) : "memory");
    check_equal(*(uint16_t *)(void *)image, 0x37f, "fninit: FCW");
    check_equal(*(uint16_t *)(void *)(image + 2), 0, "fninit: FSW");
    check_equal(image[4], 0, "fninit: all registers are free");
    check_equal(*(uint32_t *)(void *)(image + 28) & 0xffbf, 0xffbf, "MXCSR_MASK");
    fill_image(image, 1);
    do_fxrstor(image);
    __builtin_memset(second, 0, sizeof(second));
    do_fxsave(second);
    good = __builtin_memcmp(image + 24, second + 24, 4) == 0 &&
           __builtin_memcmp(image + 32, second + 32, 416 - 32) == 0;
    check(good, "fxrstor, then fxsave: registers and MXCSR are the same");
    check(__builtin_memcmp(image, second, 5) == 0, "FCW, FSW and tags are the same");
    check_equal(second[416] | second[511], 0, "the reserved end is not written");
    asm volatile("fninit; ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
}

SNIPPET(fxsave_unaligned, "", "fxsave 8(%rdi)", "");
SNIPPET(fxrstor_unaligned, "", "fxrstor 8(%rdi)", "");
SNIPPET(fxrstor_plain, "", "fxrstor (%rdi)", "");
SNIPPET(ldmxcsr_di, "", "ldmxcsr (%rdi)", "");
SNIPPET(mmx_tags, "fninit; pxor %mm0, %mm0", "fxsave (%rdi)", "emms");
SNIPPET(x87_environment,
        "fninit; fld1; fldz; sub $112, %rsp; fnsave (%rsp); mov 8(%rsp), %eax; frstor (%rsp)",
        "fnstsw %ax", "add $112, %rsp; movzwl %ax, %eax; fninit");

static void fxsave_faults(void)
{
    check_fault(KERNEL, &fxsave_unaligned, (word)image, GP, 0);
    check_fault(KERNEL, &fxrstor_unaligned, (word)image, GP, 0);
    fill_image(image, 2);
    *(uint32_t *)(void *)(image + 24) = 0x10000;
    check_fault(KERNEL, &fxrstor_plain, (word)image, GP, 0);
    check_fault(KERNEL, &ldmxcsr_di, (word)image + 24, GP, 0);
    check_fault(KERNEL, &fxrstor_plain, 0x700000000000, PF, 0);
    trial_in(KERNEL, &mmx_tags, (word)image);
    check_equal(image[4], 0xff, "an MMX instruction marks all x87 registers used");
    check_equal(trial_in(KERNEL, &x87_environment, 0)->value, 0x3000,
                "fnsave and frstor keep the top of the stack");
}

/* --- XSAVE --- */

static void do_xsave(uint8_t *to, uint32_t mask)
{
    asm volatile("xsave64 (%0)" : : "r"(to), "a"(mask), "d"(0) : "memory");
}

static void do_xrstor(const uint8_t *from, uint32_t mask)
{
    asm volatile("xrstor64 (%0)" : : "r"(from), "a"(mask), "d"(0) : "memory");
}

SNIPPET(xrstor_all, "mov $-1, %eax; mov $-1, %edx", "xrstor (%rdi)", "");
SNIPPET(xrstor_unaligned, "mov $3, %eax; xor %edx, %edx", "xrstor 16(%rdi)", "");
SNIPPET(xsave_unaligned, "mov $3, %eax; xor %edx, %edx", "xsave 16(%rdi)", "");
SNIPPET(xsaveopt, "mov $3, %eax; xor %edx, %edx", "xsaveopt (%rdi)", "");
SNIPPET(xsavec, "mov $3, %eax; xor %edx, %edx", "xsavec (%rdi)", "");

/* A whole image that XRSTOR accepts. */
static void fill_extended(uint8_t *to, unsigned seed, uint64_t parts)
{
    __builtin_memset(to, 0, 4096);
    fill_image(to, seed);
    for (unsigned i = 0; i < 256; i++)
        to[576 + i] = (uint8_t)(i * 5 + seed);
    header(to)[0] = parts;
}

static void xrstor_faults(void)
{
    fill_extended(image, 1, 3);
    check_runs(KERNEL, &xrstor_all, (word)image);
    header(image)[0] = 1ull << 62;
    check_fault(KERNEL, &xrstor_all, (word)image, GP, 0);
    header(image)[0] = 3 | 4;
    check_fault(KERNEL, &xrstor_all, (word)image, GP, 0); /* AVX is off in XCR0 */
    header(image)[0] = 3;
    header(image)[1] = 3;
    check_fault(KERNEL, &xrstor_all, (word)image, GP, 0);
    header(image)[1] = 0;
    header(image)[2] = 1;
    check_fault(KERNEL, &xrstor_all, (word)image, GP, 0);
    header(image)[2] = 0;
    header(image)[7] = 1;
    check_runs(KERNEL, &xrstor_all, (word)image); /* only bytes 8 to 23 must be 0 */
    header(image)[7] = 0;
    *(uint32_t *)(void *)(image + 24) = 0x10000;
    check_fault(KERNEL, &xrstor_all, (word)image, GP, 0);
    *(uint32_t *)(void *)(image + 24) = 0x1f80;
    check_fault(KERNEL, &xrstor_unaligned, (word)image, GP, 0);
    check_fault(KERNEL, &xsave_unaligned, (word)image, GP, 0);
    /* which byte is touched first, and how, is not said */
    check_equal(trial_in(KERNEL, &xsave, 0x700000000000)->vector, PF, "xsave to a missing page");
}

static void xsave_parts(void)
{
    fill_extended(image, 3, 3);
    do_xrstor(image, 3);
    __builtin_memset(second, 0xee, sizeof(second));
    header(second)[0] = 0x80;
    do_xsave(second, 1);
    check_equal(header(second)[0] & 0x83, 0x81, "xsave of x87 sets its bit and keeps others");
    check_equal(second[160], 0xee, "and does not write the XMM registers");
    check_equal(second[HEADER + 16], 0xee, "nor the rest of the header");
    check(__builtin_memcmp(second + 32, image + 32, 10) == 0, "but the x87 registers");
    do_xsave(second, 2);
    check(__builtin_memcmp(second + 160, image + 160, 256) == 0, "xsave of SSE writes XMM");
    check(__builtin_memcmp(second + 24, image + 24, 4) == 0, "and MXCSR");

    fill_extended(image, 4, 0); /* both parts initial */
    do_xrstor(image, 3);
    do_fxsave(second);
    check(*(uint16_t *)(void *)second == 0x37f && second[4] == 0 && second[160] == 0 &&
              second[415] == 0,
          "xrstor with no part present makes them initial");
    check_equal(*(uint32_t *)(void *)(second + 24), 0x5f80, "and loads MXCSR from memory");
    fill_extended(image, 5, 3);
    do_xrstor(image, 1);
    do_fxsave(second);
    check(second[160] == 0 && __builtin_memcmp(second + 32, image + 32, 10) == 0,
          "xrstor of x87 leaves SSE");
    asm volatile("fninit; ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
}

static void xsave_variants(void)
{
    uint32_t features = cpuid(0xd, 1).a;

    fill_extended(image, 6, 3);
    if (features & 1) {
        do_xrstor(image, 3);
        __builtin_memset(second, 0, sizeof(second));
        check_runs(KERNEL, &xsaveopt, (word)second);
        check(__builtin_memcmp(second + 160, image + 160, 256) == 0 && (header(second)[0] & 2),
              "xsaveopt saves what is in use");
    } else {
        check_fault(KERNEL, &xsaveopt, (word)second, UD, 0);
    }
    if (features & 2) {
        do_xrstor(image, 3);
        __builtin_memset(second, 0, sizeof(second));
        check_runs(KERNEL, &xsavec, (word)second);
        check_equal(header(second)[1], 1ull << 63 | 3, "xsavec writes XCOMP_BV");
        asm volatile("pxor %xmm0, %xmm0");
        check_runs(KERNEL, &xrstor_all, (word)second);
        do_fxsave(image);
        check(__builtin_memcmp(second + 160, image + 160, 256) == 0,
              "xrstor reads the compact form");
    } else {
        check_fault(KERNEL, &xsavec, (word)second, UD, 0);
        fill_extended(second, 1, 3);
        header(second)[1] = 1ull << 63 | 3;
        check_fault(KERNEL, &xrstor_all, (word)second, GP, 0);
    }
    asm volatile("fninit; ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
}

static void avx_state(void)
{
    static uint8_t upper[32] __attribute__((aligned(32)));

    if (!HAS_AVX) {
        skip("AVX state", "no AVX");
        return;
    }
    set_xcr0(7);
    fill_extended(image, 7, 7);
    do_xrstor(image, 7);
    __builtin_memset(second, 0, sizeof(second));
    do_xsave(second, 7);
    check(__builtin_memcmp(second + 576, image + 576, 256) == 0, "the upper halves come back");
    asm volatile("vmovdqu %%ymm3, (%0)" : : "r"(upper) : "memory");
    check(__builtin_memcmp(upper, image + 160 + 48, 16) == 0 &&
              __builtin_memcmp(upper + 16, image + 576 + 48, 16) == 0,
          "a register is its two halves");
    asm volatile("pxor %xmm3, %xmm3");
    do_xsave(second, 4);
    check(__builtin_memcmp(second + 576 + 48, image + 576 + 48, 16) == 0,
          "an SSE instruction leaves the upper half");
    asm volatile("vpxor %xmm3, %xmm3, %xmm3");
    do_xsave(second, 4);
    check_equal(*(uint64_t *)(void *)(second + 576 + 48), 0, "an AVX one of 128 bits clears it");
    header(image)[0] = 3;
    do_xrstor(image, 7);
    __builtin_memset(second, 0x55, sizeof(second));
    header(second)[0] = 0;
    do_xsave(second, 4);
    check((header(second)[0] & 4) == 0 || *(uint64_t *)(void *)(second + 576) == 0,
          "xrstor without the AVX part clears the upper halves");
    set_xcr0(3);
    check_fault(KERNEL, &avx, 0, UD, 0);
    asm volatile("fninit; ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
}

static void extended(void)
{
    if (!HAS_XSAVE) {
        skip("XSAVE", "no XSAVE");
        return;
    }
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    check_fault(KERNEL, &xsave, (word)image, UD, 0);
    check_fault(KERNEL, &xrstor_all, (word)image, UD, 0);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    set_xcr0(3);
    xrstor_faults();
    xsave_parts();
    xsave_variants();
    avx_state();
}

/* --- each CPU has its own, and interrupts do not disturb it --- */

enum { TICK = 0x60 };

static void tick(struct frame *frame)
{
    (void)frame;
    apic_eoi();
}

static uint8_t saved[CPUS_MAX][2][LEGACY] __attribute__((aligned(16)));
static volatile unsigned disturbed;

static void keep_state(void *unused)
{
    unsigned me = cpu_index();

    (void)unused;
    fill_image(saved[me][0], me * 13 + 5);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | TICK);
    apic_write(APIC_TIMER_INITIAL, 300000);
    do_fxrstor(saved[me][0]);
    interrupts_on();
    for (unsigned i = 0; i < 2000; i++) {
        for (unsigned spin = 0; spin < 100; spin++)
            relax();
        do_fxsave(saved[me][1]);
        if (__builtin_memcmp(saved[me][0] + 32, saved[me][1] + 32, 416 - 32) != 0)
            __atomic_fetch_add(&disturbed, 1, __ATOMIC_SEQ_CST);
    }
    interrupts_off();
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    asm volatile("fninit; ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
}

static void isolation(void)
{
    trap_handlers[TICK] = tick;
    cpus_run(keep_state, NULL);
    check_equal(disturbed, 0, "each CPU keeps its own registers under interrupts");
}

/* MXCSR and FCW steer the arithmetic of the guest. */
SNIPPET(divide_rounding,
        "push %rdi; ldmxcsr (%rsp); pop %rdi; mov $1, %eax; cvtsi2ss %eax, %xmm0; mov $3, %eax;"
        "cvtsi2ss %eax, %xmm1",
        "divss %xmm1, %xmm0", "movd %xmm0, %eax; push $0x1f80; ldmxcsr (%rsp); pop %rcx");
SNIPPET(x87_rounding,
        "fninit; push %rdi; fldcw (%rsp); pop %rdi; push $1; push $3; fildl 8(%rsp);"
        "fildl (%rsp)",
        "fdivrp", "fstps (%rsp); mov (%rsp), %eax; add $16, %rsp; fninit");
SNIPPET(sse_flags,
        "push $0x1f80; ldmxcsr (%rsp); xorps %xmm1, %xmm1; mov $1, %eax; cvtsi2ss %eax, %xmm0;"
        "divss %xmm1, %xmm0",
        "stmxcsr (%rsp)", "pop %rax; mov %eax, %eax");

static void rounding(void)
{
    check_equal(trial_in(KERNEL, &divide_rounding, 0x1f80)->value, 0x3eaaaaab, "1/3 to nearest");
    check_equal(trial_in(KERNEL, &divide_rounding, 0x3f80)->value, 0x3eaaaaaa, "1/3 down");
    check_equal(trial_in(KERNEL, &divide_rounding, 0x5f80)->value, 0x3eaaaaab, "1/3 up");
    check_equal(trial_in(KERNEL, &divide_rounding, 0x7f80)->value, 0x3eaaaaaa, "1/3 towards zero");
    check_equal(trial_in(KERNEL, &x87_rounding, 0x077f)->value & 0xfffffffe, 0x3eaaaaaa,
                "x87: 1/3 down");
    check_equal(trial_in(KERNEL, &sse_flags, 0)->value, 0x1f84, "a masked division sets ZE");
    check_equal(trial_in(USER, &sse_flags, 0)->value, 0x1f84, "in ring 3 too");
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"fxsave", fxsave_state}, {"fxsave-faults", fxsave_faults},
        {"rounding", rounding},   {"xsave", extended},
        {"matrix", matrix},       {"isolation", isolation},
    };
    smp_start();
    run_groups(groups, ARRAY_LENGTH(groups));
}
