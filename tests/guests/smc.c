/*
 * Code that changes: by the CPU that runs it, through another mapping, and by another CPU.
 * Source: Intel SDM vol. 3A § 8.1.3 (self- and cross-modifying code), § 11.6.
 */
#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "pages.h"
#include "smp.h"
#include "tap.h"
#include "timing.h"
#include "trial.h"

/* Two pages for code that the tests write. */
static uint8_t room[2 * PAGE] __attribute__((aligned(4096)));

static word call(const void *code, word argument)
{
    word value;
    asm volatile("call *%1"
                 : "=a"(value), "+r"(code), "+D"(argument)
                 :
                 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
    return value;
}

/* mov $value, %eax; ret */
static void put_return(uint8_t *at, uint32_t value)
{
    at[0] = 0xb8;
    __builtin_memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

static void serialise(void)
{
    cpuid(0, 0);
}

/* --- one CPU changes what it runs next; each body gets its own address in RDI --- */

struct body {
    const char *name;
    const char *start, *end;
    word value;
};

#define BODY(name, text)                                                                     \
    asm(".pushsection .rodata\nbody_" #name ": " text "\nbody_" #name "_end:\n.popsection"); \
    extern const char body_##name[], body_##name##_end[]

/* The immediate of the next instruction. */
BODY(next, "movb $42, 1f+1(%rip)\n 1: mov $7, %eax\n ret");
/* An instruction further on in the same block. */
BODY(block, "xor %eax, %eax; movb $42, 1f+2(%rip); nop; inc %ecx; lea (%rcx,%rcx), %edx\n"
            "1: .byte 0x83, 0xc0, 7\n ret");
/* The opcode: add becomes sub. */
BODY(opcode, "mov $50, %eax; movb $0xe8, 1f+1(%rip)\n 1: .byte 0x83, 0xc0, 8\n ret");
/* One byte of the next instruction, by a locked operation. */
BODY(locked, "mov $7, %eax; mov $42, %ecx; lock cmpxchg %cl, 1f+1(%rip)\n 1: mov $7, %eax\n ret");
/* By a push: RSP points behind the instruction. */
BODY(push, "mov %rsp, %rdx; lea 1f+8(%rip), %rsp; mov $0x9090900000002ab8, %rax; push %rax\n"
           "1: mov $7, %eax\n nop; nop; nop; mov %rdx, %rsp; ret");
/* By a string instruction, over many bytes. */
BODY(string, "lea 1f(%rip), %rdi; mov $0x90, %al; mov $64, %ecx; mov $42, %edx; rep stosb\n"
             "1: .fill 64, 1, 0xcc\n mov %edx, %eax\n ret");
/* A loop that changes its own body and its own end. */
BODY(loop, "xor %eax, %eax; mov $6, %ecx\n"
           "1: .byte 0x83, 0xc0, 2\n incb 1b+2(%rip); dec %ecx; jnz 1b\n"
           "add $15, %eax; ret");
/* The displacement of the branch that follows. */
BODY(branch, "movb $5, 1f+1(%rip)\n 1: jmp 2f\n 2: mov $7, %eax\n mov $42, %eax\n ret");
/* A read of changed code as data, then the code. */
BODY(mixed, "movb $42, 1f+1(%rip); movzbl 1f+1(%rip), %ecx; cmp $42, %ecx; jne 2f\n"
            "1: mov $7, %eax\n ret\n 2: xor %eax, %eax; ret");

#define ROW(name, value)                             \
    {                                                \
#        name, body_##name, body_##name##_end, value \
    }

static void check_body(const struct body *body, size_t offset, const char *where)
{
    bool good = true;

    for (unsigned round = 0; round < 50 && good; round++) {
        __builtin_memcpy(room + offset, body->start, (size_t)(body->end - body->start));
        good = call(room + offset, 0) == body->value;
    }
    check(good, "%s: changes what follows, %s", body->name, where);
}

static void self_modifying(void)
{
    static const struct body bodies[] = {
        ROW(next, 42),   ROW(block, 42), ROW(opcode, 42), ROW(locked, 42), ROW(push, 42),
        ROW(string, 42), ROW(loop, 42),  ROW(branch, 42), ROW(mixed, 42),
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(bodies); i++) {
        check_body(&bodies[i], 0, "within a page");
        check_body(&bodies[i], PAGE - 12, "over the border of a page");
        check_body(&bodies[i], PAGE - 17, "over the border of a page, elsewhere");
    }
}

static void vector_stores(void)
{
    static const uint8_t nops[16] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
                                     0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
    uint8_t *at = room + PAGE - 8;
    bool good = true;

    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 16; i++)
            at[i] = 0xcc;
        put_return(at + 16, round);
        asm volatile("movdqu (%0), %%xmm0; movdqu %%xmm0, (%1)" : : "r"(nops), "r"(at) : "memory");
        good = good && call(at, 0) == round;
    }
    check(good, "a 16-byte store over the border of a page changes code");
}

/* --- generated code --- */

static void generator_storm(void)
{
    unsigned wrong = 0;

    for (uint32_t i = 0; i < 20000; i++) {
        uint8_t *at = room + (i * 37) % (2 * PAGE - 16);
        put_return(at, i);
        wrong += call(at, 0) != i;
    }
    check_equal(wrong, 0, "20000 generated functions each return their own value");
}

static void same_place(void)
{
    unsigned wrong = 0;

    for (uint32_t i = 0; i < 20000; i++) {
        put_return(room, i);
        wrong += call(room, 0) != i;
    }
    check_equal(wrong, 0, "20000 functions in one place each return their own value");
}

/* Data beside code: the code stays as it is, the data changes. */
static void data_beside_code(void)
{
    volatile uint64_t *data = (volatile uint64_t *)(void *)(room + 64);
    unsigned wrong = 0;

    put_return(room, 11);
    for (uint64_t i = 0; i < 20000; i++) {
        *data = i;
        wrong += call(room, 0) != 11 || *data != i;
    }
    check_equal(wrong, 0, "20000 stores beside code");
}

/* A chain of functions where only the last one changes: links between them must not go stale. */
static void chains(void)
{
    unsigned wrong = 0;

    /* call +0xf8 (to room + 0x100); ret */
    __builtin_memcpy(room, "\xe8\xfb\x00\x00\x00\xc3", 6);
    /* jmp to room + 0x1080 (in the other page) */
    __builtin_memcpy(room + 0x100, "\xe9\x7b\x0f\x00\x00", 5);
    for (uint32_t i = 0; i < 5000; i++) {
        put_return(room + 0x1080, i);
        wrong += call(room, 0) != i;
    }
    check_equal(wrong, 0, "5000 changes at the end of a chain of jumps");
}

/* --- through another mapping, which needs a serialising instruction --- */

static void aliases(void)
{
    uint8_t *alias = (uint8_t *)seen_at(USER, room);
    unsigned wrong = 0;

    for (uint32_t i = 0; i < 2000; i++) {
        put_return(alias, i);
        serialise();
        wrong += call(room, 0) != i;
        put_return(room, i + 1);
        serialise();
        wrong += call(alias, 0) != i + 1;
    }
    check_equal(wrong, 0, "2000 changes through another mapping of the page");
}

/* A write by ring 3 into code of ring 0, and the reverse. */
SNIPPET(user_store, "", "mov %edi, %eax; shr $32, %rdi; mov %eax, (%rdi)", "");

static void across_rings(void)
{
    unsigned wrong = 0;
    word target = (word)room + 1 + USER_ALIAS;

    put_return(room, 0);
    for (uint32_t i = 0; i < 500; i++) {
        trial_in(USER, &user_store, target << 32 | i);
        wrong += call(room, 0) != i;
    }
    check_equal(wrong, 0, "500 changes by ring 3 of what ring 0 runs");
}

/* The page is given other code by its page table, with the old code still around. */
static void remapping(void)
{
    uint64_t *root = root_new();
    uint64_t at = 0x8000000000ull;
    uint64_t *entry = map_page(root, at, (uint64_t)room | PTE_W, 1);
    unsigned wrong = 0;

    put_return(room, 1);
    put_return(room + PAGE, 2);
    write_cr3((word)root);
    for (unsigned i = 0; i < 2000; i++) {
        bool second = i & 1;
        *entry = ((uint64_t)room + (second ? PAGE : 0)) | PTE_P | PTE_W;
        invlpg((void *)at);
        wrong += call((void *)at, 0) != (second ? 2 : 1);
    }
    check_equal(wrong, 0, "2000 changes of the page behind an address");
    *entry = (uint64_t)room | PTE_P | PTE_W;
    invlpg((void *)at);
    for (uint32_t i = 0; i < 500; i++) {
        put_return((uint8_t *)at, i); /* through the page itself */
        wrong += call((void *)at, 0) != i;
    }
    check_equal(wrong, 0, "500 changes through the new address");
    write_cr3((word)boot_root);
    pages_release();
}

/* --- by another CPU --- */

enum { SYNC_VECTOR = 0x50, SYNCED_VECTOR = 0x51 };

static volatile uint32_t current_value, next_value; /* what the patched function may return */
static volatile unsigned stop, synced, wrong_values, calls_made, breakpoints_hit;

static void sync_handler(struct frame *frame)
{
    (void)frame;
    apic_eoi();
    serialise();
    if (__atomic_add_fetch(&synced, 1, __ATOMIC_SEQ_CST) == cpu_count() - 1)
        apic_send(0, ICR_ASSERT | SYNCED_VECTOR);
}

static void synced_handler(struct frame *frame)
{
    (void)frame;
    apic_eoi();
}

/* Meets the int3 that stands in for the instruction: does its work with the old value. */
static void breakpoint_handler(struct frame *frame)
{
    frame->ax = current_value;
    frame->ip += 4;
    __atomic_fetch_add(&breakpoints_hit, 1, __ATOMIC_SEQ_CST);
}

static void run_patched(void *unused)
{
    (void)unused;
    interrupts_on();
    while (!stop) {
        uint32_t before = current_value;
        uint32_t value = (uint32_t)call(room, 0);
        uint32_t after = next_value;
        if (value - before > after - before)
            __atomic_fetch_add(&wrong_values, 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&calls_made, 1, __ATOMIC_RELAXED);
    }
    interrupts_off();
}

static void sync_cpus(void)
{
    synced = 0;
    apic_send(0, ICR_OTHERS | ICR_ASSERT | SYNC_VECTOR);
    while (synced < cpu_count() - 1)
        wait_for_interrupt(); /* a spinning CPU would take the host's time from the others */
}

/* The protocol that kernels use: int3 first, then the tail, then the first byte. */
static void patch(uint32_t value)
{
    next_value = value;
    *(volatile uint8_t *)room = 0xcc;
    sync_cpus();
    for (unsigned i = 0; i < 4; i++)
        ((volatile uint8_t *)room)[1 + i] = (uint8_t)(value >> 8 * i);
    sync_cpus();
    *(volatile uint8_t *)room = 0xb8;
    sync_cpus();
    current_value = value;
}

static void cross_modifying(void)
{
    uint64_t end;
    uint32_t patches = 0;

    if (cpu_count() < 2) {
        skip("code changed by another CPU", "one CPU");
        return;
    }
    trap_handlers[SYNC_VECTOR] = sync_handler;
    trap_handlers[SYNCED_VECTOR] = synced_handler;
    trap_handlers[BP] = breakpoint_handler;
    put_return(room, 0);
    for (unsigned i = 1; i < cpu_count(); i++)
        cpu_begin(i, run_patched, NULL);
    while (!calls_made)
        relax();
    end = read_tsc() + option_number("seconds", 10) * 1000 * tsc_per_ms();
    while (patches < 20000 && read_tsc() < end)
        patch(++patches * 0x01010101u);
    stop = 1;
    for (unsigned i = 1; i < cpu_count(); i++)
        cpu_wait(i);
    note("%u patches, %u calls, %u breakpoints met", patches, calls_made, breakpoints_hit);
    check_equal(wrong_values, 0, "no call saw a half-patched or stale instruction");
    check(patches >= 20, "at least 20 patches were made");
    trap_handlers[BP] = NULL;
}

/* Code handed over by a flag: the other CPU writes, this one serialises, then runs it. */
static volatile uint32_t handed_over, taken_over;

static void write_functions(void *unused)
{
    (void)unused;
    for (uint32_t i = 1; i <= 5000; i++) {
        put_return(room + 64, i);
        __atomic_store_n(&handed_over, i, __ATOMIC_RELEASE);
        while (taken_over != i)
            relax();
    }
}

static void hand_over(void)
{
    unsigned wrong = 0;

    if (cpu_count() < 2) {
        skip("code written by another CPU", "one CPU");
        return;
    }
    cpu_begin(1, write_functions, NULL);
    for (uint32_t i = 1; i <= 5000; i++) {
        while (handed_over != i)
            relax();
        serialise();
        wrong += call(room + 64, 0) != i;
        taken_over = i;
    }
    cpu_wait(1);
    check_equal(wrong, 0, "5000 functions written by another CPU each return their own value");
}

/* Every CPU changes its own code in a page that all share. */
static volatile unsigned shared_wrong;

static void change_own(void *unused)
{
    uint8_t *own = room + PAGE + 32 * cpu_index();

    (void)unused;
    for (uint32_t i = 0; i < 3000; i++) {
        put_return(own, i);
        if (call(own, 0) != i)
            __atomic_fetch_add(&shared_wrong, 1, __ATOMIC_SEQ_CST);
    }
}

static void shared_page(void)
{
    cpus_run(change_own, NULL);
    check_equal(shared_wrong, 0, "each CPU changes its own code in one page");
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"self", self_modifying},     {"vector", vector_stores},  {"storm", generator_storm},
        {"same-place", same_place},   {"data", data_beside_code}, {"chains", chains},
        {"aliases", aliases},         {"rings", across_rings},    {"remapping", remapping},
        {"shared-page", shared_page}, {"hand-over", hand_over},   {"cross", cross_modifying},
    };
    smp_start();
    run_groups(groups, ARRAY_LENGTH(groups));
}
