/* The 256 ways in, and the way back into a trial: 32-bit images. */
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
    pusha
    push %ds
    push %es
    push %fs
    push %gs
    mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    cld
    mov %esp, %ebp
    and $-16, %esp
    sub $12, %esp
    push %ebp
    call trap_dispatch
    mov %ebp, %esp
    test %eax, %eax
    jnz 1f
    pop %gs
    pop %fs
    pop %es
    pop %ds
    popa
    add $8, %esp
    iret
1:  mov $KERNEL_DS, %ecx
    mov %ecx, %ss
    mov %eax, %esp
    mov %ecx, %fs
    mov %ecx, %gs
    pushl $2
    pushl $KERNEL_CS
    pushl $trial_recover
    iret

/* word trial_enter(const void *code, word argument, word *saved_sp); argument also in EDI */
    .globl trial_enter
trial_enter:
    push %ebp
    push %ebx
    push %esi
    push %edi
    pushf
    mov 24(%esp), %eax
    mov 28(%esp), %edi
    mov 32(%esp), %edx
    mov %esp, (%edx)
    push %edi
    call *%eax
    add $4, %esp
    .globl trial_recover
trial_recover:
    popf
    pop %edi
    pop %esi
    pop %ebx
    pop %ebp
    ret

/* void user_enter(struct user_entry *): by iret; comes back by an interrupt. */
    .globl user_enter
user_enter:
    mov 24(%edi), %eax
    mov %esp, (%eax)            /* TSS.ESP0 */
    mov 20(%edi), %ecx
    push %ecx
    push 16(%edi)
    push 12(%edi)
    push 8(%edi)
    push 4(%edi)
    mov (%edi), %edi
    mov %ecx, %ds
    mov %ecx, %es
    iret

    .globl user_return
user_return:
    int $USER_DONE
    .section .note.GNU-stack,"",@progbits
