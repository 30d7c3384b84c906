/*
 * Real mode: the interrupt vectors, 64 KiB limits, segment arithmetic, and the ways in and out.
 * Source: Intel SDM vol. 3B chapter 20 (8086 emulation), vol. 3A § 9.9 (mode switching).
 *
 * The code lies in one section that is copied to REAL_BASE; within it, addresses are offsets.
 */
#include "area.h"
#include "cpu.h"
#include "tap.h"

#define REAL_BASE 0x8000
#define CODE16    FREE_SELECTOR
#define DATA16    (FREE_SELECTOR + 8)

struct real_result {
    uint16_t vector, ip, cs, flags; /* vector 0xffff: no trap */
    uint32_t ax;
    uint16_t sp, unused;
};

extern const char real_start[], real_end[], real_result[];
void real_enter(uint32_t offset, uint32_t data_selector);

/* The way in and out. EBX: what to run; the data segments keep what EDX loads (unreal mode). */
asm(".pushsection .text\n"
    "real_enter:\n"
    "mov 4(%esp), %eax; mov 8(%esp), %edx\n"
    "pusha\n"
    "mov %esp, real_saved_esp\n"
    "mov %eax, %ebx\n"
    "lidt real_vectors\n"
    "ljmp $0x60, $(real_switch - real_start)\n"
    "real_back:\n"
    "mov $0x10, %ecx; mov %ecx, %ds; mov %ecx, %es; mov %ecx, %ss; mov %ecx, %fs; mov %ecx, %gs\n"
    "mov real_saved_esp, %esp\n"
    "popa\n"
    "ret\n"
    ".popsection\n"
    ".pushsection .data\n"
    "real_saved_esp: .long 0\n"
    "real_vectors: .word 0x3ff; .long 0\n"
    ".popsection\n"
    ".pushsection .rodata.real, \"a\"\n"
    ".code16\n"
    "real_start:\n"
    "real_switch:\n"
    "mov %dx, %ds; mov %dx, %es; mov %dx, %ss; mov %dx, %fs; mov %dx, %gs\n"
    "mov %cr0, %eax; and $~1, %al; mov %eax, %cr0\n"
    "ljmp $0x800, $(real_go - real_start)\n"
    "real_go:\n"
    "xor %ax, %ax; mov %ax, %ss; mov $0x7ff0, %sp; mov %ax, %es\n"
    "mov %cs, %ax; mov %ax, %ds\n"
    "xor %eax, %eax; xor %ecx, %ecx; xor %esi, %esi; xor %edi, %edi; xor %ebp, %ebp\n"
    "movw $0xffff, %cs:(real_result - real_start)\n"
    "jmp *%bx\n"
    "real_leave:\n"
    "cli\n"
    "mov %eax, %cs:(real_result - real_start + 8)\n"
    "mov %sp, %cs:(real_result - real_start + 12)\n"
    "mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n"
    "ljmpl $0x08, $real_back\n"
    "real_trap:\n" /* the vector is on the stack, then IP, CS, FLAGS */
    "pop %cs:(real_result - real_start)\n"
    "pop %cs:(real_result - real_start + 2)\n"
    "pop %cs:(real_result - real_start + 4)\n"
    "pop %cs:(real_result - real_start + 6)\n"
    "jmp real_leave\n"
    ".balign 8\n"
    "real_result: .skip 16\n"
    "real_stubs:\n"
    ".altmacro\n"
    ".macro real_stub number\n .balign 8\n push $\\number\n jmp real_trap\n .endm\n"
    ".set number, 0\n"
    ".rept 32\n real_stub %number\n .set number, number + 1\n .endr\n"
    ".noaltmacro\n"
    ".code32\n"
    ".popsection");
extern const char real_stubs[];

/* Each ends by itself with a jump to real_leave, or in a trap. */
#define REAL(name, before, instruction, after)                                        \
    asm(".pushsection .rodata.real, \"a\"\n.code16\n"                                 \
        "real_" #name ": " before "\nreal_" #name "_at: " instruction "\nreal_" #name \
        "_next: " after "\njmp real_leave\n.code32\n.popsection");                    \
    extern const char real_##name[], real_##name##_at[], real_##name##_next[]

#define OFFSET_OF(label) ((uint16_t)((label)-real_start))

static struct real_result *result(void)
{
    return (struct real_result *)(REAL_BASE + (real_result - real_start));
}

/* Memory from 0 on, which the compiler takes for a mistake when it sees it. */
static volatile uint8_t *low_memory(word address)
{
    asm("" : "+r"(address));
    return (volatile uint8_t *)address;
}

static void put_vector(unsigned vector, uint16_t offset)
{
    *(volatile uint32_t *)(volatile void *)low_memory(vector * 4) =
        (uint32_t)(REAL_BASE >> 4) << 16 | offset;
}

static struct real_result *run_with(const char *code, uint32_t data_selector)
{
    for (unsigned i = 0; i < 32; i++)
        put_vector(i, (uint16_t)(OFFSET_OF(real_stubs) + i * 8));
    real_enter(OFFSET_OF(code), data_selector);
    traps_load();
    return result();
}

static struct real_result *run(const char *code)
{
    return run_with(code, DATA16);
}

static void check_runs(const char *code, uint32_t value, const char *what)
{
    struct real_result *r = run(code);
    check(r->vector == 0xffff && r->ax == value, "%s", what);
    if (r->vector != 0xffff || r->ax != value)
        note("  vector %x at %x:%x, value %x", r->vector, r->cs, r->ip, r->ax);
}

static void check_vector(const char *code, unsigned vector, const char *at, const char *what)
{
    struct real_result *r = run(code);
    bool good = r->vector == vector && r->ip == OFFSET_OF(at) && r->cs == REAL_BASE >> 4;
    check(good, "%s: vector %u", what, vector);
    if (!good)
        note("  vector %x at %x:%x, should be at %x", r->vector, r->cs, r->ip, OFFSET_OF(at));
}

/* --- interrupts --- */

REAL(divide, "mov $5, %ax", "div %cl", "");
REAL(int3, "", "int3", "");
REAL(into, "mov $0x7f, %al; add $1, %al", "into", "");
REAL(ud2, "", "ud2", "");
REAL(bound, "push $10; push $5; mov %sp, %si; mov $11, %ax", "bound %ax, %ss:(%si)", "");
REAL(lldt, "", "lldt %ax", "");
REAL(sldt, "", "sldt %ax", "");
REAL(lar, "", "lar %ax, %ax", "");
REAL(verr, "", "verr %ax", "");
REAL(arpl, "", ".byte 0x63, 0xc0", "");
REAL(privileged, "", "mov %cr0, %eax", "mov %eax, %ecx; mov $1, %eax; and %ecx, %eax");
REAL(interrupt_frame,
     "push $0; popf; movw $(1f - real_start), %es:0x21*4; movw $0x800, %es:0x21*4+2; stc; sti",
     "int $0x21",
     "cli; jmp real_leave\n"
     "1: pushf; pop %ax; and $0x0301, %ax; shl $16, %eax; mov %sp, %bp; mov 4(%bp), %ax;"
     "and $0x0201, %ax; iret");
REAL(int_far, "movw $(1f - real_start), %es:0x22*4; movw $0x800, %es:0x22*4+2; mov %sp, %dx",
     "int $0x22", "sub %sp, %dx; movzwl %dx, %eax; jmp real_leave\n 1: iret");

static void interrupts(void)
{
    check_vector(real_divide, 0, real_divide_at, "divide by 0, a fault");
    check_vector(real_int3, 3, real_int3_next, "int3, a trap");
    check_vector(real_into, 4, real_into_next, "into, a trap");
    check_vector(real_bound, 5, real_bound_at, "bound, a fault");
    check_vector(real_ud2, 6, real_ud2_at, "ud2");
    check_vector(real_lldt, 6, real_lldt_at, "lldt is not there in real mode");
    check_vector(real_sldt, 6, real_sldt_at, "nor sldt");
    check_vector(real_lar, 6, real_lar_at, "nor lar");
    check_vector(real_verr, 6, real_verr_at, "nor verr");
    check_vector(real_arpl, 6, real_arpl_at, "nor arpl");
    check_runs(real_privileged, 0, "CR0.PE is clear and can be read");
    check_runs(real_interrupt_frame, 0x00010201,
               "int n pushes the flags and clears IF, and iret brings them back");
    check_runs(real_int_far, 0, "iret leaves the stack even");
}

/* --- limits --- */

REAL(read_end, "mov $0xffff, %bx", "mov (%bx), %al", "mov $1, %eax");
REAL(read_over, "mov $0xffff, %bx", "mov (%bx), %ax", "");
REAL(read_dword_over, "mov $0xfffd, %bx", "mov (%bx), %eax", "");
REAL(write_over, "mov $0xffff, %bx", "mov %ax, %es:(%bx)", "");
REAL(stack_over, "mov $0xffff, %bp", "mov (%bp), %ax", "");
REAL(read_far_32, "mov $0x10000, %ebx", "mov (%ebx), %al", "");
REAL(jump_far_32, "mov $0x10000, %ebx", "jmpl *%ebx", "");
REAL(wrap,
     "movw $0x1234, (real_result - real_start + 14); mov $0xfff0, %bx;"
     "mov $(real_result - real_start + 14 + 16), %si",
     "mov (%bx,%si), %ax", "movzwl %ax, %eax");
REAL(string_wrap,
     "xor %ax, %ax; mov %ax, %es; mov $0xfffe, %di; mov %es:0, %edx; mov $4, %cx;"
     "mov $0x5a, %al",
     "rep stosb", "movzwl %es:0, %eax; mov %edx, %es:0; shl $16, %eax; mov %di, %ax");

static void limits(void)
{
    check_runs(real_read_end, 1, "the last byte of a segment is read");
    check_vector(real_read_over, 13, real_read_over_at, "a word over the limit");
    check_vector(real_read_dword_over, 13, real_read_dword_over_at, "a dword over the limit");
    check_vector(real_write_over, 13, real_write_over_at, "a write over the limit");
    check_vector(real_stack_over, 12, real_stack_over_at, "a word over the limit of the stack");
    check_vector(real_read_far_32, 13, real_read_far_32_at, "a 32-bit address over 64 KiB");
    check_vector(real_jump_far_32, 13, real_jump_far_32_at, "a 32-bit jump over 64 KiB");
    check_runs(real_wrap, 0x1234, "16-bit addresses wrap around at 64 KiB");
    check_runs(real_string_wrap, 0x5a5a0002, "rep stosb wraps DI");
}

/* --- segments --- */

REAL(base,
     "mov $0x4000, %ax; mov %ax, %fs; movl $0x12345678, %fs:0x10; mov $0x4001, %ax;"
     "mov %ax, %gs",
     "mov %gs:0, %eax", "");
REAL(far_call, "lcall $0x0810, $(1f - real_start - 0x100)", "nop",
     "jmp real_leave\n 1: mov %cs, %ax; movzwl %ax, %eax; lret");
REAL(far_jump, "ljmp $0x07f0, $(1f - real_start + 0x100)", "nop",
     "1: mov %cs, %ax; movzwl %ax, %eax; ljmp $0x800, $(2f - real_start)\n 2:");
REAL(high_memory, "mov $0xffff, %ax; mov %ax, %fs; movb $0x77, %fs:0x10; xor %eax, %eax",
     "mov %fs:0x10, %al", "movb $0, %es:0");
REAL(pop_segment, "push $0x1234; pop %fs; mov %fs, %ax; movzwl %ax, %eax", "nop", "");
REAL(load_pointer, "push $0x4321; push $0x8765; mov %sp, %bp", "lfs (%bp), %cx",
     "mov %fs, %ax; shl $16, %eax; mov %cx, %ax");
REAL(big_operands, "mov $0x12345678, %eax; rol $16, %eax; add $0x10000, %eax", "nop", "");
REAL(loops, "xor %ax, %ax; mov $0x10005, %ecx; 1: inc %ax", "loop 1b", "movzwl %ax, %eax");
REAL(smsw, "", "smsw %ax", "and $1, %eax");

static void segments(void)
{
    uint8_t low = *low_memory(0);

    check_runs(real_base, 0x12345678, "a segment register is the base / 16");
    check_runs(real_far_call, 0x810, "far call and return");
    check_runs(real_far_jump, 0x7f0, "far jump");
    check_runs(real_high_memory, 0x77, "ffff:0010 is 1 MiB");
    check_equal(*low_memory(0x100000), 0x77, "and not 0");
    *low_memory(0) = low;
    check_runs(real_pop_segment, 0x1234, "pop of a segment register");
    check_runs(real_load_pointer, 0x43218765, "lfs");
    check_runs(real_big_operands, 0x56791234, "32-bit operands");
    check_runs(real_loops, 5, "loop counts in CX");
    check_runs(real_smsw, 0, "smsw shows PE clear");
}

/* --- unreal mode: the limit stays what protected mode made it --- */

REAL(unreal, "mov $0x6000000, %ebx; movl $0x55aa1234, %fs:(%ebx)", "mov %fs:(%ebx), %eax", "");
REAL(unreal_kept, "xor %ax, %ax; mov %ax, %fs; mov $0x6000000, %ebx", "mov %fs:(%ebx), %eax", "");

static void unreal(void)
{
    struct real_result *r = run_with(real_unreal, KERNEL_DS);

    check(r->vector == 0xffff && r->ax == 0x55aa1234, "a 4 GiB limit lives on in real mode");
    check_equal(*(volatile uint32_t *)0x6000000, 0x55aa1234, "memory far up is written");
    r = run_with(real_unreal_kept, KERNEL_DS);
    check(r->vector == 0xffff && r->ax == 0x55aa1234,
          "loading a segment register in real mode leaves the limit");
    r = run(real_unreal);
    check_equal(r->vector, 13, "with a 64 KiB limit it faults");
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"interrupts", interrupts}, {"limits", limits}, {"segments", segments}, {"unreal", unreal}};
    struct area *area = this_area();

    area->gdt[CODE16 / 8] = 0x00009b000000ffffull | (uint64_t)REAL_BASE << 16;
    area->gdt[DATA16 / 8] = 0x000093000000ffffull;
    __builtin_memcpy((void *)REAL_BASE, real_start, (size_t)(real_end - real_start));
    run_groups(groups, ARRAY_LENGTH(groups));
}

asm(".pushsection .rodata.real, \"a\"\nreal_end:\n.popsection");
