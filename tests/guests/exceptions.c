/*
 * Every exception: vector, error code, saved RIP (fault or trap), and how its delivery can fail.
 * Source: Intel SDM vol. 3A § 6.13 (error code), § 6.14 (64-bit mode), § 6.15 (each exception).
 */
#include "area.h"
#include "cpu.h"
#include "tap.h"
#include "trial.h"

#define NONCANONICAL 0x0000800000000000ull
#define UNMAPPED     0x0000700000000000ull

/* The error code that names an entry of the interrupt table (SDM vol. 3A § 6.13). */
#define IDT_ERROR(vector) ((word)(vector)*8 + 2)

/* --- division, bounds, overflow --- */

SNIPPET(de_div_by_zero, "xor %edx, %edx; xor %ecx, %ecx; mov $1, %eax", "div %ecx", "");
SNIPPET(de_quotient_too_big, "mov $1, %edx; xor %eax, %eax; mov $1, %ecx", "div %ecx", "");
SNIPPET(de_idiv_minimum, "mov $0x80000000, %eax; cltd; mov $-1, %ecx", "idiv %ecx", "");
SNIPPET(de_div_64, "xor %edx, %edx; mov $5, %eax; xor %ecx, %ecx", "div %rcx", "");
SNIPPET32(de_aam_zero, "mov $5, %eax", ".byte 0xd4, 0", "");
SNIPPET32(of_into, "mov $0x7fffffff, %eax; add $1, %eax", "into", "");
SNIPPET32(of_into_not, "xor %eax, %eax", "into", "");
SNIPPET32(br_outside, "push $0x7fffffff; push $0; mov %esp, %ecx; mov $-1, %eax",
          "bound %eax, (%ecx)", "add $8, %esp");
SNIPPET32(br_inside, "push $5; push $0; mov %esp, %ecx; mov $5, %eax", "bound %eax, (%ecx)",
          "add $8, %esp");

static void arithmetic(void)
{
    check_fault(KERNEL, &de_div_by_zero, 0, DE, 0);
    check_fault(USER, &de_div_by_zero, 0, DE, 0);
    check_fault(KERNEL, &de_quotient_too_big, 0, DE, 0);
    check_fault(KERNEL, &de_idiv_minimum, 0, DE, 0);
    check_fault(KERNEL, &de_div_64, 0, DE, 0);
    check_fault(KERNEL32, &de_aam_zero, 0, DE, 0);
    check_fault(USER32, &de_aam_zero, 0, DE, 0);
    check_trap(KERNEL32, &of_into, 0, OF);
    check_trap(USER32, &of_into, 0, OF);
    check_runs(KERNEL32, &of_into_not, 0);
    check_fault(KERNEL32, &br_outside, 0, BR, 0);
    check_fault(USER32, &br_outside, 0, BR, 0);
    check_runs(KERNEL32, &br_inside, 0);
}

/* --- breakpoints and single step --- */

SNIPPET(bp_int3, "", "int3", "");
SNIPPET(bp_cd03, "", ".byte 0xcd, 3", "");
SNIPPET32(bp_int3_compat, "", "int3", "");
SNIPPET(db_icebp, "", ".byte 0xf1", "");
SNIPPET(db_step_after_popf, "pushf; orl $0x100, (%rsp); popf", "nop", "");
SNIPPET(db_step_over_mov_ss, "mov %ss, %eax; pushf; orl $0x100, (%rsp); popf", "mov %eax, %ss; nop",
        "");
SNIPPET(db_step_branch, "pushf; orl $0x100, (%rsp); popf", "jmp 1f\n nop\n 1:", "");
SNIPPET(int_closed, "", "int $0x41", "");
SNIPPET(int_1_user, "", ".byte 0xcd, 1", "");

static void breakpoints(void)
{
    check_trap(KERNEL, &bp_int3, 0, BP);
    check_trap(USER, &bp_int3, 0, BP);
    check_trap(KERNEL, &bp_cd03, 0, BP);
    check_trap(USER32, &bp_int3_compat, 0, BP);
    check_trap(KERNEL, &db_icebp, 0, DB);
    check_trap(USER, &db_icebp, 0, DB);
    check_trap(KERNEL, &db_step_after_popf, 0, DB);
    check(this_area()->trap.dr6 >> 14 & 1, "single step sets DR6.BS");
    check_trap(USER, &db_step_after_popf, 0, DB);
    check_trap(KERNEL, &db_step_branch, 0, DB);
    check_trap(KERNEL, &db_step_over_mov_ss, 0, DB);
    write_dr6(0xffff0ff0);
    check_fault(USER, &int_closed, 0, GP, IDT_ERROR(0x41));
    check_fault(USER, &int_1_user, 0, GP, IDT_ERROR(1));
    idt[BP].type &= (uint8_t)~GATE_USER;
    check_fault(USER, &bp_int3, 0, GP, IDT_ERROR(BP));
    traps_reset(BP);
}

/* --- undefined opcodes --- */

#define UNDEFINED(name, instruction) SNIPPET(ud_##name, "", instruction, "")
#define BYTES(name, ...)             SNIPPET(ud_##name, "", ".byte " #__VA_ARGS__, "")

BYTES(ud0, 0x0f, 0xff, 0xc0);
BYTES(ud1, 0x0f, 0xb9, 0xc0);
UNDEFINED(ud2, "ud2");
BYTES(lock_mov, 0xf0, 0x89, 0x07);
BYTES(lock_add_register, 0xf0, 0x01, 0xc0);
BYTES(lock_cmp, 0xf0, 0x39, 0x07);
BYTES(lock_bt, 0xf0, 0x0f, 0xa3, 0x07);
BYTES(lock_inc_register, 0xf0, 0xff, 0xc0);
BYTES(lock_add_from_memory, 0xf0, 0x03, 0x07);
BYTES(lock_nop, 0xf0, 0x90);
BYTES(unknown_0f04, 0x0f, 0x04);
BYTES(unknown_0f0a, 0x0f, 0x0a);
BYTES(unknown_0f24, 0x0f, 0x24, 0xc0);
BYTES(push_es, 0x06);
BYTES(pop_ds, 0x1f);
BYTES(daa, 0x27);
BYTES(das, 0x2f);
BYTES(aaa, 0x37);
BYTES(aas, 0x3f);
BYTES(pusha, 0x60);
BYTES(popa, 0x61);
BYTES(group1_alias, 0x82, 0xc0, 0);
BYTES(call_far, 0x9a, 0, 0, 0, 0, 8, 0);
BYTES(jmp_far, 0xea, 0, 0, 0, 0, 8, 0);
BYTES(into, 0xce);
BYTES(aam, 0xd4, 10);
BYTES(aad, 0xd5, 10);
BYTES(salc, 0xd6);
BYTES(lea_register, 0x8d, 0xc0);
BYTES(mov_to_cs, 0x8e, 0xc8);
BYTES(mov_segment_6, 0x8e, 0xf0);
BYTES(mov_cr1, 0x0f, 0x20, 0xc8);
BYTES(mov_cr5, 0x0f, 0x22, 0xe8);
BYTES(mov_cr7, 0x0f, 0x20, 0xf8);
BYTES(jmp_far_register, 0xff, 0xe8);
BYTES(call_far_register, 0xff, 0xd8);
BYTES(group5_7, 0xff, 0xf8);
BYTES(group4_2, 0xfe, 0xd0);
BYTES(pop_group_1, 0x8f, 0xc8);
BYTES(mov_group_1, 0xc6, 0xc8, 0);
BYTES(group8_0, 0x0f, 0xba, 0xc0, 0);
BYTES(cmpxchg8b_register, 0x0f, 0xc7, 0xc8);
BYTES(invlpg_register_group, 0x0f, 0x01, 0xe8);
BYTES(rsm, 0x0f, 0xaa);
BYTES(group6_7, 0x0f, 0x00, 0xf8);
UNDEFINED(sysret_off, "sysretq");
UNDEFINED(syscall_off, "syscall");

static void undefined_everywhere(void)
{
    static const struct snippet *const all[] = {
        &ud_ud0,
        &ud_ud1,
        &ud_ud2,
        &ud_lock_mov,
        &ud_lock_add_register,
        &ud_lock_cmp,
        &ud_lock_bt,
        &ud_lock_inc_register,
        &ud_lock_add_from_memory,
        &ud_lock_nop,
        &ud_unknown_0f04,
        &ud_unknown_0f0a,
        &ud_unknown_0f24,
        &ud_push_es,
        &ud_pop_ds,
        &ud_daa,
        &ud_das,
        &ud_aaa,
        &ud_aas,
        &ud_pusha,
        &ud_popa,
        &ud_group1_alias,
        &ud_call_far,
        &ud_jmp_far,
        &ud_into,
        &ud_aam,
        &ud_aad,
        &ud_salc,
        &ud_lea_register,
        &ud_mov_to_cs,
        &ud_mov_segment_6,
        &ud_mov_cr1,
        &ud_mov_cr5,
        &ud_mov_cr7,
        &ud_jmp_far_register,
        &ud_call_far_register,
        &ud_group5_7,
        &ud_group4_2,
        &ud_pop_group_1,
        &ud_mov_group_1,
        &ud_group8_0,
        &ud_cmpxchg8b_register,
        &ud_invlpg_register_group,
        &ud_rsm,
        &ud_group6_7,
        &ud_sysret_off,
        &ud_syscall_off,
    };
    write_msr(MSR_EFER, read_msr(MSR_EFER) & ~(uint64_t)EFER_SCE);
    for (unsigned i = 0; i < ARRAY_LENGTH(all); i++)
        check_fault(KERNEL, all[i], (word)areas, UD, 0);
    check_fault(USER, &ud_ud2, 0, UD, 0);
    check_fault(USER, &ud_syscall_off, 0, UD, 0);
}

SNIPPET(sse_move, "", "movaps %xmm1, %xmm0", "");
SNIPPET(sse_fence, "", "sfence", "");
SNIPPET(avx_move, "", "vmovaps %ymm1, %ymm0", "");
SNIPPET(xgetbv, "xor %ecx, %ecx", "xgetbv", "");
SNIPPET(x87_load, "fninit", "fld1", "fninit");
SNIPPET(x87_only, "", "fld1", "fninit");
SNIPPET(x87_wait, "", "fwait", "");
SNIPPET(mmx_move, "", "movq %mm1, %mm0", "emms");
SNIPPET(fxsave, "", "fxsave (%rdi)", "");

static char buffer[4096] __attribute__((aligned(4096)));

static void units_switched_off(void)
{
    word cr0 = read_cr0();
    word cr4 = read_cr4();

    write_cr4(cr4 & ~CR4_OSFXSR);
    check_fault(KERNEL, &sse_move, 0, UD, 0);
    check_runs(KERNEL, &sse_fence, 0);
    write_cr4(cr4 & ~CR4_OSXSAVE);
    if (HAS_XSAVE)
        check_fault(KERNEL, &xgetbv, 0, UD, 0);
    else
        skip("xgetbv", "no XSAVE");
    if (HAS_AVX)
        check_fault(KERNEL, &avx_move, 0, UD, 0);
    else
        skip("avx_move", "no AVX");
    write_cr4(cr4);

    write_cr0(cr0 | CR0_EM);
    check_fault(KERNEL, &sse_move, 0, UD, 0);
    check_fault(KERNEL, &mmx_move, 0, UD, 0);
    check_fault(KERNEL, &x87_only, 0, NM, 0);
    check_runs(KERNEL, &x87_wait, 0);
    write_cr0(cr0);
}

static void device_not_available(void)
{
    word cr0 = read_cr0();

    write_cr0((cr0 & ~CR0_MP) | CR0_TS);
    check_fault(KERNEL, &x87_only, 0, NM, 0);
    check_fault(USER, &x87_only, 0, NM, 0);
    check_fault(KERNEL, &sse_move, 0, NM, 0);
    check_fault(KERNEL, &mmx_move, 0, NM, 0);
    check_fault(KERNEL, &fxsave, (word)buffer, NM, 0);
    check_runs(KERNEL, &x87_wait, 0);
    write_cr0(cr0 | CR0_TS | CR0_MP);
    check_fault(KERNEL, &x87_wait, 0, NM, 0);
    asm volatile("clts");
    check_equal(read_cr0() & CR0_TS, 0, "clts clears CR0.TS");
    check_runs(KERNEL, &x87_wait, 0);
    write_cr0(cr0);
    check_runs(KERNEL, &x87_load, 0);
}

/* --- arithmetic exceptions of x87 and SSE --- */

SNIPPET(mf_at_wait, "fninit; push $0x37b; fldcw (%rsp); add $8, %rsp; fldz; fld1; fdiv %st(1), %st",
        "fwait", "");
SNIPPET(mf_at_next, "fninit; push $0x37b; fldcw (%rsp); add $8, %rsp; fldz; fld1; fdiv %st(1), %st",
        "fld1", "");
SNIPPET(mf_not_by_fninit,
        "fninit; push $0x37b; fldcw (%rsp); add $8, %rsp; fldz; fld1; fdiv %st(1), %st", "fninit",
        "fwait");
SNIPPET(xm_divide,
        "push $0x1d80; ldmxcsr (%rsp); add $8, %rsp; xorps %xmm1, %xmm1; mov $0x3f800000, %eax;"
        "movd %eax, %xmm0",
        "divss %xmm1, %xmm0", "");
SNIPPET(xm_masked,
        "push $0x1f80; ldmxcsr (%rsp); add $8, %rsp; xorps %xmm1, %xmm1; mov $0x3f800000, %eax;"
        "movd %eax, %xmm0",
        "divss %xmm1, %xmm0", "");
SNIPPET(gp_mxcsr_reserved, "push $0x10000; mov %rsp, %rcx; add $8, %rsp", "ldmxcsr (%rcx)", "");

static void floating_point(void)
{
    word cr4 = read_cr4();

    check_fault(KERNEL, &mf_at_wait, 0, MF, 0);
    check_fault(KERNEL, &mf_at_next, 0, MF, 0);
    check_fault(USER, &mf_at_wait, 0, MF, 0);
    check_runs(KERNEL, &mf_not_by_fninit, 0);
    check_runs(KERNEL, &x87_load, 0);
    check_fault(KERNEL, &xm_divide, 0, XM, 0);
    check_fault(USER, &xm_divide, 0, XM, 0);
    write_cr4(cr4 & ~CR4_OSXMMEXCPT);
    check_fault(KERNEL, &xm_divide, 0, UD, 0);
    write_cr4(cr4);
    check_runs(KERNEL, &xm_masked, 0);
    check_fault(KERNEL, &gp_mxcsr_reserved, 0, GP, 0);
}

/* --- general protection --- */

SNIPPET(gp_read_noncanonical, "", "mov (%rdi), %eax", "");
SNIPPET(gp_write_noncanonical, "", "mov %eax, (%rdi)", "");
SNIPPET(ss_push_noncanonical, "mov %rsp, %rcx; mov %rdi, %rsp", "push %rax", "mov %rcx, %rsp");
SNIPPET(ss_rbp_noncanonical, "push %rbp; mov %rdi, %rbp", "mov (%rbp), %eax", "pop %rbp");
SNIPPET(ss_rsp_noncanonical, "mov %rsp, %rcx; mov %rdi, %rsp", "mov 8(%rsp), %eax",
        "mov %rcx, %rsp");
SNIPPET(gp_jmp_noncanonical, "", "jmp *%rdi", "");
SNIPPET(gp_call_noncanonical, "", "call *%rdi", "");
SNIPPET(gp_ret_noncanonical, "push %rdi", "ret", "");
SNIPPET(gp_wrmsr_unknown, "mov $0x12345, %ecx; xor %eax, %eax; xor %edx, %edx", "wrmsr", "");
SNIPPET(gp_rdmsr_unknown, "mov $0x12345, %ecx", "rdmsr", "");
SNIPPET(gp_wrmsr_noncanonical, "mov $0xc0000100, %ecx; xor %eax, %eax; mov $0x8000, %edx", "wrmsr",
        "");
SNIPPET(gp_efer_reserved, "mov $0xc0000080, %ecx; rdmsr; bts $31, %eax", "wrmsr", "");
SNIPPET(gp_lidt_noncanonical, "push %rdi; push $0; mov %rsp, %rcx; add $16, %rsp", "lidt 6(%rcx)",
        "");
SNIPPET(gp_lgdt_noncanonical, "push %rdi; push $0; mov %rsp, %rcx; add $16, %rsp", "lgdt 6(%rcx)",
        "");
SNIPPET(gp_movaps_unaligned, "lea -9(%rsp), %rcx", "movaps (%rcx), %xmm0", "");
SNIPPET(gp_cr4_reserved, "mov %cr4, %rax; bts $63, %rax", "mov %rax, %cr4", "");
SNIPPET(gp_cr4_pae_off, "mov %cr4, %rax; btr $5, %rax", "mov %rax, %cr4", "");
SNIPPET(gp_cr0_pg_without_pe, "mov %cr0, %rax; btr $0, %rax", "mov %rax, %cr0", "");
SNIPPET(gp_cr0_nw_without_cd, "mov %cr0, %rax; bts $29, %rax", "mov %rax, %cr0", "");
SNIPPET(gp_cr0_high, "mov %cr0, %rax; bts $40, %rax", "mov %rax, %cr0", "");
SNIPPET(gp_cr3_reserved, "mov %cr3, %rax; bts $60, %rax", "mov %rax, %cr3", "");
SNIPPET(gp_cr8_reserved, "mov $16, %eax", "mov %rax, %cr8", "");
SNIPPET(gp_dr7_high, "mov $0x100000400, %rax", "mov %rax, %dr7", "");
SNIPPET(gp_dr6_high, "mov $0x1ffff0ff0, %rax", "mov %rax, %dr6", "");
SNIPPET(gp_insn_too_long, "",
        ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90",
        "");
SNIPPET(insn_15_bytes, "",
        ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90", "");
SNIPPET(gp_load_beyond_gdt, "mov $0xfff8, %eax", "mov %eax, %ds", "");
SNIPPET(gp_load_ss_null, "xor %eax, %eax", "mov %eax, %ss", "mov $0x10, %eax; mov %eax, %ss");
SNIPPET(gp_load_ss_code, "mov $8, %eax", "mov %eax, %ss", "");
SNIPPET(gp_load_ss_readonly, "mov $0x60, %eax", "mov %eax, %ss", "");
SNIPPET(gp_load_ds_system, "mov $0x40, %eax", "mov %eax, %ds", "");
SNIPPET(gp_jmp_null, "push $0; push $0; mov %rsp, %rcx; add $16, %rsp", "ljmp *(%rcx)", "");
SNIPPET(gp_jmp_data, "push $0x10; push $0; mov %rsp, %rcx; add $16, %rsp", "ljmp *4(%rcx)", "");
SNIPPET(gp_iret_nt, "pushf; orl $0x4000, (%rsp); popf", "iretq", "");
SNIPPET(gp_cmpxchg16b_unaligned, "lea -24(%rsp), %rcx; and $-16, %rcx; or $8, %rcx",
        "cmpxchg16b (%rcx)", "");
SNIPPET(gp_apic_base_reserved, "mov $0x1b, %ecx; rdmsr; bts $0, %eax", "wrmsr", "");
SNIPPET(np_load_ds, "mov $0x68, %eax", "mov %eax, %ds", "");
SNIPPET(ss_load_not_present, "mov $0x68, %eax", "mov %eax, %ss", "");
SNIPPET(np_lldt, "mov $0x70, %eax", "lldt %ax", "");
SNIPPET(np_ltr, "mov $0x80, %eax", "ltr %ax", "");
SNIPPET(gp_ltr_busy, "mov $0x40, %eax", "ltr %ax", "");
SNIPPET(gp_ltr_null, "xor %eax, %eax", "ltr %ax", "");
SNIPPET(gp_lldt_wrong_type, "mov $0x10, %eax", "lldt %ax", "");
SNIPPET(gp_pat_type, "mov $0x277, %ecx; mov $2, %eax; xor %edx, %edx", "wrmsr", "");

static const struct fault_row ring_0_faults[] = {
    {&gp_read_noncanonical, NONCANONICAL, GP, 0},
    {&gp_write_noncanonical, NONCANONICAL, GP, 0},
    {&gp_jmp_noncanonical, NONCANONICAL, GP, 0},
    {&gp_call_noncanonical, NONCANONICAL, GP, 0},
    {&gp_ret_noncanonical, NONCANONICAL, GP, 0},
    {&gp_wrmsr_unknown, 0, GP, 0},
    {&gp_rdmsr_unknown, 0, GP, 0},
    {&gp_wrmsr_noncanonical, 0, GP, 0},
    {&gp_efer_reserved, 0, GP, 0},
    {&gp_movaps_unaligned, 0, GP, 0},
    {&gp_mxcsr_reserved, 0, GP, 0},
    {&gp_insn_too_long, 0, GP, 0},
    {&gp_load_beyond_gdt, 0, GP, 0xfff8},
    {&gp_load_ss_code, 0, GP, KERNEL_CS},
    {&gp_load_ss_readonly, 0, GP, FREE_SELECTOR},
    {&gp_load_ds_system, 0, GP, TASK_SEGMENT},
    {&gp_jmp_null, 0, GP, 0},
    {&gp_jmp_data, 0, GP, KERNEL_DS},
    {&gp_iret_nt, 0, GP, 0},
    {&gp_apic_base_reserved, 0, GP, 0},
    {&gp_pat_type, 0, GP, 0},
    {&np_load_ds, 0, NP, FREE_SELECTOR + 8},
    {&ss_load_not_present, 0, SS, FREE_SELECTOR + 8},
    {&np_lldt, 0, NP, FREE_SELECTOR + 16},
    {&np_ltr, 0, NP, FREE_SELECTOR + 32},
    {&gp_ltr_busy, 0, GP, TASK_SEGMENT},
    {&gp_lldt_wrong_type, 0, GP, KERNEL_DS},
};

static const struct fault_row control_register_faults[] = {
    {&gp_cr4_reserved, 0, GP, 0},      {&gp_cr4_pae_off, 0, GP, 0},
    {&gp_cr0_pg_without_pe, 0, GP, 0}, {&gp_cr0_nw_without_cd, 0, GP, 0},
    {&gp_cr0_high, 0, GP, 0},          {&gp_cr3_reserved, 0, GP, 0},
    {&gp_cr8_reserved, 0, GP, 0},      {&gp_dr7_high, 0, GP, 0},
    {&gp_dr6_high, 0, GP, 0},
};

static void control_registers(void)
{
    check_fault_rows(KERNEL, control_register_faults, ARRAY_LENGTH(control_register_faults));
}

static void table_registers(void)
{
    check_fault(KERNEL, &gp_ltr_null, 0, GP, 0);
    check_fault(KERNEL, &gp_lidt_noncanonical, NONCANONICAL, GP, 0);
    check_fault(KERNEL, &gp_lgdt_noncanonical, NONCANONICAL, GP, 0);
}

static void stack_segment(void)
{
    check_fault(KERNEL, &ss_rbp_noncanonical, NONCANONICAL, SS, 0);
    idt[SS].ist = 3; /* the stack pointer is of no use to the handler */
    check_fault(KERNEL, &ss_push_noncanonical, NONCANONICAL + 8, SS, 0);
    check_fault(KERNEL, &ss_rsp_noncanonical, NONCANONICAL, SS, 0);
    traps_reset(SS);
}

static void protection_in_ring_0(void)
{
    uint64_t *gdt = this_area()->gdt;

    gdt[FREE_SELECTOR / 8] = 0x00cf91000000ffffull;     /* data, read-only */
    gdt[FREE_SELECTOR / 8 + 1] = 0x00cf13000000ffffull; /* data, not present */
    gdt[FREE_SELECTOR / 8 + 2] = 0x000002000000ffffull; /* LDT, not present */
    gdt[FREE_SELECTOR / 8 + 3] = 0;
    gdt[FREE_SELECTOR / 8 + 4] = 0x000009000000ffffull; /* task state, not present */
    gdt[FREE_SELECTOR / 8 + 5] = 0;
    check_fault_rows(KERNEL, ring_0_faults, ARRAY_LENGTH(ring_0_faults));
    if (HAS_CMPXCHG16B)
        check_fault(KERNEL, &gp_cmpxchg16b_unaligned, 0, GP, 0);
    else
        skip("gp_cmpxchg16b_unaligned", "no CMPXCHG16B");
    check_runs(KERNEL, &insn_15_bytes, 0);
    check_runs(KERNEL, &gp_load_ss_null, 0);
    check_fault(USER, &gp_load_ss_null, 0, GP, 0);
}

SNIPPET(user_cli, "", "cli", "");
SNIPPET(user_sti, "", "sti", "");
SNIPPET(user_hlt, "", "hlt", "");
SNIPPET(user_in, "", "in $0x80, %al", "");
SNIPPET(user_out, "", "out %al, $0x80", "");
SNIPPET(user_outw, "", "out %ax, $0x80", "");
SNIPPET(user_outs, "mov %rsp, %rsi; mov $0x80, %edx", "outsb", "");
SNIPPET(user_lgdt, "", "lgdt (%rsp)", "");
SNIPPET(user_lidt, "", "lidt (%rsp)", "");
SNIPPET(user_lldt, "xor %eax, %eax", "lldt %ax", "");
SNIPPET(user_ltr, "mov $0x40, %eax", "ltr %ax", "");
SNIPPET(user_read_cr0, "", "mov %cr0, %rax", "");
SNIPPET(user_write_cr3, "", "mov %rax, %cr3", "");
SNIPPET(user_read_cr8, "", "mov %cr8, %rax", "");
SNIPPET(user_read_dr0, "", "mov %dr0, %rax", "");
SNIPPET(user_write_dr7, "", "mov %rax, %dr7", "");
SNIPPET(user_rdmsr, "mov $0x10, %ecx", "rdmsr", "");
SNIPPET(user_wrmsr, "mov $0x10, %ecx", "wrmsr", "");
SNIPPET(user_invlpg, "", "invlpg (%rsp)", "");
SNIPPET(user_invd, "", "invd", "");
SNIPPET(user_wbinvd, "", "wbinvd", "");
SNIPPET(user_clts, "", "clts", "");
SNIPPET(user_lmsw, "", "lmsw %ax", "");
SNIPPET(user_swapgs, "", "swapgs", "");
SNIPPET(user_sysret, "", "sysretq", "");
SNIPPET(user_sysexit, "", "sysexitl", "");
SNIPPET(user_rdpmc, "xor %ecx, %ecx", "rdpmc", "");
SNIPPET(user_int_n, "", "int $0x20", "");
SNIPPET(user_load_kernel_ss, "mov $0x10, %eax", "mov %eax, %ss", "");
SNIPPET(user_load_kernel_ds, "mov $0x10, %eax", "mov %eax, %ds", "");
SNIPPET(user_popf, "pushf; orl $0x3200, (%rsp); popf", "pushf; pop %rax", "");

static const struct fault_row ring_3_faults[] = {
    {&user_cli, 0, GP, 0},
    {&user_sti, 0, GP, 0},
    {&user_hlt, 0, GP, 0},
    {&user_in, 0, GP, 0},
    {&user_out, 0, GP, 0},
    {&user_outs, 0, GP, 0},
    {&user_lgdt, 0, GP, 0},
    {&user_lidt, 0, GP, 0},
    {&user_lldt, 0, GP, 0},
    {&user_ltr, 0, GP, 0},
    {&user_read_cr0, 0, GP, 0},
    {&user_write_cr3, 0, GP, 0},
    {&user_read_cr8, 0, GP, 0},
    {&user_read_dr0, 0, GP, 0},
    {&user_write_dr7, 0, GP, 0},
    {&user_rdmsr, 0, GP, 0},
    {&user_wrmsr, 0, GP, 0},
    {&user_invlpg, 0, GP, 0},
    {&user_invd, 0, GP, 0},
    {&user_wbinvd, 0, GP, 0},
    {&user_clts, 0, GP, 0},
    {&user_lmsw, 0, GP, 0},
    {&user_swapgs, 0, GP, 0},
    {&user_sysret, 0, GP, 0},
    {&user_sysexit, 0, GP, 0},
    {&user_rdpmc, 0, GP, 0},
    {&user_int_n, 0, GP, IDT_ERROR(0x20)},
    {&user_load_kernel_ss, 0, GP, KERNEL_DS},
    {&user_load_kernel_ds, 0, GP, KERNEL_DS},
};

static void protection_in_ring_3(void)
{
    struct area *area = this_area();
    struct user_entry entry;

    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE);
    check_fault_rows(USER, ring_3_faults, ARRAY_LENGTH(ring_3_faults));

    area->io_permissions[0x80 / 8] = 0xfe; /* port 0x80 alone is allowed */
    check_runs(USER, &user_out, 0);
    check_fault(USER, &user_outw, 0, GP, 0);
    area->io_permissions[0x80 / 8] = 0xfc;
    check_runs(USER, &user_outw, 0);
    area->io_permissions[0x80 / 8] = 0xff;

    trial_in(USER, &user_popf, 0);
    check_equal(area->trap.value & (FLAG_IF | FLAG_IOPL), 0,
                "popf in ring 3 leaves IF and IOPL alone, without a fault");
    entry = user_entry(USER, user_cli.code, 0);
    entry.flags |= FLAG_IOPL;
    check_equal(trial_user(&entry)->vector, NO_TRAP, "cli in ring 3 runs with IOPL 3");
    entry = user_entry(USER, user_outw.code, 0);
    entry.flags |= FLAG_IOPL;
    check_equal(trial_user(&entry)->vector, NO_TRAP, "out in ring 3 runs with IOPL 3");
}

/* --- alignment checks --- */

SNIPPET(ac_read, "lea 1(%rsp), %rcx", "mov -16(%rcx), %eax", "");
SNIPPET(ac_read_byte, "", "mov -15(%rsp), %al", "");
SNIPPET(ac_write, "lea -15(%rsp), %rcx", "mov %rax, (%rcx)", "");
SNIPPET(ac_x87, "fninit; lea -15(%rsp), %rcx", "fildl (%rcx)", "fninit");
SNIPPET(ac_on_in_ring_0, "pushf; orl $0x40000, (%rsp); popf; lea 1(%rsp), %rcx",
        "mov -16(%rcx), %eax", "");

static const struct trap *run_with_ac(const struct snippet *code)
{
    struct user_entry entry = user_entry(USER, code->code, 0);
    entry.flags |= FLAG_AC;
    return trial_user(&entry);
}

static void alignment(void)
{
    static const struct snippet *const unaligned[] = {&ac_read, &ac_write, &ac_x87};
    const struct trap *trap;

    write_cr0(read_cr0() & ~CR0_AM);
    check_equal(run_with_ac(&ac_read)->vector, NO_TRAP, "unaligned read runs with CR0.AM clear");
    write_cr0(read_cr0() | CR0_AM);
    check_runs(USER, &ac_read, 0);
    for (unsigned i = 0; i < ARRAY_LENGTH(unaligned); i++) {
        trap = run_with_ac(unaligned[i]);
        check(trap->vector == AC && trap->error == 0 &&
                  trap->frame.ip == seen_at(USER, unaligned[i]->at),
              "%s with AC and AM: #AC(0), a fault", unaligned[i]->name);
    }
    check_equal(run_with_ac(&ac_read_byte)->vector, NO_TRAP, "a byte is always aligned");
    check_runs(KERNEL, &ac_on_in_ring_0, 0);
    write_cr0(read_cr0() & ~CR0_AM);
}

/* --- page faults; the paging image has the rest --- */

SNIPPET(pf_read, "", "mov (%rdi), %eax", "");
SNIPPET(pf_write, "", "mov %eax, (%rdi)", "");
SNIPPET(pf_add, "", "addl $1, (%rdi)", "");
SNIPPET(pf_push, "mov %rsp, %rcx; mov %rdi, %rsp", "push %rax", "mov %rcx, %rsp");
SNIPPET(pf_call, "", "call *%rdi", "");

static void page_faults(void)
{
    const struct trap *trap;

    check_fault(KERNEL, &pf_read, UNMAPPED + 5, PF, 0);
    check_equal(this_area()->trap.cr2, UNMAPPED + 5, "CR2 after a read");
    check_fault(KERNEL, &pf_write, UNMAPPED + 6, PF, PF_W);
    check_equal(this_area()->trap.cr2, UNMAPPED + 6, "CR2 after a write");
    check_fault(KERNEL, &pf_add, UNMAPPED, PF, PF_W);
    idt[PF].ist = 3; /* no frame can be pushed where the code pushes */
    check_fault(KERNEL, &pf_push, UNMAPPED + 64, PF, PF_W);
    traps_reset(PF);
    check_equal(this_area()->trap.cr2, UNMAPPED + 56, "CR2 after a push");
    check_fault(USER, &pf_read, UNMAPPED + 5, PF, PF_U);
    check_fault(USER, &pf_write, (word)areas, PF, PF_U | PF_W | PF_P);
    trap = trial_in(KERNEL, &pf_call, UNMAPPED + 123);
    check(trap->vector == PF && trap->frame.ip == UNMAPPED + 123 && trap->cr2 == UNMAPPED + 123,
          "call to an unmapped page: #PF at the target");
    check_equal(trap->error, HAS_NX ? PF_I : 0, "its error code");
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"arithmetic", arithmetic},
        {"breakpoints", breakpoints},
        {"undefined", undefined_everywhere},
        {"units", units_switched_off},
        {"not-available", device_not_available},
        {"floating-point", floating_point},
        {"table-registers", table_registers},
        {"control-registers", control_registers},
        {"stack-segment", stack_segment},
        {"ring0", protection_in_ring_0},
        {"ring3", protection_in_ring_3},
        {"alignment", alignment},
        {"page-faults", page_faults},
    };
    run_groups(groups, ARRAY_LENGTH(groups));
}
