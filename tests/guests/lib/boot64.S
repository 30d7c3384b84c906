/*
 * Multiboot 1 entry of the 64-bit images: builds the first page tables (see pages.h), enters long
 * mode and calls start(magic, info).
 */
#include "area.h"

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 3, -(0x1badb002 + 3)

    .text
    .code32
    .globl _start
_start:
    cld
    mov $areas + AREA_STACK - 16, %esp
    mov %eax, %ebp
    mov %ebx, %esi

    mov $boot_directories, %edi     /* 4 directories of 512 pages of 2 MiB */
    xor %ecx, %ecx
1:  mov %ecx, %eax
    shr $9, %eax                    /* which GiB */
    mov directory_flags(,%eax,4), %edx
    mov %ecx, %ebx
    shl $21, %ebx
    cmp $1, %eax
    jne 2f
    sub $USER_ALIAS, %ebx
2:  or %ebx, %edx
    mov %edx, (%edi,%ecx,8)
    movl $0, 4(%edi,%ecx,8)
    inc %ecx
    cmp $2048, %ecx
    jne 1b

    xor %ecx, %ecx
3:  mov %ecx, %eax
    shl $12, %eax
    lea boot_directories+7(%eax), %eax
    mov %eax, boot_pointers(,%ecx,8)
    inc %ecx
    cmp $4, %ecx
    jne 3b
    movl $boot_pointers + 7, boot_root

    call enter_long
    .code64
    mov %ebp, %edi
    mov %esi, %esi
    xor %ebp, %ebp
    call start
    .code32

/* Called in 32-bit protected mode without paging; returns in 64-bit mode to the 4-byte address. */
    .globl enter_long
enter_long:
    mov $boot_root, %eax
    mov %eax, %cr3
    mov $0x620, %eax                /* PAE, OSFXSR, OSXMMEXCPT */
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax                 /* LME */
    wrmsr
    mov $0x80000001, %eax           /* NXE where there is NX */
    cpuid
    bt $20, %edx
    jnc 4f
    mov $0xc0000080, %ecx
    rdmsr
    or $0x800, %eax
    wrmsr
4:  mov $0x80010033, %eax           /* PG, WP, NE, ET, MP, PE */
    mov %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $KERNEL_CS, $5f
    .code64
5:  mov $KERNEL_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov (%rsp), %eax
    add $4, %rsp
    jmp *%rax

    .data
    .balign 8
    .globl boot_gdt
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
    .globl boot_gdt_pointer
boot_gdt_pointer:
    .word 31
    .quad boot_gdt
    .balign 4
directory_flags: /* present, writable, 2 MiB; the second is the alias for ring 3; no cache above */
    .long 0x83, 0x87, 0x93, 0x93

    .bss
    .balign 4096
    .globl boot_root
boot_root:
    .skip 4096
boot_pointers:
    .skip 4096
boot_directories:
    .skip 4 * 4096
    .section .note.GNU-stack,"",@progbits
