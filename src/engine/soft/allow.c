/*
 * Which instructions may run natively: a list of what is allowed, never of what is not. Everything
 * on it computes from the registers, flags, x87/SSE/AVX state and the one memory operand that it
 * names, and cannot see or change anything else of the host.
 */
#include "engine/soft/native.h"

/* Sets that hold nothing but such instructions; exceptions are sorted out below. */
static const ZydisISASet pure_sets[] = {
    ZYDIS_ISA_SET_ADOX_ADCX, ZYDIS_ISA_SET_AES,        ZYDIS_ISA_SET_AVX,
    ZYDIS_ISA_SET_AVX2,      ZYDIS_ISA_SET_AVX2GATHER, ZYDIS_ISA_SET_AVXAES,
    ZYDIS_ISA_SET_AVX_GFNI,  ZYDIS_ISA_SET_AVX_VNNI,   ZYDIS_ISA_SET_BMI1,
    ZYDIS_ISA_SET_BMI2,      ZYDIS_ISA_SET_CLFLUSHOPT, ZYDIS_ISA_SET_CLFSH,
    ZYDIS_ISA_SET_CLWB,      ZYDIS_ISA_SET_CMOV,       ZYDIS_ISA_SET_CMPXCHG16B,
    ZYDIS_ISA_SET_F16C,      ZYDIS_ISA_SET_FCMOV,      ZYDIS_ISA_SET_FMA,
    ZYDIS_ISA_SET_GFNI,      ZYDIS_ISA_SET_LZCNT,      ZYDIS_ISA_SET_MOVBE,
    ZYDIS_ISA_SET_PCLMULQDQ, ZYDIS_ISA_SET_PENTIUMMMX, ZYDIS_ISA_SET_POPCNT,
    ZYDIS_ISA_SET_RDRAND,    ZYDIS_ISA_SET_RDSEED,     ZYDIS_ISA_SET_SHA,
    ZYDIS_ISA_SET_SSE,       ZYDIS_ISA_SET_SSE2,       ZYDIS_ISA_SET_SSE2MMX,
    ZYDIS_ISA_SET_SSE3,      ZYDIS_ISA_SET_SSE3X87,    ZYDIS_ISA_SET_SSE4,
    ZYDIS_ISA_SET_SSE42,     ZYDIS_ISA_SET_SSEMXCSR,   ZYDIS_ISA_SET_SSSE3,
    ZYDIS_ISA_SET_SSSE3MMX,  ZYDIS_ISA_SET_VAES,       ZYDIS_ISA_SET_VPCLMULQDQ,
    ZYDIS_ISA_SET_X87,
};

/* From the base sets, which also hold control flow and system instructions, by name. */
static const ZydisMnemonic base_mnemonics[] = {
    ZYDIS_MNEMONIC_ADC,     ZYDIS_MNEMONIC_ADD,       ZYDIS_MNEMONIC_AND,   ZYDIS_MNEMONIC_BSF,
    ZYDIS_MNEMONIC_BSR,     ZYDIS_MNEMONIC_BSWAP,     ZYDIS_MNEMONIC_BT,    ZYDIS_MNEMONIC_BTC,
    ZYDIS_MNEMONIC_BTR,     ZYDIS_MNEMONIC_BTS,       ZYDIS_MNEMONIC_CBW,   ZYDIS_MNEMONIC_CDQ,
    ZYDIS_MNEMONIC_CDQE,    ZYDIS_MNEMONIC_CLC,       ZYDIS_MNEMONIC_CMC,   ZYDIS_MNEMONIC_CMP,
    ZYDIS_MNEMONIC_CMPXCHG, ZYDIS_MNEMONIC_CMPXCHG8B, ZYDIS_MNEMONIC_CQO,   ZYDIS_MNEMONIC_CWD,
    ZYDIS_MNEMONIC_CWDE,    ZYDIS_MNEMONIC_DEC,       ZYDIS_MNEMONIC_DIV,   ZYDIS_MNEMONIC_IDIV,
    ZYDIS_MNEMONIC_IMUL,    ZYDIS_MNEMONIC_INC,       ZYDIS_MNEMONIC_LAHF,  ZYDIS_MNEMONIC_MOV,
    ZYDIS_MNEMONIC_MOVSX,   ZYDIS_MNEMONIC_MOVSXD,    ZYDIS_MNEMONIC_MOVZX, ZYDIS_MNEMONIC_MUL,
    ZYDIS_MNEMONIC_NEG,     ZYDIS_MNEMONIC_NOT,       ZYDIS_MNEMONIC_OR,    ZYDIS_MNEMONIC_RCL,
    ZYDIS_MNEMONIC_RCR,     ZYDIS_MNEMONIC_ROL,       ZYDIS_MNEMONIC_ROR,   ZYDIS_MNEMONIC_SAHF,
    ZYDIS_MNEMONIC_SAR,     ZYDIS_MNEMONIC_SBB,       ZYDIS_MNEMONIC_SHL,   ZYDIS_MNEMONIC_SHLD,
    ZYDIS_MNEMONIC_SHR,     ZYDIS_MNEMONIC_SHRD,      ZYDIS_MNEMONIC_STC,   ZYDIS_MNEMONIC_SUB,
    ZYDIS_MNEMONIC_TEST,    ZYDIS_MNEMONIC_XADD,      ZYDIS_MNEMONIC_XCHG,  ZYDIS_MNEMONIC_XOR,
};

/* Moves that name an address by DS:rDI or whose faults depend on a mask; see masked.c. */
static const ZydisMnemonic masked_mnemonics[] = {
    ZYDIS_MNEMONIC_MASKMOVQ,   ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_VMASKMOVDQU,
    ZYDIS_MNEMONIC_VMASKMOVPS, ZYDIS_MNEMONIC_VMASKMOVPD, ZYDIS_MNEMONIC_VPMASKMOVD,
    ZYDIS_MNEMONIC_VPMASKMOVQ,
};

static const ZydisMnemonic environment_mnemonics[] = {
    ZYDIS_MNEMONIC_FNSTENV,
    ZYDIS_MNEMONIC_FLDENV,
    ZYDIS_MNEMONIC_FNSAVE,
    ZYDIS_MNEMONIC_FRSTOR,
};

/* Prefetches are in the SSE set, but are the decoder's: they neither fault nor compute. */
static const ZydisMnemonic refused_mnemonics[] = {
    ZYDIS_MNEMONIC_PREFETCHNTA,
    ZYDIS_MNEMONIC_PREFETCHT0,
    ZYDIS_MNEMONIC_PREFETCHT1,
    ZYDIS_MNEMONIC_PREFETCHT2,
};

/* x87 instructions that leave FIP and FDP alone, Intel SDM vol. 1 § 8.1.8. */
static const ZydisMnemonic x87_control_mnemonics[] = {
    ZYDIS_MNEMONIC_FNCLEX, ZYDIS_MNEMONIC_FLDCW,         ZYDIS_MNEMONIC_FNSTCW,
    ZYDIS_MNEMONIC_FNSTSW, ZYDIS_MNEMONIC_FWAIT,         ZYDIS_MNEMONIC_FENI8087_NOP,
    ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FDISI8087_NOP, ZYDIS_MNEMONIC_FNSTENV,
    ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_FSETPM287_NOP,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool has_mnemonic(const ZydisMnemonic *list, size_t count, ZydisMnemonic mnemonic)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == mnemonic)
            return true;
    }
    return false;
}

static bool is_conditional(ZydisInstructionCategory category)
{
    return category == ZYDIS_CATEGORY_CMOV || category == ZYDIS_CATEGORY_SETCC;
}

static bool is_listed(const ZydisDecodedInstruction *instruction)
{
    ZydisMnemonic mnemonic = instruction->mnemonic;
    ZydisInstructionCategory category = instruction->meta.category;
    if (has_mnemonic(refused_mnemonics, COUNT(refused_mnemonics), mnemonic))
        return false;
    for (size_t i = 0; i < COUNT(pure_sets); i++) {
        if (pure_sets[i] == instruction->meta.isa_set)
            return true;
    }
    return is_conditional(category) || category == ZYDIS_CATEGORY_X87_ALU ||
           has_mnemonic(base_mnemonics, COUNT(base_mnemonics), mnemonic);
}

static bool is_register_allowed(const ZydisDecodedOperand *operand)
{
    switch (ZydisRegisterGetClass(operand->reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
    case ZYDIS_REGCLASS_X87:
    case ZYDIS_REGCLASS_MMX:
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_FLAGS:
        return true;
    default:
        break;
    }
    switch (operand->reg.value) {
    case ZYDIS_REGISTER_MXCSR:
    case ZYDIS_REGISTER_X87CONTROL:
    case ZYDIS_REGISTER_X87STATUS:
    case ZYDIS_REGISTER_X87TAG:
        return true;
    default:
        return false;
    }
}

static bool are_operands_allowed(const ZydisDecodedInstruction *instruction,
                                 const ZydisDecodedOperand *operands)
{
    for (unsigned i = 0; i < instruction->operand_count; i++) {
        const ZydisDecodedOperand *operand = &operands[i];
        if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && !is_register_allowed(operand))
            return false;
        if (operand->type == ZYDIS_OPERAND_TYPE_POINTER)
            return false;
    }
    return true;
}

static unsigned register_needs(const ZydisDecodedInstruction *instruction, ZydisRegister reg)
{
    bool vex = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_X87:
        return NEED_X87;
    case ZYDIS_REGCLASS_MMX:
        return NEED_MMX;
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
        return vex ? NEED_AVX : NEED_SSE;
    default:
        break;
    }
    if (reg == ZYDIS_REGISTER_MXCSR)
        return vex ? NEED_AVX : NEED_SSE;
    return 0;
}

/* CVTTSS2SI and its kin use MXCSR even if they name no vector register. */
static bool is_sse_conversion(const ZydisDecodedInstruction *instruction)
{
    ZydisISASet set = instruction->meta.isa_set;
    return instruction->meta.category == ZYDIS_CATEGORY_CONVERT &&
           instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
           (set == ZYDIS_ISA_SET_SSE || set == ZYDIS_ISA_SET_SSE2 || set == ZYDIS_ISA_SET_SSE2MMX);
}

static unsigned needs(const ZydisDecodedInstruction *instruction,
                      const ZydisDecodedOperand *operands)
{
    if (instruction->mnemonic == ZYDIS_MNEMONIC_FWAIT)
        return NEED_WAIT;
    unsigned need = 0;
    for (unsigned i = 0; i < instruction->operand_count; i++) {
        if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
            need |= register_needs(instruction, operands[i].reg.value);
    }
    ZydisISASet set = instruction->meta.isa_set;
    if (set == ZYDIS_ISA_SET_X87 || set == ZYDIS_ISA_SET_SSE3X87 || set == ZYDIS_ISA_SET_FCMOV ||
        instruction->meta.category == ZYDIS_CATEGORY_X87_ALU)
        need |= NEED_X87;
    if (is_sse_conversion(instruction))
        need |= NEED_SSE;
    if (instruction->mnemonic == ZYDIS_MNEMONIC_EMMS)
        need |= NEED_MMX;
    if (instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        need |= set == ZYDIS_ISA_SET_BMI1 || set == ZYDIS_ISA_SET_BMI2 ? NEED_PROTECTED : NEED_AVX;
    return need;
}

static unsigned pointers(const ZydisDecodedInstruction *instruction, unsigned need)
{
    ZydisMnemonic mnemonic = instruction->mnemonic;
    if (mnemonic == ZYDIS_MNEMONIC_FNINIT || mnemonic == ZYDIS_MNEMONIC_FNSAVE)
        return POINTERS_CLEAR;
    bool control = has_mnemonic(x87_control_mnemonics, COUNT(x87_control_mnemonics), mnemonic);
    return (need & NEED_X87) && !control ? POINTERS_SET : POINTERS_KEEP;
}

static enum native_form form(const ZydisDecodedInstruction *instruction)
{
    ZydisMnemonic mnemonic = instruction->mnemonic;
    if (has_mnemonic(masked_mnemonics, COUNT(masked_mnemonics), mnemonic))
        return FORM_MASKED;
    if (has_mnemonic(environment_mnemonics, COUNT(environment_mnemonics), mnemonic))
        return FORM_ENVIRONMENT;
    switch (instruction->meta.isa_set) {
    case ZYDIS_ISA_SET_AVX2GATHER:
        return FORM_GATHER;
    case ZYDIS_ISA_SET_CLFSH:
    case ZYDIS_ISA_SET_CLFLUSHOPT:
    case ZYDIS_ISA_SET_CLWB:
        return FORM_FLUSH;
    default:
        break;
    }
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
        return FORM_MXCSR;
    case ZYDIS_MNEMONIC_VZEROALL:
    case ZYDIS_MNEMONIC_VZEROUPPER:
        return instruction->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? FORM_CODE : FORM_ZERO;
    default:
        return FORM_CODE;
    }
}

enum native_form allow_form(const ZydisDecodedInstruction *instruction,
                            const ZydisDecodedOperand *operands, struct thunk *thunk)
{
    if (instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
        instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return FORM_REFUSED;
    if (!is_listed(instruction) || !are_operands_allowed(instruction, operands))
        return FORM_REFUSED;
    unsigned need = needs(instruction, operands);
    thunk->need = (uint8_t)need;
    thunk->pointers = (uint8_t)pointers(instruction, need);
    return form(instruction);
}
