/*
 * How exceptions and interrupts are delivered: what gates check, faults while another is delivered,
 * double faults, the frame. Source: Intel SDM vol. 3A § 6.12 to § 6.15.
 */
#include "area.h"
#include "cpu.h"
#include "tap.h"
#include "trial.h"

#define NONCANONICAL 0x0000800000000000ull
#define UNMAPPED     0x0000700000000000ull

/* The error code that names an entry of the interrupt table (SDM vol. 3A § 6.13). */
enum { IN_IDT = 2, EXTERNAL = 1 };

static word idt_error(unsigned vector, unsigned external)
{
    return vector * 8 + IN_IDT + external;
}

SNIPPET(de_div_by_zero, "xor %edx, %edx; xor %ecx, %ecx; mov $1, %eax", "div %ecx", "");
SNIPPET(bp_int3, "", "int3", "");
SNIPPET(db_icebp, "", ".byte 0xf1", "");
SNIPPET(ud2, "", "ud2", "");
SNIPPET(pf_read, "", "mov (%rdi), %eax", "");

static void limit_idt(unsigned vectors)
{
    struct table_pointer table = {(uint16_t)(vectors * sizeof(struct gate) - 1), (word)idt};
    load_idt(&table);
}

SNIPPET(int_40, "", "int $0x40", "");
SNIPPET(int_f0, "", "int $0xf0", "");

static void gate_faults(void)
{
    idt[0x40].type &= 0x7f;
    check_fault(KERNEL, &int_40, 0, NP, idt_error(0x40, 0));
    traps_reset(0x40);
    idt[0x40].type = 0x85;
    check_fault(KERNEL, &int_40, 0, GP, idt_error(0x40, 0));
    idt[0x40].type = 0x80;
    check_fault(KERNEL, &int_40, 0, GP, idt_error(0x40, 0));
    traps_reset(0x40);
    idt[0x40].selector = 0;
    check_fault(KERNEL, &int_40, 0, GP, 0);
    idt[0x40].selector = KERNEL_DS;
    check_fault(KERNEL, &int_40, 0, GP, KERNEL_DS);
    idt[0x40].selector = KERNEL_CS32;
    check_fault(KERNEL, &int_40, 0, GP, KERNEL_CS32);
    idt[0x40].selector = 0xfff8;
    check_fault(KERNEL, &int_40, 0, GP, 0xfff8);
    this_area()->gdt[FREE_SELECTOR / 8] = 0x00af1b000000ffffull; /* code, not present */
    idt[0x40].selector = FREE_SELECTOR;
    check_fault(KERNEL, &int_40, 0, NP, FREE_SELECTOR);
    traps_reset(0x40);
    gate_set(0x40, (const void *)NONCANONICAL, GATE_INTERRUPT, 0);
    check_fault(KERNEL, &int_40, 0, GP, 0);
    traps_reset(0x40);
    limit_idt(32);
    check_fault(KERNEL, &int_f0, 0, GP, idt_error(0xf0, 0));
    traps_load();
}

/* A fault while an exception is delivered carries EXT (SDM vol. 3A § 6.13). */
static void gate_faults_of_exceptions(void)
{
    const struct trap *trap;

    idt[UD].type &= 0x7f;
    check_fault(KERNEL, &ud2, 0, NP, idt_error(UD, EXTERNAL));
    traps_reset(UD);
    idt[UD].selector = 0;
    check_fault(KERNEL, &ud2, 0, GP, EXTERNAL);
    traps_reset(UD);
    idt[DB].type &= 0x7f;
    trap = trial_in(KERNEL, &db_icebp, 0);
    check(trap->vector == NP && trap->error == idt_error(DB, EXTERNAL),
          "int1 whose gate is not present: #NP with EXT");
    traps_reset(DB);
    idt[BP].type &= 0x7f;
    check_fault(KERNEL, &bp_int3, 0, NP, idt_error(BP, 0));
    traps_reset(BP);
}

SNIPPET(gp_wrmsr, "mov $0x12345, %ecx", "wrmsr", "");

static const struct trap *double_fault(const struct snippet *code, word argument, const char *how)
{
    const struct trap *trap = trial_in(KERNEL, code, argument);
    check(trap->vector == DF && trap->error == 0, "%s: #DF(0)", how);
    if (trap->vector != DF)
        note("  is %s(%lx)", trap_name(trap->vector), trap->error);
    return trap;
}

static void double_faults(void)
{
    idt[GP].type &= 0x7f;
    double_fault(&gp_wrmsr, 0, "#GP whose gate is not present");
    check_fault(KERNEL, &de_div_by_zero, 0, DE, 0);
    idt[DE].type &= 0x7f;
    double_fault(&de_div_by_zero, 0, "#DE whose gate is not present");
    traps_reset(DE);
    traps_reset(GP);
    idt[PF].type &= 0x7f;
    double_fault(&pf_read, UNMAPPED, "#PF whose gate is not present");
    traps_reset(PF);
    idt[NP].selector = 0;
    idt[GP].type &= 0x7f;
    double_fault(&gp_wrmsr, 0, "#GP, then #NP on its gate");
    traps_reset(NP);
    traps_reset(GP);
}

/* Ring 0's stack is not mapped: #PF while a trap of ring 3 is delivered. */
static void broken_stacks(void)
{
    struct area *area = this_area();
    struct user_entry entry = user_entry(USER, ud2.code, 0);
    word hidden; /* takes the place of RSP0, which the entry would set */
    const struct trap *trap;

    entry.stack0 = &hidden;
    area->task.rsp[0] = UNMAPPED;
    idt[PF].ist = 3;
    trap = trial_user(&entry);
    check(trap->vector == PF && trap->error == PF_W && trap->frame.cs == USER_CS64,
          "#UD of ring 3 with RSP0 unmapped: #PF on its interrupt stack, from ring 3");
    check_equal(trap->cr2, UNMAPPED - 8, "CR2 is the first push");
    check_equal(trap->frame.ip, seen_at(USER, ud2.at), "RIP is the one of #UD");
    traps_reset(PF);
    trap = trial_user(&entry);
    check_equal(trap->vector, DF, "and without an interrupt stack: #DF");
    area->task.rsp[0] = NONCANONICAL;
    idt[SS].ist = 3;
    trap = trial_user(&entry);
    check(trap->vector == SS, "#UD of ring 3 with RSP0 not canonical: #SS");
    traps_reset(SS);
}

/* A gate whose interrupt stack lies behind the limit of the task state (SDM vol. 3A § 6.14.5). */
static void small_task_state(void)
{
    struct area *area = this_area();
    uint64_t *descriptor = &area->gdt[TASK_SEGMENT / 8];
    uint64_t whole = *descriptor & ~(2ull << 40);

    *descriptor = (whole & ~0xffffull) | 0x53; /* up to the end of the sixth stack */
    asm volatile("ltr %w0" : : "r"(TASK_SEGMENT) : "memory");
    check_equal(*descriptor >> 40 & 0xff, 0x8b, "ltr marks the task state busy");
    idt[0x40].ist = 7;
    check_fault(KERNEL, &int_40, 0, TS, TASK_SEGMENT);
    traps_reset(0x40);
    *descriptor = whole;
    asm volatile("ltr %w0" : : "r"(TASK_SEGMENT) : "memory");
}

/* --- the frame --- */

static struct frame seen_frame;
static word seen_flags;
static word seen_bottom; /* where the frame ends */

static void note_frame(struct frame *frame)
{
    seen_frame = *frame;
    seen_flags = read_flags();
    seen_bottom = (word)(frame + 1);
}

static word sp_before;
SNIPPET(int_misaligned, "mov %rsp, %rdx; or $7, %rsp; mov %rsp, (%rdi)", "int $0x40",
        "mov %rdx, %rsp");
SNIPPET(int_with_flags, "pushf; orl $0x4ed5, (%rsp); popf", "int $0x40",
        "pushf; andl $~0x4600, (%rsp); popf");
SNIPPET(int_with_if, "sti; nop", "int $0x40", "cli");

static void frames(void)
{
    struct area *area = this_area();

    trap_handlers[0x40] = note_frame;
    trial_in(KERNEL, &int_misaligned, (word)&sp_before);
    check_equal(seen_frame.sp, sp_before, "the frame has the old RSP though nothing changed ring");
    check_equal(seen_bottom & 15, 0, "the CPU aligned the stack before it pushed");
    check_equal(seen_frame.ss, KERNEL_DS, "the frame has SS");
    check_equal(seen_frame.cs, KERNEL_CS, "the frame has CS");
    check_equal(seen_frame.ip, (word)int_misaligned.next, "RIP of INT n is behind it");

    trial_in(KERNEL, &int_with_flags, 0);
    check_equal(seen_frame.flags & 0x4cd5, 0x4cd5, "the frame has all flags");
    check_equal(seen_flags & (FLAG_NT | FLAG_TF | FLAG_IF), 0, "the gate clears NT, TF and IF");
    trial_in(KERNEL, &int_with_if, 0);
    check_equal(seen_frame.flags & FLAG_IF, FLAG_IF, "the frame has IF");
    idt[0x40].type = GATE_TRAP;
    trial_in(KERNEL, &int_with_if, 0);
    check_equal(seen_flags & FLAG_IF, FLAG_IF, "a trap gate keeps IF");
    traps_reset(0x40);
    trap_handlers[0x40] = NULL;

    idt[0x40].ist = 3;
    trial_in(KERNEL, &int_40, 0);
    check(area->trap.vector == 0x40, "INT n through an interrupt stack arrives");
    traps_reset(0x40);
}

/* RF in the saved flags: set by faults, clear for traps (SDM vol. 3B § 17.3.1.1). */
static void resume_flag(void)
{
    const struct trap *trap = trial_in(KERNEL, &ud2, 0);
    check_equal(trap->frame.flags & FLAG_RF, FLAG_RF, "RF is set in the frame of #UD");
    trap = trial_in(KERNEL, &gp_wrmsr, 0);
    check_equal(trap->frame.flags & FLAG_RF, FLAG_RF, "RF is set in the frame of #GP");
    trap = trial_in(KERNEL, &pf_read, UNMAPPED);
    check_equal(trap->frame.flags & FLAG_RF, FLAG_RF, "RF is set in the frame of #PF");
    trap = trial_in(KERNEL, &de_div_by_zero, 0);
    check_equal(trap->frame.flags & FLAG_RF, FLAG_RF, "RF is set in the frame of #DE");
    trap = trial_in(KERNEL, &bp_int3, 0);
    check_equal(trap->frame.flags & FLAG_RF, 0, "RF is clear in the frame of #BP");
    trap = trial_in(KERNEL, &int_40, 0);
    check_equal(trap->frame.flags & FLAG_RF, 0, "RF is clear in the frame of INT n");
}

/* An exception inside the handler of another one. */
static unsigned depth;

static void nest(struct frame *frame)
{
    depth++;
    if (depth < 5)
        asm volatile("ud2");
    frame->ip += 2; /* over the ud2 */
}

static void nesting(void)
{
    depth = 0;
    trap_handlers[UD] = nest;
    check_runs(KERNEL, &ud2, 0);
    check_equal(depth, 5, "five exceptions inside each other return");
    depth = 0;
    check_runs(USER, &ud2, 0);
    check_equal(depth, 5, "also when the first came from ring 3");
    trap_handlers[UD] = NULL;
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"gates", gate_faults},          {"gates-external", gate_faults_of_exceptions},
        {"double-fault", double_faults}, {"stacks", broken_stacks},
        {"small-tss", small_task_state}, {"frames", frames},
        {"resume-flag", resume_flag},    {"nesting", nesting},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
