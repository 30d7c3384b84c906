/*
 * Registers of vCPU 0 at power-on and at the first instruction of a boot image.
 * Sources: Intel SDM vol. 3A § 9.1.1 table 9-1; Linux Documentation/x86/boot.rst, "64-bit Boot
 * Protocol"; Multiboot 1 § 3.2.
 */
#include <string.h>

#include "base/bytes.h"
#include "machine/machine_private.h"

enum {
    TYPE_DATA = 3,  /* read, write, accessed */
    TYPE_CODE = 11, /* execute, read, accessed */
    TYPE_LDT = 2,
    TYPE_BUSY_TSS = 11,
    CODE_SELECTOR = 0x10,
    DATA_SELECTOR = 0x18,
};

enum {
    CR0_PE = 1 << 0,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
    CR4_PAE = 1 << 5,
    EFER_LME = 1 << 8,
    EFER_LMA = 1 << 10,
    RFLAGS_FIXED = 1 << 1,
};
#define CR0_PG (UINT64_C(1) << 31)

static void reset_segments(struct engine_registers *registers)
{
    const struct engine_segment data = {.limit = UINT16_MAX,
                                        .attributes = SEGMENT_P | SEGMENT_S | TYPE_DATA};

    for (int i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        registers->segment[i] = data;
    registers->segment[SEGMENT_CS] = (struct engine_segment){
        .base = 0xffff0000,
        .limit = UINT16_MAX,
        .selector = 0xf000,
        .attributes = SEGMENT_P | SEGMENT_S | TYPE_CODE,
    };
    registers->segment[SEGMENT_LDTR] =
        (struct engine_segment){.limit = UINT16_MAX, .attributes = SEGMENT_P | TYPE_LDT};
    registers->segment[SEGMENT_TR] =
        (struct engine_segment){.limit = UINT16_MAX, .attributes = SEGMENT_P | TYPE_BUSY_TSS};
    registers->gdt = (struct engine_table){.limit = UINT16_MAX};
    registers->idt = (struct engine_table){.limit = UINT16_MAX};
}

static void reset_vector_units(struct engine_registers *registers)
{
    enum { CONTROL_WORD = 0, MXCSR = 24, XSTATE_BV = 512 };

    memset(registers->xsave, 0, sizeof(registers->xsave));
    put_le16(registers->xsave + CONTROL_WORD, 0x0040);
    put_le16(registers->xsave + MXCSR, 0x1f80);
    put_le64(registers->xsave + XSTATE_BV, 3); /* x87 and SSE are not in their INIT state */
}

void registers_after_reset(struct engine_registers *registers)
{
    const uint64_t signature = registers->gpr[GPR_RDX]; /* family, model, stepping: the engine's */

    *registers = (struct engine_registers){
        .gpr[GPR_RDX] = signature,
        .rip = 0xfff0,
        .rflags = RFLAGS_FIXED,
        .cr0 = CR0_CD | CR0_NW | CR0_ET,
        .dr[6] = 0xffff0ff0,
        .dr[7] = 0x400,
        .xcr0 = 1,
        .pat = UINT64_C(0x0007040600070406),
        .apic_base = 0xfee00900, /* enabled, bootstrap processor */
        .activity = ENGINE_ACTIVITY_RUNNING,
    };
    reset_segments(registers);
    reset_vector_units(registers);
}

static void set_flat_segments(struct engine_registers *registers, bool long_mode)
{
    const struct engine_segment data = {
        .limit = UINT32_MAX,
        .selector = DATA_SELECTOR,
        .attributes = SEGMENT_G | SEGMENT_DB | SEGMENT_P | SEGMENT_S | TYPE_DATA,
    };

    for (int i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        registers->segment[i] = data;
    registers->segment[SEGMENT_CS] = (struct engine_segment){
        .limit = UINT32_MAX,
        .selector = CODE_SELECTOR,
        .attributes = (uint16_t)(SEGMENT_G | (long_mode ? SEGMENT_L : SEGMENT_DB) | SEGMENT_P |
                                 SEGMENT_S | TYPE_CODE),
    };
}

void registers_for_boot(struct engine_registers *registers, const struct boot_state *boot)
{
    const bool long_mode = boot->mode == BOOT_MODE_LONG_64;

    set_flat_segments(registers, long_mode);
    registers->gdt = (struct engine_table){.base = boot->gdt_base, .limit = boot->gdt_limit};
    registers->idt = (struct engine_table){0};
    registers->rip = boot->rip;
    registers->gpr[GPR_RSP] = boot->rsp;
    registers->gpr[GPR_RAX] = boot->rax;
    registers->gpr[GPR_RBX] = boot->rbx;
    registers->gpr[GPR_RSI] = boot->rsi;
    registers->cr0 = CR0_PE | CR0_ET | CR0_NE;
    if (long_mode) {
        registers->cr0 |= CR0_PG;
        registers->cr3 = boot->cr3;
        registers->cr4 = CR4_PAE;
        registers->efer = EFER_LME | EFER_LMA;
    }
}
