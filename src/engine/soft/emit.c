#include "engine/soft/emit.h"

#include <string.h>

enum { REX = 0x40, REX_W = 8, REX_R = 4, REX_B = 1 };

void emit_bytes(struct emit *emit, const void *bytes, size_t length)
{
    if (length > (size_t)(emit->end - emit->at)) {
        emit->full = true;
        return;
    }
    memcpy(emit->at, bytes, length);
    emit->at += length;
}

static void emit_u8(struct emit *emit, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    emit_bytes(emit, &value, 1);
}

static void emit_rex(struct emit *emit, unsigned w, unsigned reg, unsigned rm)
{
    unsigned rex = REX | w | (reg >= 8 ? REX_R : 0) | (rm >= 8 ? REX_B : 0);
    if (rex != REX)
        emit_u8(emit, rex);
}

/* Opcode with a ModRM byte for [base + disp32]. */
static void emit_memory(struct emit *emit, unsigned opcode, unsigned reg, unsigned base,
                        int32_t disp)
{
    emit_u8(emit, opcode);
    emit_u8(emit, 0x80 | (reg & 7) << 3 | (base & 7));
    emit_bytes(emit, &disp, sizeof(disp));
}

void emit_load64(struct emit *emit, unsigned reg, unsigned base, int32_t disp)
{
    emit_rex(emit, REX_W, reg, base);
    emit_memory(emit, 0x8b, reg, base, disp);
}

void emit_store64(struct emit *emit, unsigned base, int32_t disp, unsigned reg)
{
    emit_rex(emit, REX_W, reg, base);
    emit_memory(emit, 0x89, reg, base, disp);
}

void emit_move64(struct emit *emit, unsigned to, unsigned from)
{
    emit_rex(emit, REX_W, from, to);
    emit_u8(emit, 0x89);
    emit_u8(emit, 0xc0 | (from & 7) << 3 | (to & 7));
}

static void emit_group1_register(struct emit *emit, unsigned operation, unsigned reg,
                                 uint32_t immediate)
{
    emit_rex(emit, 0, 0, reg);
    emit_u8(emit, 0x81);
    emit_u8(emit, 0xc0 | operation << 3 | (reg & 7));
    emit_bytes(emit, &immediate, sizeof(immediate));
}

void emit_and32(struct emit *emit, unsigned reg, uint32_t mask)
{
    emit_group1_register(emit, 4, reg, mask);
}

void emit_or32(struct emit *emit, unsigned reg, uint32_t bits)
{
    emit_group1_register(emit, 1, reg, bits);
}

void emit_and32_memory(struct emit *emit, unsigned base, int32_t disp, uint32_t mask)
{
    emit_rex(emit, 0, 0, base);
    emit_memory(emit, 0x81, 4, base, disp);
    emit_bytes(emit, &mask, sizeof(mask));
}

void emit_or32_memory(struct emit *emit, unsigned base, int32_t disp, unsigned reg)
{
    emit_rex(emit, 0, reg, base);
    emit_memory(emit, 0x09, reg, base, disp);
}

void emit_set_flags(struct emit *emit, unsigned reg)
{
    emit_rex(emit, 0, 0, reg);
    emit_u8(emit, 0x50 | (reg & 7)); /* push */
    emit_u8(emit, 0x9d);             /* popfq */
}

void emit_get_flags(struct emit *emit, unsigned reg)
{
    emit_u8(emit, 0x9c); /* pushfq */
    emit_rex(emit, 0, 0, reg);
    emit_u8(emit, 0x58 | (reg & 7)); /* pop */
}

void emit_return_zero(struct emit *emit)
{
    static const uint8_t code[] = {0x31, 0xc0, 0xc3}; /* xor eax, eax; ret */
    emit_bytes(emit, code, sizeof(code));
}
