/* What masked.c needs to know of masked moves and gathers. */
#include <errno.h>

#include "engine/soft/native.h"

static unsigned vector_number(const ZydisDecodedOperand *operand)
{
    return (unsigned)ZydisRegisterGetId(operand->reg.value);
}

static unsigned segment_number(ZydisRegister segment, bool long_mode)
{
    unsigned index = (unsigned)ZydisRegisterGetId(segment);
    bool based = index == SEGMENT_FS || index == SEGMENT_GS;
    return long_mode && !based ? SEGMENT_FLAT : index;
}

/* MASKMOVQ, MASKMOVDQU: data, mask, and memory at DS:rDI. */
static void describe_byte_mask(const ZydisDecodedInstruction *instruction,
                               const ZydisDecodedOperand *operands,
                               const ZydisDecodedOperand *memory, struct thunk *thunk)
{
    unsigned seen = 0;
    for (unsigned i = 0; i < instruction->operand_count_visible; i++) {
        if (operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER ||
            encode_gpr_number(operands[i].reg.value) >= 0)
            continue;
        unsigned number = vector_number(&operands[i]);
        if (seen++ == 0)
            thunk->source = (uint8_t)number;
        else
            thunk->mask = (uint8_t)number;
        thunk->vector_size = (uint8_t)(operands[i].size / 8);
    }
    thunk->element_size = 1;
    thunk->implicit = true;
    bool long_mode = instruction->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
    thunk->segment = (uint8_t)segment_number(memory->mem.segment, long_mode);
}

/* VMASKMOV and VPMASKMOV: register, mask, memory; or memory, mask, register. */
static void describe_element_mask(const ZydisDecodedInstruction *instruction,
                                  const ZydisDecodedOperand *operands, struct thunk *thunk)
{
    bool store = operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    bool wide = instruction->mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD ||
                instruction->mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
    thunk->mask = (uint8_t)vector_number(&operands[1]);
    if (store)
        thunk->source = (uint8_t)vector_number(&operands[2]);
    else
        thunk->target = (uint8_t)vector_number(&operands[0]);
    thunk->vector_size = (uint8_t)(operands[1].size / 8);
    thunk->element_size = wide ? 8 : 4;
}

/* Target, memory with a vector index, mask. The three registers must differ (Intel SDM vol. 2C). */
static int describe_gather(const ZydisDecodedInstruction *instruction,
                           const ZydisDecodedOperand *operands, struct thunk *thunk)
{
    ZydisMnemonic m = instruction->mnemonic;
    bool wide = m == ZYDIS_MNEMONIC_VPGATHERDQ || m == ZYDIS_MNEMONIC_VPGATHERQQ ||
                m == ZYDIS_MNEMONIC_VGATHERDPD || m == ZYDIS_MNEMONIC_VGATHERQPD;
    bool wide_index = m == ZYDIS_MNEMONIC_VPGATHERQD || m == ZYDIS_MNEMONIC_VPGATHERQQ ||
                      m == ZYDIS_MNEMONIC_VGATHERQPS || m == ZYDIS_MNEMONIC_VGATHERQPD;
    unsigned index = (unsigned)ZydisRegisterGetId(operands[1].mem.index);
    thunk->target = (uint8_t)vector_number(&operands[0]);
    thunk->mask = (uint8_t)vector_number(&operands[2]);
    thunk->source = (uint8_t)index;
    thunk->element_size = wide ? 8 : 4;
    thunk->index_size = wide_index ? 8 : 4;
    thunk->scale = operands[1].mem.scale;
    thunk->vector_size = instruction->raw.vex.L ? 32 : 16;
    bool distinct = thunk->target != thunk->mask && index != thunk->mask && index != thunk->target;
    return distinct ? 0 : -ENOTSUP;
}

int masked_describe(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
                    struct thunk *thunk)
{
    const ZydisDecodedOperand *memory = encode_memory(instruction, operands);
    if (memory == NULL)
        return -ENOTSUP;
    if (instruction->meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER)
        return describe_gather(instruction, operands, thunk);
    if (memory->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
        describe_element_mask(instruction, operands, thunk);
    else
        describe_byte_mask(instruction, operands, memory, thunk);
    return 0;
}
