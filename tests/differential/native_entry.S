/*
 * Into the instruction under test and back out of it.
 *
 * native_run(state) loads the whole state and enters by IRETQ, which user mode may execute and
 * which sets RIP, CS, RFLAGS, RSP and SS in one go (Intel SDM vol. 2A, IRET). The way back is the
 * exception that ends the case: its signal comes to native_handler on the alternate stack, which
 * returns from native_run with the ucontext. Offsets are those of struct diff_state, checked in
 * native_main.c.
 */
    .text

    .globl native_run
    .type native_run, @function
native_run:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, saved_stack(%rip)

    movzwl 166(%rdi), %eax
    mov %eax, %ds
    movzwl 160(%rdi), %eax
    mov %eax, %es
    movzwl 168(%rdi), %eax
    mov %eax, %fs
    movzwl 170(%rdi), %eax
    mov %eax, %gs
    cmpw $0x33, 162(%rdi)
    jne 1f
    mov 144(%rdi), %rax
    wrfsbase %rax
    mov 152(%rdi), %rax
    wrgsbase %rax
1:
    mov $7, %eax
    xor %edx, %edx
    xrstor64 192(%rdi)

    /* DIFF_ENTRY_PAGE of layout.h, and room for the frame */
    mov $0x1003f800, %esp
    movzwl 164(%rdi), %eax
    push %rax
    push 32(%rdi)
    push 136(%rdi)
    movzwl 162(%rdi), %eax
    push %rax
    push 128(%rdi)

    mov 0(%rdi), %rax
    mov 8(%rdi), %rcx
    mov 16(%rdi), %rdx
    mov 24(%rdi), %rbx
    mov 40(%rdi), %rbp
    mov 48(%rdi), %rsi
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 56(%rdi), %rdi
    iretq
    .size native_run, . - native_run

    .globl native_handler
    .type native_handler, @function
native_handler:
    mov %es, %eax
    mov %ax, native_segments+0(%rip)
    mov %ds, %eax
    mov %ax, native_segments+6(%rip)
    mov %fs, %eax
    mov %ax, native_segments+8(%rip)
    mov %gs, %eax
    mov %ax, native_segments+10(%rip)
    mov $0x2b, %eax
    mov %eax, %ds
    mov %eax, %es
    mov saved_stack(%rip), %rsp
    /* The kernel leaves AC and NT as the case had them; C code must not run with them. */
    push $0x202
    popfq
    mov %rdx, %rax
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size native_handler, . - native_handler

    .bss
    .balign 8
saved_stack:
    .quad 0
    .globl native_segments
    /* As enum diff_segment orders them; CS and SS come from the ucontext. */
native_segments:
    .skip 12
    .section .note.GNU-stack, "", @progbits
