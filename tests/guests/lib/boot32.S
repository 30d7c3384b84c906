/* Multiboot 1 entry of the 32-bit images: protected mode, paging off, calls start(magic, info). */
#include "area.h"

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 3, -(0x1badb002 + 3)

    .text
    .globl _start
_start:
    cld
    lgdt boot_gdt_pointer
    ljmp $KERNEL_CS, $1f
1:  mov $KERNEL_DS, %ecx
    mov %ecx, %ds
    mov %ecx, %es
    mov %ecx, %fs
    mov %ecx, %gs
    mov %ecx, %ss
    mov $areas + AREA_STACK - 16, %esp
    mov %cr0, %ecx
    or $0x22, %ecx                  /* NE, MP */
    and $~0xc, %ecx                 /* no EM, no TS */
    mov %ecx, %cr0
    mov $0x600, %ecx                /* OSFXSR, OSXMMEXCPT */
    mov %ecx, %cr4
    push %ebx
    push %eax
    call start

    .data
    .balign 8
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .word 23
    .long boot_gdt
    .section .note.GNU-stack,"",@progbits
