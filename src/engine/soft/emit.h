/*
 * Writes the few 64-bit instructions that surround a native thunk.
 *
 * Bytes that do not fit are dropped and noted in `full`; the caller looks once, at the end.
 */
#ifndef SOFT_EMIT_H
#define SOFT_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct emit {
    uint8_t *at, *end;
    bool full;
};

void emit_bytes(struct emit *emit, const void *bytes, size_t length);

/* Registers by their number, 0 to 15; `base` is none of RSP and R12. */
void emit_load64(struct emit *emit, unsigned reg, unsigned base, int32_t disp);
void emit_store64(struct emit *emit, unsigned base, int32_t disp, unsigned reg);
void emit_move64(struct emit *emit, unsigned to, unsigned from);
/* On the low 32 bits, clearing the upper half. */
void emit_and32(struct emit *emit, unsigned reg, uint32_t mask);
void emit_or32(struct emit *emit, unsigned reg, uint32_t bits);
void emit_and32_memory(struct emit *emit, unsigned base, int32_t disp, uint32_t mask);
void emit_or32_memory(struct emit *emit, unsigned base, int32_t disp, unsigned reg);
/* Host RFLAGS = reg, reg = host RFLAGS, through the stack. */
void emit_set_flags(struct emit *emit, unsigned reg);
void emit_get_flags(struct emit *emit, unsigned reg);
/* return 0 */
void emit_return_zero(struct emit *emit);

#endif
