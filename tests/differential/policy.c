/*
 * The policy tables. Feature bits: Intel SDM vol. 2A, CPUID; exclusions carry their reason.
 */
#include "policy.h"

#include <stddef.h>

const char *const policy_group_name[GROUP_COUNT] = {
    [GROUP_INTEGER] = "integer", [GROUP_BRANCH] = "branch",   [GROUP_STACK] = "stack",
    [GROUP_STRING] = "string",   [GROUP_SEGMENT] = "segment", [GROUP_BMI] = "bmi",
    [GROUP_X87] = "x87",         [GROUP_MMX] = "mmx",         [GROUP_SSE] = "sse",
    [GROUP_AVX] = "avx",         [GROUP_CRYPTO] = "crypto",   [GROUP_XSAVE] = "xsave",
    [GROUP_SYSTEM] = "system",
};

const struct cpuid_place policy_place[WORD_COUNT] = {
    [WORD_1_ECX] = {1, 0, 2},           [WORD_1_EDX] = {1, 0, 3},
    [WORD_7_EBX] = {7, 0, 1},           [WORD_7_ECX] = {7, 0, 2},
    [WORD_7_1_EAX] = {7, 1, 0},         [WORD_D_1_EAX] = {0xd, 1, 0},
    [WORD_X1_ECX] = {0x80000001, 0, 2}, [WORD_X1_EDX] = {0x80000001, 0, 3},
};

struct feature {
    ZydisISASet isa;
    enum cpuid_word word;
    uint8_t bit;
};

/* Sets that have no line here and are not in always_there are ones that no guest is shown. */
static const struct feature features[] = {
    {ZYDIS_ISA_SET_ADOX_ADCX, WORD_7_EBX, 19},  {ZYDIS_ISA_SET_AES, WORD_1_ECX, 25},
    {ZYDIS_ISA_SET_AVX, WORD_1_ECX, 28},        {ZYDIS_ISA_SET_AVX2, WORD_7_EBX, 5},
    {ZYDIS_ISA_SET_AVX2GATHER, WORD_7_EBX, 5},  {ZYDIS_ISA_SET_AVXAES, WORD_1_ECX, 25},
    {ZYDIS_ISA_SET_AVX_GFNI, WORD_7_ECX, 8},    {ZYDIS_ISA_SET_AVX_VNNI, WORD_7_1_EAX, 4},
    {ZYDIS_ISA_SET_BMI1, WORD_7_EBX, 3},        {ZYDIS_ISA_SET_BMI2, WORD_7_EBX, 8},
    {ZYDIS_ISA_SET_CLFLUSHOPT, WORD_7_EBX, 23}, {ZYDIS_ISA_SET_CLFSH, WORD_1_EDX, 19},
    {ZYDIS_ISA_SET_CLWB, WORD_7_EBX, 24},       {ZYDIS_ISA_SET_CMOV, WORD_1_EDX, 15},
    {ZYDIS_ISA_SET_CMPXCHG16B, WORD_1_ECX, 13}, {ZYDIS_ISA_SET_F16C, WORD_1_ECX, 29},
    {ZYDIS_ISA_SET_FCMOV, WORD_1_EDX, 15},      {ZYDIS_ISA_SET_FMA, WORD_1_ECX, 12},
    {ZYDIS_ISA_SET_FXSAVE, WORD_1_EDX, 24},     {ZYDIS_ISA_SET_FXSAVE64, WORD_1_EDX, 24},
    {ZYDIS_ISA_SET_GFNI, WORD_7_ECX, 8},        {ZYDIS_ISA_SET_INVPCID, WORD_7_EBX, 10},
    {ZYDIS_ISA_SET_LZCNT, WORD_X1_ECX, 5},      {ZYDIS_ISA_SET_MOVBE, WORD_1_ECX, 22},
    {ZYDIS_ISA_SET_MOVDIR, WORD_7_ECX, 27},     {ZYDIS_ISA_SET_PCLMULQDQ, WORD_1_ECX, 1},
    {ZYDIS_ISA_SET_PENTIUMMMX, WORD_1_EDX, 23}, {ZYDIS_ISA_SET_POPCNT, WORD_1_ECX, 23},
    {ZYDIS_ISA_SET_RDWRFSGS, WORD_7_EBX, 0},    {ZYDIS_ISA_SET_SHA, WORD_7_EBX, 29},
    {ZYDIS_ISA_SET_SSE, WORD_1_EDX, 25},        {ZYDIS_ISA_SET_SSE2, WORD_1_EDX, 26},
    {ZYDIS_ISA_SET_SSE2MMX, WORD_1_EDX, 26},    {ZYDIS_ISA_SET_SSE3, WORD_1_ECX, 0},
    {ZYDIS_ISA_SET_SSE3X87, WORD_1_ECX, 0},     {ZYDIS_ISA_SET_SSE4, WORD_1_ECX, 19},
    {ZYDIS_ISA_SET_SSE42, WORD_1_ECX, 20},      {ZYDIS_ISA_SET_SSEMXCSR, WORD_1_EDX, 25},
    {ZYDIS_ISA_SET_SSSE3, WORD_1_ECX, 9},       {ZYDIS_ISA_SET_SSSE3MMX, WORD_1_ECX, 9},
    {ZYDIS_ISA_SET_VAES, WORD_7_ECX, 9},        {ZYDIS_ISA_SET_VPCLMULQDQ, WORD_7_ECX, 10},
    {ZYDIS_ISA_SET_XSAVE, WORD_1_ECX, 26},      {ZYDIS_ISA_SET_XSAVEC, WORD_D_1_EAX, 1},
    {ZYDIS_ISA_SET_XSAVEOPT, WORD_D_1_EAX, 0},
};

/* In every 64-bit processor, or no-operations where the feature is absent. */
static const ZydisISASet always_there[] = {
    ZYDIS_ISA_SET_CLDEMOTE,      ZYDIS_ISA_SET_FAT_NOP,      ZYDIS_ISA_SET_I186,
    ZYDIS_ISA_SET_I286PROTECTED, ZYDIS_ISA_SET_I286REAL,     ZYDIS_ISA_SET_I386,
    ZYDIS_ISA_SET_I486,          ZYDIS_ISA_SET_I486REAL,     ZYDIS_ISA_SET_I86,
    ZYDIS_ISA_SET_LAHF,          ZYDIS_ISA_SET_LONGMODE,     ZYDIS_ISA_SET_MPX,
    ZYDIS_ISA_SET_PAUSE,         ZYDIS_ISA_SET_PENTIUMREAL,  ZYDIS_ISA_SET_PPRO,
    ZYDIS_ISA_SET_PREFETCHWT1,   ZYDIS_ISA_SET_PREFETCH_NOP, ZYDIS_ISA_SET_SSE_PREFETCH,
    ZYDIS_ISA_SET_X87,
};

static const ZydisMnemonic skipped[] = {
    /* No function of the case: time, chance, which processor. */
    ZYDIS_MNEMONIC_CPUID,
    ZYDIS_MNEMONIC_RDTSC,
    ZYDIS_MNEMONIC_RDTSCP,
    ZYDIS_MNEMONIC_RDPID,
    ZYDIS_MNEMONIC_RDRAND,
    ZYDIS_MNEMONIC_RDSEED,
    ZYDIS_MNEMONIC_RDPMC,
    /* Host's own tables and control registers; the host's UMIP and XCR0 need not be the guest's. */
    ZYDIS_MNEMONIC_SGDT,
    ZYDIS_MNEMONIC_SIDT,
    ZYDIS_MNEMONIC_SLDT,
    ZYDIS_MNEMONIC_STR,
    ZYDIS_MNEMONIC_SMSW,
    ZYDIS_MNEMONIC_XGETBV,
    /* Leave the child. */
    ZYDIS_MNEMONIC_SYSCALL,
    ZYDIS_MNEMONIC_SYSENTER,
    ZYDIS_MNEMONIC_VMCALL,
    ZYDIS_MNEMONIC_VMMCALL,
    /* A host that is itself a guest sees INT1 intercepted: its RIP then differs. */
    ZYDIS_MNEMONIC_INT1,
    /* Differ between AMD and Intel outside 64-bit mode or by operand size. */
    ZYDIS_MNEMONIC_SYSEXIT,
    ZYDIS_MNEMONIC_SYSRET,
    /* Only in system management mode. */
    ZYDIS_MNEMONIC_RSM,
};

static bool has_feature(const struct policy *policy, ZydisISASet isa)
{
    for (size_t i = 0; i < sizeof(always_there) / sizeof(always_there[0]); i++)
        if (always_there[i] == isa)
            return true;
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        if (features[i].isa == isa)
            return (policy->word[features[i].word] >> features[i].bit & 1) != 0;
    return false;
}

bool policy_has_avx(const struct policy *policy)
{
    return (policy->word[WORD_1_ECX] >> 28 & 1) != 0;
}

/* VEX forms of AES and PCLMULQDQ, and everything else in YMM, also need AVX. */
static bool vex_is_there(const struct policy *policy, const ZydisDecodedInstruction *instruction)
{
    if (instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return true;
    bool general = instruction->meta.isa_set == ZYDIS_ISA_SET_BMI1 ||
                   instruction->meta.isa_set == ZYDIS_ISA_SET_BMI2;
    return general || policy_has_avx(policy);
}

static bool is_nop_of_cet(const ZydisDecodedInstruction *instruction)
{
    switch (instruction->mnemonic) {
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_RDSSPD:
    case ZYDIS_MNEMONIC_RDSSPQ:
        return true;
    default:
        return false;
    }
}

static bool is_skipped(const ZydisDecodedInstruction *instruction)
{
    for (size_t i = 0; i < sizeof(skipped) / sizeof(skipped[0]); i++)
        if (skipped[i] == instruction->mnemonic)
            return true;
    return false;
}

/* REP before LOOPE and LOOPNE is undefined (Intel SDM vol. 2B, REP); Zen 4 takes its condition. */
static bool is_repeated_loop(const ZydisDecodedInstruction *instruction)
{
    if (instruction->mnemonic != ZYDIS_MNEMONIC_LOOPE &&
        instruction->mnemonic != ZYDIS_MNEMONIC_LOOPNE)
        return false;
    for (unsigned i = 0; i < instruction->raw.prefix_count; i++)
        if (instruction->raw.prefixes[i].value == 0xf2 ||
            instruction->raw.prefixes[i].value == 0xf3)
            return true;
    return false;
}

/*
 * AMD64 APM vol. 3 § 1.2.3 against Intel SDM vol. 2A, JMP: in 64-bit mode a 66 prefix makes near
 * branches 16 bits wide on AMD and is ignored by Intel; REX.W makes far pointers 64 bits wide on
 * Intel only. The guest is shown Intel's behaviour, so only hosts of one vendor could judge.
 */
static bool vendors_differ(enum diff_mode mode, const ZydisDecodedInstruction *instruction)
{
    if (instruction->mnemonic == ZYDIS_MNEMONIC_NOP && instruction->opcode == 0x0d)
        return instruction->raw.modrm.mod == 3; /* prefetch of a register: #UD on AMD only */
    if (mode != DIFF_MODE64)
        return false;
    bool size16 = (instruction->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) != 0;
    bool size64 =
        (instruction->attributes & ZYDIS_ATTRIB_HAS_REX) != 0 && instruction->raw.rex.W != 0;
    switch (instruction->mnemonic) {
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
        return size64;
    default:
        break;
    }
    if (instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return size64 && instruction->mnemonic != ZYDIS_MNEMONIC_IRETQ &&
               instruction->meta.category != ZYDIS_CATEGORY_RET;
    switch (instruction->meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
        return size16;
    default:
        return false;
    }
}

static bool is_linux_system_call(const ZydisDecodedInstruction *instruction,
                                 const ZydisDecodedOperand *operands)
{
    return instruction->mnemonic == ZYDIS_MNEMONIC_INT && operands[0].imm.value.u == 0x80;
}

enum policy_verdict policy_judge(const struct policy *policy, enum diff_mode mode,
                                 const ZydisDecodedInstruction *instruction,
                                 const ZydisDecodedOperand *operands)
{
    if (is_skipped(instruction) || is_repeated_loop(instruction) ||
        vendors_differ(mode, instruction) || is_linux_system_call(instruction, operands))
        return POLICY_SKIP;
    if (is_nop_of_cet(instruction))
        return POLICY_COMPARE;
    bool there =
        has_feature(policy, instruction->meta.isa_set) && vex_is_there(policy, instruction);
    /* On processors that do not know them these are BSR and BSF, and the engine's guest has them.
     */
    if (!there && (instruction->mnemonic == ZYDIS_MNEMONIC_LZCNT ||
                   instruction->mnemonic == ZYDIS_MNEMONIC_TZCNT))
        return POLICY_SKIP;
    return there ? POLICY_COMPARE : POLICY_HIDDEN;
}

static enum policy_group group_of_set(const ZydisDecodedInstruction *instruction)
{
    switch (instruction->meta.isa_set) {
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_FCMOV:
    case ZYDIS_ISA_SET_SSE3X87:
        return GROUP_X87;
    case ZYDIS_ISA_SET_PENTIUMMMX:
    case ZYDIS_ISA_SET_SSE2MMX:
    case ZYDIS_ISA_SET_SSSE3MMX:
        return GROUP_MMX;
    case ZYDIS_ISA_SET_BMI1:
    case ZYDIS_ISA_SET_BMI2:
    case ZYDIS_ISA_SET_ADOX_ADCX:
    case ZYDIS_ISA_SET_LZCNT:
    case ZYDIS_ISA_SET_POPCNT:
    case ZYDIS_ISA_SET_MOVBE:
        return GROUP_BMI;
    case ZYDIS_ISA_SET_AES:
    case ZYDIS_ISA_SET_AVXAES:
    case ZYDIS_ISA_SET_VAES:
    case ZYDIS_ISA_SET_SHA:
    case ZYDIS_ISA_SET_PCLMULQDQ:
    case ZYDIS_ISA_SET_VPCLMULQDQ:
    case ZYDIS_ISA_SET_GFNI:
    case ZYDIS_ISA_SET_AVX_GFNI:
        return GROUP_CRYPTO;
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSE4:
    case ZYDIS_ISA_SET_SSE42:
    case ZYDIS_ISA_SET_SSEMXCSR:
        return GROUP_SSE;
    case ZYDIS_ISA_SET_XSAVE:
    case ZYDIS_ISA_SET_XSAVEC:
    case ZYDIS_ISA_SET_XSAVEOPT:
    case ZYDIS_ISA_SET_FXSAVE:
    case ZYDIS_ISA_SET_FXSAVE64:
        return GROUP_XSAVE;
    default:
        return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? GROUP_AVX : GROUP_INTEGER;
    }
}

enum policy_group policy_group_of(const ZydisDecodedInstruction *instruction)
{
    if ((instruction->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) != 0)
        return GROUP_SYSTEM;
    switch (instruction->meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_INTERRUPT:
        return GROUP_BRANCH;
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
        return GROUP_STACK;
    case ZYDIS_CATEGORY_STRINGOP:
        return GROUP_STRING;
    case ZYDIS_CATEGORY_SEGOP:
    case ZYDIS_CATEGORY_RDWRFSGS:
        return GROUP_SEGMENT;
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_SYSTEM:
        return GROUP_SYSTEM;
    default:
        return group_of_set(instruction);
    }
}
