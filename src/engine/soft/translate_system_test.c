/*
 * CLI, STI, PUSHF, POPF and SWAPGS in translated code against those of the interpreter, and the
 * interrupts that they let in.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/soft/lapic_registers.h"
#include "engine/soft/translation.h"
#include "tests/harness/soft_pair.h"

enum { VECTOR = 0x40, IOPL3 = FLAG_IOPL, GS_BASE = DATA_AT + 0x100, OTHER_BASE = DATA_AT + 0x200 };

/* ---- before a run ---- */

static void quiet(struct guest *g)
{
    struct lapic *lapic = &g->cpu->lapic;
    memset(lapic->irr, 0, sizeof(lapic->irr));
    memset(lapic->isr, 0, sizeof(lapic->isr));
    atomic_store(&lapic->svr, SVR_ENABLED | SVR_VECTOR);
}

static void interrupt(struct guest *g)
{
    struct engine_interrupt message = {.vector = VECTOR};
    (void)soft_engine.interrupt(g->partition, &message);
}

static void let_one_wait(struct guest *g)
{
    quiet(g);
    interrupt(g);
}

/* One of the same class is in service, so that it waits for the end of that. */
static void let_one_be_held_back(struct guest *g)
{
    let_one_wait(g);
    g->cpu->lapic.isr[VECTOR / 32] = 1u << (VECTOR % 32 + 1);
}

static void let_the_8259_wait(struct guest *g)
{
    struct engine_event line = {.kind = ENGINE_EVENT_EXTINT_LINE, .asserted = true};
    quiet(g);
    g->cpu->lapic.lvt[LVT_LINT0] = DELIVERY_EXTINT << 8;
    (void)soft_engine.raise(g->vcpu, &line);
}

static void use_cpl1(struct guest *g)
{
    g->cpu->cpl = 1;
    cpu_mode_changed(g->cpu);
}

static void give_bases(struct guest *g)
{
    g->cpu->segment[SEGMENT_GS].base = GS_BASE;
    g->cpu->kernel_gs_base = OTHER_BASE;
}

/* ---- without interrupts ---- */

#define PUSHF_CLI_PUSHF "\x9c\xfa\x9c"
#define POPF_OF(value)  "\x68" value "\x9d" /* push value; popfq */

static const struct scene plain[] = {
    {"cli", CODE(PUSHF_CLI_PUSHF), .flags = FLAG_IF, .outcome = PORT_DONE},
    {"cli twice", CODE("\xfa\xfa\x9c"), .outcome = PORT_DONE},
    {"sti", CODE("\x9c\xfb\x9c\x9c"), .outcome = PORT_DONE},
    {"sti twice", CODE("\xfb\xfb\x9c"), .outcome = PORT_DONE},
    {"user cli", CODE("\xfa"), .user = true, .outcome = VECTOR_GP},
    {"user sti", CODE("\xfb\x90"), .user = true, .outcome = VECTOR_GP},
    {"user cli with IOPL 3", CODE(PUSHF_CLI_PUSHF), .user = true, .flags = IOPL3 | FLAG_IF,
     .outcome = PORT_DONE},
    {"user sti with IOPL 3", CODE("\xfb\x9c\x9c"), .user = true, .flags = IOPL3,
     .outcome = PORT_DONE},
    {"cli of CPL 1", CODE("\xfa"), .prepare = use_cpl1, .outcome = VECTOR_GP},
    {"sti of CPL 1", CODE("\xfb\x90"), .prepare = use_cpl1, .outcome = VECTOR_GP},
    /* stc; cli; adc eax, ecx; sti; sbb edx, ecx */
    {"arithmetic goes through", CODE("\xf9\xfa\x11\xc8\xfb\x19\xca"), .flags = FLAG_IF,
     .outcome = PORT_DONE},
    /* sti; mov rdx, [rbx], which faults */
    {"fault in the shadow", CODE("\xfb\x48\x8b\x13"), .gpr = {[GPR_RBX] = ABSENT_AT},
     .outcome = VECTOR_PF},
    /* sti; jmp +0; pushfq */
    {"jump in the shadow", CODE("\xfb\xeb\x00\x9c"), .outcome = PORT_DONE},
};

static void cli_and_sti_need_their_privilege(void **state)
{
    CHECK_SCENES(*state, plain);
}

static const struct scene pushes[] = {
    {"pushf of everything", CODE("\x9c\x9c"),
     .flags = FLAGS_ARITHMETIC | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID,
     .outcome = PORT_DONE},
    {"pushf of nothing", CODE("\x9c"), .outcome = PORT_DONE},
    {"user pushf", CODE("\x9c"), .user = true, .flags = FLAGS_ARITHMETIC | FLAG_IF,
     .outcome = PORT_DONE},
    /* add rax, rax; pushfq; pushfw */
    {"pushf of a sum", CODE("\x48\x01\xc0\x9c\x66\x9c"),
     .gpr = {[GPR_RAX] = UINT64_C(0x8000000000000000)}, .outcome = PORT_DONE},
    {"pushf over the end of a page", CODE("\x9c"), .gpr = {[GPR_RSP] = DATA_AT + 0x1003},
     .flags = FLAGS_ARITHMETIC, .outcome = PORT_DONE},
    {"pushf to absent", CODE("\x9c"), .gpr = {[GPR_RSP] = ABSENT_AT + 8}, .flags = FLAGS_ARITHMETIC,
     .outcome = VECTOR_PF},
    {"popf of arithmetic flags", CODE(POPF_OF("\xd5\x08\x00\x00") "\x9c"), .outcome = PORT_DONE},
    {"popf of none of them", CODE(POPF_OF("\x02\x00\x00\x00") "\x9c"), .flags = FLAGS_ARITHMETIC,
     .outcome = PORT_DONE},
    {"popf of IF", CODE(POPF_OF("\x02\x02\x00\x00") "\x9c"), .outcome = PORT_DONE},
    {"popf without IF", CODE(POPF_OF("\x02\x00\x00\x00") "\x9c"), .flags = FLAG_IF,
     .outcome = PORT_DONE},
    {"user popf of IF", CODE(POPF_OF("\x02\x02\x00\x00") "\x9c"), .user = true,
     .outcome = PORT_DONE},
    {"popf of DF", CODE(POPF_OF("\x02\x04\x00\x00") "\x9c"), .outcome = PORT_DONE},
    {"popf of NT", CODE(POPF_OF("\x02\x40\x00\x00") "\x9c"), .outcome = PORT_DONE},
    {"popf of AC", CODE(POPF_OF("\x02\x00\x04\x00") "\x9c"), .outcome = PORT_DONE},
    {"popf of ID", CODE(POPF_OF("\x02\x00\x20\x00") "\x9c"), .outcome = PORT_DONE},
    {"popf of IOPL", CODE(POPF_OF("\x02\x30\x00\x00") "\x9c"), .outcome = PORT_DONE},
    {"user popf of IOPL", CODE(POPF_OF("\x02\x30\x00\x00") "\x9c"), .user = true,
     .outcome = PORT_DONE},
    {"popf of everything but TF", CODE(POPF_OF("\xff\xfe\xff\x7f") "\x9c"), .outcome = PORT_DONE},
    {"popf of TF", CODE(POPF_OF("\x02\x01\x00\x00") "\x90\x90"), .outcome = VECTOR_DB},
    {"popf of CPL 1", CODE(POPF_OF("\x02\x02\x00\x00") "\x9c"), .prepare = use_cpl1,
     .outcome = PORT_DONE},
    {"popf over the end of a page", CODE("\x9d"), .gpr = {[GPR_RSP] = DATA_AT + 0xffb},
     .interpreted = false, .outcome = PORT_DONE},
    {"popf from absent", CODE("\x9d"), .gpr = {[GPR_RSP] = ABSENT_AT}, .flags = FLAGS_ARITHMETIC,
     .outcome = VECTOR_PF},
    /* pushfq; cli; add eax, ecx; popfq; adc eax, ecx */
    {"flags saved around a section", CODE("\x9c\xfa\x01\xc8\x9d\x11\xc8"),
     .flags = FLAG_IF | FLAG_CF, .outcome = PORT_DONE},
};

static void flags_are_pushed_and_popped(void **state)
{
    CHECK_SCENES(*state, pushes);
}

static void use_smap(struct guest *g)
{
    g->cpu->cr4 |= CR4_SMAP;
    cpu_mode_changed(g->cpu);
}

/* Without SMAP's consent a load from the data pages would end in a shutdown: so would its fault. */
static void popf_of_ac_opens_user_pages(void **state)
{
    struct scene scene = {
        .name = "popf of AC; load; popf without AC",
        CODE(POPF_OF("\x02\x00\x04\x00") "\x48\x8b\x03" POPF_OF("\x02\x00\x00\x00")),
        .gpr = {[GPR_RBX] = DATA_AT, [GPR_RSP] = SUPERVISOR_AT + 0x800},
        .prepare = use_smap,
        .outcome = PORT_DONE};
    pair_check(*state, &scene);
    scene.name = "popf without AC; load";
    scene.code = POPF_OF("\x02\x00\x00\x00") "\x48\x8b\x03";
    scene.length = 9;
    scene.outcome = -1;
    pair_check(*state, &scene);
}

static const struct scene swaps[] = {
    /* swapgs; mov rax, gs:[rbx]; swapgs; mov rcx, gs:[rbx] */
    {"swapgs", CODE("\x0f\x01\xf8\x65\x48\x8b\x03\x0f\x01\xf8\x65\x48\x8b\x0b\x0f\x01\xf8"),
     .gpr = {[GPR_RBX] = 8}, .prepare = give_bases, .flags = FLAGS_ARITHMETIC,
     .outcome = PORT_DONE},
    {"user swapgs", CODE("\x0f\x01\xf8"), .user = true, .prepare = give_bases,
     .outcome = VECTOR_GP},
    {"swapgs of CPL 1", CODE("\x0f\x01\xf8"), .prepare = use_cpl1, .outcome = VECTOR_GP},
};

static void swapgs_swaps_for_the_kernel_only(void **state)
{
    CHECK_SCENES(*state, swaps);
}

/* ---- with one that waits ---- */

static const struct scene waiting[] = {
    {"sti; nop; nop", CODE("\xfb\x90\x90"), .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; jmp; nop", CODE("\xfb\xeb\x00\x90"), .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; jz; nop", CODE("\xfb\x74\x00\x90"), .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; load", CODE("\xfb\x48\x8b\x03\x90"), .gpr = {[GPR_RBX] = DATA_AT},
     .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; load that faults", CODE("\xfb\x48\x8b\x03"), .gpr = {[GPR_RBX] = ABSENT_AT},
     .prepare = let_one_wait, .outcome = VECTOR_PF},
    {"sti; hlt", CODE("\xfb\xf4\x90"), .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; cli", CODE("\xfb\xfa\x90"), .prepare = let_one_wait, .outcome = PORT_DONE},
    {"sti; sti; nop", CODE("\xfb\xfb\x90\x90"), .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; mov ss, ax; nop; nop", CODE("\xfb\x8e\xd0\x90\x90"), .gpr = {[GPR_RAX] = DATA_SELECTOR},
     .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; swapgs; nop", CODE("\xfb\x0f\x01\xf8\x90"), .prepare = let_one_wait, .outcome = VECTOR},
    {"sti; int3", CODE("\xfb\xcc"), .prepare = let_one_wait, .outcome = VECTOR_BP},
    {"popf; nop", CODE(POPF_OF("\x02\x02\x00\x00") "\x90\x90"), .prepare = let_one_wait,
     .outcome = VECTOR},
    {"popf; hlt", CODE(POPF_OF("\x02\x02\x00\x00") "\xf4"), .prepare = let_one_wait,
     .outcome = VECTOR},
    {"popf that keeps IF clear", CODE(POPF_OF("\x93\x00\x00\x00") "\x90\x9c"),
     .prepare = let_one_wait, .outcome = PORT_DONE},
    {"pushf; popf", CODE("\x9c\x9d\x90"), .prepare = let_one_wait, .outcome = PORT_DONE},
    {"cli; nop", CODE("\xfa\x90\x9c"), .prepare = let_one_wait, .outcome = PORT_DONE},
    {"sti for one held back", CODE("\xfb\x90\x9c"), .prepare = let_one_be_held_back,
     .outcome = PORT_DONE},
    {"popf for one held back", CODE(POPF_OF("\x02\x02\x00\x00") "\x9c"),
     .prepare = let_one_be_held_back, .outcome = PORT_DONE},
    /* 1: sti; nop; cli; dec ecx; jnz 1b */
    {"a window in a loop", CODE("\xfb\x90\xfa\xff\xc9\x75\xf9"), .prepare = let_one_wait,
     .outcome = VECTOR},
    {"sti for the 8259", CODE("\xfb\x90\x90"), .prepare = let_the_8259_wait, .outcome = -1},
    {"popf for the 8259", CODE(POPF_OF("\x02\x02\x00\x00") "\x90"), .prepare = let_the_8259_wait,
     .outcome = -1},
};

static void what_waits_comes_when_it_may(void **state)
{
    CHECK_SCENES(*state, waiting);
}

/* ---- from another thread ---- */

enum { TIMES = 400, PATIENCE_US = 5000000 };

struct sender {
    struct guest *guest;
    atomic_uint round; /* that the processor is in */
};

static void spin(unsigned count)
{
    for (volatile unsigned i = 0; i < count; i++)
        continue;
}

/* One interrupt a round, at any moment of it; a kick ends a halt that missed it. */
static void *send_all(void *argument)
{
    struct sender *sender = argument;
    for (unsigned i = 1; i <= TIMES; i++) {
        while (atomic_load(&sender->round) < i)
            continue;
        spin(i * 7 % 4001);
        interrupt(sender->guest);
        for (unsigned waited = 0; atomic_load(&sender->round) == i && waited < PATIENCE_US;
             waited += 50)
            (void)usleep(50);
        if (atomic_load(&sender->round) == i)
            soft_engine.kick(sender->guest->vcpu);
    }
    return NULL;
}

/* No interrupt gets lost between code that enables them and the halt behind it. */
static void check_wakes(struct guest *g, const char *code, size_t length)
{
    struct sender sender = {.guest = g};
    pthread_t thread;
    guest_place(g, CODE_AT, code, length);
    assert_int_equal(pthread_create(&thread, NULL, send_all, &sender), 0);
    int outcome = VECTOR;
    for (unsigned i = 1; i <= TIMES && outcome == VECTOR; i++) {
        quiet(g);
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        cpu_set_flags(g->cpu, FLAG_FIXED);
        guest_start(g, CODE_AT);
        atomic_store(&sender.round, i);
        outcome = guest_run_to_port(g);
    }
    atomic_store(&sender.round, TIMES + 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(outcome, VECTOR);
    assert_true(guest_is_translated(g, CODE_AT));
}

static void sti_and_hlt_lose_no_interrupt(void **state)
{
    struct pair *pair = *state;
    check_wakes(pair->translated, "\xfb\xf4", 2);             /* sti; hlt */
    check_wakes(pair->translated, "\x9c\xfa\x9d\xfb\xf4", 5); /* pushfq; cli; popfq; sti; hlt */
    check_wakes(pair->translated, POPF_OF("\x02\x02\x00\x00") "\xeb\xfe", 8); /* …; jmp . */
    check_wakes(pair->translated, "\xfb\x90\xfa\xeb\xfb", 5); /* 1: sti; nop; cli; jmp 1b */
}

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        pair_test(cli_and_sti_need_their_privilege), pair_test(flags_are_pushed_and_popped),
        pair_test(popf_of_ac_opens_user_pages),      pair_test(swapgs_swaps_for_the_kernel_only),
        pair_test(what_waits_comes_when_it_may),     pair_test(sti_and_hlt_lose_no_interrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
