#include "engine/soft/decode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/soft/ops.h"
#include "engine/soft/ops_integer.h"
#include "engine/soft/partition.h"
#include "engine/soft/rules.h"
#include "engine/soft/thunk.h"

enum { MAX_LENGTH = 15 };

struct decoder {
    struct soft_partition *partition;
    ZydisDecoder zydis[3]; /* 16-, 32-, 64-bit code */
    struct thunk_pool *thunks;
};

/* What one call of decode() works on. */
struct context {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    uint64_t rip;
    uint32_t mode;
};

int decode_set_up(const struct soft_partition *partition, ZydisMachineMode mode,
                  ZydisStackWidth width, ZydisDecoder *ret)
{
    bool lzcnt = cpuid_shows(partition, ZYDIS_ISA_SET_LZCNT);
    bool tzcnt = cpuid_shows(partition, ZYDIS_ISA_SET_BMI1);
    if (ZYAN_FAILED(ZydisDecoderInit(ret, mode, width)) ||
        ZYAN_FAILED(ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE)) ||
        ZYAN_FAILED(ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE)) ||
        ZYAN_FAILED(ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE)) ||
        ZYAN_FAILED(ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_LZCNT, lzcnt)) ||
        ZYAN_FAILED(ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_TZCNT, tzcnt)))
        return -ENOTSUP;
    return 0;
}

static int set_up_zydis(struct decoder *decoder)
{
    static const ZydisMachineMode modes[3] = {
        ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64};
    static const ZydisStackWidth widths[3] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
                                              ZYDIS_STACK_WIDTH_64};
    int error = 0;
    for (unsigned i = 0; i < 3 && error == 0; i++)
        error = decode_set_up(decoder->partition, modes[i], widths[i], &decoder->zydis[i]);
    return error;
}

int decoder_create(struct soft_partition *partition, struct decoder **ret)
{
    struct decoder *decoder = calloc(1, sizeof(*decoder));
    if (decoder == NULL)
        return -ENOMEM;
    decoder->partition = partition;
    int error = set_up_zydis(decoder);
    if (error == 0)
        error = thunk_pool_create(&decoder->thunks);
    if (error != 0) {
        free(decoder);
        return error;
    }
    *ret = decoder;
    return 0;
}

void decoder_destroy(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    thunk_pool_destroy(decoder->thunks);
    free(decoder);
}

void decoder_reset(struct decoder *decoder)
{
    thunk_pool_reset(decoder->thunks);
}

/* ---- operands ---- */

static uint8_t gpr_number(ZydisRegister reg)
{
    ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    return (uint8_t)ZydisRegisterGetId(whole);
}

/* Byte offset into cpu->gpr: AH, CH, DH, BH are the second bytes of registers 0 to 3. */
static uint8_t gpr_offset(ZydisRegister reg)
{
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
        return (uint8_t)((reg - ZYDIS_REGISTER_AH) * 8 + 1);
    return (uint8_t)(gpr_number(reg) * 8);
}

static bool is_gpr(const ZydisDecodedOperand *operand)
{
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    switch (ZydisRegisterGetClass(operand->reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return true;
    default:
        return false;
    }
}

static uint8_t address_register(ZydisRegister reg)
{
    if (reg == ZYDIS_REGISTER_NONE)
        return GPR_ZERO;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return GPR_RIP;
    return gpr_number(reg);
}

static void take_segment(const struct context *context, const ZydisDecodedOperandMem *mem,
                         struct op *op)
{
    unsigned segment = SEGMENT_DS;
    if (ZydisRegisterGetClass(mem->segment) == ZYDIS_REGCLASS_SEGMENT)
        segment = (unsigned)ZydisRegisterGetId(mem->segment);
    bool based = segment == SEGMENT_FS || segment == SEGMENT_GS;
    if (segment == SEGMENT_SS)
        op->flags |= OP_STACK;
    op->segment =
        (uint8_t)((context->mode & MODE_LONG) && !based ? (unsigned)SEGMENT_FLAT : segment);
}

static uint8_t log2_scale(uint8_t scale)
{
    return (uint8_t)(scale <= 1 ? 0 : __builtin_ctz(scale));
}

/* ModRM.mod 0 with SIB.base 5: a 32-bit displacement and no base, whatever REX.B or VEX.B say.
 * Zydis 4.0 gets VEX with a 32-bit address wrong. Intel SDM vol. 2A table 2-3. */
static bool has_no_base(const ZydisDecodedInstruction *instruction)
{
    return (instruction->attributes & ZYDIS_ATTRIB_HAS_SIB) != 0 &&
           instruction->address_width != 16 && instruction->raw.modrm.mod == 0 &&
           (instruction->raw.sib.base & 7) == 5;
}

static void take_memory(const struct context *context, const ZydisDecodedOperand *operand,
                        struct op *op)
{
    const ZydisDecodedOperandMem *mem = &operand->mem;
    op->flags |= OP_MEMORY;
    op->base = address_register(mem->base);
    op->index = address_register(mem->index);
    op->scale = log2_scale(mem->scale);
    op->disp = (uint64_t)mem->disp.value;
    if (op->base == GPR_RIP)
        op->disp += context->rip + context->instruction.length;
    if (has_no_base(&context->instruction)) {
        op->base = GPR_ZERO;
        op->disp = (uint64_t)context->instruction.raw.disp.value;
    }
    op->size = (uint8_t)(operand->size / 8);
    take_segment(context, mem, op);
}

static void take_register(const ZydisDecodedOperand *operand, unsigned position, struct op *op)
{
    if (position == 0) {
        op->rm = gpr_offset(operand->reg.value);
    } else {
        op->reg = gpr_offset(operand->reg.value);
        if ((op->flags & OP_MEMORY) == 0)
            op->size = (uint8_t)(operand->size / 8);
    }
}

static void take_immediate(const struct context *context, const ZydisDecodedOperand *operand,
                           struct op *op)
{
    op->flags |= OP_IMMEDIATE;
    op->imm = operand->imm.value.u;
    if (!operand->imm.is_relative)
        return;
    op->imm += context->rip + context->instruction.length;
    if (context->mode & MODE_LONG)
        op->flags |= OP_RELATIVE;
    else
        op->imm = context->instruction.operand_width == 16 ? (uint16_t)op->imm : (uint32_t)op->imm;
}

static void take_operand(const struct context *context, unsigned position, struct op *op)
{
    const ZydisDecodedOperand *operand = &context->operand[position];
    switch (operand->type) {
    case ZYDIS_OPERAND_TYPE_MEMORY:
        take_memory(context, operand, op);
        break;
    case ZYDIS_OPERAND_TYPE_REGISTER:
        if (is_gpr(operand))
            take_register(operand, position, op);
        else
            op->extra = (uint16_t)ZydisRegisterGetId(operand->reg.value);
        break;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        if (op->flags & OP_IMMEDIATE)
            op->extra = (uint16_t)operand->imm.value.u; /* ENTER's level */
        else
            take_immediate(context, operand, op);
        break;
    case ZYDIS_OPERAND_TYPE_POINTER:
        op->imm = operand->ptr.offset;
        op->extra = operand->ptr.segment;
        break;
    default:
        break;
    }
}

/* With one memory and one register operand the register is `reg`, whichever comes first. */
static void settle_direction(const struct context *context, struct op *op)
{
    unsigned visible = context->instruction.operand_count_visible;
    if (visible >= 2 && (op->flags & OP_MEMORY) &&
        context->operand[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        op->flags |= OP_REVERSED;
        if (is_gpr(&context->operand[0]))
            op->reg = op->rm;
    }
    /* MOV to a segment, control or debug register: the general register is the r/m operand. */
    if (visible == 2 && (op->flags & OP_MEMORY) == 0 && !is_gpr(&context->operand[0]) &&
        is_gpr(&context->operand[1]))
        op->rm = op->reg;
}

/* String instructions and XLAT: only the segment of the source can be chosen. */
static void take_hidden_segment(const struct context *context, struct op *op)
{
    op->segment = (context->mode & MODE_LONG) ? SEGMENT_FLAT : SEGMENT_DS;
    for (unsigned i = 0; i < context->instruction.operand_count; i++) {
        const ZydisDecodedOperand *operand = &context->operand[i];
        if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        uint8_t base = address_register(operand->mem.base);
        if (base == GPR_RSI || base == GPR_RBX)
            take_segment(context, &operand->mem, op);
    }
}

/* The last of F2 and F3 counts. */
static uint8_t repeat_flags(const ZydisDecodedInstruction *instruction)
{
    for (unsigned i = instruction->raw.prefix_count; i-- > 0;) {
        if (instruction->raw.prefixes[i].value == 0xf3)
            return OP_REP;
        if (instruction->raw.prefixes[i].value == 0xf2)
            return OP_REPNE;
    }
    return 0;
}

static void take_operands(const struct context *context, struct op *op)
{
    const ZydisDecodedInstruction *instruction = &context->instruction;
    op->base = GPR_ZERO;
    op->index = GPR_ZERO;
    op->length = instruction->length;
    op->address_width = (uint8_t)(instruction->address_width / 8);
    op->width = (uint8_t)(instruction->operand_width / 8);
    if (instruction->operand_count > 0 && context->operand[0].size >= 8 &&
        context->operand[0].size <= 64)
        op->width = (uint8_t)(context->operand[0].size / 8);
    if (instruction->attributes & ZYDIS_ATTRIB_HAS_LOCK)
        op->flags |= OP_LOCK;
    op->flags |= repeat_flags(instruction);
    for (unsigned i = 0; i < instruction->operand_count_visible; i++)
        take_operand(context, i, op);
    settle_direction(context, op);
    if (instruction->operand_count_visible == 0)
        take_hidden_segment(context, op);
}

/* ---- handlers ---- */

static enum form operand_form(const struct op *op)
{
    if ((op->flags & OP_MEMORY) == 0)
        return (op->flags & OP_IMMEDIATE) ? FORM_RI : FORM_RR;
    if (op->flags & OP_REVERSED)
        return FORM_RM;
    return (op->flags & OP_IMMEDIATE) ? FORM_MI : FORM_MR;
}

static void choose_handler(const struct rule *rule, const struct context *context, struct op *op)
{
    if (rule->forms != NULL) {
        op->run = (*rule->forms)[operand_form(op)][__builtin_ctz(op->width)];
        return;
    }
    op->run = rule->run;
    if (rule->extra != 0)
        op->extra = (uint16_t)(rule->extra - 1);
    if (rule->source_in_rm && (op->flags & OP_MEMORY) == 0) {
        uint8_t destination = op->rm;
        op->rm = op->reg;
        op->reg = destination;
    }
    if (rule->by_operand_width)
        op->width = (uint8_t)(context->instruction.operand_width / 8);
}

/* All bytes that were looked at belong to it, so that a change of any of them is noticed. */
static enum decode_result undefined(struct op *op, op_fn run, unsigned length)
{
    op->run = run;
    op->length = (uint8_t)(length < MAX_LENGTH ? length : MAX_LENGTH);
    return DECODE_ENDS;
}

static enum decode_result make_thunk(struct decoder *decoder, const struct context *context,
                                     struct op *op)
{
    int error = thunk_make(decoder->thunks, &context->instruction, context->operand, op);
    if (error == -ENOSPC)
        return DECODE_FULL;
    return error == 0 ? DECODE_GOES_ON : undefined(op, op_undefined, op->length);
}

static const ZydisDecoder *decoder_of(const struct decoder *decoder, uint32_t mode)
{
    if (mode & MODE_LONG)
        return &decoder->zydis[2];
    return &decoder->zydis[(mode & MODE_CODE32) ? 1 : 0];
}

/* Hypercalls are no virtualisation of the guest's own: their handler knows when they exist. */
static bool is_shown(const struct decoder *decoder, const ZydisDecodedInstruction *instruction)
{
    if (instruction->mnemonic == ZYDIS_MNEMONIC_VMCALL ||
        instruction->mnemonic == ZYDIS_MNEMONIC_VMMCALL)
        return true;
    return cpuid_shows(decoder->partition, instruction->meta.isa_set);
}

/* F3 90 is PAUSE only without REX.B; with it, it is XCHG with R8 (Intel SDM vol. 2, XCHG). */
static bool is_exchange_with_r8(const ZydisDecodedInstruction *instruction)
{
    return instruction->mnemonic == ZYDIS_MNEMONIC_PAUSE && instruction->raw.rex.B != 0;
}

static enum decode_result exchange_with_r8(struct op *op)
{
    op->rm = GPR_R8 * 8;
    op->reg = GPR_RAX * 8;
    op->run = op_xchg[FORM_RR][__builtin_ctz(op->width)];
    return DECODE_GOES_ON;
}

enum decode_result decode(struct decoder *decoder, const uint8_t *bytes, unsigned length,
                          uint64_t rip, uint32_t mode, struct op *ret)
{
    struct context context;
    memset(ret, 0, sizeof(*ret));
    context.rip = rip;
    context.mode = mode;
    ZyanStatus status = ZydisDecoderDecodeFull(decoder_of(decoder, mode), bytes, length,
                                               &context.instruction, context.operand);
    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        return DECODE_TRUNCATED;
    if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        return undefined(ret, op_too_long, length);
    if (ZYAN_FAILED(status) || !is_shown(decoder, &context.instruction))
        return undefined(ret, op_undefined, length);
    take_operands(&context, ret);
    if (is_exchange_with_r8(&context.instruction))
        return exchange_with_r8(ret);
    const struct rule *rule = rule_find(&context.instruction, context.operand);
    if (rule == NULL)
        return make_thunk(decoder, &context, ret);
    choose_handler(rule, &context, ret);
    return rule->ends ? DECODE_ENDS : DECODE_GOES_ON;
}
