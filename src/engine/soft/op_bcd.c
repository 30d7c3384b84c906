/* Decimal adjustment: exists outside 64-bit code only. Intel SDM vol. 2; undefined flags as
 * processors since Pentium leave them (SF, ZF, PF from AL; OF as after the addition). */
#include "engine/soft/ops_integer.h"

static uint64_t result_flags(uint8_t al)
{
    uint64_t flags = al == 0 ? FLAG_ZF : 0;
    if (al & 0x80)
        flags |= FLAG_SF;
    if (__builtin_parity(al) == 0)
        flags |= FLAG_PF;
    return flags;
}

static void set_flags(struct cpu *cpu, uint64_t change, uint64_t value)
{
    cpu->flags = (cpu->flags & ~change) | (value & change);
}

static int ascii_adjust(struct cpu *cpu, int direction)
{
    uint16_t ax = (uint16_t)cpu->gpr[GPR_RAX];
    bool adjust = (ax & 0xf) > 9 || (cpu->flags & FLAG_AF) != 0;
    if (adjust)
        ax = (uint16_t)(ax + direction * 0x106);
    ax &= 0xff0f;
    gpr_write(cpu, GPR_RAX * 8, 2, ax);
    set_flags(cpu, FLAGS_ARITHMETIC & ~FLAG_OF,
              result_flags((uint8_t)ax) | (adjust ? FLAG_AF | FLAG_CF : 0));
    return STEP_NEXT;
}

int op_aaa(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return ascii_adjust(cpu, 1);
}

int op_aas(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return ascii_adjust(cpu, -1);
}

int op_aam(struct cpu *cpu, const struct op *op)
{
    uint8_t base = (uint8_t)op->imm;
    uint8_t al = (uint8_t)cpu->gpr[GPR_RAX];
    if (base == 0)
        return fault(cpu, VECTOR_DE);
    gpr_write(cpu, 1, 1, al / base);
    gpr_write(cpu, 0, 1, al % base);
    set_flags(cpu, FLAGS_ARITHMETIC, result_flags((uint8_t)(al % base)));
    return STEP_NEXT;
}

int op_aad(struct cpu *cpu, const struct op *op)
{
    uint8_t al = (uint8_t)(gpr_read(cpu, 1, 1) * (uint8_t)op->imm + gpr_read(cpu, 0, 1));
    gpr_write(cpu, GPR_RAX * 8, 2, al);
    set_flags(cpu, FLAGS_ARITHMETIC, result_flags(al));
    return STEP_NEXT;
}

static int decimal_adjust(struct cpu *cpu, int direction)
{
    uint8_t old = (uint8_t)cpu->gpr[GPR_RAX];
    uint8_t al = old;
    uint64_t carry = cpu->flags & FLAG_CF;
    uint64_t flags = 0;
    if ((old & 0xf) > 9 || (cpu->flags & FLAG_AF) != 0) {
        flags |= FLAG_AF;
        /* DAS also carries out of the low digit's correction. */
        if (direction < 0 && old < 6)
            flags |= FLAG_CF;
        al = (uint8_t)(al + direction * 6);
    }
    if (old > 0x99 || carry != 0) {
        al = (uint8_t)(al + direction * 0x60);
        flags |= FLAG_CF;
    }
    gpr_write(cpu, 0, 1, al);
    set_flags(cpu, FLAGS_ARITHMETIC & ~FLAG_OF, flags | result_flags(al));
    return STEP_NEXT;
}

int op_daa(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return decimal_adjust(cpu, 1);
}

int op_das(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return decimal_adjust(cpu, -1);
}

int op_salc(struct cpu *cpu, const struct op *op)
{
    (void)op;
    gpr_write(cpu, 0, 1, (cpu->flags & FLAG_CF) ? 0xff : 0);
    return STEP_NEXT;
}
