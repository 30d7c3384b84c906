/*
 * REP STOS and REP MOVS within one page each: the host's own, on host addresses. All else goes to
 * the stub.
 */
#include <stddef.h>

#include "engine/soft/tlb.h"
#include "engine/soft/translate_private.h"

enum { PREFIX_REP = 0xf3, PREFIX_16 = 0x66, PREFIX_WIDE = 0x48 };

static void write_repeated(struct work *work, unsigned opcode8, unsigned width)
{
    uint8_t bytes[3];
    unsigned count = 0;
    if (width == 2)
        bytes[count++] = PREFIX_16;
    bytes[count++] = PREFIX_REP;
    if (width == 8)
        bytes[count++] = PREFIX_WIDE;
    emit_bytes(&work->emit, bytes, count);
    uint8_t opcode = (uint8_t)(width == 1 ? opcode8 : opcode8 + 1);
    emit_bytes(&work->emit, &opcode, 1);
}

/* Backwards is rare; and the end of more bytes than a page has might wrap round. */
static void write_checks(struct work *work, unsigned width)
{
    enum { GROUP_CMP = 7 };
    write_flags_aside(work);
    work->held = NO_GROUP;
    assemble_test_field(&work->emit, offsetof(struct cpu, flags), FLAG_DF);
    write_to_stub(work, CONDITION_NE);
    assemble_group1(&work->emit, true, GROUP_CMP, GPR_RCX, (int32_t)(MEM_PAGE_SIZE / width));
    write_to_stub(work, CONDITION_A);
}

/* R13 = distance from guest to host addresses of the bytes from `reg` on. */
static void write_span(struct work *work, unsigned reg, unsigned width, bool write)
{
    struct place last = {
        .base = (uint8_t)reg, .index = GPR_RCX, .scale = (uint8_t)__builtin_ctz(width), .disp = -1};
    assemble_registers(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, reg);
    assemble_memory(&work->emit, true, OPCODE_LEA, SCRATCH_B, &last);
    write_look_up(work, write);
    assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &translate_entry_delta);
}

void write_kind_stos(struct work *work)
{
    const struct op *op = &work->block->op[work->current];
    write_checks(work, op->width);
    write_span(work, GPR_RDI, op->width, true);
    assemble_registers(&work->emit, true, OPCODE_ADD, GPR_RDI, SCRATCH_ADDRESS);
    write_repeated(work, 0xaa, op->width);
    assemble_registers(&work->emit, true, OPCODE_SUB, GPR_RDI, SCRATCH_ADDRESS);
}

void write_kind_movs(struct work *work)
{
    const struct op *op = &work->block->op[work->current];
    struct emit *emit = &work->emit;
    struct place held = place_of_cpu(offsetof(struct cpu, held));
    write_checks(work, op->width);
    write_span(work, GPR_RSI, op->width, false);
    assemble_memory(emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &held);
    write_span(work, GPR_RDI, op->width, true);
    assemble_memory(emit, true, OPCODE_ADD, GPR_RSI, &held);
    assemble_registers(emit, true, OPCODE_ADD, GPR_RDI, SCRATCH_ADDRESS);
    write_repeated(work, 0xa4, op->width);
    assemble_registers(emit, true, OPCODE_SUB, GPR_RDI, SCRATCH_ADDRESS);
    assemble_memory(emit, true, OPCODE_SUB, GPR_RSI, &held);
}
