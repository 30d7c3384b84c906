/*
 * 32-bit protected mode: limits of code and stack, call gates with parameters, 16-bit segments,
 * hardware task switches. Source: Intel SDM vol. 3A chapters 3, 5 and 7 (tasks).
 */
#include "area.h"
#include "cpu.h"
#include "tap.h"
#include "trial.h"

#define FIRST  FREE_SELECTOR
#define SECOND (FREE_SELECTOR + 8)
#define THIRD  (FREE_SELECTOR + 16)

enum {
    DATA_WRITE = 0x92,
    DATA_DOWN = 0x96,
    CODE_ONLY = 0x98,
    CODE_READ = 0x9a,
    CODE_CONFORMING = 0x9e,
    DPL3 = 0x60,
    TASK_TYPE = 0x89,
    TASK_BUSY = 0x8b,
    CALL_GATE = 0x8c,
    TASK_GATE = 0x85,
    FLAG_G = 8,
    FLAG_B = 4,
};

static uint64_t descriptor(word base, uint32_t limit, uint64_t access, uint64_t flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | flags << 52 | (uint64_t)(base >> 24) << 56;
}

static void set(word selector, uint64_t value)
{
    this_area()->gdt[selector / 8] = value;
}

static uint64_t get(word selector)
{
    return this_area()->gdt[selector / 8];
}

/* --- data and stack limits --- */

uint8_t data[4096] __attribute__((aligned(4096)));

SNIPPET(es_read, "mov $0x60, %eax; mov %eax, %es", "mov %es:(%edi), %eax", "");
SNIPPET(es_write, "mov $0x60, %eax; mov %eax, %es", "mov %eax, %es:(%edi)", "");
SNIPPET(cs_write, "", "movb $0, %cs:data", "");
SNIPPET(cs_read, "", "mov %cs:data, %eax", "");

static void data_limits(void)
{
    set(FIRST, descriptor((word)data, 0xff, DATA_WRITE, FLAG_B));
    check_runs(KERNEL, &es_read, 0xfc);
    check_fault(KERNEL, &es_read, 0xfd, GP, 0);
    check_fault(KERNEL, &es_write, 0x100, GP, 0);
    check_fault(KERNEL, &es_read, 0xfffffffe, GP, 0);
    set(FIRST, descriptor((word)data, 0xff, DATA_DOWN, FLAG_B));
    check_fault(KERNEL, &es_read, 0xff, GP, 0);
    check_runs(KERNEL, &es_read, 0x100);
    check_fault(KERNEL, &cs_write, 0, GP, 0);
    check_runs(KERNEL, &cs_read, 0);
}

/* With SS:ESP of a small segment; the trap comes through a task or another ring's stack, so the
 * code runs in ring 3 here. */
SNIPPET(push_here, "mov $0x63, %eax; mov %eax, %ss; mov %edi, %esp", "push %eax", "int $0x80");
SNIPPET(pop_here, "mov $0x63, %eax; mov %eax, %ss; mov %edi, %esp", "pop %eax", "int $0x80");
SNIPPET(ebp_here, "mov $0x63, %eax; mov %eax, %ss; mov %edi, %ebp", "mov (%ebp), %eax",
        "int $0x80");
SNIPPET(pusha_here, "mov $0x63, %eax; mov %eax, %ss; mov %edi, %esp", "pusha", "int $0x80");
SNIPPET(call_here, "mov $0x63, %eax; mov %eax, %ss; mov %edi, %esp", "call 1f\n 1:", "int $0x80");
SNIPPET(enter_here, "mov $0x63, %eax; mov %eax, %ss; mov %edi, %esp", "enter $8, $1", "int $0x80");

static void stack_limits(void)
{
    set(FIRST, descriptor((word)data, 0xff, DATA_WRITE | DPL3, FLAG_B));
    check_runs(USER, &push_here, 0x100);
    check_runs(USER, &push_here, 0x80);
    check_fault(USER, &push_here, 0x102, SS, 0);
    check_fault(USER, &push_here, 2, SS, 0);
    check_runs(USER, &pop_here, 0xfc);
    check_fault(USER, &pop_here, 0xfe, SS, 0);
    check_fault(USER, &ebp_here, 0xfe, SS, 0);
    check_fault(USER, &pusha_here, 0x10, SS, 0);
    check_fault(USER, &call_here, 0x102, SS, 0);
    check_fault(USER, &enter_here, 0x104, SS, 0);
    set(FIRST, descriptor((word)data, 0xff, DATA_DOWN | DPL3, FLAG_B));
    check_runs(USER, &push_here, 0x104);
    check_fault(USER, &push_here, 0x102, SS, 0);
    /* B = 0: SP counts 16 bits and wraps */
    set(FIRST, descriptor((word)data, 0xffff, DATA_WRITE | DPL3, 0));
    check_runs(USER, &push_here, 0x12340100);
    check_equal(this_area()->trap.frame.sp, 0x123400fc,
                "push with a 16-bit stack changes SP alone");
    check_runs(USER, &pop_here, 0x1234fffc);
    check_equal(this_area()->trap.frame.sp, 0x12340000, "pop wraps SP at 64 KiB");
}

/* --- code limits --- */

struct far_pointer {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));

SNIPPET(jump_far, "", "ljmp *(%edi)", "");
SNIPPET(call_far, "", "lcall *(%edi)", "");
SNIPPET(far_body, "", "mov $66, %eax", "lret");
SNIPPET(jump_out, "jmp 1f; 1:", "jmp .+0x1000", "");

static void code_limits(void)
{
    static struct far_pointer to;
    const struct trap *trap;
    word length = (word)(jump_out.next - jump_out.code);

    set(FIRST, descriptor(0, 0xff, CODE_READ, FLAG_B));
    to = (struct far_pointer){0x100, FIRST};
    check_fault(KERNEL, &jump_far, (word)&to, GP, 0);
    check_fault(KERNEL, &call_far, (word)&to, GP, 0);
    /* a base, and a limit right behind the jump */
    set(FIRST, descriptor((word)jump_out.code, length - 1, CODE_READ, FLAG_B));
    to.offset = 0;
    trap = trial_in(KERNEL, &jump_far, (word)&to);
    check(trap->vector == GP && trap->error == 0 && trap->frame.cs == FIRST &&
              trap->frame.ip == (word)(jump_out.at - jump_out.code),
          "a near jump over the limit: #GP(0) at the jump");
    set(FIRST, descriptor((word)jump_out.code, length - 2, CODE_READ, FLAG_B));
    trap = trial_in(KERNEL, &jump_far, (word)&to);
    check(trap->vector == GP && trap->frame.ip == (word)(jump_out.at - jump_out.code),
          "an instruction that reaches over the limit: #GP(0)");
    set(FIRST, descriptor(0, 0xfffff, CODE_CONFORMING, FLAG_B | FLAG_G));
    to = (struct far_pointer){(word)far_body.code, FIRST};
    check_runs(KERNEL, &call_far, (word)&to);
    to.selector = FIRST | 3;
    check_runs(USER, &call_far, (word)&to);
    set(FIRST, descriptor(0, 0xfffff, CODE_ONLY, FLAG_B | FLAG_G));
    to.selector = FIRST;
    check_runs(KERNEL, &call_far, (word)&to);
    check_fault(USER, &call_far, (word)&to, GP, FIRST);
    to.selector = 0;
    check_fault(KERNEL, &call_far, (word)&to, GP, 0);
    to.selector = KERNEL_DS;
    check_fault(KERNEL, &call_far, (word)&to, GP, KERNEL_DS);
}

/* --- call gates --- */

struct seen_call {
    uint32_t esp, stack[6], cs, ss;
};
struct seen_call seen_call;
extern const char gate_entry[], gate_entry16[];

asm(".pushsection .text\n"
    "gate_entry:\n"
    "mov %esp, seen_call\n"
    "mov (%esp), %ecx; mov %ecx, seen_call+4\n"
    "mov 4(%esp), %ecx; mov %ecx, seen_call+8\n"
    "mov 8(%esp), %ecx; mov %ecx, seen_call+12\n"
    "mov 12(%esp), %ecx; mov %ecx, seen_call+16\n"
    "mov 16(%esp), %ecx; mov %ecx, seen_call+20\n"
    "mov 20(%esp), %ecx; mov %ecx, seen_call+24\n"
    "mov %cs, %ecx; mov %ecx, seen_call+28\n"
    "mov %ss, %ecx; mov %ecx, seen_call+32\n"
    "lret $8\n"
    ".popsection");

SNIPPET(call_with_two, "mov %esp, %edx; push $0x1111; push $0x2222", "lcall *(%edi)",
        "mov %esp, %eax; sub %edx, %eax; mov %edx, %esp");

static void gate(word selector, const void *entry, word target, unsigned access, unsigned count)
{
    word offset = (word)entry;
    set(selector, (offset & 0xffff) | (uint64_t)target << 16 | (uint64_t)count << 32 |
                      (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48);
}

static void call_gates(void)
{
    static struct far_pointer to = {0xdeadbeef, FIRST | 3};
    const struct trap *trap;

    gate(FIRST, gate_entry, KERNEL_CS, CALL_GATE | DPL3, 2);
    trap = trial_in(USER, &call_with_two, (word)&to);
    check(trap->vector == NO_TRAP && trap->value == 0,
          "a call gate with two parameters, and back: both stacks are even");
    check_equal(seen_call.cs, KERNEL_CS, "it enters ring 0");
    check_equal(seen_call.ss, KERNEL_DS, "with SS of the task state");
    check_equal(seen_call.stack[0], (word)call_with_two.next, "the stack has EIP,");
    check_equal(seen_call.stack[1] & 0xffff, USER_CS32, "CS,");
    check(seen_call.stack[2] == 0x2222 && seen_call.stack[3] == 0x1111, "the parameters,");
    check_equal(seen_call.stack[5] & 0xffff, USER_DS, "ESP and SS");
    gate(FIRST, gate_entry, KERNEL_CS, CALL_GATE, 2);
    check_fault(USER, &call_with_two, (word)&to, GP, FIRST);
    gate(FIRST, gate_entry, KERNEL_CS, (CALL_GATE | DPL3) & 0x7f, 2);
    check_fault(USER, &call_with_two, (word)&to, NP, FIRST);
    gate(FIRST, gate_entry, 0, CALL_GATE | DPL3, 2);
    check_fault(USER, &call_with_two, (word)&to, GP, 0);
    gate(FIRST, gate_entry, KERNEL_DS, CALL_GATE | DPL3, 2);
    check_fault(USER, &call_with_two, (word)&to, GP, KERNEL_DS);
    gate(FIRST, gate_entry, KERNEL_CS, CALL_GATE | DPL3, 2);
    check_fault(USER, &jump_far, (word)&to, GP, KERNEL_CS);
}

/* A stack of the task state that is not fit for ring 0: #TS names it (SDM vol. 3A § 6.15). */
static void bad_inner_stacks(void)
{
    struct area *area = this_area();
    static const struct {
        word selector;
        unsigned vector;
        word error;
        const char *what;
    } rows[] = {
        {0, TS, 0, "null"},
        {USER_DS, TS, USER_DS & ~3, "of ring 3"},
        {KERNEL_CS, TS, KERNEL_CS, "of code"},
        {SECOND, SS, SECOND, "not present"},
        {0xfff8, TS, 0xfff8, "behind the table"},
    };

    set(SECOND, descriptor(0, 0xfffff, DATA_WRITE & 0x7f, FLAG_B | FLAG_G));
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        static struct far_pointer to = {0, FIRST | 3};
        /* the fault itself needs a stack of ring 0 too: it goes through stack 1, by a gate to
         * conforming code, which stays in ring 3 */
        extern const char stay_in_ring_3[];
        struct gate saved = idt[rows[i].vector];

        set(THIRD, descriptor(0, 0xfffff, CODE_CONFORMING, FLAG_B | FLAG_G));
        gate(FIRST, gate_entry, KERNEL_CS, CALL_GATE | DPL3, 2);
        idt[rows[i].vector].selector = THIRD;
        idt[rows[i].vector].offset0 = (uint16_t)(word)stay_in_ring_3;
        idt[rows[i].vector].offset1 = (uint16_t)((word)stay_in_ring_3 >> 16);
        area->task.ss0 = rows[i].selector;
        trial_in(USER, &call_with_two, (word)&to);
        check_equal(area->trap.value, rows[i].error, "a stack %s for ring 0: %s(%lx)", rows[i].what,
                    trap_name(rows[i].vector), rows[i].error);
        area->task.ss0 = KERNEL_DS;
        idt[rows[i].vector] = saved;
    }
}

/* In ring 3: the error code to EAX, the good stack back in place, and out. */
asm(".pushsection .text\n"
    ".globl stay_in_ring_3\n"
    "stay_in_ring_3: mov (%esp), %eax\n"
    "mov %esp, %ecx; and $0xffff0000, %ecx\n" /* the area: the user stack lies in it */
    "mov ss0_offset, %edx; movl $0x10, (%ecx,%edx)\n"
    "int $0x80\n"
    ".popsection");
extern const uint32_t ss0_offset;
const uint32_t ss0_offset = offsetof(struct area, task) + offsetof(struct task_state32, ss0);

/* --- 16-bit code --- */

SNIPPET16(body16, "", "mov $0x1234, %ax", "mov %sp, %cx; lretl");
SNIPPET(call16, "xor %eax, %eax; dec %eax", "lcall *(%edi)", "");

static void sixteen_bits(void)
{
    static struct far_pointer to = {0, FIRST};
    const struct trap *trap;

    set(FIRST, descriptor((word)body16.code, 0xffff, CODE_READ, 0));
    /* SNIPPET16 ends with a 16-bit return; the code leaves by its own far return before */
    trap = trial_in(KERNEL, &call16, (word)&to);
    check(trap->vector == NO_TRAP && trap->value == 0xffff1234,
          "16-bit code: mov to AX leaves the upper half of EAX");
}

/* --- tasks --- */

struct task_state32 task_a, task_b;
static uint8_t task_stack[4096] __attribute__((aligned(16)));
volatile uint32_t task_runs, task_seen_eax;
extern const char task_body[];

/* The other task: notes that it runs and returns by IRET, again and again. */
asm(".pushsection .text\n"
    "task_body:\n"
    "incl task_runs; mov %eax, task_seen_eax; mov $0x2222, %eax\n"
    "iret\n"
    "jmp task_body\n"
    ".popsection");

extern const char double_fault_task[], jump_back_body[];
asm(".pushsection .text\n"
    /* puts the stack of the first task in order and sends it behind the broken push */
    "double_fault_task:\n"
    "mov (%esp), %eax; mov %eax, task_seen_eax; incl task_runs\n"
    "mov task_a+0x2c, %eax; mov %eax, task_a+0x38\n" /* ESP from its ECX */
    "movl $0x10, task_a+0x50\n"
    "movl $snippet_broken_stack_next, task_a+0x20\n"
    "iret\n"
    "jump_back_body: incl task_runs; ljmp $0x68, $0\n"
    "jmp jump_back_body\n"
    ".popsection");

static void task_fill(struct task_state32 *task, const char *entry)
{
    *task = (struct task_state32){.esp0 = (word)task_stack + sizeof(task_stack),
                                  .ss0 = KERNEL_DS,
                                  .cr3 = read_cr3(),
                                  .eip = (word)entry,
                                  .eflags = FLAG_FIXED,
                                  .esp = (word)task_stack + sizeof(task_stack),
                                  .es = KERNEL_DS,
                                  .cs = KERNEL_CS,
                                  .ss = KERNEL_DS,
                                  .ds = KERNEL_DS,
                                  .fs = KERNEL_DS,
                                  .gs = KERNEL_DS,
                                  .eax = 0x1111,
                                  .io_map = sizeof(*task)};
}

/* THIRD names the other task; the running one becomes SECOND. */
static void tasks_start(const char *entry)
{
    struct area *area = this_area();

    task_fill(&task_a, NULL);
    task_a.esp0 = area->task.esp0;
    task_fill(&task_b, entry);
    set(SECOND, descriptor((word)&task_a, sizeof(task_a) - 1, TASK_TYPE, 0));
    set(THIRD, descriptor((word)&task_b, sizeof(task_b) - 1, TASK_TYPE, 0));
    asm volatile("ltr %w0" : : "r"(SECOND) : "memory");
    task_runs = 0;
}

static void tasks_end(void)
{
    set(TASK_SEGMENT, get(TASK_SEGMENT) & ~(2ull << 40));
    asm volatile("ltr %w0" : : "r"(TASK_SEGMENT) : "memory");
    write_cr0(read_cr0() & ~CR0_TS);
}

static word task_register(void)
{
    word selector = 0;
    asm volatile("str %w0" : "=r"(selector));
    return selector;
}

SNIPPET(call_task, "push %ebx; push %ebp; mov $0x7777, %eax", "lcall *(%edi)",
        "pop %ebp; pop %ebx");
SNIPPET(int_task, "push %ebx; push %ebp; mov $0x7777, %eax", "int $0x40", "pop %ebp; pop %ebx");

static void check_after_switch(const char *how)
{
    check_equal(task_runs, 1, "%s: the other task ran once", how);
    check_equal(task_seen_eax, 0x1111, "%s: with the registers of its state", how);
    check_equal(this_area()->trap.value, 0x7777, "%s: this task's registers came back", how);
    check_equal(task_register(), SECOND, "%s: the task register is back", how);
    check_equal(get(THIRD) >> 40 & 0xff, TASK_TYPE, "%s: the other is free again", how);
    check_equal(get(SECOND) >> 40 & 0xff, TASK_BUSY, "%s: this one is busy", how);
    check_equal(task_b.link & 0xffff, SECOND, "%s: it was linked to this one", how);
    check_equal(task_b.eax, 0x2222, "%s: its registers were saved", how);
    check_equal(read_cr0() & CR0_TS, CR0_TS, "%s: CR0.TS is set", how);
}

static void nested_tasks(void)
{
    static struct far_pointer to = {0xdead, THIRD};

    tasks_start(task_body);
    check_runs(KERNEL, &call_task, (word)&to);
    check_after_switch("call of a task");
    tasks_end();

    tasks_start(task_body);
    this_area()->gdt[FIRST / 8] = (uint64_t)THIRD << 16 | (uint64_t)TASK_GATE << 40;
    to.selector = FIRST;
    check_runs(KERNEL, &call_task, (word)&to);
    check_after_switch("call of a task gate");
    tasks_end();

    tasks_start(task_body);
    idt[0x40] = (struct gate){.selector = THIRD, .type = TASK_GATE};
    check_runs(KERNEL, &int_task, 0);
    check_after_switch("interrupt through a task gate");
    traps_reset(0x40);
    tasks_end();
}

static void jumps_between_tasks(void)
{
    static struct far_pointer to = {0, THIRD};

    tasks_start(jump_back_body);
    trial_in(KERNEL, &jump_far, (word)&to);
    check_equal(task_runs, 1, "jump to a task and back");
    check_equal(task_b.link, 0, "a jump links nothing");
    check_equal(get(THIRD) >> 40 & 0xff, TASK_TYPE, "the task left is free");
    tasks_end();
}

static void refused_tasks(void)
{
    static struct far_pointer to = {0, THIRD};

    tasks_start(task_body);
    set(THIRD, descriptor((word)&task_b, sizeof(task_b) - 1, TASK_BUSY, 0));
    check_fault(KERNEL, &call_task, (word)&to, GP, THIRD);
    set(THIRD, descriptor((word)&task_b, sizeof(task_b) - 1, TASK_TYPE & 0x7f, 0));
    check_fault(KERNEL, &call_task, (word)&to, NP, THIRD);
    set(THIRD, descriptor((word)&task_b, 0x66, TASK_TYPE, 0));
    check_fault(KERNEL, &call_task, (word)&to, TS, THIRD);
    idt[0x40] = (struct gate){.selector = 0, .type = TASK_GATE};
    check_fault(KERNEL, &int_task, 0, GP, 0);
    idt[0x40] = (struct gate){.selector = KERNEL_CS, .type = TASK_GATE};
    check_fault(KERNEL, &int_task, 0, GP, KERNEL_CS);
    traps_reset(0x40);
    to.selector = SECOND;
    check_fault(KERNEL, &call_task, (word)&to, GP, SECOND);
    tasks_end();
}

/* The classic use: a double fault gets a task, and so a stack, of its own. */
SNIPPET(broken_stack, "mov $0x60, %eax; mov %esp, %ecx; mov %eax, %ss; xor %esp, %esp", "push %eax",
        "");

static void double_fault_by_task(void)
{
    tasks_start(double_fault_task);
    task_seen_eax = 0xffff;
    set(FIRST, descriptor(0, 0, DATA_WRITE, FLAG_B));
    idt[DF] = (struct gate){.selector = THIRD, .type = TASK_GATE};
    check_runs(KERNEL, &broken_stack, 0);
    traps_reset(DF);
    check_equal(task_runs, 1, "#DF through a task gate runs its task");
    check_equal(task_seen_eax, 0, "with error code 0 on its stack");
    tasks_end();
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"data-limits", data_limits},
        {"stack-limits", stack_limits},
        {"code-limits", code_limits},
        {"call-gates", call_gates},
        {"inner-stacks", bad_inner_stacks},
        {"sixteen-bits", sixteen_bits},
        {"tasks", nested_tasks},
        {"task-jumps", jumps_between_tasks},
        {"tasks-refused", refused_tasks},
        {"double-fault-task", double_fault_by_task},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
