/*
 * The 64 KiB area of one CPU: its state at the bottom, its stacks above. The stack pointer leads
 * back to the area, so no segment register is needed to find it (the tests play with them all).
 * Assembler files take the offsets from here too; area.c holds them against the structs.
 */
#ifndef GUEST_AREA_H
#define GUEST_AREA_H

#define AREA_SIZE 0x10000
#define CPUS_MAX  64

#define AREA_USER_STACK 0x4000 /* tops of the stacks */
#define AREA_IST1       0x6000 /* double fault */
#define AREA_IST2       0x8000 /* NMI */
#define AREA_IST3       0xa000 /* free for tests */
#define AREA_STACK      AREA_SIZE

/* Segment selectors; the order serves SYSRET (SDM vol. 2B: CS = base + 16, SS = base + 8). */
#define KERNEL_CS     0x08 /* 64-bit in 64-bit images, else 32-bit */
#define KERNEL_DS     0x10
#define KERNEL_CS32   0x18
#define KERNEL_CS16   0x20
#define USER_CS32     0x2b
#define USER_DS       0x33
#define USER_CS64     0x3b
#define TASK_SEGMENT  0x40
#define LDT_SEGMENT   0x50
#define FREE_SELECTOR 0x60 /* from here on the tests make their own descriptors */
#define DESCRIPTORS   64

/* 64-bit images: physical memory below 1 GiB appears a second time here, open to ring 3. */
#define USER_ALIAS 0x40000000

#define TRAMPOLINE 0x8000 /* where the other CPUs start, in real mode */

#define USER_DONE 0x80 /* the interrupt that ends code in ring 3 */

#ifndef __ASSEMBLER__

#    include "trap.h"

struct task_state64 { /* SDM vol. 3A § 8.7 */
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;
} __attribute__((packed));

struct task_state32 { /* SDM vol. 3A § 8.2.1 */
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2;
    uint32_t cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, io_map;
} __attribute__((packed));

#    ifdef __x86_64__
#        define task_state task_state64
#    else
#        define task_state task_state32
#    endif

struct area {
    uint32_t index;
    volatile uint32_t online;
    word trial_sp; /* where a caught trap goes back to, 0 when none runs */
    struct trap trap;
    struct task_state task __attribute__((aligned(16)));
    uint8_t io_permissions[8192 + 1]; /* behind the task state, as the CPU wants it */
    uint64_t gdt[DESCRIPTORS] __attribute__((aligned(16)));
    void (*volatile work)(void *);
    void *volatile work_argument;
};

extern char areas[CPUS_MAX][AREA_SIZE];

static inline struct area *area_of(uint32_t index)
{
    return (struct area *)(void *)areas[index];
}

static inline struct area *this_area(void)
{
    return (struct area *)((word)__builtin_frame_address(0) & -(word)AREA_SIZE);
}

static inline char *area_at(struct area *area, word offset)
{
    return (char *)area + offset;
}

/* Fills the area of CPU `index` and loads its GDT, TSS and the shared IDT. */
void area_start(uint32_t index);

#endif
#endif
