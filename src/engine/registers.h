/*
 * Architectural state of one virtual processor, as every engine takes and gives it.
 * Layout is ours (host structs never leave the process as bytes). Source: Intel SDM vol. 3A ch. 2.
 */
#ifndef ENGINE_REGISTERS_H
#define ENGINE_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

enum engine_gpr {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP,
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
    GPR_R8,
    GPR_R9,
    GPR_R10,
    GPR_R11,
    GPR_R12,
    GPR_R13,
    GPR_R14,
    GPR_R15,
    GPR_COUNT,
};

/* In the order of the instruction encoding, then the two system segments. */
enum engine_segment_index {
    SEGMENT_ES,
    SEGMENT_CS,
    SEGMENT_SS,
    SEGMENT_DS,
    SEGMENT_FS,
    SEGMENT_GS,
    SEGMENT_LDTR,
    SEGMENT_TR,
    SEGMENT_COUNT,
};

/* Attribute bits: those of bytes 5 and 6 of a descriptor, Intel SDM vol. 3A § 3.4.5. */
enum engine_segment_attribute {
    SEGMENT_TYPE = 0xf,
    SEGMENT_S = 1 << 4, /* code or data, not system */
    SEGMENT_DPL_SHIFT = 5,
    SEGMENT_DPL = 3 << 5,
    SEGMENT_P = 1 << 7,
    SEGMENT_AVL = 1 << 8,
    SEGMENT_L = 1 << 9,
    SEGMENT_DB = 1 << 10,
    SEGMENT_G = 1 << 11,
    SEGMENT_UNUSABLE = 1 << 12, /* loaded with a null selector */
};

struct engine_segment {
    uint64_t base;
    uint32_t limit; /* in bytes, granularity already applied: the last valid offset */
    uint16_t selector;
    uint16_t attributes; /* enum engine_segment_attribute */
};

struct engine_table {
    uint64_t base;
    uint16_t limit;
};

enum engine_activity {
    ENGINE_ACTIVITY_RUNNING,
    ENGINE_ACTIVITY_HALTED,
    ENGINE_ACTIVITY_WAIT_FOR_SIPI, /* an application processor before its INIT/SIPI */
    ENGINE_ACTIVITY_SHUTDOWN,      /* after a triple fault */
};

/* XSAVE area, standard format (Intel SDM vol. 1 § 13.4): legacy region, header, AVX at its offset.
 */
#define ENGINE_XSAVE_SIZE 4096

struct engine_registers {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint64_t rflags;
    struct engine_segment segment[SEGMENT_COUNT];
    struct engine_table gdt;
    struct engine_table idt;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t dr[8]; /* 4 and 5 unused */
    uint64_t efer, xcr0;
    uint64_t star, lstar, cstar, sfmask;
    uint64_t kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc, tsc_aux, tsc_deadline, apic_base; /* set() leaves the TSC alone for tsc 0 */
    enum engine_activity activity;
    bool interrupt_shadow; /* STI or MOV SS just executed */
    bool nmi_blocked;      /* until IRET */
    _Alignas(64) uint8_t xsave[ENGINE_XSAVE_SIZE];
};

#endif
