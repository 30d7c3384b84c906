/*
 * Debug registers and single stepping. Source: Intel SDM vol. 3B chapter 17 (debug registers,
 * § 17.2; exceptions, § 17.3).
 */
#include "area.h"
#include "cpu.h"
#include "pages.h"
#include "tap.h"
#include "trial.h"

enum {
    ON_EXECUTE = 0,
    ON_WRITE = 1,
    ON_ACCESS = 3,
    DR6_BD = 1 << 13,
    DR6_BS = 1 << 14,
    DR7_FIXED = 1 << 10,
    DR7_GD = 1 << 13,
};
#define DR6_CLEAR  0xffff0ff0ul
#define DR6_STATUS 0xe00ful

/* DR7 bits that arm register `n` locally. */
static word armed(unsigned n, unsigned kind, unsigned length)
{
    static const unsigned codes[] = {0, 0, 1, 0, 3, 0, 0, 0, 2};
    return DR7_FIXED | 1u << n * 2 | (word)(kind | codes[length] << 2) << (16 + n * 4);
}

static void set_address(unsigned n, const volatile void *address)
{
    if (n == 0)
        write_dr0((word)address);
    else if (n == 1)
        write_dr1((word)address);
    else if (n == 2)
        write_dr2((word)address);
    else
        write_dr3((word)address);
}

/* Addresses too: DR6 may name a register that matches though it is not armed. */
static void disarm(void)
{
    for (unsigned n = 0; n < 4; n++)
        set_address(n, NULL);
    write_dr7(DR7_FIXED);
    write_dr6(DR6_CLEAR);
}

static word status(void)
{
    return this_area()->trap.dr6 & DR6_STATUS;
}

/* --- execution --- */

SNIPPET(three_nops, "nop", "nop", "nop");
SNIPPET(breakpoint_behind_mov_ss, "mov %ss, %eax; mov %eax, %ss", "nop", "nop");
SNIPPET(branch_target, "jmp 1f; nop; nop; 1:", "mov $1, %eax", "");

static void execution(void)
{
    for (unsigned n = 0; n < 4; n++) {
        set_address(n, three_nops.at);
        write_dr7(armed(n, ON_EXECUTE, 1));
        write_dr6(DR6_CLEAR);
        check_fault(KERNEL, &three_nops, 0, DB, 0);
        check_equal(status(), 1u << n, "DR6 names register %u", n);
        disarm();
        check_runs(KERNEL, &three_nops, 0);
    }
    set_address(0, branch_target.at);
    write_dr7(armed(0, ON_EXECUTE, 1));
    check_fault(KERNEL, &branch_target, 0, DB, 0);
    set_address(0, (const void *)seen_at(USER, three_nops.at));
    check_fault(USER, &three_nops, 0, DB, 0);
    check_runs(KERNEL, &three_nops, 0);
    write_dr7((armed(0, ON_EXECUTE, 1) & ~1ul) | 2); /* the global bit */
    check_fault(USER, &three_nops, 0, DB, 0);
    set_address(0, breakpoint_behind_mov_ss.at);
    write_dr7(armed(0, ON_EXECUTE, 1));
    check_runs(KERNEL, &breakpoint_behind_mov_ss, 0);
    disarm();
}

/* RF lets the instruction run once, then the breakpoint is alive again. */
static unsigned hits;

static void resume(struct frame *frame)
{
    hits++;
    frame->flags |= FLAG_RF;
}

SNIPPET(loop_ten, "mov $10, %ecx", "1: dec %ecx; jnz 1b", "");

static void resume_flag(void)
{
    hits = 0;
    trap_handlers[DB] = resume;
    set_address(0, loop_ten.at);
    write_dr7(armed(0, ON_EXECUTE, 1));
    check_runs(KERNEL, &loop_ten, 0);
    check_equal(hits, 10, "RF steps over the breakpoint once each time");
    trap_handlers[DB] = NULL;
    check_fault(KERNEL, &loop_ten, 0, DB, 0);
    check_equal(this_area()->trap.frame.flags & FLAG_RF, 0,
                "RF is clear in the frame of an instruction breakpoint");
    disarm();
}

/* --- data --- */

static struct {
    uint8_t bytes[32];
} data __attribute__((aligned(64)));

SNIPPET(read_1, "", "mov (%rdi), %al", "nop");
SNIPPET(read_8, "", "mov (%rdi), %rax", "nop");
SNIPPET(write_1, "", "mov %al, (%rdi)", "nop");
SNIPPET(write_2, "", "mov %ax, (%rdi)", "nop");
SNIPPET(write_8, "", "mov %rax, (%rdi)", "nop");
SNIPPET(add_4, "", "addl $1, (%rdi)", "nop");
SNIPPET(push_8, "mov %rsp, %rcx; lea 8(%rdi), %rsp", "push %rax", "mov %rcx, %rsp");
SNIPPET(sse_write, "", "movups %xmm0, (%rdi)", "nop");
SNIPPET(x87_write, "fninit; fldz", "fstpl (%rdi)", "nop");

static void data_kinds(void)
{
    write_dr6(DR6_CLEAR);
    set_address(1, data.bytes + 8);
    write_dr7(armed(1, ON_WRITE, 4));
    check_runs(KERNEL, &read_1, (word)data.bytes + 8);
    check_trap(KERNEL, &write_1, (word)data.bytes + 8, DB);
    check_equal(status(), 2, "DR6 names register 1");
    write_dr6(DR6_CLEAR);
    check_trap(KERNEL, &add_4, (word)data.bytes + 8, DB);
    write_dr7(armed(1, ON_ACCESS, 4));
    check_trap(KERNEL, &read_1, (word)data.bytes + 8, DB);
    check_trap(KERNEL, &write_1, (word)data.bytes + 8, DB);
    idt[DB].ist = 3; /* no frame may be pushed where the code pushes */
    check_trap(KERNEL, &push_8, (word)data.bytes + 8, DB);
    traps_reset(DB);
    check_trap(KERNEL, &sse_write, (word)data.bytes, DB);
    check_trap(KERNEL, &x87_write, (word)data.bytes + 5, DB);
    set_address(1, (const void *)seen_at(USER, data.bytes + 8));
    check_trap(USER, &write_1, seen_at(USER, data.bytes + 8), DB);
    check_runs(KERNEL, &write_1, (word)data.bytes + 8);
    disarm();
}

/* An access meets the watched range when one byte of both is the same. */
static void check_range(unsigned length, const struct snippet *code, unsigned access, int first,
                        int last)
{
    bool good = true;

    set_address(2, data.bytes + 16);
    write_dr7(armed(2, ON_ACCESS, length));
    for (int at = 6; at < 26; at++) {
        bool meets = at >= 16 + first && at <= 16 + last;
        const struct trap *trap;
        write_dr6(DR6_CLEAR);
        trap = trial_in(KERNEL, code, (word)data.bytes + at);
        if ((trap->vector == DB) != meets) {
            note("  at %d: %s", at - 16, trap_name(trap->vector));
            good = false;
        }
    }
    check(good, "%u bytes watched, %u accessed: every overlap and no other traps", length, access);
    disarm();
}

static void data_ranges(void)
{
    static const unsigned lengths[] = {1, 2, 4, 8};

    for (unsigned i = 0; i < 4; i++) {
        int last = (int)lengths[i] - 1;
        check_range(lengths[i], &write_1, 1, 0, last);
        check_range(lengths[i], &write_2, 2, -1, last);
        check_range(lengths[i], &write_8, 8, -7, last);
        check_range(lengths[i], &read_8, 8, -7, last);
    }
}

SNIPPET(two_writes, "", "mov %al, (%rdi)", "mov %al, 16(%rdi)");

static void several_at_once(void)
{
    const struct trap *trap;

    set_address(0, data.bytes);
    set_address(3, data.bytes + 4);
    write_dr7(armed(0, ON_WRITE, 4) | armed(3, ON_WRITE, 4));
    write_dr6(DR6_CLEAR);
    trial_in(KERNEL, &write_8, (word)data.bytes);
    check_equal(status(), 9, "one access that meets two registers sets both bits");
    write_dr6(DR6_CLEAR);
    write_dr7(armed(0, ON_WRITE, 4));
    trial_in(KERNEL, &write_8, (word)data.bytes);
    check_equal(status() & 1, 1, "the armed one is set when only one is armed");
    trap = trial_in(KERNEL, &write_1, (word)data.bytes);
    check_equal(trap->dr6 & DR6_STATUS & 1, 1, "DR6 is not cleared by the CPU");
    disarm();
    check_runs(KERNEL, &two_writes, (word)data.bytes);
}

/* --- string instructions --- */

SNIPPET(rep_stos, "mov $8, %ecx; xor %eax, %eax", "rep stosb", "nop");
SNIPPET(rep_movs, "mov $8, %ecx; mov %rdi, %rsi; add $32, %rsi; xchg %rsi, %rdi", "rep movsb",
        "nop");
static uint8_t strings[64];

static void in_strings(void)
{
    const struct trap *trap;

    set_address(0, strings + 3);
    write_dr7(armed(0, ON_WRITE, 1));
    write_dr6(DR6_CLEAR);
    trap = trial_in(KERNEL, &rep_stos, (word)strings);
    check(trap->vector == DB && trap->frame.cx == 4 && trap->frame.ip == (word)rep_stos.at,
          "rep stosb traps behind the iteration that writes (RCX 4 of 8 left)");
    set_address(0, strings + 7);
    trap = trial_in(KERNEL, &rep_stos, (word)strings);
    check(trap->vector == DB && trap->frame.cx == 0, "and behind the last one");
    set_address(0, strings + 2);
    write_dr7(armed(0, ON_ACCESS, 1));
    trap = trial_in(KERNEL, &rep_movs, (word)strings);
    check(trap->vector == DB && trap->frame.cx == 5, "rep movsb traps behind the read");
    disarm();
}

/* --- single step --- */

static word steps[64];
static unsigned step_count;

static void note_step(struct frame *frame)
{
    if (step_count < ARRAY_LENGTH(steps))
        steps[step_count] = frame->ip;
    step_count++;
    write_dr6(DR6_CLEAR);
}

#define STEPPED   "pushf; orl $0x100, (%rsp); popf\n"
#define UNSTEPPED "pushf; andl $~0x100, (%rsp); popf\n"

SNIPPET(step_branches, STEPPED,
        "nop\n jmp 1f\n nop\n 1: mov $1, %eax\n test %eax, %eax\n jz 2f\n call 3f\n 2: nop\n",
        UNSTEPPED "ret\n 3: ret\n");
SNIPPET(step_string, "mov $4, %ecx; xor %eax, %eax\n" STEPPED, "rep stosb", UNSTEPPED);
SNIPPET(step_zero_string, "xor %ecx, %ecx; xor %eax, %eax\n" STEPPED, "rep stosb", UNSTEPPED);
SNIPPET(step_pushf, STEPPED, "pushf\n pop %rax", UNSTEPPED);
SNIPPET(step_mov_ss, "mov %ss, %eax\n" STEPPED, "mov %eax, %ss\n nop\n nop", UNSTEPPED);
SNIPPET(step_cpuid, STEPPED, "push %rbx; xor %eax, %eax; cpuid; pop %rbx; rdtsc; nop", UNSTEPPED);
SNIPPET(step_int, STEPPED, "int $0x40", UNSTEPPED);
SNIPPET(step_io, STEPPED, "in $0x61, %al\n nop", UNSTEPPED);

static bool stepped_in_order(const struct snippet *code, unsigned count)
{
    bool good = step_count == count;
    for (unsigned i = 0; i < count && good; i++)
        good = steps[i] >= (word)code->code && steps[i] < (word)code->next + 32;
    return good;
}

static unsigned count_steps(const struct snippet *code, word argument)
{
    step_count = 0;
    trap_handlers[DB] = note_step;
    trial_in(KERNEL, code, argument);
    trap_handlers[DB] = NULL;
    return step_count;
}

static void ignore(struct frame *frame)
{
    (void)frame;
}

static void single_step(void)
{
    enum { OFF = 3 }; /* pushf, andl, popf that end it: the popf itself is stepped too */

    count_steps(&step_branches, 0);
    check(stepped_in_order(&step_branches, 8 + OFF), "branches, call and ret: a step each");
    check_equal(step_count, 8 + OFF, "their number");
    check_equal(steps[0], (word)step_branches.at + 1, "the first step is behind the first nop");
    check_equal(count_steps(&step_string, (word)strings), 4 + OFF,
                "rep stosb: a step each iteration");
    check(steps[0] == (word)step_string.at && steps[2] == (word)step_string.at &&
              steps[3] == (word)step_string.next,
          "at the instruction until the last");
    check_equal(count_steps(&step_zero_string, (word)strings), 1 + OFF,
                "rep stosb with count 0: one step");
    check_equal(count_steps(&step_pushf, 0), 2 + OFF, "pushf and pop");
    check_equal(this_area()->trap.value & FLAG_TF, FLAG_TF, "pushf shows TF");
    check_equal(count_steps(&step_mov_ss, 0), 2 + OFF, "mov ss and the next: one step");
    check_equal(count_steps(&step_cpuid, 0), 6 + OFF, "cpuid and rdtsc are stepped");
    check_equal(count_steps(&step_io, 0), 2 + OFF, "a port access is stepped");
    trap_handlers[0x40] = ignore;
    check_equal(count_steps(&step_int, 0), OFF + 0, "int n is not: TF is clear behind the gate");
    trap_handlers[0x40] = NULL;
}

/* A step and a breakpoint at the same place come as one trap with both bits. */
SNIPPET(step_into_data, STEPPED, "mov %al, (%rdi)", UNSTEPPED);

static void step_with_breakpoint(void)
{
    set_address(0, data.bytes);
    write_dr7(armed(0, ON_WRITE, 1));
    write_dr6(DR6_CLEAR);
    check_trap(KERNEL, &step_into_data, (word)data.bytes, DB);
    check_equal(status(), DR6_BS | 1, "a step with a data breakpoint: one trap, both bits");
    disarm();
}

SNIPPET(step_user, STEPPED, "nop", "nop");
SNIPPET(step_into_fault, STEPPED, "ud2", "");
SNIPPET(icebp, "", ".byte 0xf1", "");

static void other_sources(void)
{
    write_dr6(DR6_CLEAR);
    check_trap(USER, &step_user, 0, DB);
    check_equal(status(), DR6_BS, "single step in ring 3");
    write_dr6(DR6_CLEAR);
    check_fault(KERNEL, &step_into_fault, 0, UD, 0);
    check_equal(this_area()->trap.frame.flags & FLAG_TF, FLAG_TF,
                "a faulting instruction is not stepped; its frame has TF");
    write_dr6(DR6_CLEAR);
    check_trap(KERNEL, &icebp, 0, DB);
    check_equal(status(), 0, "int1 sets nothing in DR6");
}

/* --- the registers themselves --- */

SNIPPET(access_dr0, "", "mov %dr0, %rax", "");
SNIPPET(access_dr7, "", "mov %rax, %dr7", "");
SNIPPET(read_dr4, "", "mov %dr4, %rax", "");
SNIPPET(read_dr5, "", "mov %dr5, %rax", "");
SNIPPET(write_dr7_high, "mov $1, %eax; shl $32, %rax", "mov %rax, %dr7", "");
SNIPPET(write_dr6_high, "mov $1, %eax; shl $32, %rax", "mov %rax, %dr6", "");

static void registers(void)
{
    word cr4 = read_cr4();

    write_dr0(0x123456789abcdef0);
    write_dr3(0xffffffffffffffff);
    check(read_dr0() == 0x123456789abcdef0 && read_dr3() == 0xffffffffffffffff,
          "DR0 and DR3 hold 64 bits");
    write_dr6(0);
    check_equal(read_dr6() & ~(1ul << 11 | 1ul << 16), 0xfffe07f0, "fixed ones of DR6");
    write_dr6(0xffffffff);
    check_equal(read_dr6() & ~(1ul << 11), 0xffffefff & ~(1ul << 11), "fixed zero of DR6");
    write_dr7(0);
    check_equal(read_dr7(), DR7_FIXED, "bit 10 of DR7 is one");
    write_dr7(0xffff03ff);
    check_equal(read_dr7(), 0xffff07ff, "DR7 reads back");
    disarm();
    check_fault(KERNEL, &write_dr7_high, 0, GP, 0);
    check_fault(KERNEL, &write_dr6_high, 0, GP, 0);
    write_cr4(cr4 & ~CR4_DE);
    check_equal(trial_in(KERNEL, &read_dr4, 0)->value, read_dr6(), "DR4 is DR6 with CR4.DE clear");
    check_equal(trial_in(KERNEL, &read_dr5, 0)->value, read_dr7(), "DR5 is DR7");
    write_cr4(cr4 | CR4_DE);
    check_fault(KERNEL, &read_dr4, 0, UD, 0);
    check_fault(KERNEL, &read_dr5, 0, UD, 0);
    write_cr4(cr4);
}

static void general_detect(void)
{
    write_dr6(DR6_CLEAR);
    write_dr7(DR7_FIXED | DR7_GD);
    check_fault(KERNEL, &access_dr0, 0, DB, 0);
    check_equal(status(), DR6_BD, "DR7.GD: an access of a debug register sets BD");
    check_equal(read_dr7() & DR7_GD, 0, "and #DB clears GD");
    write_dr7(DR7_FIXED | DR7_GD);
    check_fault(KERNEL, &access_dr7, 0, DB, 0);
    disarm();
    check_fault(USER, &access_dr0, 0, GP, 0);
}

/* An I/O breakpoint watches ports when CR4.DE is set. */
SNIPPET(port_in, "", "in $0x61, %al", "nop");
SNIPPET(port_other, "", "in $0x70, %al", "nop");

static void ports(void)
{
    word cr4 = read_cr4();

    write_cr4(cr4 | CR4_DE);
    write_dr0(0x61);
    write_dr7(armed(0, 2, 1));
    write_dr6(DR6_CLEAR);
    check_trap(KERNEL, &port_in, 0, DB);
    check_equal(status(), 1, "DR6 names the register of the port");
    check_runs(KERNEL, &port_other, 0);
    disarm();
    write_cr4(cr4);
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"execution", execution},
        {"resume", resume_flag},
        {"data", data_kinds},
        {"ranges", data_ranges},
        {"several", several_at_once},
        {"strings", in_strings},
        {"step", single_step},
        {"step-breakpoint", step_with_breakpoint},
        {"sources", other_sources},
        {"registers", registers},
        {"general-detect", general_detect},
        {"ports", ports},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
