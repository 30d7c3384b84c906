#include "engine/soft/assemble.h"

#include <string.h>

enum { PREFIX_GS = 0x65, PREFIX_16 = 0x66, REX = 0x40, REX_W = 8, REX_R = 4, REX_X = 2, REX_B = 1 };
enum { MODRM_SIB = 4, SIB_NO_INDEX = 4 << 3, SIB_NO_BASE = 5, MOD_DISP8 = 0x40, MOD_DISP32 = 0x80 };

static void put(struct emit *emit, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    emit_bytes(emit, &value, 1);
}

static void put32(struct emit *emit, int32_t value)
{
    emit_bytes(emit, &value, sizeof(value));
}

static bool is_high(unsigned reg)
{
    return reg != NO_REGISTER && reg >= 8;
}

static void put_rex(struct emit *emit, bool wide, unsigned reg, unsigned index, unsigned base)
{
    unsigned rex = REX | (wide ? REX_W : 0) | (is_high(reg) ? REX_R : 0) |
                   (is_high(index) ? REX_X : 0) | (is_high(base) ? REX_B : 0);
    if (rex != REX)
        put(emit, rex);
}

static void put_opcode(struct emit *emit, unsigned opcode)
{
    if (opcode > 0xff)
        put(emit, opcode >> 8);
    put(emit, opcode & 0xff);
}

/* ModRM, SIB and displacement: Intel SDM vol. 2A tables 2-2 and 2-3. */
static void put_place(struct emit *emit, unsigned reg, const struct place *place)
{
    unsigned field = (reg & 7) << 3;
    if (place->base == NO_REGISTER) {
        put(emit, field | MODRM_SIB);
        unsigned index = SIB_NO_INDEX;
        if (place->index != NO_REGISTER)
            index = (place->index & 7u) << 3;
        put(emit, (unsigned)place->scale << 6 | index | SIB_NO_BASE);
        put32(emit, place->disp);
        return;
    }
    bool small = place->disp == (int8_t)place->disp;
    unsigned mod = small ? MOD_DISP8 : MOD_DISP32;
    if (place->disp == 0 && (place->base & 7) != 5)
        mod = 0;
    if (place->index != NO_REGISTER || (place->base & 7) == 4) {
        put(emit, mod | field | MODRM_SIB);
        unsigned index =
            place->index == NO_REGISTER ? SIB_NO_INDEX : (unsigned)(place->index & 7u) << 3;
        put(emit, (unsigned)place->scale << 6 | index | (place->base & 7u));
    } else {
        put(emit, mod | field | (place->base & 7u));
    }
    if (mod == MOD_DISP8)
        put(emit, (uint8_t)place->disp);
    else if (mod == MOD_DISP32)
        put32(emit, place->disp);
}

void assemble_memory(struct emit *emit, bool wide, unsigned opcode, unsigned reg,
                     const struct place *place)
{
    if (place->in_cpu)
        put(emit, PREFIX_GS);
    put_rex(emit, wide, reg, place->index, place->base);
    put_opcode(emit, opcode);
    put_place(emit, reg, place);
}

void assemble_memory16(struct emit *emit, unsigned opcode, unsigned reg, const struct place *place)
{
    put(emit, PREFIX_16);
    assemble_memory(emit, false, opcode, reg, place);
}

void assemble_registers(struct emit *emit, bool wide, unsigned opcode, unsigned reg, unsigned rm)
{
    put_rex(emit, wide, reg, NO_REGISTER, rm);
    put_opcode(emit, opcode);
    put(emit, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void assemble_group1(struct emit *emit, bool wide, unsigned operation, unsigned reg, int32_t value)
{
    bool small = value == (int8_t)value;
    assemble_registers(emit, wide, small ? 0x83 : 0x81, operation, reg);
    if (small)
        put(emit, (uint8_t)value);
    else
        put32(emit, value);
}

void assemble_compare_field(struct emit *emit, unsigned size, size_t offset, int32_t value)
{
    enum { GROUP_CMP = 7 };
    struct place place = place_of_cpu(offset);
    assemble_memory(emit, false, size == 1 ? 0x80 : 0x83, GROUP_CMP, &place);
    put(emit, (uint8_t)value);
}

void assemble_constant(struct emit *emit, unsigned reg, uint64_t value)
{
    bool is_signed32 = (int64_t)value == (int32_t)value;
    if (value <= UINT32_MAX) {
        put_rex(emit, false, 0, NO_REGISTER, reg);
        put(emit, 0xb8 | (reg & 7));
        put32(emit, (int32_t)value);
    } else if (is_signed32) {
        assemble_registers(emit, true, 0xc7, 0, reg);
        put32(emit, (int32_t)value);
    } else {
        put_rex(emit, true, 0, NO_REGISTER, reg);
        put(emit, 0xb8 | (reg & 7));
        emit_bytes(emit, &value, sizeof(value));
    }
}

void assemble_store_constant(struct emit *emit, const struct place *place, int32_t value)
{
    assemble_memory(emit, true, 0xc7, 0, place);
    put32(emit, value);
}

void assemble_rotate32(struct emit *emit, unsigned to, unsigned from, unsigned count)
{
    /* VEX.LZ.F2.0F3A.W0 F0 /r ib */
    put(emit, 0xc4);
    put(emit, (is_high(to) ? 0 : 0x80) | 0x40 | (is_high(from) ? 0 : 0x20) | 3);
    put(emit, 0x7b);
    put(emit, 0xf0);
    put(emit, 0xc0 | (to & 7) << 3 | (from & 7));
    put(emit, count);
}

void assemble_shift_left32(struct emit *emit, unsigned reg, unsigned count)
{
    assemble_registers(emit, false, 0xc1, 4, reg);
    put(emit, count);
}

void assemble_shift_right32(struct emit *emit, unsigned reg, unsigned count)
{
    assemble_registers(emit, false, 0xc1, 5, reg);
    put(emit, count);
}

void assemble_group1_field(struct emit *emit, unsigned operation, size_t offset, int32_t value)
{
    struct place place = place_of_cpu(offset);
    assemble_memory(emit, false, 0x81, operation, &place);
    put32(emit, value);
}

void assemble_test_field(struct emit *emit, size_t offset, int32_t value)
{
    struct place place = place_of_cpu(offset);
    assemble_memory(emit, false, 0xf7, 0, &place);
    put32(emit, value);
}

/* ---- flags ---- */

void assemble_flags_to_ax(struct emit *emit)
{
    static const uint8_t lahf_seto[] = {0x9f, 0x0f, 0x90, 0xc0};
    emit_bytes(emit, lahf_seto, sizeof(lahf_seto));
}

void assemble_save_flags(struct emit *emit, size_t offset, unsigned scratch)
{
    struct place field = place_of_cpu(offset);
    assemble_registers(emit, true, OPCODE_STORE, 0, scratch);
    assemble_flags_to_ax(emit);
    assemble_memory16(emit, OPCODE_STORE, 0, &field);
    assemble_registers(emit, true, OPCODE_LOAD, 0, scratch);
}

/* 1 + 127 overflows, 0 + 127 does not. */
void assemble_restore_flags(struct emit *emit, size_t offset, unsigned scratch)
{
    static const uint8_t add_sahf[] = {0x04, 0x7f, 0x9e};
    struct place field = place_of_cpu(offset);
    assemble_registers(emit, true, OPCODE_STORE, 0, scratch);
    assemble_memory(emit, false, OPCODE_MOVZX16, 0, &field);
    emit_bytes(emit, add_sahf, sizeof(add_sahf));
    assemble_registers(emit, true, OPCODE_LOAD, 0, scratch);
}

/* ---- control flow ---- */

/* The address of the distance just written; when full, of something that may be overwritten. */
static uint8_t *put_distance(struct emit *emit)
{
    put32(emit, 0);
    return emit->at - sizeof(int32_t);
}

uint8_t *assemble_jump(struct emit *emit)
{
    put(emit, 0xe9);
    return put_distance(emit);
}

uint8_t *assemble_jump_if(struct emit *emit, unsigned condition)
{
    put(emit, 0x0f);
    put(emit, 0x80 | condition);
    return put_distance(emit);
}

uint8_t *assemble_call(struct emit *emit)
{
    put(emit, 0xe8);
    return put_distance(emit);
}

uint8_t *assemble_patchable_jump(struct emit *emit)
{
    assemble_align(emit, 4, 3);
    return assemble_jump(emit);
}

uint8_t *assemble_patchable_jump_if(struct emit *emit, unsigned condition)
{
    assemble_align(emit, 4, 2);
    return assemble_jump_if(emit, condition);
}

void assemble_jump_register(struct emit *emit, unsigned reg)
{
    assemble_registers(emit, false, 0xff, 4, reg);
}

void assemble_jump_memory(struct emit *emit, const struct place *place)
{
    assemble_memory(emit, false, 0xff, 4, place);
}

void assemble_call_register(struct emit *emit, unsigned reg)
{
    assemble_registers(emit, false, 0xff, 2, reg);
}

void assemble_push(struct emit *emit, unsigned reg)
{
    put_rex(emit, false, 0, NO_REGISTER, reg);
    put(emit, 0x50 | (reg & 7));
}

void assemble_pop(struct emit *emit, unsigned reg)
{
    put_rex(emit, false, 0, NO_REGISTER, reg);
    put(emit, 0x58 | (reg & 7));
}

void assemble_return(struct emit *emit)
{
    put(emit, 0xc3);
}

void assemble_set_distance(uint8_t *site, const uint8_t *target)
{
    int32_t distance = (int32_t)(target - (site + sizeof(distance)));
    memcpy(site, &distance, sizeof(distance));
}

void assemble_align(struct emit *emit, unsigned alignment, unsigned from)
{
    static const uint8_t nops[8][8] = {
        {0},
        {0x90},
        {0x66, 0x90},
        {0x0f, 0x1f, 0x00},
        {0x0f, 0x1f, 0x40, 0x00},
        {0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
    };
    unsigned missing = (unsigned)(from - (uintptr_t)emit->at) % alignment;
    while (missing > 0) {
        unsigned now = missing < 7 ? missing : 7;
        emit_bytes(emit, nops[now], now);
        missing -= now;
    }
}
