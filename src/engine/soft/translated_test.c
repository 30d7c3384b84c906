/*
 * Translated code as a whole: what is run is always what memory holds, for whom it is mapped; it
 * can be stopped anywhere; and nothing of the host gets into the guest, nor the other way round.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/soft/code_private.h"
#include "engine/soft/lapic_registers.h"
#include "engine/soft/ops_integer.h"
#include "engine/soft/translate_private.h"
#include "tests/harness/soft_pair.h"

enum {
    PRESENT = PAGE_P | PAGE_W | PAGE_U,
    FUNCTION_AT = DATA_AT + 0x100,
    OTHER_AT = FUNCTION_AT + 0x1000,
    RUNS = 5,
};

/* A function that returns `value` in EAX. */
static void put_function(struct guest *g, uint64_t at, uint32_t value)
{
    uint8_t code[] = {0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(code + 1, &value, sizeof(value));
    guest_write(g, at, code, sizeof(code));
}

/* Run the code at CODE_AT until it is translated and linked. */
static void warm_up(struct guest *g)
{
    for (unsigned i = 0; i < RUNS; i++) {
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    }
    assert_true(guest_is_translated(g, CODE_AT));
}

static uint64_t run_once(struct guest *g)
{
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    return g->cpu->gpr[GPR_RAX];
}

/* ---- code that changes ---- */

static void store_into_the_block_itself_counts(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x88\x0b\xb0\x11"); /* mov [rbx], cl; mov al, 0x11 */
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RCX] = 0x42;
    warm_up(g);
    g->cpu->gpr[GPR_RBX] = CODE_AT + 3;
    assert_int_equal(run_once(g), 0x42);
    g->cpu->gpr[GPR_RCX] = 0x43;
    assert_int_equal(run_once(g), 0x43);
}

/* The first access of a group has the interpreter run all that follows. */
static void store_into_the_block_by_a_shared_look_up_counts(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x88\x0b\x88\x4b\x20\xb0\x11"); /* mov [rbx], cl; mov [rbx+32], cl; mov … */
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RCX] = 0x42;
    warm_up(g);
    g->cpu->gpr[GPR_RBX] = CODE_AT + 6;
    assert_int_equal(run_once(g), 0x42);
    g->cpu->gpr[GPR_RBX] = CODE_AT + 6 - 32;
    g->cpu->gpr[GPR_RCX] = 0x44;
    assert_int_equal(run_once(g), 0x44);
}

static void store_into_a_linked_block_counts(void **state)
{
    struct guest *g = *state;
    /* mov [rbx], cl; jmp +0; mov al, 0x11 */
    PLACE(g, CODE_AT, "\x88\x0b\xeb\x00\xb0\x11");
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RCX] = 0x42;
    warm_up(g);
    assert_true(guest_is_translated(g, CODE_AT + 4));
    g->cpu->gpr[GPR_RBX] = CODE_AT + 5;
    assert_int_equal(run_once(g), 0x42);
}

static void store_into_a_called_function_counts(void **state)
{
    struct guest *g = *state;
    put_function(g, FUNCTION_AT, 1);
    /* mov [rbx], ecx; call rdx; call +(far page), twice the same function */
    PLACE(g, CODE_AT, "\x89\x0b\xff\xd2\x89\xc6\xff\xd2");
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x2000;
    g->cpu->gpr[GPR_RDX] = FUNCTION_AT;
    g->cpu->gpr[GPR_RCX] = 0x42;
    warm_up(g);
    assert_true(guest_is_translated(g, FUNCTION_AT));
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT + 1;
    assert_int_equal(run_once(g), 0x42);
    assert_int_equal(g->cpu->gpr[GPR_RSI], 0x42);
}

static void string_store_over_the_code_behind_it_counts(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x66\xf3\xab\x90\x90\x90\x90"); /* rep stosw; nop; nop; nop; nop */
    for (unsigned i = 0; i < RUNS; i++) {
        g->cpu->gpr[GPR_RDI] = DATA_AT;
        g->cpu->gpr[GPR_RCX] = 2;
        (void)run_once(g);
    }
    assert_true(guest_is_translated(g, CODE_AT));
    g->cpu->gpr[GPR_RAX] = 0x33e6; /* out 0x33, al */
    g->cpu->gpr[GPR_RDI] = CODE_AT + 3;
    g->cpu->gpr[GPR_RCX] = 2;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), 0x33);
}

static void write_of_a_device_counts(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    PLACE(g, CODE_AT, "\xff\xd3"); /* call rbx */
    for (uint32_t i = 1; i < 10; i++) {
        put_function(g, FUNCTION_AT, i);
        warm_up(g);
        assert_int_equal(g->cpu->gpr[GPR_RAX], i);
    }
}

/* ---- pages that are mapped anew ---- */

/* A loop over two blocks that are linked; the second differs in the other page. */
static void put_linked(struct guest *g, uint64_t at, uint8_t value)
{
    /* mov ecx, 3; 1: jmp +0; mov al, value; dec ecx; jnz 1b; ret */
    uint8_t code[] = {0xb9, 3, 0, 0, 0, 0xeb, 0, 0xb0, value, 0xff, 0xc9, 0x75, 0xf8, 0xc3};
    guest_write(g, at, code, sizeof(code));
}

static void linked_blocks_follow_their_page(void **state)
{
    struct guest *g = *state;
    put_linked(g, FUNCTION_AT, 1);
    put_linked(g, OTHER_AT, 2);
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    PLACE(g, CODE_AT, "\x0f\x01\x3b\xff\xd3"); /* invlpg [rbx]; call rbx */
    for (unsigned i = 0; i < 4; i++) {
        warm_up(g);
        assert_int_equal(g->cpu->gpr[GPR_RAX] & 0xff, 1 + i % 2);
        guest_map(g, DATA_AT, (i % 2 == 0 ? DATA_AT + 0x1000 : DATA_AT) | PRESENT);
    }
}

/*
 * The guest maps the page anew in a loop that stays in translated code:
 * 1: mov [r8], r9; invlpg [rbx]; call rbx; add rdx, rax; xchg r9, r10; dec ecx; jnz 1b
 */
static void calls_follow_a_page_that_the_guest_remaps(void **state)
{
    struct guest *g = *state;
    put_function(g, FUNCTION_AT, 1);
    put_function(g, OTHER_AT, 1000);
    PLACE(g, CODE_AT, "\x4d\x89\x08\x0f\x01\x3b\xff\xd3\x48\x01\xc2\x4d\x87\xca\xff\xc9\x75\xee");
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    g->cpu->gpr[GPR_RCX] = 100;
    g->cpu->gpr[GPR_R8] = PT_AT + (DATA_AT >> 12) * 8;
    g->cpu->gpr[GPR_R9] = OTHER_AT >> 12 << 12 | PRESENT;
    g->cpu->gpr[GPR_R10] = DATA_AT | PRESENT;
    (void)run_once(g);
    assert_int_equal(g->cpu->gpr[GPR_RDX], 50 * 1001);
}

/* The same of a jump that does not go through a register, to another page. */
static void direct_calls_follow_a_page_that_the_guest_remaps(void **state)
{
    struct guest *g = *state;
    put_function(g, FUNCTION_AT, 1);
    put_function(g, OTHER_AT, 1000);
    /* … call FUNCTION_AT … */
    PLACE(g, CODE_AT,
          "\x4d\x89\x08\x0f\x01\x3b\xe8\xf5\x00\x02\x00\x48\x01\xc2\x4d\x87\xca\xff\xc9\x75\xeb");
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    g->cpu->gpr[GPR_RCX] = 100;
    g->cpu->gpr[GPR_R8] = PT_AT + (DATA_AT >> 12) * 8;
    g->cpu->gpr[GPR_R9] = OTHER_AT >> 12 << 12 | PRESENT;
    g->cpu->gpr[GPR_R10] = DATA_AT | PRESENT;
    (void)run_once(g);
    assert_int_equal(g->cpu->gpr[GPR_RDX], 50 * 1001);
}

static void page_that_loses_its_code_faults(void **state)
{
    struct guest *g = *state;
    put_function(g, FUNCTION_AT, 1);
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    PLACE(g, CODE_AT, "\x0f\x01\x3b\xff\xd3"); /* invlpg [rbx]; call rbx */
    warm_up(g);
    guest_map(g, DATA_AT, DATA_AT | PRESENT | PAGE_XD);
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_PF);
    assert_int_equal(g->cpu->cr2, FUNCTION_AT);
}

/* ---- two address spaces ---- */

enum { PML4_B = FREE_TABLES_AT, PDPT_B = PML4_B + 0x1000, PD_B = PDPT_B + 0x1000 };
enum { PT_B = PD_B + 0x1000 };

/* Like the first, but with another page behind the function's address. */
static void make_second_space(struct guest *g, uint64_t flags_of_function)
{
    memcpy(g->ram + PML4_B, g->ram + PML4_AT, 0x1000);
    memcpy(g->ram + PDPT_B, g->ram + PDPT_AT, 0x1000);
    memcpy(g->ram + PD_B, g->ram + PD_AT, 0x1000);
    memcpy(g->ram + PT_B, g->ram + PT_AT, 0x1000);
    guest_write64(g, PML4_B, PDPT_B | PRESENT);
    guest_write64(g, PDPT_B, PD_B | PRESENT);
    guest_write64(g, PD_B, PT_B | PRESENT);
    guest_write64(g, PT_B + (DATA_AT >> 12) * 8, (DATA_AT + 0x1000) | PRESENT | flags_of_function);
}

/*
 * 1: mov cr3, rdi; push rax; pop rax; jmp +0; call rbx; add rdx, rax; call +far; add rdx, rax;
 * mov cr3, rsi; the same with r8; dec ecx; jnz 1b. The stack is in the TLB when it comes to a call,
 * so that the call needs no interpreter.
 */
static void alternate(struct guest *g, uint64_t first, uint64_t second)
{
    PLACE(g, CODE_AT,
          "\x0f\x22\xdf\x50\x58\xeb\x00\xff\xd3\x48\x01\xc2\xe8\xef\x00\x02\x00\x48\x01"
          "\xc2\x0f\x22\xde\x50\x58\xeb\x00\xff\xd3\x49\x01\xc0\xe8\xdb\x00\x02\x00\x49\x01"
          "\xc0\xff\xc9\x75\xd4");
    put_function(g, FUNCTION_AT, 1);
    put_function(g, OTHER_AT, 1000);
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    g->cpu->gpr[GPR_RCX] = 100;
    g->cpu->gpr[GPR_RDI] = first;
    g->cpu->gpr[GPR_RSI] = second;
    (void)run_once(g);
    assert_int_equal(g->cpu->gpr[GPR_RDX], 200 * 1);
    assert_int_equal(g->cpu->gpr[GPR_R8], 200 * 1000);
}

static void each_address_space_has_its_own_code(void **state)
{
    struct guest *g = *state;
    make_second_space(g, 0);
    alternate(g, PML4_AT, PML4_B);
}

static void address_spaces_with_pcid_have_their_own_code(void **state)
{
    struct guest *g = *state;
    const uint64_t keep = UINT64_C(1) << 63;
    make_second_space(g, 0);
    g->cpu->cr4 |= CR4_PCIDE;
    cpu_mode_changed(g->cpu);
    alternate(g, PML4_AT | 1 | keep, PML4_B | 2 | keep);
}

/* All else is global, so that only the function's page tells the spaces apart. */
static void one_local_page_among_global_ones_has_its_own_code(void **state)
{
    struct guest *g = *state;
    g->cpu->cr4 |= CR4_PGE;
    for (uint64_t at = 0; at < 2 << 20; at += 0x1000)
        guest_map(g, at, at | PRESENT | (at == DATA_AT ? 0 : PAGE_G));
    make_second_space(g, 0);
    alternate(g, PML4_AT, PML4_B);
}

/* ---- stopping ---- */

static void *kick_soon(void *argument)
{
    const struct guest *g = argument;
    (void)usleep(5000);
    soft_engine.kick(g->vcpu);
    return NULL;
}

static void run_until_kicked(struct guest *g)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, kick_soon, g), 0);
    assert_int_equal(guest_run(g), ENGINE_EXIT_KICKED);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void every_endless_loop_can_be_stopped(void **state)
{
    struct guest *g = *state;
    static const struct {
        const char *code;
        unsigned length;
    } loops[] = {
        {"\xeb\xfe", 2},                                          /* jmp . */
        {"\xff\xe3", 2},                                          /* jmp rbx */
        {"\x53\xc3", 2},                                          /* push rbx; ret */
        {"\x48\x11\xc8\xeb\xfb", 5},                              /* adc rax, rcx; jmp */
        {"\x48\x83\xc8\x01\x75\xfa", 6},                          /* or rax, 1; jnz */
        {"\xeb\x02\xeb\xfc\xeb\xfc", 6},                          /* forward, back, back */
        {"\xe8\x00\x00\x00\x00\x58\xeb\xf8", 8},                  /* call +0; pop rax; jmp */
        {"\xe9\xfb\x1f\x00\x00", 5},                              /* jmp to another page and back */
        {"\x48\x8b\x02\x48\x89\x42\x08\xeb\xf7", 9},              /* load, store */
        {"\xb9\x08\x00\x00\x00\xf3\xaa\x48\x89\xd7\xeb\xf4", 12}, /* rep stosb */
        {"\x0f\x58\xc1\xeb\xfb", 5},                              /* addps */
        {"\xfa\xfb\x90\xeb\xfb", 5},                              /* cli; sti; nop; jmp */
        {"\x9c\xfa\x9d\xeb\xfb", 5},                              /* pushfq; cli; popfq; jmp */
        {"\x73\xfe\xeb\xfc", 4},                                  /* jnc .; jmp */
    };
    guest_write(g, CODE_AT + 0x2000, "\xe9\xfb\xdf\xff\xff", 5);
    for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
        guest_place(g, CODE_AT, loops[i].code, loops[i].length);
        g->cpu->gpr[GPR_RBX] = CODE_AT;
        g->cpu->gpr[GPR_RDX] = g->cpu->gpr[GPR_RDI] = DATA_AT;
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        guest_start(g, CODE_AT);
        for (unsigned k = 0; k < 3; k++)
            run_until_kicked(g);
    }
}

/* ---- host and guest ---- */

static bool is_of_host(const struct guest *g, uint64_t value)
{
    const struct translator *translator = g->soft->code->translator;
    return value - (uint64_t)g->ram < GUEST_RAM || value - (uint64_t)g->cpu < sizeof(*g->cpu) ||
           value - (uint64_t)translator->executable < translator->size ||
           value - (uint64_t)translator->writable < translator->size;
}

/* Wherever the guest is stopped, its registers are its own. */
static void registers_never_hold_host_addresses(void **state)
{
    struct guest *g = *state;
    /* 1: push rbx; mov rax, [rdx]; add [rdx+8], r12; mov ecx, 8; rep stosb; mov ecx, 8; mov rsi,
     * rdx; rep movsb; mov rdi, rdx; xchg r13, [rdx+16]; ret, to 1b */
    PLACE(g, CODE_AT,
          "\x53\x48\x8b\x02\x4c\x01\x62\x08\xb9\x08\x00\x00\x00\xf3\xaa\xb9\x08\x00\x00\x00\x48\x89"
          "\xd6\xf3\xa4\x48\x89\xd7\x4c\x87\x6a\x10\xc3");
    g->cpu->gpr[GPR_RBX] = CODE_AT;
    g->cpu->gpr[GPR_RDX] = g->cpu->gpr[GPR_RDI] = DATA_AT;
    guest_start(g, CODE_AT);
    for (unsigned i = 0; i < 20; i++) {
        run_until_kicked(g);
        for (unsigned k = 0; k < GPR_COUNT; k++)
            assert_false(is_of_host(g, g->cpu->gpr[k]));
        for (uint64_t at = DATA_AT; at < DATA_AT + 0x40; at += 8)
            assert_false(is_of_host(g, guest_read64(g, at)));
        assert_true(STACK_TOP - g->cpu->gpr[GPR_RSP] <= 8);
    }
    assert_true(guest_is_translated(g, CODE_AT));
}

static const struct guest *sampled_guest;
static atomic_uint samples;
static atomic_ulong seen_flags;

/* The host's flags while it runs translated code. */
static void sample(int signal, siginfo_t *info, void *context)
{
    const ucontext_t *at = context;
    const struct translator *translator = sampled_guest->soft->code->translator;
    uint64_t rip = (uint64_t)at->uc_mcontext.gregs[REG_RIP];
    (void)signal;
    (void)info;
    if (rip - (uint64_t)translator->executable >= translator->size)
        return;
    (void)atomic_fetch_add(&samples, 1);
    (void)atomic_fetch_or(&seen_flags, (uint64_t)at->uc_mcontext.gregs[REG_EFL]);
}

static void sample_for_a_while(struct guest *g)
{
    struct sigaction action = {.sa_sigaction = sample, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction before;
    struct itimerval often = {{0, 500}, {0, 500}};
    struct itimerval never = {{0, 0}, {0, 0}};
    sampled_guest = g;
    atomic_store(&seen_flags, 0);
    assert_int_equal(sigaction(SIGPROF, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_PROF, &often, NULL), 0);
    for (unsigned i = 0; i < 20; i++)
        run_until_kicked(g);
    assert_int_equal(setitimer(ITIMER_PROF, &never, NULL), 0);
    assert_int_equal(sigaction(SIGPROF, &before, NULL), 0);
}

static void flags_of_the_guest_never_become_the_hosts(void **state)
{
    struct guest *g = *state;
    enum { SYSTEM = FLAG_NT | FLAG_AC | FLAG_DF | FLAG_IOPL | FLAG_ID };
    enum { HOSTILE = FLAG_TF | FLAG_NT | FLAG_AC | FLAG_DF | FLAG_IOPL };
    /* 1: pushfq; add rax, [rdx]; adc rcx, rax; popfq; pushfq; popfq; jmp 1b */
    PLACE(g, CODE_AT, "\x9c\x48\x03\x02\x48\x11\xc1\x9d\x9c\x9d\xeb\xf4");
    g->cpu->gpr[GPR_RDX] = DATA_AT;
    cpu_set_flags(g->cpu, FLAG_FIXED | SYSTEM | FLAGS_ARITHMETIC);
    guest_start(g, CODE_AT);
    sample_for_a_while(g);
    assert_true(atomic_load(&samples) > 0);
    assert_int_equal(atomic_load(&seen_flags) & HOSTILE, 0);
    assert_int_equal(g->cpu->flags & SYSTEM, SYSTEM);
    uint64_t flags;
    __asm__ volatile("pushfq; popq %0" : "=r"(flags));
    assert_int_equal(flags & HOSTILE, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup_translated, guest_teardown)

/* A copied instruction that the host finds misaligned, behind a look-up that it shares. */
static void misaligned_cmpxchg16b_is_the_guests_fault(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x48\x8b\x06\xf0\x48\x0f\xc7\x4e\x08"); /* mov rax, [rsi]; … [rsi + 8] */
    g->cpu->gpr[GPR_RSI] = DATA_AT + 8;
    warm_up(g);
    assert_true(guest_is_translated(g, CODE_AT));
    g->cpu->gpr[GPR_RSI] = DATA_AT;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_GP);
}

/* sti; nop; xor eax, eax; cli; jmp: of user code with IOPL 3, too. */
static void user_code_with_iopl_3_lets_interrupts_in(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\xfb\x90\x31\xc0\xfa\xeb\xf9");
    atomic_store(&g->cpu->lapic.svr, SVR_ENABLED | SVR_VECTOR);
    guest_use_user(g, 0);
    cpu_set_flags(g->cpu, FLAG_FIXED | FLAG_IOPL);
    guest_start(g, CODE_AT);
    for (unsigned i = 0; i < 3; i++)
        run_until_kicked(g);
    struct engine_interrupt message = {.vector = 31};
    assert_int_equal(soft_engine.interrupt(g->partition, &message), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, kick_soon, g), 0);
    enum engine_exit_kind kind = guest_run(g);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_not_equal(kind, ENGINE_EXIT_KICKED);
}

/* The block goes while it runs: what it was to see to, that nothing is delivered behind STI, stays.
 */
static void nothing_is_delivered_behind_sti_of_a_block_that_goes(void **state)
{
    struct guest *g = *state;
    struct block *block = calloc(1, sizeof(*block) + 2 * sizeof(struct op));
    assert_non_null(block);
    block->behind_sti = 1;
    g->cpu->block = block;
    (void)op_stale(g->cpu, &block->op[0]);
    assert_int_equal(g->cpu->shadow, SHADOW_NONE);
    (void)op_stale(g->cpu, &block->op[1]);
    assert_int_equal(g->cpu->shadow, SHADOW_STI);
    g->cpu->shadow = SHADOW_NONE;
    free(block);
}

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(misaligned_cmpxchg16b_is_the_guests_fault),
        TEST(user_code_with_iopl_3_lets_interrupts_in),
        TEST(nothing_is_delivered_behind_sti_of_a_block_that_goes),
        TEST(store_into_the_block_itself_counts),
        TEST(store_into_the_block_by_a_shared_look_up_counts),
        TEST(store_into_a_linked_block_counts),
        TEST(store_into_a_called_function_counts),
        TEST(string_store_over_the_code_behind_it_counts),
        TEST(write_of_a_device_counts),
        TEST(linked_blocks_follow_their_page),
        TEST(calls_follow_a_page_that_the_guest_remaps),
        TEST(direct_calls_follow_a_page_that_the_guest_remaps),
        TEST(page_that_loses_its_code_faults),
        TEST(each_address_space_has_its_own_code),
        TEST(address_spaces_with_pcid_have_their_own_code),
        TEST(one_local_page_among_global_ones_has_its_own_code),
        TEST(every_endless_loop_can_be_stopped),
        TEST(registers_never_hold_host_addresses),
        TEST(flags_of_the_guest_never_become_the_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
