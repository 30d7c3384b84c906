/*
 * Flags that the Intel SDM (vol. 2A-2D, the instruction's "Flags Affected"; summary in vol. 1
 * appendix A, table A-2) leaves undefined. Differences in these are counted, not failed: the
 * engine runs most instructions on the host's own units and so gives its values anyway.
 */
#include "compare.h"

enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800 };

enum condition {
    ALWAYS,
    COUNT_ABOVE_1,    /* of a shift; a count of 0 changes no flag */
    COUNT_ABOVE_SIZE, /* double shift: all flags, and the destination, are undefined */
};

struct undefined {
    ZydisMnemonic mnemonic;
    enum condition condition;
    uint64_t flags;
};

static const struct undefined table[] = {
    /* vol. 2A AAA, AAS: OF SF ZF PF; AAM, AAD: OF AF CF; DAA, DAS: OF */
    {ZYDIS_MNEMONIC_AAA, ALWAYS, OF | SF | ZF | PF},
    {ZYDIS_MNEMONIC_AAS, ALWAYS, OF | SF | ZF | PF},
    {ZYDIS_MNEMONIC_AAM, ALWAYS, OF | AF | CF},
    {ZYDIS_MNEMONIC_AAD, ALWAYS, OF | AF | CF},
    {ZYDIS_MNEMONIC_DAA, ALWAYS, OF},
    {ZYDIS_MNEMONIC_DAS, ALWAYS, OF},
    /* vol. 2A AND, 2B OR, TEST, XOR: AF */
    {ZYDIS_MNEMONIC_AND, ALWAYS, AF},
    {ZYDIS_MNEMONIC_OR, ALWAYS, AF},
    {ZYDIS_MNEMONIC_TEST, ALWAYS, AF},
    {ZYDIS_MNEMONIC_XOR, ALWAYS, AF},
    /* vol. 2A ANDN, BEXTR, BLSI, BLSMSK, BLSR; 2B BZHI */
    {ZYDIS_MNEMONIC_ANDN, ALWAYS, AF | PF},
    {ZYDIS_MNEMONIC_BEXTR, ALWAYS, AF | SF | PF},
    {ZYDIS_MNEMONIC_BLSI, ALWAYS, AF | PF},
    {ZYDIS_MNEMONIC_BLSMSK, ALWAYS, AF | PF},
    {ZYDIS_MNEMONIC_BLSR, ALWAYS, AF | PF},
    {ZYDIS_MNEMONIC_BZHI, ALWAYS, AF | PF},
    /* vol. 2A BSF, BSR: all but ZF; LZCNT, TZCNT: OF SF PF AF */
    {ZYDIS_MNEMONIC_BSF, ALWAYS, CF | OF | SF | AF | PF},
    {ZYDIS_MNEMONIC_BSR, ALWAYS, CF | OF | SF | AF | PF},
    {ZYDIS_MNEMONIC_LZCNT, ALWAYS, OF | SF | PF | AF},
    {ZYDIS_MNEMONIC_TZCNT, ALWAYS, OF | SF | PF | AF},
    /* vol. 2A BT, BTC, BTR, BTS: OF SF AF PF (ZF is unaffected) */
    {ZYDIS_MNEMONIC_BT, ALWAYS, OF | SF | AF | PF},
    {ZYDIS_MNEMONIC_BTC, ALWAYS, OF | SF | AF | PF},
    {ZYDIS_MNEMONIC_BTR, ALWAYS, OF | SF | AF | PF},
    {ZYDIS_MNEMONIC_BTS, ALWAYS, OF | SF | AF | PF},
    /* vol. 2A DIV, IDIV: all; IMUL, MUL: SF ZF AF PF */
    {ZYDIS_MNEMONIC_DIV, ALWAYS, CF | OF | SF | ZF | AF | PF},
    {ZYDIS_MNEMONIC_IDIV, ALWAYS, CF | OF | SF | ZF | AF | PF},
    {ZYDIS_MNEMONIC_IMUL, ALWAYS, SF | ZF | AF | PF},
    {ZYDIS_MNEMONIC_MUL, ALWAYS, SF | ZF | AF | PF},
    /* vol. 2B RCL/RCR/ROL/ROR: OF for counts above 1 */
    {ZYDIS_MNEMONIC_RCL, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_RCR, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_ROL, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_ROR, COUNT_ABOVE_1, OF},
    /* vol. 2B SAL/SAR/SHL/SHR: AF always, OF above 1, CF from the operand's size (not SAR) */
    {ZYDIS_MNEMONIC_SAR, ALWAYS, AF},
    {ZYDIS_MNEMONIC_SAR, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_SHL, ALWAYS, AF},
    {ZYDIS_MNEMONIC_SHL, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_SHL, COUNT_ABOVE_SIZE, CF},
    {ZYDIS_MNEMONIC_SHR, ALWAYS, AF},
    {ZYDIS_MNEMONIC_SHR, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_SHR, COUNT_ABOVE_SIZE, CF},
    /* vol. 2B SHLD, SHRD */
    {ZYDIS_MNEMONIC_SHLD, ALWAYS, AF},
    {ZYDIS_MNEMONIC_SHLD, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_SHLD, COUNT_ABOVE_SIZE, CF | OF | SF | ZF | AF | PF},
    {ZYDIS_MNEMONIC_SHRD, ALWAYS, AF},
    {ZYDIS_MNEMONIC_SHRD, COUNT_ABOVE_1, OF},
    {ZYDIS_MNEMONIC_SHRD, COUNT_ABOVE_SIZE, CF | OF | SF | ZF | AF | PF},
};

/* The count operand is the last one: an immediate, CL, or an implied 1. */
static uint64_t shift_count(const struct build *build)
{
    uint64_t mask = build->operands[0].size == 64 ? 63 : 31;
    for (unsigned i = build->instruction.operand_count_visible; i-- > 1;) {
        if (build->operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return build->operands[i].imm.value.u & mask;
        if (build->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            build->operands[i].reg.value == ZYDIS_REGISTER_CL)
            return build->c.in.gpr[1] & mask;
    }
    return 1;
}

static bool applies(const struct build *build, enum condition condition)
{
    switch (condition) {
    case COUNT_ABOVE_1:
        return shift_count(build) > 1;
    case COUNT_ABOVE_SIZE:
        return shift_count(build) >= build->operands[0].size;
    case ALWAYS:
        break;
    }
    return true;
}

uint64_t flags_undefined(const struct build *build)
{
    uint64_t flags = build->undefined;
    if (!build->decoded)
        return 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].mnemonic == build->mnemonic && applies(build, table[i].condition))
            flags |= table[i].flags;
    return flags;
}

uint64_t flags_ever_undefined(ZydisMnemonic mnemonic)
{
    uint64_t flags = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].mnemonic == mnemonic)
            flags |= table[i].flags;
    return flags;
}
