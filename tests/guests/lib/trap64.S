/* The 256 ways in, and the way back into a trial. */
#include "area.h"

    .text
    .macro stub vector
    .balign 16
    .if (\vector == 8) || (\vector >= 10 && \vector <= 14) || (\vector == 17) || (\vector == 21)
    .else
    push $0
    .endif
    push $\vector
    jmp trap_common
    .endm

    .balign 16
    .globl trap_stubs
trap_stubs:
    .altmacro
    .set vector, 0
    .rept 256
    stub %vector
    .set vector, vector + 1
    .endr
    .noaltmacro

trap_common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    call trap_dispatch
    mov %rbp, %rsp
    test %rax, %rax
    jnz 1f
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq
1:  /* by iret, so that a caught NMI does not leave NMIs blocked */
    pushq $KERNEL_DS
    push %rax
    pushq $2
    pushq $KERNEL_CS
    lea trial_recover(%rip), %rcx
    push %rcx
    iretq

/* word trial_enter(const void *code, word argument, word *saved_sp) */
    .globl trial_enter
trial_enter:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    pushf
    mov %rsp, (%rdx)
    mov %rdi, %rax
    mov %rsi, %rdi
    call *%rax
    .globl trial_recover
trial_recover:
    popf
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

/* void user_enter(struct user_entry *): by iretq; comes back by an interrupt. */
    .globl user_enter
user_enter:
    mov 48(%rdi), %rax
    mov %rsp, (%rax)            /* TSS.RSP0: traps go on where we are */
    pushq 40(%rdi)
    pushq 32(%rdi)
    pushq 24(%rdi)
    pushq 16(%rdi)
    pushq 8(%rdi)
    mov 40(%rdi), %rax
    mov %eax, %ds               /* ring 3 may not keep ours (IRET would clear them) */
    mov %eax, %es
    mov (%rdi), %rdi
    iretq

/* word far_enter(struct far_entry *): calls 32- or 16-bit code through its own segment. */
    .globl far_enter
far_enter:
    mov %rdi, %rcx
    mov 16(%rcx), %rdx
    mov (%rcx), %rdi
    lcall *8(%rcx)
    ret

/* Where code in ring 3 returns to. The same bytes serve 64- and 32-bit code. */
    .globl user_return
user_return:
    int $USER_DONE

/* What far_enter enters for a 32-bit snippet: EDX is the code. */
    .code32
    .globl far_call32
far_call32:
    call *%edx
    lret
    .code64
    .section .note.GNU-stack,"",@progbits
