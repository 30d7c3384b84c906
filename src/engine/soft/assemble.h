/*
 * Writes the 64-bit host instructions that translated code is made of, beside the guest's own.
 *
 * Bytes go to a struct emit, which notes when it is full; the caller looks once, at the end.
 * Registers are numbers, 0 to 15 (Intel SDM vol. 2A § 2.2.1).
 */
#ifndef SOFT_ASSEMBLE_H
#define SOFT_ASSEMBLE_H

#include "engine/soft/emit.h"

enum { NO_REGISTER = 0xff };

/* A memory operand: [base + index << scale + disp], or the field of the vCPU at `disp`. */
struct place {
    bool in_cpu;
    uint8_t base, index, scale;
    int32_t disp;
};

static inline struct place place_of_cpu(size_t offset)
{
    return (struct place){
        .in_cpu = true, .base = NO_REGISTER, .index = NO_REGISTER, .disp = (int32_t)offset};
}

static inline struct place place_at(unsigned base, int32_t disp)
{
    return (struct place){.base = (uint8_t)base, .index = NO_REGISTER, .disp = disp};
}

/* One-byte opcodes are themselves; those of the 0F map have 0x0f00 added. */
enum opcode {
    OPCODE_ADD = 0x03, /* reg, r/m; as all of these */
    OPCODE_OR = 0x0b,
    OPCODE_AND = 0x23,
    OPCODE_SUB = 0x2b,
    OPCODE_XOR = 0x33,
    OPCODE_CMP = 0x3b,
    OPCODE_LOAD = 0x8b,
    OPCODE_STORE = 0x89, /* r/m, reg */
    OPCODE_LEA = 0x8d,
    OPCODE_STORE8 = 0x88, /* RAX to RBX, R8 to R15 */
    OPCODE_TEST = 0x85,
    OPCODE_MOVZX8 = 0x0fb6,
    OPCODE_MOVZX16 = 0x0fb7,
};

enum condition { CONDITION_B = 2, CONDITION_E = 4, CONDITION_NE = 5, CONDITION_A = 7 };

/* Operand size 8 when `wide`, else 4. */
void assemble_memory(struct emit *emit, bool wide, unsigned opcode, unsigned reg,
                     const struct place *place);
void assemble_registers(struct emit *emit, bool wide, unsigned opcode, unsigned reg, unsigned rm);
/* Operand size 2. */
void assemble_memory16(struct emit *emit, unsigned opcode, unsigned reg, const struct place *place);
/* Group 1 (0 ADD, 1 OR, 4 AND, 7 CMP) with an immediate. */
void assemble_group1(struct emit *emit, bool wide, unsigned operation, unsigned reg, int32_t value);
/* CMP of a field of the vCPU: 1 or 4 bytes. */
void assemble_compare_field(struct emit *emit, unsigned size, size_t offset, int32_t value);
/* The shortest move of a constant; flags stay. */
void assemble_constant(struct emit *emit, unsigned reg, uint64_t value);
void assemble_store_constant(struct emit *emit, const struct place *place, int32_t value);
/* RORX r32, r32: flags stay. BMI2. */
void assemble_rotate32(struct emit *emit, unsigned to, unsigned from, unsigned count);
/* Group 1 and TEST on 4 bytes of the vCPU. */
void assemble_group1_field(struct emit *emit, unsigned operation, size_t offset, int32_t value);
void assemble_test_field(struct emit *emit, size_t offset, int32_t value);
void assemble_shift_right32(struct emit *emit, unsigned reg, unsigned count);
void assemble_shift_left32(struct emit *emit, unsigned reg, unsigned count);

/* The arithmetic flags to AX, by LAHF and SETO. */
void assemble_flags_to_ax(struct emit *emit);
/* The arithmetic flags to and from a field, in the form of LAHF and SETO; `scratch` is changed. */
void assemble_save_flags(struct emit *emit, size_t offset, unsigned scratch);
void assemble_restore_flags(struct emit *emit, size_t offset, unsigned scratch);

/* Jumps with a 32-bit distance; where it is, so that it can be set later. Never NULL. */
uint8_t *assemble_jump(struct emit *emit);
uint8_t *assemble_jump_if(struct emit *emit, unsigned condition);
uint8_t *assemble_call(struct emit *emit);
/* The same, with the distance aligned on 4 bytes: another processor may run it while it is set. */
uint8_t *assemble_patchable_jump(struct emit *emit);
uint8_t *assemble_patchable_jump_if(struct emit *emit, unsigned condition);
void assemble_jump_register(struct emit *emit, unsigned reg);
void assemble_jump_memory(struct emit *emit, const struct place *place);
void assemble_call_register(struct emit *emit, unsigned reg);
void assemble_push(struct emit *emit, unsigned reg);
void assemble_pop(struct emit *emit, unsigned reg);
void assemble_return(struct emit *emit);
/* Make the distance at `site` lead to `target`, both in the same mapping. */
void assemble_set_distance(uint8_t *site, const uint8_t *target);
/* NOPs up to a multiple of `alignment`, from `from` bytes after it. */
void assemble_align(struct emit *emit, unsigned alignment, unsigned from);

#endif
