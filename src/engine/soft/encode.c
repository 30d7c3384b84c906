/*
 * The code of a thunk: load the guest registers and flags that the instruction names, the
 * instruction itself with its memory operand at a host register, store what it wrote, return 0.
 *
 * 1. At the instruction, RSP is what it was on entry: the signal handler can make the thunk return
 *    by pointing RIP at a `ret`.
 * 2. The encoded instruction is decoded again and must mean the same, operand for operand; else the
 *    instruction is refused. Whatever slipped by the encoder cannot get into a thunk.
 */
#include <errno.h>
#include <stddef.h>

#include "engine/soft/emit.h"
#include "engine/soft/native.h"

struct plan {
    const ZydisDecodedInstruction *instruction;
    const ZydisDecodedOperand *operands;
    const ZydisDecodedOperand *memory_operand;
    unsigned reads, writes; /* general registers, bit = number; reads has all that are named */
    bool high_byte;         /* AH, CH, DH or BH: no REX prefix possible */
    unsigned taken;         /* host registers in use */
    unsigned cpu, memory, stack,
        scratch;                    /* host registers chosen; stack = stand-in for guest RSP */
    bool loads_flags, stores_flags; /* the arithmetic ones */
};

enum { CALLEE_SAVED = 1u << GPR_RBX | 1u << GPR_RBP | 0xf000u };

int encode_gpr_number(ZydisRegister reg)
{
    ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64)
        return -1;
    return ZydisRegisterGetId(whole);
}

const ZydisDecodedOperand *encode_memory(const ZydisDecodedInstruction *instruction,
                                         const ZydisDecodedOperand *operands)
{
    for (unsigned i = 0; i < instruction->operand_count; i++) {
        if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            return &operands[i];
    }
    return NULL;
}

static bool is_high_byte(ZydisRegister reg)
{
    return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

static void collect_registers(struct plan *plan)
{
    for (unsigned i = 0; i < plan->instruction->operand_count; i++) {
        const ZydisDecodedOperand *operand = &plan->operands[i];
        if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        int number = encode_gpr_number(operand->reg.value);
        if (number < 0)
            continue;
        plan->reads |= 1u << number;
        if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
            plan->writes |= 1u << number;
        if (is_high_byte(operand->reg.value))
            plan->high_byte = true;
    }
}

/* All or none: Zydis does not always know that an instruction clears the flags it does not set. */
static void collect_flags(struct plan *plan, const struct thunk *thunk)
{
    const ZydisAccessedFlags *flags = plan->instruction->cpu_flags;
    if (flags == NULL)
        return;
    uint32_t changed = flags->modified | flags->set_0 | flags->set_1 | flags->undefined;
    plan->stores_flags = (changed & FLAGS_ARITHMETIC) != 0;
    /* Loaded even if only written: what stays undefined, or unchanged by a count of 0, is then what
     * the host itself makes of it. Only comparisons of vectors set every flag for certain. */
    bool vector = (thunk->need & (NEED_SSE | NEED_AVX)) != 0;
    plan->loads_flags = (flags->tested & FLAGS_ARITHMETIC) != 0 || (plan->stores_flags && !vector);
}

/* A host register that the instruction does not name. `plain` = one of the first eight. */
static unsigned pick(struct plan *plan, bool plain, unsigned avoid)
{
    static const uint8_t order[] = {GPR_RDI, GPR_RSI, GPR_R8,  GPR_R9,  GPR_R10,
                                    GPR_R11, GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX};
    for (unsigned i = 0; i < sizeof(order); i++) {
        unsigned number = order[i];
        bool usable = (plan->taken & 1u << number) == 0 && number != avoid;
        if (usable && !(plain && number >= GPR_R8)) {
            plan->taken |= 1u << number;
            return number;
        }
    }
    plan->taken |= 1u << GPR_RBP;
    return GPR_RBP;
}

/* The arguments come in RDI and RSI; they are moved RDI first, so the cpu must not go to RSI. */
static void choose_registers(struct plan *plan)
{
    plan->taken = plan->reads | 1u << GPR_RSP;
    plan->cpu = pick(plan, false, GPR_RSI);
    plan->memory = plan->memory_operand != NULL ? pick(plan, plan->high_byte, GPR_COUNT) : 0;
    bool names_rsp = (plan->reads & 1u << GPR_RSP) != 0;
    plan->stack = names_rsp ? pick(plan, plan->high_byte, GPR_COUNT) : 0;
    plan->scratch = plan->loads_flags || plan->stores_flags ? pick(plan, false, GPR_COUNT) : 0;
}

/* ---- the instruction ---- */

/* The register of the same width as `reg` whose number is `number`. */
static ZydisRegister same_width(ZydisRegister reg, unsigned number)
{
    ZydisRegisterClass class = ZydisRegisterGetClass(reg);
    /* Zydis counts AH, CH, DH, BH as 4-7 of the byte registers. */
    if (class == ZYDIS_REGCLASS_GPR8 && number >= 4)
        number += 4;
    return ZydisRegisterEncode(class, (ZyanU8)number);
}

static ZydisRegister host_register(const struct encode_target *target, ZydisRegister reg)
{
    int number = encode_gpr_number(reg);
    if (number < 0 || target->gpr[number] == number)
        return reg;
    return same_width(reg, target->gpr[number]);
}

/* Short forms make an operand implicit (`add eax, imm`): no difference in meaning. */
static bool is_hidden(const ZydisDecodedOperand *operand)
{
    return operand->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
}

static ZydisRegister target_index(const struct encode_target *target)
{
    return target->has_index ? ZydisRegisterEncode(ZYDIS_REGCLASS_GPR64, target->index)
                             : ZYDIS_REGISTER_NONE;
}

static bool is_same_operand(const struct encode_target *target, const ZydisDecodedOperand *guest,
                            const ZydisDecodedOperand *host, uint64_t immediate_mask)
{
    if (guest->type != host->type || guest->actions != host->actions ||
        is_hidden(guest) != is_hidden(host))
        return false;
    switch (guest->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        if (ZydisRegisterGetClass(guest->reg.value) == ZYDIS_REGCLASS_FLAGS)
            return ZydisRegisterGetClass(host->reg.value) == ZYDIS_REGCLASS_FLAGS;
        return host->reg.value == host_register(target, guest->reg.value);
    case ZYDIS_OPERAND_TYPE_MEMORY:
        return host->size == guest->size && host->mem.type == guest->mem.type &&
               host->mem.base == ZydisRegisterEncode(ZYDIS_REGCLASS_GPR64, target->memory) &&
               host->mem.index == target_index(target) && host->mem.scale <= 1 &&
               host->mem.disp.value == target->disp;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        return ((guest->imm.value.u ^ host->imm.value.u) & immediate_mask) == 0;
    default:
        return false;
    }
}

static bool is_same_instruction(const ZydisDecodedInstruction *guest,
                                const ZydisDecodedOperand *guest_operands,
                                const struct encode_target *target, const uint8_t *bytes,
                                size_t length)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction host;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(
            ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
        !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, length, &host, operands)))
        return false;
    if (host.mnemonic != guest->mnemonic || host.length != length ||
        host.encoding != guest->encoding || host.operand_count != guest->operand_count ||
        host.operand_count_visible != guest->operand_count_visible)
        return false;
    ZydisInstructionAttributes lock = ZYDIS_ATTRIB_HAS_LOCK;
    if ((host.attributes & lock) != (guest->attributes & lock))
        return false;
    unsigned width = guest->operand_width == 0 ? 64 : guest->operand_width;
    uint64_t mask = width >= 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
    for (unsigned i = 0; i < guest->operand_count; i++) {
        if (!is_same_operand(target, &guest_operands[i], &operands[i], mask))
            return false;
    }
    return true;
}

static void retarget(const struct encode_target *target, ZydisEncoderRequest *request)
{
    request->machine_mode = ZYDIS_MACHINE_MODE_LONG_64;
    request->prefixes &= ZYDIS_ATTRIB_HAS_LOCK;
    request->address_size_hint = ZYDIS_ADDRESS_SIZE_HINT_NONE;
    for (unsigned i = 0; i < request->operand_count; i++) {
        ZydisEncoderOperand *operand = &request->operands[i];
        if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            operand->reg.value = host_register(target, operand->reg.value);
        } else if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            operand->mem.base = ZydisRegisterEncode(ZYDIS_REGCLASS_GPR64, target->memory);
            operand->mem.index = target_index(target);
            operand->mem.scale = target->has_index ? 1 : 0;
            operand->mem.displacement = target->disp;
        }
    }
}

int encode_instruction(const ZydisDecodedInstruction *instruction,
                       const ZydisDecodedOperand *operands, const struct encode_target *target,
                       uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH])
{
    ZydisEncoderRequest request;
    if (!ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(
            instruction, operands, instruction->operand_count_visible, &request)))
        return -ENOTSUP;
    retarget(target, &request);
    /* The size of 16-bit code that an SSE instruction ignores would become a prefix: try without.
     */
    const ZydisOperandSizeHint hints[] = {request.operand_size_hint, ZYDIS_OPERAND_SIZE_HINT_NONE,
                                          ZYDIS_OPERAND_SIZE_HINT_32};
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        ZyanUSize length = ZYDIS_MAX_INSTRUCTION_LENGTH;
        request.operand_size_hint = hints[i];
        if (ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&request, bytes, &length)) &&
            is_same_instruction(instruction, operands, target, bytes, length))
            return (int)length;
    }
    return -ENOTSUP;
}

/* ---- what surrounds it ---- */

static int32_t gpr_offset(unsigned number)
{
    return (int32_t)(offsetof(struct cpu, gpr) + 8 * (size_t)number);
}

static unsigned host_number(const struct plan *plan, unsigned number)
{
    return number == GPR_RSP ? plan->stack : number;
}

static void emit_arguments(const struct plan *plan, struct emit *emit)
{
    if (plan->cpu != GPR_RDI)
        emit_move64(emit, plan->cpu, GPR_RDI);
    if (plan->memory_operand != NULL && plan->memory != GPR_RSI)
        emit_move64(emit, plan->memory, GPR_RSI);
}

static void emit_loads(const struct plan *plan, struct emit *emit, const struct thunk *thunk)
{
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (plan->reads & 1u << i)
            emit_load64(emit, host_number(plan, i), plan->cpu, gpr_offset(i));
    }
    /* The address already has the rest of the bit offset: Intel SDM vol. 2, BT. */
    if (thunk->bit_width != 0)
        emit_and32(emit, host_number(plan, thunk->bit_reg), thunk->bit_width - 1u);
    if (!plan->loads_flags)
        return;
    emit_load64(emit, plan->scratch, plan->cpu, (int32_t)offsetof(struct cpu, flags));
    emit_and32(emit, plan->scratch, FLAGS_ARITHMETIC);
    emit_or32(emit, plan->scratch, FLAG_FIXED | FLAG_IF);
    emit_set_flags(emit, plan->scratch);
}

static void emit_stores(const struct plan *plan, struct emit *emit)
{
    int32_t flags = (int32_t)offsetof(struct cpu, flags);
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (plan->writes & 1u << i)
            emit_store64(emit, plan->cpu, gpr_offset(i), host_number(plan, i));
    }
    if (!plan->stores_flags)
        return;
    emit_get_flags(emit, plan->scratch);
    emit_and32(emit, plan->scratch, FLAGS_ARITHMETIC);
    emit_and32_memory(emit, plan->cpu, flags, ~(uint32_t)FLAGS_ARITHMETIC);
    emit_or32_memory(emit, plan->cpu, flags, plan->scratch);
}

int encode_thunk(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
                 struct thunk *thunk, uint8_t code[NATIVE_CODE_MAX])
{
    struct plan plan = {.instruction = instruction,
                        .operands = operands,
                        .memory_operand = encode_memory(instruction, operands)};
    collect_registers(&plan);
    collect_flags(&plan, thunk);
    choose_registers(&plan);
    uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
    struct encode_target target = {.memory = (uint8_t)plan.memory};
    for (unsigned i = 0; i < GPR_COUNT; i++)
        target.gpr[i] = (uint8_t)host_number(&plan, i);
    int length = encode_instruction(instruction, operands, &target, bytes);
    if (length < 0)
        return length;
    struct emit emit = {.at = code, .end = code + NATIVE_CODE_MAX};
    emit_arguments(&plan, &emit);
    emit_loads(&plan, &emit, thunk);
    emit_bytes(&emit, bytes, (size_t)length);
    emit_stores(&plan, &emit);
    emit_return_zero(&emit);
    unsigned used = (plan.taken & ~(1u << GPR_RSP));
    thunk->saved = (used & CALLEE_SAVED) != 0;
    return emit.full ? -ENOTSUP : (int)(emit.at - code);
}
