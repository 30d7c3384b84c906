/* The way of another CPU from its STARTUP (real mode, CS = TRAMPOLINE >> 4) to cpu_main(). */
#include "area.h"

    .section .rodata
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    lgdtl trampoline_gdt - trampoline
    mov %cr0, %eax
    and $~0x60000000, %eax          /* INIT may leave the caches off */
    or $1, %eax
    mov %eax, %cr0
    ljmpl $KERNEL_CS32, $trampoline32
trampoline_gdt:
    .word 31
    .long boot_gdt
trampoline_end:

    .text
    .code32
trampoline32:
    mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $1, %eax
    cpuid
    shr $24, %ebx                   /* the initial APIC id */
    mov %ebx, %ebp
    inc %ebx
    shl $16, %ebx                   /* AREA_SIZE */
    lea areas - 16(%ebx), %esp
    call enter_long
    .code64
    mov %ebp, %edi
    xor %ebp, %ebp
    call cpu_main
    .section .note.GNU-stack,"",@progbits
