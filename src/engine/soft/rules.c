#include "engine/soft/rules.h"

#include "engine/soft/ops.h"

#define RULE(mnemonic, ...)     [ZYDIS_MNEMONIC_##mnemonic] = {__VA_ARGS__}
#define RUN(mnemonic, handler)  RULE(mnemonic, .run = (handler))
#define ENDS(mnemonic, handler) RULE(mnemonic, .run = (handler), .ends = true)
/* Operand size from prefixes and mode, not from the first operand. */
#define SIZED(mnemonic, handler) RULE(mnemonic, .run = (handler), .by_operand_width = true)
#define SIZED_ENDS(mnemonic, handler) \
    RULE(mnemonic, .run = (handler), .by_operand_width = true, .ends = true)
#define FORMS(mnemonic, table)          RULE(mnemonic, .forms = &(table))
#define WITH(mnemonic, handler, number) RULE(mnemonic, .run = (handler), .extra = (number) + 1)
#define JCC(mnemonic, code)             RULE(mnemonic, .forms = NULL, .extra = (code) + 1)

static const struct rule rules[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
    FORMS(ADD, op_add),
    FORMS(OR, op_or),
    FORMS(ADC, op_adc),
    FORMS(SBB, op_sbb),
    FORMS(AND, op_and),
    FORMS(SUB, op_sub),
    FORMS(XOR, op_xor),
    FORMS(CMP, op_cmp),
    FORMS(TEST, op_test),
    FORMS(INC, op_inc),
    FORMS(DEC, op_dec),
    FORMS(NEG, op_neg),
    FORMS(NOT, op_not),
    FORMS(ROL, op_rol),
    FORMS(ROR, op_ror),
    FORMS(RCL, op_rcl),
    FORMS(RCR, op_rcr),
    FORMS(SHL, op_shl),
    FORMS(SHR, op_shr),
    FORMS(SAR, op_sar),
    FORMS(XCHG, op_xchg),

    RUN(LEA, op_lea),
    RUN(MOVZX, op_movzx),
    RUN(MOVSX, op_movsx),
    RUN(MOVSXD, op_movsx),
    SIZED(CBW, op_cbw),
    SIZED(CWDE, op_cbw),
    SIZED(CDQE, op_cbw),
    SIZED(CWD, op_cwd),
    SIZED(CDQ, op_cwd),
    SIZED(CQO, op_cwd),
    RUN(XLAT, op_xlat),
    RUN(LAHF, op_lahf),
    RUN(SAHF, op_sahf),
    RUN(CLC, op_clc),
    RUN(STC, op_stc),
    RUN(CMC, op_cmc),
    RUN(CLD, op_cld),
    RUN(STD, op_std),
    RUN(NOP, op_nop),
    RUN(PREFETCH, op_nop),
    RUN(PREFETCHW, op_nop),
    RUN(PREFETCHWT1, op_nop),
    RUN(PREFETCHNTA, op_nop),
    RUN(PREFETCHT0, op_nop),
    RUN(PREFETCHT1, op_nop),
    RUN(PREFETCHT2, op_nop),
    ENDS(PAUSE, op_pause),

    WITH(SETO, op_setcc, 0),
    WITH(SETNO, op_setcc, 1),
    WITH(SETB, op_setcc, 2),
    WITH(SETNB, op_setcc, 3),
    WITH(SETZ, op_setcc, 4),
    WITH(SETNZ, op_setcc, 5),
    WITH(SETBE, op_setcc, 6),
    WITH(SETNBE, op_setcc, 7),
    WITH(SETS, op_setcc, 8),
    WITH(SETNS, op_setcc, 9),
    WITH(SETP, op_setcc, 10),
    WITH(SETNP, op_setcc, 11),
    WITH(SETL, op_setcc, 12),
    WITH(SETNL, op_setcc, 13),
    WITH(SETLE, op_setcc, 14),
    WITH(SETNLE, op_setcc, 15),
    WITH(CMOVO, op_cmov, 0),
    WITH(CMOVNO, op_cmov, 1),
    WITH(CMOVB, op_cmov, 2),
    WITH(CMOVNB, op_cmov, 3),
    WITH(CMOVZ, op_cmov, 4),
    WITH(CMOVNZ, op_cmov, 5),
    WITH(CMOVBE, op_cmov, 6),
    WITH(CMOVNBE, op_cmov, 7),
    WITH(CMOVS, op_cmov, 8),
    WITH(CMOVNS, op_cmov, 9),
    WITH(CMOVP, op_cmov, 10),
    WITH(CMOVNP, op_cmov, 11),
    WITH(CMOVL, op_cmov, 12),
    WITH(CMOVNL, op_cmov, 13),
    WITH(CMOVLE, op_cmov, 14),
    WITH(CMOVNLE, op_cmov, 15),

    SIZED(PUSHA, op_pusha),
    SIZED(PUSHAD, op_pusha),
    SIZED(POPA, op_popa),
    SIZED(POPAD, op_popa),
    SIZED(PUSHF, op_pushf),
    SIZED(PUSHFD, op_pushf),
    SIZED(PUSHFQ, op_pushf),
    SIZED_ENDS(POPF, op_popf),
    SIZED_ENDS(POPFD, op_popf),
    SIZED_ENDS(POPFQ, op_popf),
    SIZED(ENTER, op_enter),
    SIZED(LEAVE, op_leave),

    JCC(JO, 0),
    JCC(JNO, 1),
    JCC(JB, 2),
    JCC(JNB, 3),
    JCC(JZ, 4),
    JCC(JNZ, 5),
    JCC(JBE, 6),
    JCC(JNBE, 7),
    JCC(JS, 8),
    JCC(JNS, 9),
    JCC(JP, 10),
    JCC(JNP, 11),
    JCC(JL, 12),
    JCC(JNL, 13),
    JCC(JLE, 14),
    JCC(JNLE, 15),
    RUN(JCXZ, op_jcxz),
    RUN(JECXZ, op_jcxz),
    RUN(JRCXZ, op_jcxz),
    WITH(LOOP, op_loop, 0),
    WITH(LOOPE, op_loop, 1),
    WITH(LOOPNE, op_loop, 2),
    ENDS(HLT, op_hlt),
    RUN(CLI, op_cli),
    ENDS(STI, op_sti),
    RUN(BOUND, op_bound),
    ENDS(UD0, op_undefined),
    ENDS(UD1, op_undefined),
    ENDS(UD2, op_undefined),

    RUN(MOVSB, op_movs),
    RUN(MOVSW, op_movs),
    RUN(MOVSQ, op_movs),
    RUN(STOSB, op_stos),
    RUN(STOSW, op_stos),
    RUN(STOSD, op_stos),
    RUN(STOSQ, op_stos),
    RUN(LODSB, op_lods),
    RUN(LODSW, op_lods),
    RUN(LODSD, op_lods),
    RUN(LODSQ, op_lods),
    RUN(SCASB, op_scas),
    RUN(SCASW, op_scas),
    RUN(SCASD, op_scas),
    RUN(SCASQ, op_scas),
    RUN(CMPSB, op_cmps),
    RUN(CMPSW, op_cmps),
    RUN(CMPSQ, op_cmps),
    RUN(INSB, op_ins),
    RUN(INSW, op_ins),
    RUN(INSD, op_ins),
    SIZED(OUTSB, op_outs),
    SIZED(OUTSW, op_outs),
    SIZED(OUTSD, op_outs),

    RUN(AAA, op_aaa),
    RUN(AAS, op_aas),
    RUN(AAM, op_aam),
    RUN(AAD, op_aad),
    RUN(DAA, op_daa),
    RUN(DAS, op_das),
    RUN(SALC, op_salc),

    WITH(LDS, op_load_far_pointer, SEGMENT_DS),
    WITH(LES, op_load_far_pointer, SEGMENT_ES),
    WITH(LSS, op_load_far_pointer, SEGMENT_SS),
    WITH(LFS, op_load_far_pointer, SEGMENT_FS),
    WITH(LGS, op_load_far_pointer, SEGMENT_GS),
    RULE(LAR, .run = op_lar, .source_in_rm = true),
    RULE(LSL, .run = op_lsl, .source_in_rm = true),
    RUN(VERR, op_verr),
    RUN(VERW, op_verw),
    RUN(ARPL, op_arpl),
    RUN(LLDT, op_lldt),
    RUN(LTR, op_ltr),
    RUN(SLDT, op_sldt),
    RUN(STR, op_str),

    SIZED_ENDS(IRET, op_iret),
    SIZED_ENDS(IRETD, op_iret),
    SIZED_ENDS(IRETQ, op_iret),
    ENDS(INT, op_int),
    ENDS(INT3, op_int3),
    RUN(INTO, op_into),
    ENDS(INT1, op_icebp),
    SIZED_ENDS(SYSCALL, op_syscall),
    SIZED_ENDS(SYSRET, op_sysret),
    SIZED_ENDS(SYSENTER, op_sysenter),
    SIZED_ENDS(SYSEXIT, op_sysexit),
    ENDS(SWAPGS, op_swapgs),

    ENDS(CLTS, op_clts),
    ENDS(LMSW, op_lmsw),
    RUN(SMSW, op_smsw),
    SIZED_ENDS(LGDT, op_lgdt),
    SIZED_ENDS(LIDT, op_lidt),
    RUN(SGDT, op_sgdt),
    RUN(SIDT, op_sidt),
    ENDS(INVLPG, op_invlpg),
    ENDS(INVPCID, op_invpcid),
    ENDS(INVD, op_cache_flush_all),
    ENDS(WBINVD, op_cache_flush_all),
    RUN(RDMSR, op_rdmsr),
    ENDS(WRMSR, op_wrmsr),
    RUN(RDPMC, op_rdpmc),
    ENDS(CPUID, op_cpuid),
    RUN(RDTSC, op_rdtsc),
    RUN(RDTSCP, op_rdtscp),
    RUN(RDPID, op_rdpid),
    RUN(RDFSBASE, op_rdfsbase),
    RUN(RDGSBASE, op_rdgsbase),
    ENDS(WRFSBASE, op_wrfsbase),
    ENDS(WRGSBASE, op_wrgsbase),
    ENDS(CLAC, op_clac),
    ENDS(STAC, op_stac),
    ENDS(VMCALL, op_vmcall),
    ENDS(VMMCALL, op_vmcall),

    WITH(FXSAVE, op_fxsave, 0),
    WITH(FXSAVE64, op_fxsave, 1),
    WITH(FXRSTOR, op_fxrstor, 0),
    WITH(FXRSTOR64, op_fxrstor, 1),
    WITH(XSAVE, op_xsave, 0),
    WITH(XSAVE64, op_xsave, 0),
    WITH(XSAVEOPT, op_xsave, 1),
    WITH(XSAVEOPT64, op_xsave, 1),
    WITH(XSAVEC, op_xsave, 2),
    WITH(XSAVEC64, op_xsave, 2),
    RUN(XRSTOR, op_xrstor),
    RUN(XRSTOR64, op_xrstor),
    RUN(XGETBV, op_xgetbv),
    ENDS(XSETBV, op_xsetbv),
};

/* One mnemonic, several instructions: these are told apart by their operands. */

static const struct rule jcc_rules[16] = {
    {.run = op_jcc_o}, {.run = op_jcc_no}, {.run = op_jcc_b},  {.run = op_jcc_nb},
    {.run = op_jcc_z}, {.run = op_jcc_nz}, {.run = op_jcc_be}, {.run = op_jcc_nbe},
    {.run = op_jcc_s}, {.run = op_jcc_ns}, {.run = op_jcc_p},  {.run = op_jcc_np},
    {.run = op_jcc_l}, {.run = op_jcc_nl}, {.run = op_jcc_le}, {.run = op_jcc_nle},
};

static const struct rule mov_rule = {.forms = &op_mov};
static const struct rule mov_from_segment = {.run = op_mov_from_segment};
static const struct rule mov_to_segment = {.run = op_mov_to_segment, .ends = true};
static const struct rule mov_from_cr = {.run = op_mov_from_cr};
static const struct rule mov_to_cr = {.run = op_mov_to_cr, .ends = true};
static const struct rule mov_from_dr = {.run = op_mov_from_dr};
static const struct rule mov_to_dr = {.run = op_mov_to_dr, .ends = true};

static ZydisRegisterClass register_class(const ZydisDecodedOperand *operand)
{
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return ZYDIS_REGCLASS_INVALID;
    return ZydisRegisterGetClass(operand->reg.value);
}

static const struct rule *mov_find(const ZydisDecodedOperand *operands)
{
    switch (register_class(&operands[0])) {
    case ZYDIS_REGCLASS_SEGMENT:
        return &mov_to_segment;
    case ZYDIS_REGCLASS_CONTROL:
        return &mov_to_cr;
    case ZYDIS_REGCLASS_DEBUG:
        return &mov_to_dr;
    default:
        break;
    }
    switch (register_class(&operands[1])) {
    case ZYDIS_REGCLASS_SEGMENT:
        return &mov_from_segment;
    case ZYDIS_REGCLASS_CONTROL:
        return &mov_from_cr;
    case ZYDIS_REGCLASS_DEBUG:
        return &mov_from_dr;
    default:
        return &mov_rule;
    }
}

static const struct rule push_segment = {.run = op_push_segment, .by_operand_width = true};
static const struct rule push_immediate = {.run = op_push_imm, .by_operand_width = true};
static const struct rule push_register64 = {.run = op_push64};
static const struct rule push_other = {.run = op_push, .by_operand_width = true};

static const struct rule *push_find(const ZydisDecodedInstruction *instruction,
                                    const ZydisDecodedOperand *operands)
{
    if (operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return &push_immediate;
    if (register_class(&operands[0]) == ZYDIS_REGCLASS_SEGMENT)
        return &push_segment;
    bool plain =
        operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && instruction->operand_width == 64;
    return plain ? &push_register64 : &push_other;
}

static const struct rule pop_segment = {
    .run = op_pop_segment, .by_operand_width = true, .ends = true};
static const struct rule pop_register64 = {.run = op_pop64};
static const struct rule pop_other = {.run = op_pop, .by_operand_width = true};

static const struct rule *pop_find(const ZydisDecodedInstruction *instruction,
                                   const ZydisDecodedOperand *operands)
{
    if (register_class(&operands[0]) == ZYDIS_REGCLASS_SEGMENT)
        return &pop_segment;
    bool plain =
        operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && instruction->operand_width == 64;
    return plain ? &pop_register64 : &pop_other;
}

static const struct rule jump_near = {.run = op_jmp, .ends = true, .by_operand_width = true};
static const struct rule jump_indirect = {
    .run = op_jmp_indirect, .ends = true, .by_operand_width = true};
static const struct rule jump_far = {.run = op_far_jump, .ends = true, .by_operand_width = true};
static const struct rule jump_far_indirect = {
    .run = op_far_jump_indirect, .ends = true, .by_operand_width = true};
static const struct rule call_near = {.run = op_call, .ends = true, .by_operand_width = true};
static const struct rule call_indirect = {
    .run = op_call_indirect, .ends = true, .by_operand_width = true};
static const struct rule call_far = {.run = op_far_call, .ends = true, .by_operand_width = true};
static const struct rule call_far_indirect = {
    .run = op_far_call_indirect, .ends = true, .by_operand_width = true};
static const struct rule return_near = {.run = op_ret, .ends = true, .by_operand_width = true};
static const struct rule return_far = {
    .run = op_far_return, .ends = true, .by_operand_width = true};

static const struct rule *jump_find(const ZydisDecodedInstruction *instruction,
                                    const ZydisDecodedOperand *operands, bool call)
{
    bool direct = operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ||
                  operands[0].type == ZYDIS_OPERAND_TYPE_POINTER;
    if (instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        if (direct)
            return call ? &call_far : &jump_far;
        return call ? &call_far_indirect : &jump_far_indirect;
    }
    if (direct)
        return call ? &call_near : &jump_near;
    return call ? &call_indirect : &jump_indirect;
}

static const struct rule in_rule = {.run = op_in};
static const struct rule out_rule = {.run = op_out, .by_operand_width = true};
static const struct rule movs_rule = {.run = op_movs};
static const struct rule cmps_rule = {.run = op_cmps};

/* The four-byte string instructions share their mnemonics with SSE2 scalars, which run natively. */
static const struct rule *string_find(const ZydisDecodedInstruction *instruction,
                                      const struct rule *rule)
{
    return instruction->meta.category == ZYDIS_CATEGORY_STRINGOP ? rule : NULL;
}

static const struct rule *plain_find(const ZydisDecodedInstruction *instruction)
{
    const struct rule *rule = &rules[instruction->mnemonic];
    if (rule->run != NULL || rule->forms != NULL)
        return rule;
    /* Only conditional jumps have an entry with neither. */
    return rule->extra != 0 ? &jcc_rules[rule->extra - 1] : NULL;
}

const struct rule *rule_find(const ZydisDecodedInstruction *instruction,
                             const ZydisDecodedOperand *operands)
{
    switch (instruction->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return mov_find(operands);
    case ZYDIS_MNEMONIC_PUSH:
        return push_find(instruction, operands);
    case ZYDIS_MNEMONIC_POP:
        return pop_find(instruction, operands);
    case ZYDIS_MNEMONIC_JMP:
        return jump_find(instruction, operands, false);
    case ZYDIS_MNEMONIC_CALL:
        return jump_find(instruction, operands, true);
    case ZYDIS_MNEMONIC_RET:
        return instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? &return_far : &return_near;
    case ZYDIS_MNEMONIC_IN:
        return &in_rule;
    case ZYDIS_MNEMONIC_OUT:
        return &out_rule;
    case ZYDIS_MNEMONIC_MOVSD:
        return string_find(instruction, &movs_rule);
    case ZYDIS_MNEMONIC_CMPSD:
        return string_find(instruction, &cmps_rule);
    default:
        return plain_find(instruction);
    }
}
