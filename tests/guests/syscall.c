/*
 * The fast system calls and IRET: what they load, mask and refuse.
 * Source: Intel SDM vol. 2 (SYSCALL, SYSRET, SYSENTER, SYSEXIT, IRET), vol. 3A § 5.8.7, § 5.8.8.
 */
#include "area.h"
#include "cpu.h"
#include "tap.h"
#include "trial.h"

#define NONCANONICAL 0x0000800000000000ull
#define LOW_CODE     0x5678 /* conventional memory that nobody uses */
#define USER_RPL     3

/* --- the system call entry, which notes how it was entered --- */

struct entered {
    word rcx, r11, rsp, flags, cs, ss, count;
};

struct leaving { /* what the entry returns with */
    word rcx, r11;
};

struct entered entered;
struct leaving leaving;
extern const char entry_stops[], entry_sysretq[], entry_sysretl[];
extern const char entry_sysexitq[], entry_sysexitl[];

asm(".pushsection .text\n"
    ".macro note_entry\n"
    "mov %rcx, entered(%rip); mov %r11, entered+8(%rip); mov %rsp, entered+16(%rip)\n"
    "pushf; pop entered+24(%rip); mov %cs, entered+32(%rip); mov %ss, entered+40(%rip)\n"
    "incq entered+48(%rip)\n"
    ".endm\n"
    "entry_stops: note_entry; int $0x80\n"
    "entry_sysretq: note_entry; mov leaving(%rip), %rcx; mov leaving+8(%rip), %r11; sysretq\n"
    "entry_sysretl: note_entry; mov leaving(%rip), %rcx; mov leaving+8(%rip), %r11; sysretl\n"
    /* SYSEXIT: RDX is the new RIP, RCX the new RSP */
    "entry_sysexitq: note_entry; mov leaving(%rip), %rdx; mov leaving+8(%rip), %rcx; sysexitq\n"
    "entry_sysexitl: note_entry; mov leaving(%rip), %rdx; mov leaving+8(%rip), %rcx; sysexitl\n"
    ".popsection");

#define STAR_OF(kernel, user) ((uint64_t)(user) << 48 | (uint64_t)(kernel) << 32)

static void calls_start(const char *entry)
{
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE);
    write_msr(MSR_STAR, STAR_OF(KERNEL_CS, USER_CS32));
    write_msr(MSR_LSTAR, (word)entry);
    write_msr(MSR_CSTAR, (word)entry);
    write_msr(MSR_SFMASK, 0);
    entered = (struct entered){0};
}

static bool is_intel(void)
{
    return cpuid(0, 0).b == 0x756e6547; /* "Genu" */
}

/* --- SYSCALL --- */

SNIPPET(call_system, "mov %rsp, %rax", "syscall", "mov $77, %eax");
SNIPPET(call_with_flags, "pushf; orl $0x244cd5, (%rsp); popf", "syscall",
        "pushf; andl $~0x44400, (%rsp); popf");
SNIPPET(call_stepping, "pushf; orl $0x100, (%rsp); popf", "syscall", "");
SNIPPET32(call_system32, "", "syscall", "");

static void syscall_enters(void)
{
    const struct trap *trap;

    calls_start(entry_stops);
    trap = trial_in(USER, &call_system, 0);
    check_equal(trap->vector, NO_TRAP, "syscall enters");
    check_equal(entered.count, 1, "it enters at LSTAR");
    check_equal(entered.rcx, seen_at(USER, call_system.next), "RCX is the address behind it");
    check_equal(entered.r11, FLAG_FIXED, "R11 has the flags");
    check_equal(entered.rsp, trap->value, "RSP is left alone");
    check_equal(entered.cs, KERNEL_CS, "CS is from STAR");
    check_equal(entered.ss, KERNEL_DS, "SS is CS + 8");

    trial_in(USER, &call_with_flags, 0);
    check_equal(entered.r11 & 0x244cd5, 0x244cd5, "R11 has NT, AC, ID, DF and OF");
    check_equal(entered.flags & 0x244cd5, 0x244cd5, "SFMASK 0 keeps all flags");
    write_msr(MSR_SFMASK, FLAG_DF | FLAG_AC | FLAG_CF);
    trial_in(USER, &call_with_flags, 0);
    check_equal(entered.r11 & 0x244cd5, 0x244cd5, "R11 is not masked");
    check_equal(entered.flags & 0x244cd5, 0x244cd5 & ~(FLAG_DF | FLAG_AC | FLAG_CF),
                "SFMASK clears its flags only");
    write_msr(MSR_SFMASK, 0xffffffff);
    trial_in(USER, &call_with_flags, 0);
    check_equal(entered.flags, FLAG_FIXED, "SFMASK of ones leaves the fixed bit");
    trial_in(KERNEL, &call_system, 0);
    check_equal(entered.rcx, (word)call_system.next, "syscall enters from ring 0 too");
}

static void syscall_steps(void)
{
    const struct trap *trap;

    calls_start(entry_stops);
    trap = trial_in(USER, &call_stepping, 0);
    check(trap->vector == DB && trap->frame.ip == (word)entry_stops && trap->frame.cs == KERNEL_CS,
          "syscall with TF and no mask: #DB at the entry, in ring 0");
    write_dr6(0xffff0ff0);
    write_msr(MSR_SFMASK, FLAG_TF);
    trap = trial_in(USER, &call_stepping, 0);
    check_equal(trap->vector, NO_TRAP, "syscall with TF masked: no #DB");
    check_equal(entered.r11 & FLAG_TF, FLAG_TF, "R11 has TF");
}

static void syscall_refused(void)
{
    calls_start(entry_stops);
    if (is_intel())
        check_fault(USER32, &call_system32, 0, UD, 0);
    else
        skip("syscall in compatibility mode", "only Intel's faults");
    write_msr(MSR_EFER, read_msr(MSR_EFER) & ~(uint64_t)EFER_SCE);
    check_fault(USER, &call_system, 0, UD, 0);
}

SNIPPET(gp_lstar, "mov $0xc0000082, %ecx; xor %eax, %eax; mov $0x8000, %edx", "wrmsr", "");
SNIPPET(gp_cstar, "mov $0xc0000083, %ecx; xor %eax, %eax; mov $0x8000, %edx", "wrmsr", "");
SNIPPET(gp_sysenter_eip, "mov $0x176, %ecx; xor %eax, %eax; mov $0x8000, %edx", "wrmsr", "");
SNIPPET(gp_sysenter_esp, "mov $0x175, %ecx; xor %eax, %eax; mov $0x8000, %edx", "wrmsr", "");

static void msrs(void)
{
    static const uint32_t all[] = {MSR_STAR,         MSR_LSTAR,        MSR_CSTAR,
                                   MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_KERNEL_GS_BASE};
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++) {
        write_msr(all[i], 0xffff800012345678ull);
        check_equal(read_msr(all[i]), 0xffff800012345678ull, "MSR %x holds 64 bits", all[i]);
    }
    write_msr(MSR_SFMASK, 0x12345678);
    check_equal(read_msr(MSR_SFMASK), 0x12345678, "SFMASK holds 32 bits");
    check_fault(KERNEL, &gp_lstar, 0, GP, 0);
    check_fault(KERNEL, &gp_cstar, 0, GP, 0);
    check_fault(KERNEL, &gp_sysenter_eip, 0, GP, 0);
    check_fault(KERNEL, &gp_sysenter_esp, 0, GP, 0);
}

/* --- SYSRET --- */

SNIPPET(stop_here, "", "int $0x81", ""); /* its gate is closed to ring 3: #GP shows the state */
SNIPPET32(stop_here32, "", "int $0x81", "");

/* Ring 3 calls, the entry returns to `target`, which stops: the frame shows what was loaded. */
static const struct trap *leave_to(const char *entry, word target, word flags)
{
    calls_start(entry);
    leaving = (struct leaving){target, flags};
    return trial_in(USER, &call_system, 0);
}

static void sysret_leaves(void)
{
    word target = seen_at(USER, stop_here.code);
    const struct trap *trap = leave_to(entry_sysretq, target, 0xffffffff & ~(word)FLAG_TF);

    check_equal(trap->frame.ip, target, "sysretq goes to RCX");
    check_equal(trap->frame.cs, USER_CS64, "CS is STAR + 16");
    check_equal(trap->frame.ss, USER_DS, "SS is STAR + 8");
    check_equal(trap->frame.flags & ~(word)FLAG_RF, 0x3c7ed7 & ~(word)FLAG_RF,
                "RFLAGS is R11 without RF, VM and reserved bits");
    trap = leave_to(entry_sysretq, target, 0);
    check_equal(trap->frame.flags & ~(word)FLAG_RF, FLAG_FIXED, "R11 of 0 leaves the fixed bit");

    trap = leave_to(entry_sysretl, 0xdead00000000ull | seen_at(USER, stop_here32.code), 2);
    check_equal(trap->frame.cs, USER_CS32, "sysretl: CS is STAR");
    check_equal(trap->frame.ss, USER_DS, "sysretl: SS is STAR + 8");
    check_equal(trap->frame.ip, seen_at(USER, stop_here32.code), "sysretl goes to ECX");

    trap = leave_to(entry_sysretq, seen_at(USER, call_system.next), 2);
    check(trap->vector == NO_TRAP && trap->value == 77, "ring 3 goes on behind its syscall");
}

/* SYSRET does not look at the descriptors (SDM vol. 2B). */
static void sysret_ignores_descriptors(void)
{
    const struct trap *trap;

    calls_start(entry_sysretq);
    write_msr(MSR_STAR, STAR_OF(KERNEL_CS, 0x1f3));
    leaving = (struct leaving){seen_at(USER, stop_here.code), FLAG_FIXED};
    trap = trial_in(USER, &call_system, 0);
    check_equal(trap->frame.cs, 0x203, "sysretq to an empty descriptor: CS");
    check_equal(trap->frame.ss, 0x1fb, "and SS");
    check_equal(trap->vector, GP, "the code there runs");
    write_msr(MSR_STAR, STAR_OF(KERNEL_CS, 0x1f0));
    trap = trial_in(USER, &call_system, 0);
    check_equal(trap->frame.cs, 0x203, "the RPL of CS is forced to 3");
    check(trap->frame.ss == 0x1f8 || trap->frame.ss == 0x1fb, "SS is STAR + 8 (RPL as by model)");
}

/* On Intel the fault is taken in ring 0 (SDM vol. 2B, SYSRET). */
static void sysret_noncanonical(void)
{
    const struct trap *trap = leave_to(entry_sysretq, NONCANONICAL, FLAG_FIXED);

    if (!is_intel()) {
        skip("sysret to an address that is not canonical", "only Intel's faults in ring 0");
        return;
    }
    check(trap->vector == GP && trap->error == 0, "sysretq to an address not canonical: #GP(0)");
    check_equal(trap->frame.cs, KERNEL_CS, "it is still in ring 0");
    check(trap->frame.ip > (word)entry_sysretq && trap->frame.ip < (word)entry_sysretl,
          "RIP is the one of sysret");
}

/* --- SYSENTER, SYSEXIT --- */

SNIPPET(enter_system, "", "sysenter", "");
SNIPPET(enter_with_flags, "pushf; orl $0x244cd5, (%rsp); popf", "sysenter", "");
SNIPPET32(enter_system32, "", "sysenter", "");
SNIPPET(exit_without_cs, "", "sysexitl", "");
SNIPPET(exit_noncanonical, "mov %rdi, %rdx; mov %rsp, %rcx", "sysexitq", "");
SNIPPET(exit_noncanonical_stack, "mov %rdi, %rcx; xor %edx, %edx", "sysexitq", "");

static void enter_start(const char *entry)
{
    entered = (struct entered){0};
    write_msr(MSR_SYSENTER_CS, KERNEL_CS);
    write_msr(MSR_SYSENTER_EIP, (word)entry);
    write_msr(MSR_SYSENTER_ESP, (word)area_at(this_area(), AREA_IST3));
}

static void sysenter_enters(void)
{
    enter_start(entry_stops);
    trial_in(USER, &enter_system, 0);
    check_equal(entered.count, 1, "sysenter enters");
    check_equal(entered.cs, KERNEL_CS, "CS is from the MSR");
    check_equal(entered.ss, KERNEL_DS, "SS is CS + 8");
    check_equal(entered.rsp, (word)area_at(this_area(), AREA_IST3), "RSP is from the MSR");
    trial_in(USER, &enter_with_flags, 0);
    check_equal(entered.flags & (0x244cd5 | FLAG_IF), 0x244cd5, "flags stay, but for IF");
    if (is_intel()) {
        trial_in(USER32, &enter_system32, 0);
        check_equal(entered.count, 3, "sysenter enters from compatibility mode");
    } else {
        skip("sysenter from compatibility mode", "only Intel's CPUs");
    }
    write_msr(MSR_SYSENTER_CS, 0);
    check_fault(USER, &enter_system, 0, GP, 0);
    check_fault(KERNEL, &exit_without_cs, 0, GP, 0);
    write_msr(MSR_SYSENTER_CS, KERNEL_CS);
    check_fault(KERNEL, &exit_noncanonical, NONCANONICAL, GP, 0);
    check_fault(KERNEL, &exit_noncanonical_stack, NONCANONICAL, GP, 0);
}

static void sysexit_leaves(void)
{
    word stack = seen_at(USER, area_at(this_area(), AREA_USER_STACK)) - 64;
    const struct trap *trap;

    enter_start(entry_sysexitq);
    leaving = (struct leaving){seen_at(USER, stop_here.code), stack};
    trap = trial_in(USER, &enter_system, 0);
    check_equal(trap->frame.ip, seen_at(USER, stop_here.code), "sysexitq goes to RDX");
    check_equal(trap->frame.sp, stack, "RSP is RCX");
    check_equal(trap->frame.cs, KERNEL_CS + 32 + 3, "CS is the MSR + 32, ring 3");
    check_equal(trap->frame.ss, KERNEL_CS + 40 + 3, "SS is the MSR + 40");
    enter_start(entry_sysexitl);
    leaving = (struct leaving){seen_at(USER, stop_here32.code), stack};
    trap = trial_in(USER, &enter_system, 0);
    check_equal(trap->frame.ip, seen_at(USER, stop_here32.code), "sysexitl goes to EDX");
    check_equal(trap->frame.cs, KERNEL_CS + 16 + 3, "CS is the MSR + 16");
    check_equal(trap->frame.ss, KERNEL_CS + 24 + 3, "SS is the MSR + 24");
}

static void sysenter(void)
{
    if (!HAS_SYSENTER || !is_intel()) {
        skip("sysenter", "no SYSENTER in long mode");
        return;
    }
    sysenter_enters();
    sysexit_leaves();
}

/* --- IRET --- */

struct iret_frame {
    word ip, cs, flags, sp, ss;
};

/* Returns through the frame that RDI points to; `iret_at` is the instruction. */
SNIPPET(iret_to, "push 32(%rdi); push 24(%rdi); push 16(%rdi); push 8(%rdi); push (%rdi)", "iretq",
        "");
SNIPPET(read_state, "mov %rsp, %rax", "int $0x81", "");

static struct iret_frame frame_in(enum mode mode, const void *code)
{
    struct user_entry entry = user_entry(mode, code, 0);
    struct iret_frame frame = {entry.ip, entry.cs, entry.flags, entry.sp, entry.ss};

    /* ring 0's stack for the way back: below the one in use */
    this_area()->task.rsp[0] = (word)area_at(this_area(), AREA_IST3);
    return frame;
}

static const struct trap *iret_through(struct iret_frame *frame)
{
    return trial_in(KERNEL, &iret_to, (word)frame);
}

static void check_iret_fault(struct iret_frame *frame, unsigned vector, word error,
                             const char *what)
{
    const struct trap *trap = iret_through(frame);
    bool good = trap->vector == vector && trap->error == error &&
                trap->frame.ip == (word)iret_to.at && trap->frame.cs == KERNEL_CS;

    check(good, "iret with %s: %s(%lx), at the iret", what, trap_name(vector), error);
    if (!good)
        note("  is %s(%lx) at %lx:%lx", trap_name(trap->vector), trap->error, trap->frame.cs,
             trap->frame.ip);
}

static void iret_works(void)
{
    struct iret_frame frame = frame_in(USER, stop_here.code);
    const struct trap *trap = iret_through(&frame);

    check(trap->vector == GP && trap->frame.ip == frame.ip && trap->frame.cs == USER_CS64,
          "iret to ring 3");
    check_equal(trap->frame.sp, frame.sp, "loads RSP");
    frame.flags = 0x3c7ed7 & ~(word)FLAG_RF;
    trap = iret_through(&frame);
    check_equal(trap->frame.flags & ~(word)FLAG_RF, frame.flags,
                "iret from ring 0 loads all flags");
    frame = frame_in(USER32, stop_here32.code);
    trap = iret_through(&frame);
    check(trap->vector == GP && trap->frame.cs == USER_CS32, "iret to compatibility mode, ring 3");
    frame = frame_in(KERNEL, read_state.code);
    frame.cs = KERNEL_CS;
    frame.ss = KERNEL_DS;
    frame.ip = (word)read_state.code;
    frame.sp = (word)area_at(this_area(), AREA_IST3) - 40;
    trap = iret_through(&frame);
    check(trap->vector == 0x81 && trap->value == frame.sp,
          "iret within ring 0 loads RSP too, in 64-bit mode");
    frame.ss = 0;
    trap = iret_through(&frame);
    check(trap->vector == 0x81 && trap->frame.ss == 0, "iret within ring 0 takes a null SS");
    frame.ss = KERNEL_DS;
    frame.ip = (word)stop_here32.code;
    frame.cs = KERNEL_CS32;
    trap = iret_through(&frame);
    check(trap->vector == 0x81 && trap->frame.cs == KERNEL_CS32,
          "iret to compatibility mode in ring 0");
}

static void iret_refused(void)
{
    struct area *area = this_area();
    struct iret_frame good = frame_in(USER, stop_here.code);
    struct iret_frame frame = good;
    const struct trap *trap;

    area->gdt[FREE_SELECTOR / 8] = 0x00af7b000000ffffull;     /* code of ring 3, not present */
    area->gdt[FREE_SELECTOR / 8 + 1] = 0x00cf73000000ffffull; /* data of ring 3, not present */
    area->gdt[FREE_SELECTOR / 8 + 2] = 0x00effb000000ffffull; /* code with both L and D */
    area->gdt[FREE_SELECTOR / 8 + 3] = 0x00cff1000000ffffull; /* data of ring 3, read-only */
    frame.ip = NONCANONICAL;
    check_iret_fault(&frame, GP, 0, "RIP not canonical");
    frame = good;
    frame.cs = 0;
    check_iret_fault(&frame, GP, 0, "a null CS");
    frame.cs = 0xfffb;
    check_iret_fault(&frame, GP, 0xfff8, "CS behind the table");
    frame.cs = USER_DS;
    check_iret_fault(&frame, GP, USER_DS & ~3, "CS of data");
    frame.cs = KERNEL_CS | USER_RPL;
    check_iret_fault(&frame, GP, KERNEL_CS, "CS of another DPL than its RPL");
    frame.cs = FREE_SELECTOR | USER_RPL;
    check_iret_fault(&frame, NP, FREE_SELECTOR, "CS not present");
    frame = good;
    frame.ss = 0;
    check_iret_fault(&frame, GP, 0, "a null SS for ring 3");
    frame.ss = KERNEL_DS;
    check_iret_fault(&frame, GP, KERNEL_DS, "SS of ring 0 for ring 3");
    frame.ss = KERNEL_DS | USER_RPL;
    check_iret_fault(&frame, GP, KERNEL_DS, "SS of DPL 0 and RPL 3");
    frame.ss = (FREE_SELECTOR + 8) | USER_RPL;
    trap = iret_through(&frame);
    check((trap->vector == SS || trap->vector == NP) && trap->error == FREE_SELECTOR + 8,
          "iret with SS not present: #SS or #NP (the SDM says both) of it");
    frame.ss = (FREE_SELECTOR + 24) | USER_RPL;
    check_iret_fault(&frame, GP, FREE_SELECTOR + 24, "SS read-only");
    frame.ss = USER_CS64;
    check_iret_fault(&frame, GP, USER_CS64 & ~3, "SS of code");
    frame = good;
    frame.cs = (FREE_SELECTOR + 16) | USER_RPL;
    check_iret_fault(&frame, GP, FREE_SELECTOR + 16, "CS with L and D");
}

SNIPPET(user_iret_inwards, "push $0x10; push $0; pushf; push $8; push $0", "iretq", "");
SNIPPET(user_iret_flags,
        "mov %rsp, %rax; push $0x33; push %rax; push $0x3202; push $0x3b; lea 1f(%rip), %rax;"
        "push %rax",
        "iretq\n1: pushf; pop %rax", "");
SNIPPET(
    iretw_back,
    "mov %ss, %ecx; mov %rsp, %rax; pushw %cx; pushw $0x1234; pushw $2; pushw $8; pushw $0x5678",
    "iretw", "");
SNIPPET(iretl_back,
        "mov %ss, %ecx; mov %rsp, %rdx; sub $20, %rsp; movl $1f, (%rsp); movl $8, 4(%rsp);"
        "movl $2, 8(%rsp); mov %edx, 12(%rsp); mov %ecx, 16(%rsp)",
        "iretl\n1: mov $55, %eax", "");

static void iret_in_ring_3(void)
{
    const struct trap *trap;

    check_fault(USER, &user_iret_inwards, 0, GP, KERNEL_CS);
    trap = trial_in(USER, &user_iret_flags, 0);
    check_equal(trap->vector, NO_TRAP, "iret within ring 3 runs");
    check_equal(trap->value & (FLAG_IOPL | FLAG_IF), 0, "it leaves IOPL and IF");
    trap = trial_in(KERNEL, &iretl_back, 0);
    check(trap->vector == NO_TRAP && trap->value == 55, "iret with 32-bit operands returns");
    __builtin_memcpy((void *)LOW_CODE, "\xcd\x81", 2);
    idt[0x81].ist = 3;
    trap = trial_in(KERNEL, &iretw_back, 0);
    traps_reset(0x81);
    check(trap->vector == 0x81 && trap->frame.ip == LOW_CODE + 2 && trap->frame.sp == 0x1234,
          "iret with 16-bit operands loads 16 bits of RIP and RSP");
}

SNIPPET(load_ds_kernel,
        "mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %fs;"
        "push 32(%rdi); push 24(%rdi); push 16(%rdi); push 8(%rdi); push (%rdi)",
        "iretq", "");
SNIPPET(read_ds, "mov %ds, %eax; mov %es, %ecx; shl $16, %ecx; or %ecx, %eax", "ret", "");

/* Segments of an inner ring do not survive the way out (SDM vol. 2A, IRET). */
static void iret_clears_segments(void)
{
    struct iret_frame frame = frame_in(USER, read_ds.code);
    const struct trap *trap = trial_in(KERNEL, &load_ds_kernel, (word)&frame);

    check_equal(trap->value, 0, "iret to ring 3 makes DS and ES of ring 0 null");
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs" : : "r"(KERNEL_DS));
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"syscall", syscall_enters},
        {"syscall-steps", syscall_steps},
        {"syscall-refused", syscall_refused},
        {"msrs", msrs},
        {"sysret", sysret_leaves},
        {"sysret-descriptors", sysret_ignores_descriptors},
        {"sysret-noncanonical", sysret_noncanonical},
        {"sysenter", sysenter},
        {"iret", iret_works},
        {"iret-refused", iret_refused},
        {"iret-ring3", iret_in_ring_3},
        {"iret-segments", iret_clears_segments},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
