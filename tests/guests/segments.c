/*
 * Segments as long mode has them: descriptor checks and limits in compatibility mode, FS and GS
 * bases, call gates, LDT, LAR and its kin, UMIP. Source: Intel SDM vol. 3A chapters 3 and 5.
 */
#include "area.h"
#include "cpu.h"
#include "tap.h"
#include "trial.h"

#define NONCANONICAL 0x0000800000000000ull
#define FIRST        FREE_SELECTOR

/* Access bytes of descriptors, SDM vol. 3A § 3.4.5. */
enum {
    DATA_READ = 0x90,
    DATA_WRITE = 0x92,
    DATA_DOWN = 0x96, /* expand-down */
    CODE_ONLY = 0x98,
    CODE_READ = 0x9a,
    CODE_CONFORMING = 0x9e,
    ACCESSED = 1,
    DPL3 = 0x60,
    LDT_TYPE = 0x82,
    TASK_TYPE = 0x89,
    CALL_GATE = 0x8c,
};

enum { FLAG_G = 8, FLAG_B = 4, FLAG_L = 2 }; /* bits 55 to 53 */

static uint8_t data[8192] __attribute__((aligned(4096)));

static uint64_t descriptor(word base, uint64_t limit, uint64_t access, uint64_t flags)
{
    return (limit & 0xffff) | (base & 0xffffffull) << 16 | access << 40 | (limit >> 16 & 15) << 48 |
           flags << 52 | (base >> 24 & 0xffull) << 56;
}

static void set(word selector, uint64_t value)
{
    this_area()->gdt[selector / 8] = value;
}

static uint64_t get(word selector)
{
    return this_area()->gdt[selector / 8];
}

/* --- what data segments check, seen from compatibility mode --- */

SNIPPET32(es_read, "mov $0x60, %eax; mov %eax, %es", "mov %es:(%edi), %eax",
          "mov $0x10, %ecx; mov %ecx, %es");
SNIPPET32(es_read_byte, "mov $0x60, %eax; mov %eax, %es", "mov %es:(%edi), %al",
          "mov $0x10, %ecx; mov %ecx, %es");
SNIPPET32(es_write_byte, "mov $0x60, %eax; mov %eax, %es", "mov %al, %es:(%edi)",
          "mov $0x10, %ecx; mov %ecx, %es");
SNIPPET32(es_null, "xor %eax, %eax; mov %eax, %es", "mov %es:(%edi), %al", "");
SNIPPET32(es_stos, "mov $0x60, %eax; mov %eax, %es", "stosl", "mov $0x10, %ecx; mov %ecx, %es");

static void limits_up(void)
{
    set(FIRST, descriptor((word)data, 0xff, DATA_WRITE, FLAG_B));
    data[0xff] = 0x5a;
    check_runs(KERNEL32, &es_read_byte, 0xff);
    check_equal(this_area()->trap.value & 0xff, 0x5a, "the base counts");
    check_fault(KERNEL32, &es_read_byte, 0x100, GP, 0);
    check_runs(KERNEL32, &es_read, 0xfc);
    check_fault(KERNEL32, &es_read, 0xfd, GP, 0);
    check_fault(KERNEL32, &es_read, 0xffffffff, GP, 0);
    check_fault(KERNEL32, &es_write_byte, 0x100, GP, 0);
    check_runs(KERNEL32, &es_stos, 0xfc);
    check_fault(KERNEL32, &es_stos, 0xfd, GP, 0);
    set(FIRST, descriptor((word)data, 0, DATA_WRITE, FLAG_B | FLAG_G));
    check_runs(KERNEL32, &es_read_byte, 0xfff);
    check_fault(KERNEL32, &es_read_byte, 0x1000, GP, 0);
}

static void limits_down(void)
{
    set(FIRST, descriptor((word)data, 0xff, DATA_DOWN, FLAG_B));
    check_fault(KERNEL32, &es_read_byte, 0xff, GP, 0);
    check_runs(KERNEL32, &es_read_byte, 0x100);
    check_runs(KERNEL32, &es_read_byte, 0xffffffff);
    check_fault(KERNEL32, &es_read, 0xfe, GP, 0);
    set(FIRST, descriptor((word)data, 0xff, DATA_DOWN, 0));
    check_runs(KERNEL32, &es_read_byte, 0xffff - 0xf000);
    check_fault(KERNEL32, &es_read_byte, 0x10000, GP, 0);
}

static void types(void)
{
    set(FIRST, descriptor((word)data, 0xff, DATA_READ, FLAG_B));
    check_runs(KERNEL32, &es_read_byte, 0);
    check_fault(KERNEL32, &es_write_byte, 0, GP, 0);
    check_equal(get(FIRST) >> 40 & 1, 1, "a load sets the accessed bit");
    set(FIRST, descriptor((word)data, 0xff, CODE_READ, FLAG_B));
    check_runs(KERNEL32, &es_read_byte, 0);
    check_fault(KERNEL32, &es_write_byte, 0, GP, 0);
    check_fault(KERNEL32, &es_null, 0, GP, 0);
}

/* In 64-bit mode ES, DS and SS have neither base nor limit (SDM vol. 3A § 3.2.4). */
SNIPPET(es_read_64, "mov $0x60, %eax; mov %eax, %es", "mov %es:(%rdi), %al",
        "mov $0x10, %ecx; mov %ecx, %es");
SNIPPET(es_write_64, "mov $0x60, %eax; mov %eax, %es", "mov %al, %es:(%rdi)",
        "mov $0x10, %ecx; mov %ecx, %es");
SNIPPET(es_null_64, "xor %eax, %eax; mov %eax, %es", "mov %es:(%rdi), %al", "");
SNIPPET(fs_limit_64, "mov $0x60, %eax; mov %eax, %fs", "mov %fs:0x1000, %al",
        "xor %ecx, %ecx; mov %ecx, %fs");

static void flat_in_64_bit_mode(void)
{
    set(FIRST, descriptor(0x1000, 0xf, DATA_READ, FLAG_B));
    data[100] = 0x77;
    check_runs(KERNEL, &es_read_64, (word)&data[100]);
    check_equal(this_area()->trap.value & 0xff, 0x77, "ES has no base");
    check_runs(KERNEL, &es_write_64, (word)data);
    check_runs(KERNEL, &es_null_64, (word)data);
    set(FIRST, descriptor((word)data, 0xf, DATA_READ, FLAG_B));
    data[0x1000] = 0x44;
    check_runs(KERNEL, &fs_limit_64, 0);
    check_equal(this_area()->trap.value & 0xff, 0x44, "FS has a base but no limit");
}

/* --- loading --- */

SNIPPET(load_es, "", "mov %edi, %es", "mov $0x10, %ecx; mov %ecx, %es");
SNIPPET(user_load_es, "", "mov %edi, %es", "");
SNIPPET(load_ss, "", "mov %edi, %ss", "mov $0x10, %ecx; mov %ecx, %ss");
SNIPPET(user_load_ss, "", "mov %edi, %ss", "mov $0x33, %ecx; mov %ecx, %ss");
SNIPPET(lfs_load, "", "lfs (%rdi), %eax", "xor %ecx, %ecx; mov %ecx, %fs");
SNIPPET(lss_load, "mov %rsp, %rdx", "lss (%rdi), %esp",
        "mov $0x10, %ecx; mov %ecx, %ss; mov %rdx, %rsp");

static void loads(void)
{
    static const word readable[] = {DATA_READ, DATA_WRITE, DATA_DOWN, CODE_READ, CODE_CONFORMING};
    static const word refused[] = {CODE_ONLY, LDT_TYPE, TASK_TYPE, CALL_GATE};

    for (unsigned i = 0; i < ARRAY_LENGTH(readable); i++) {
        set(FIRST, descriptor(0, 0xff, readable[i], FLAG_B));
        check_runs(KERNEL, &load_es, FIRST);
        check_equal(get(FIRST) >> 40 & 0xff, readable[i] | ACCESSED, "accessed bit of type %lx",
                    readable[i]);
        set(FIRST, descriptor(0, 0xff, readable[i] & 0x7f, FLAG_B));
        check_fault(KERNEL, &load_es, FIRST, NP, FIRST);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(refused); i++) {
        set(FIRST, descriptor(0, 0xff, refused[i], FLAG_B));
        check_fault(KERNEL, &load_es, FIRST, GP, FIRST);
    }
    set(FIRST, descriptor(0, 0xff, DATA_WRITE, FLAG_B));
    check_fault(KERNEL, &load_es, FIRST | 3, GP, FIRST);
    check_fault(USER, &user_load_es, FIRST, GP, FIRST);
    set(FIRST, descriptor(0, 0xff, CODE_READ, FLAG_B));
    check_fault(USER, &user_load_es, FIRST, GP, FIRST);
    set(FIRST, descriptor(0, 0xff, CODE_CONFORMING, FLAG_B));
    check_runs(USER, &user_load_es, FIRST);
    set(FIRST, descriptor(0, 0xff, DATA_WRITE | DPL3, FLAG_B));
    check_runs(USER, &user_load_es, FIRST);
    check_runs(USER, &user_load_es, 0);
    check_runs(USER, &user_load_es, 3);
    check_fault(KERNEL, &load_es, DESCRIPTORS * 8, GP, DESCRIPTORS * 8);
    check_fault(KERNEL, &load_es, FIRST | 4, GP, FIRST | 4);
}

static void stack_loads(void)
{
    static uint32_t pointer[2];

    set(FIRST, descriptor(0, 0xff, DATA_WRITE, FLAG_B));
    check_runs(KERNEL, &load_ss, FIRST);
    check_fault(KERNEL, &load_ss, FIRST | 3, GP, FIRST);
    check_fault(USER, &user_load_ss, FIRST, GP, FIRST);
    check_fault(USER, &user_load_ss, FIRST | 3, GP, FIRST);
    set(FIRST, descriptor(0, 0xff, DATA_WRITE | DPL3, FLAG_B));
    check_fault(KERNEL, &load_ss, FIRST, GP, FIRST);
    check_runs(USER, &user_load_ss, FIRST | 3);
    check_fault(USER, &user_load_ss, FIRST, GP, FIRST);
    check_fault(USER, &user_load_ss, 3, GP, 0);
    set(FIRST, descriptor(0, 0xff, CODE_READ, FLAG_B));
    check_fault(KERNEL, &load_ss, FIRST, GP, FIRST);
    pointer[0] = 0x1234;
    pointer[1] = FIRST;
    set(FIRST, descriptor(0, 0xff, DATA_WRITE & 0x7f, FLAG_B));
    check_fault(KERNEL, &lss_load, (word)pointer, SS, FIRST);
    check_fault(KERNEL, &lfs_load, (word)pointer, NP, FIRST);
    set(FIRST, descriptor(0, 0xff, DATA_WRITE, FLAG_B));
    check_equal(trial_in(KERNEL, &lfs_load, (word)pointer)->value, 0x1234, "lfs loads the offset");
}

/* --- FS and GS --- */

SNIPPET(read_fs_0, "", "mov %fs:0, %rax", "");
SNIPPET(read_gs_0, "", "mov %gs:0, %rax", "");
SNIPPET(read_fs_address, "", "mov %fs:(%rdi), %rax", "");
SNIPPET(load_fs, "", "mov %edi, %fs", "");
SNIPPET(load_gs, "", "mov %edi, %gs", "");
SNIPPET(rdfsbase, "", "rdfsbase %rax", "");
SNIPPET(rdfsbase_32, "", "rdfsbase %eax", "");
SNIPPET(wrfsbase, "", "wrfsbase %rdi", "");
SNIPPET(wrfsbase_32, "", "wrfsbase %edi", "");
SNIPPET(rdgsbase, "", "rdgsbase %rax", "");
SNIPPET(wrgsbase, "", "wrgsbase %rdi", "");
SNIPPET32(rdfsbase_compat, "", ".byte 0xf3, 0x0f, 0xae, 0xc0", "");

static void bases(void)
{
    uint64_t *cell = (uint64_t *)(void *)data;

    cell[0] = 0x1111;
    cell[1] = 0x2222;
    write_msr(MSR_FS_BASE, (word)cell);
    write_msr(MSR_GS_BASE, (word)&cell[1]);
    write_msr(MSR_KERNEL_GS_BASE, (word)cell);
    check_equal(trial_in(KERNEL, &read_fs_0, 0)->value, 0x1111, "FS base by MSR");
    check_equal(trial_in(KERNEL, &read_gs_0, 0)->value, 0x2222, "GS base by MSR");
    asm volatile("swapgs");
    check_equal(trial_in(KERNEL, &read_gs_0, 0)->value, 0x1111, "swapgs exchanges");
    check_equal(read_msr(MSR_KERNEL_GS_BASE), (word)&cell[1], "and keeps the other");
    asm volatile("swapgs");
    check_equal(read_msr(MSR_GS_BASE), (word)&cell[1], "twice is none");

    write_msr(MSR_FS_BASE, 0xffff800000000000ull);
    check_equal(trial_in(KERNEL, &read_fs_address, (word)cell - 0xffff800000000000ull)->value,
                0x1111, "base and offset wrap around");
    set(FIRST, descriptor((word)&cell[1], 0xff, DATA_WRITE, FLAG_B));
    check_runs(KERNEL, &load_fs, FIRST);
    check_equal(read_msr(MSR_FS_BASE), (word)&cell[1], "a selector replaces the whole base");
    check_equal(trial_in(KERNEL, &read_fs_0, 0)->value, 0x2222, "and is used");
    check_runs(KERNEL, &load_gs, FIRST);
    check_equal(read_msr(MSR_GS_BASE), (word)&cell[1], "also with GS");
    check_equal(read_msr(MSR_KERNEL_GS_BASE), (word)cell, "which leaves the kernel's base");
    write_msr(MSR_FS_BASE, NONCANONICAL - 4);
    check_fault(KERNEL, &read_fs_address, 4, GP, 0);
    write_msr(MSR_FS_BASE, 0);
    check_runs(KERNEL, &load_gs, 0);
}

static void fsgsbase(void)
{
    if (!HAS_FSGSBASE) {
        skip("rdfsbase and its kin", "no FSGSBASE");
        return;
    }
    check_fault(KERNEL, &rdfsbase, 0, UD, 0);
    check_fault(USER, &wrgsbase, 0, UD, 0);
    write_cr4(read_cr4() | CR4_FSGSBASE);
    check_runs(KERNEL, &wrfsbase, 0x123456789000);
    check_equal(read_msr(MSR_FS_BASE), 0x123456789000, "wrfsbase writes 64 bits");
    check_equal(trial_in(USER, &rdfsbase, 0)->value, 0x123456789000, "rdfsbase reads in ring 3");
    check_equal(trial_in(KERNEL, &rdfsbase_32, 0)->value, 0x56789000, "rdfsbase of 32 bits");
    check_runs(USER, &wrgsbase, 0xffff800000001000);
    check_equal(read_msr(MSR_GS_BASE), 0xffff800000001000, "wrgsbase in ring 3");
    check_equal(trial_in(KERNEL, &rdgsbase, 0)->value, 0xffff800000001000, "rdgsbase");
    check_runs(KERNEL, &wrfsbase_32, 0xffffffff87654321);
    check_equal(read_msr(MSR_FS_BASE), 0x87654321, "wrfsbase of 32 bits clears the rest");
    check_fault(KERNEL, &wrfsbase, NONCANONICAL, GP, 0);
    check_fault(USER, &wrgsbase, NONCANONICAL, GP, 0);
    check_fault(KERNEL32, &rdfsbase_compat, 0, UD, 0);
    write_cr4(read_cr4() & ~CR4_FSGSBASE);
    write_msr(MSR_FS_BASE, 0);
    write_msr(MSR_GS_BASE, 0);
}

/* --- far transfers --- */

struct far_pointer {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));

struct seen_call {
    word rsp, stack[4], cs, ss;
};
struct seen_call seen_call;
extern const char gate_entry[], gate_returns_here[];

asm(".pushsection .text\n"
    "gate_entry:\n"
    "mov %rsp, seen_call(%rip)\n"
    "mov (%rsp), %rcx; mov %rcx, seen_call+8(%rip)\n"
    "mov 8(%rsp), %rcx; mov %rcx, seen_call+16(%rip)\n"
    "mov 16(%rsp), %rcx; mov %rcx, seen_call+24(%rip)\n"
    "mov 24(%rsp), %rcx; mov %rcx, seen_call+32(%rip)\n"
    "mov %cs, %ecx; mov %rcx, seen_call+40(%rip)\n"
    "mov %ss, %ecx; mov %rcx, seen_call+48(%rip)\n"
    "mov $99, %eax\n"
    "lretq\n"
    ".popsection");

SNIPPET(call_far, "", "lcall *(%rdi)", "");
SNIPPET(jump_far, "", "ljmp *(%rdi)", "");
SNIPPET(return_far_inwards, "push $8; push $0", "lretq", "");
SNIPPET(return_far_n, "mov %rsp, %rdx; push $1; push $2; push $8; lea 1f(%rip), %rax; push %rax",
        "lretq $16\n1: mov %rsp, %rax; sub %rdx, %rax; mov %rdx, %rsp", "");

static void call_gate_set(word selector, const void *entry, word target, unsigned access)
{
    word offset = (word)entry;
    set(selector, (offset & 0xffff) | target << 16 | (uint64_t)access << 40 |
                      (uint64_t)(offset >> 16 & 0xffff) << 48);
    set(selector + 8, offset >> 32);
}

static void call_gates_work(void)
{
    static struct far_pointer to = {0xdeadbeef, FIRST};
    const struct trap *trap;

    call_gate_set(FIRST, gate_entry, KERNEL_CS, CALL_GATE);
    trap = trial_in(KERNEL, &call_far, (word)&to);
    check(trap->vector == NO_TRAP && trap->value == 99, "a call gate within ring 0");
    check_equal(seen_call.stack[0], (word)call_far.next, "pushes RIP");
    check_equal(seen_call.stack[1], KERNEL_CS, "and CS");

    call_gate_set(FIRST, gate_entry, KERNEL_CS, CALL_GATE | DPL3);
    to.selector = FIRST | 3;
    trap = trial_in(USER, &call_far, (word)&to + USER_ALIAS);
    check(trap->vector == NO_TRAP && trap->value == 99, "a call gate from ring 3, and back");
    check_equal(seen_call.cs, KERNEL_CS, "it enters ring 0");
    check_equal(seen_call.ss, 0, "SS is null, RPL the new CPL");
    check_equal(seen_call.rsp,
                this_area()->task.rsp[0] / 16 * 16 - 32 + (this_area()->task.rsp[0] & 15),
                "the stack is RSP0 less 4 words");
    check_equal(seen_call.stack[0], seen_at(USER, call_far.next), "it has the old RIP,");
    check_equal(seen_call.stack[1], USER_CS64, "CS,");
    check_equal(seen_call.stack[2] >> 12, seen_at(USER, area_at(this_area(), 0x3000)) >> 12, "RSP");
    check_equal(seen_call.stack[3], USER_DS, "and SS");
    check_fault(USER, &jump_far, (word)&to + USER_ALIAS, GP, KERNEL_CS);
}

static void call_gates_refuse(void)
{
    static struct far_pointer to = {0, FIRST | 3};
    word there = (word)&to + USER_ALIAS;

    call_gate_set(FIRST, gate_entry, KERNEL_CS, CALL_GATE);
    check_fault(USER, &call_far, there, GP, FIRST);
    call_gate_set(FIRST, gate_entry, KERNEL_CS, (CALL_GATE | DPL3) & 0x7f);
    check_fault(USER, &call_far, there, NP, FIRST);
    call_gate_set(FIRST, gate_entry, KERNEL_CS32, CALL_GATE | DPL3);
    check_fault(USER, &call_far, there, GP, KERNEL_CS32);
    call_gate_set(FIRST, gate_entry, 0, CALL_GATE | DPL3);
    check_fault(USER, &call_far, there, GP, 0);
    call_gate_set(FIRST, gate_entry, KERNEL_DS, CALL_GATE | DPL3);
    check_fault(USER, &call_far, there, GP, KERNEL_DS);
    set(FIRST + 16, 0x00af1b000000ffffull);
    call_gate_set(FIRST, gate_entry, FIRST + 16, CALL_GATE | DPL3);
    check_fault(USER, &call_far, there, NP, FIRST + 16);
    call_gate_set(FIRST, (const void *)NONCANONICAL, KERNEL_CS, CALL_GATE | DPL3);
    check_fault(USER, &call_far, there, GP, 0);
    call_gate_set(FIRST, gate_entry, KERNEL_CS, CALL_GATE | DPL3);
    set(FIRST + 8, get(FIRST + 8) | 1ull << 40); /* the second half must look like type 0 */
    check_fault(USER, &call_far, there, GP, FIRST);
}

static void far_jumps(void)
{
    static struct far_pointer to;

    to = (struct far_pointer){0, TASK_SEGMENT};
    check_fault(KERNEL, &jump_far, (word)&to, GP, TASK_SEGMENT);
    check_fault(KERNEL, &call_far, (word)&to, GP, TASK_SEGMENT);
    set(FIRST, descriptor(TASK_SEGMENT << 8, 0, 0x85, 0)); /* a task gate */
    to.selector = FIRST;
    check_fault(KERNEL, &jump_far, (word)&to, GP, FIRST);
    to.selector = USER_CS64;
    check_fault(KERNEL, &jump_far, (word)&to, GP, USER_CS64 & ~3);
    to.selector = KERNEL_CS;
    check_fault(USER, &jump_far, (word)&to + USER_ALIAS, GP, KERNEL_CS);
    set(FIRST, descriptor(0, 0xfffff, CODE_READ, FLAG_G | FLAG_L | FLAG_B));
    to.selector = FIRST;
    check_fault(KERNEL, &jump_far, (word)&to, GP, FIRST);
    set(FIRST, descriptor(0, 0xff, CODE_READ, FLAG_B));
    to.offset = 0x100;
    check_fault(KERNEL, &jump_far, (word)&to, GP, 0);
    check_fault(USER, &return_far_inwards, 0, GP, KERNEL_CS);
    check_equal(trial_in(KERNEL, &return_far_n, 0)->value, 0, "lretq 16 drops 16 bytes");
}

/* Conforming code keeps the privilege of its caller (SDM vol. 3A § 5.8.1.2). */
SNIPPET(conforming_body, "mov %cs, %eax", "lretq", "");
SNIPPET(call_conforming, "push %rbx; mov %rdi, %rbx; mov $0xffff, %eax", "rex.W lcall *(%rbx)",
        "pop %rbx");

struct far_pointer64 {
    uint64_t offset;
    uint16_t selector;
} __attribute__((packed));

static void conforming(void)
{
    static struct far_pointer64 to;
    const struct trap *trap;

    set(FIRST, descriptor(0, 0xfffff, CODE_CONFORMING, FLAG_G | FLAG_L));
    to = (struct far_pointer64){seen_at(USER, conforming_body.code), FIRST | 3};
    trap = trial_in(USER, &call_conforming, (word)&to + USER_ALIAS);
    check(trap->vector == NO_TRAP && trap->value == (FIRST | 3),
          "ring 3 calls conforming code of ring 0 and stays in ring 3");
    set(FIRST, descriptor(0, 0xfffff, CODE_CONFORMING | DPL3, FLAG_G | FLAG_L));
    to.offset = (word)conforming_body.code;
    to.selector = FIRST;
    check_fault(KERNEL, &call_conforming, (word)&to, GP, FIRST);
}

/* --- LAR, LSL, VERR, VERW, ARPL --- */

static bool load_access(word selector, uint32_t *ret)
{
    bool found;
    asm volatile("lar %2, %1" : "=@ccz"(found), "=r"(*ret) : "r"((uint32_t)selector));
    return found;
}

static bool load_limit(word selector, uint32_t *ret)
{
    bool found;
    asm volatile("lsl %2, %1" : "=@ccz"(found), "=r"(*ret) : "r"((uint32_t)selector));
    return found;
}

static bool verify(word selector, bool write)
{
    bool found;
    if (write)
        asm volatile("verw %w1" : "=@ccz"(found) : "r"(selector));
    else
        asm volatile("verr %w1" : "=@ccz"(found) : "r"(selector));
    return found;
}

struct type_row {
    uint8_t access;
    bool lar, lsl, verr, verw;
};

static void access_rights(void)
{
    static const struct type_row rows[] = {
        {DATA_READ, true, true, true, false},
        {DATA_WRITE, true, true, true, true},
        {DATA_DOWN, true, true, true, true},
        {CODE_ONLY, true, true, false, false},
        {CODE_READ, true, true, true, false},
        {CODE_CONFORMING, true, true, true, false},
        {DATA_WRITE & 0x7f, true, true, true, true},
        {0x80, false, false, false, false},
        {0x81, false, false, false, false},
        {LDT_TYPE, true, true, false, false},
        {0x83, false, false, false, false},
        {0x84, false, false, false, false},
        {0x85, false, false, false, false},
        {TASK_TYPE, true, true, false, false},
        {0x8b, true, true, false, false},
        {CALL_GATE, true, false, false, false},
        {0x8e, false, false, false, false},
        {0x8f, false, false, false, false},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        uint32_t access = 0;
        uint32_t limit = 0;
        uint8_t type = rows[i].access;
        set(FIRST, descriptor(0, 0x12345, type, FLAG_B | FLAG_G));
        set(FIRST + 8, 0);
        check_equal(load_access(FIRST, &access), rows[i].lar, "lar of type %x", type);
        if (rows[i].lar)
            check_equal(access & 0xf0ff00, 0xc00000u | (uint32_t)type << 8, "its access rights");
        check_equal(load_limit(FIRST, &limit), rows[i].lsl, "lsl of type %x", type);
        if (rows[i].lsl)
            check_equal(limit, 0x12345fff, "its limit");
        /* "not present" does not matter to VERR and VERW (SDM vol. 2C) */
        check_equal(verify(FIRST, false), rows[i].verr, "verr of type %x", type);
        check_equal(verify(FIRST, true), rows[i].verw, "verw of type %x", type);
    }
}

SNIPPET(user_lar, "", "lar %edi, %ecx; setz %al; movzbl %al, %eax", "");
SNIPPET32(arpl, "mov %edi, %eax; mov %edi, %ecx; shr $16, %ecx", "arpl %cx, %ax",
          "setz %cl; movzbl %cl, %ecx; shl $16, %ecx; movzwl %ax, %eax; or %ecx, %eax");

static void access_rights_by_ring(void)
{
    uint32_t unused;

    set(FIRST, descriptor(0, 0xff, DATA_WRITE, FLAG_B));
    check_equal(trial_in(USER, &user_lar, FIRST)->value, 0, "lar in ring 3 hides ring 0's");
    set(FIRST, descriptor(0, 0xff, DATA_WRITE | DPL3, FLAG_B));
    check_equal(trial_in(USER, &user_lar, FIRST)->value, 1, "and shows ring 3's");
    set(FIRST, descriptor(0, 0xff, CODE_CONFORMING, FLAG_B));
    check_equal(trial_in(USER, &user_lar, FIRST)->value, 1, "and conforming code");
    set(FIRST, descriptor(0, 0xff, DATA_WRITE, FLAG_B));
    check_equal(verify(FIRST | 3, false), false, "verr heeds the RPL");
    check_equal(load_access(0, &unused), false, "lar of a null selector");
    check_equal(load_access(0xfff8, &unused), false, "lar behind the table");
    check_equal(trial_in(KERNEL32, &arpl, 0x00030010)->value, 0x10013, "arpl raises the RPL");
    check_equal(trial_in(KERNEL32, &arpl, 0x00010013)->value, 0x00013, "and never lowers it");
}

/* --- LDT --- */

SNIPPET(lldt, "", "lldt %di", "");

static void local_table(void)
{
    static uint64_t table[4];
    word stored;

    table[1] = descriptor((word)&data[8], 0xff, DATA_WRITE, FLAG_B);
    set(LDT_SEGMENT, descriptor((word)table, sizeof(table) - 1, LDT_TYPE, 0));
    set(LDT_SEGMENT + 8, (word)table >> 32);
    check_runs(KERNEL, &lldt, LDT_SEGMENT);
    asm volatile("sldt %0" : "=r"(stored));
    check_equal(stored, LDT_SEGMENT, "sldt shows the selector");
    check_runs(KERNEL, &load_fs, 8 | 4);
    check_equal(read_msr(MSR_FS_BASE), (word)&data[8], "a selector of the LDT is loaded");
    check_fault(KERNEL, &load_es, 32 | 4, GP, 32 | 4);
    check_fault(KERNEL, &load_es, 0 | 4, GP, 0 | 4);
    check_fault(KERNEL, &lldt, FIRST | 4, GP, FIRST | 4);
    set(LDT_SEGMENT + 8, 1ull << 15);
    check_fault(KERNEL, &lldt, LDT_SEGMENT, GP, LDT_SEGMENT);
    check_runs(KERNEL, &lldt, 0);
    check_fault(KERNEL, &load_es, 8 | 4, GP, 8 | 4);
    write_msr(MSR_FS_BASE, 0);
}

/* --- UMIP --- */

SNIPPET(user_sgdt, "", "sgdt -16(%rsp)", "");
SNIPPET(user_sidt, "", "sidt -16(%rsp)", "");
SNIPPET(user_sldt, "", "sldt %eax", "");
SNIPPET(user_str, "", "str %eax", "");
SNIPPET(user_smsw, "", "smsw %eax", "");

static void user_instruction_prevention(void)
{
    static const struct snippet *const all[] = {&user_sgdt, &user_sidt, &user_sldt, &user_str,
                                                &user_smsw};
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++)
        check_runs(USER, all[i], 0);
    check_equal(trial_in(USER, &user_str, 0)->value, TASK_SEGMENT, "str shows the task register");
    check_equal(trial_in(USER, &user_smsw, 0)->value & 0xffff, read_cr0() & 0xffff,
                "smsw shows CR0");
    if (!HAS_UMIP) {
        skip("UMIP", "no UMIP");
        return;
    }
    write_cr4(read_cr4() | CR4_UMIP);
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++)
        check_fault(USER, all[i], 0, GP, 0);
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++)
        check_runs(KERNEL, all[i], 0);
    write_cr4(read_cr4() & ~CR4_UMIP);
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"limits", limits_up},
        {"expand-down", limits_down},
        {"types", types},
        {"flat", flat_in_64_bit_mode},
        {"loads", loads},
        {"stack-loads", stack_loads},
        {"bases", bases},
        {"fsgsbase", fsgsbase},
        {"call-gates", call_gates_work},
        {"call-gates-refuse", call_gates_refuse},
        {"far-jumps", far_jumps},
        {"conforming", conforming},
        {"access-rights", access_rights},
        {"access-rights-ring", access_rights_by_ring},
        {"ldt", local_table},
        {"umip", user_instruction_prevention},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
