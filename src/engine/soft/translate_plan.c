/*
 * How each instruction of a block will be translated, and where the arithmetic flags matter.
 */
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"
#include "engine/soft/translate_private.h"

/* ---- kinds ---- */

static bool is_near_branch(const ZydisDecodedInstruction *instruction)
{
    return instruction->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
}

/* An address from `distance` behind the block: code can be written that has it. */
static bool is_reachable(const struct block *block, uint64_t distance)
{
    uint64_t address = block->rip + distance;
    return block->floats ? (int64_t)address == (int32_t)address : is_canonical(address);
}

static enum kind branch_kind(const struct block *block, const struct op *op, enum kind direct,
                             enum kind indirect)
{
    if (op->width != 8)
        return KIND_INTERPRET;
    if ((op->flags & OP_IMMEDIATE) == 0)
        return indirect;
    return is_reachable(block, op->imm) ? direct : KIND_INTERPRET;
}

static enum kind stack_kind(const struct op *op)
{
    if (op->run == op_push64)
        return KIND_PUSH;
    if (op->run == op_pop64)
        return KIND_POP;
    if (op->run == op_push_imm && op->width == 8)
        return KIND_PUSH_CONSTANT;
    return op->run == op_leave && op->width == 8 ? KIND_LEAVE : KIND_INTERPRET;
}

static enum kind string_kind(const struct op *op)
{
    bool plain = (op->flags & OP_REP) != 0 && op->address_width == 8 && op->segment == SEGMENT_FLAT;
    if (!plain)
        return KIND_INTERPRET;
    if (op->run == op_stos)
        return KIND_STOS;
    return op->run == op_movs ? KIND_MOVS : KIND_INTERPRET;
}

/* Of the kernel: user code has them seldom, and with other rules. */
static enum kind system_kind(const struct op *op)
{
    if (op->run == op_cli)
        return KIND_CLI;
    if (op->run == op_sti_within)
        return KIND_STI;
    if (op->run == op_swapgs)
        return KIND_SWAPGS;
    if (op->run == op_pushf && op->width == 8)
        return KIND_PUSHF;
    return op->run == op_popf && op->width == 8 ? KIND_POPF : KIND_INTERPRET;
}

/* The kinds that are not copied. */
static enum kind special_kind(const struct plan *plan, const struct block *block,
                              const struct op *op)
{
    bool user = (block->mode & MODE_USER) != 0;
    if (op->run == op_nop)
        return KIND_NOTHING;
    enum kind kind = user ? KIND_INTERPRET : system_kind(op);
    if (kind == KIND_INTERPRET)
        kind = string_kind(op);
    if (kind != KIND_INTERPRET)
        return kind;
    switch (plan->instruction.meta.category) {
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
        return stack_kind(op);
    case ZYDIS_CATEGORY_COND_BR:
        if (op->run == op_jcxz || op->run == op_loop || !is_reachable(block, op->imm))
            return KIND_INTERPRET;
        return KIND_JUMP_IF;
    default:
        break;
    }
    switch (plan->instruction.mnemonic) {
    case ZYDIS_MNEMONIC_LEA:
        return KIND_LEA;
    case ZYDIS_MNEMONIC_LEAVE:
        return stack_kind(op);
    case ZYDIS_MNEMONIC_JMP:
        return is_near_branch(&plan->instruction)
                   ? branch_kind(block, op, KIND_JUMP, KIND_JUMP_INDIRECT)
                   : KIND_INTERPRET;
    case ZYDIS_MNEMONIC_CALL:
        return is_near_branch(&plan->instruction)
                   ? branch_kind(block, op, KIND_CALL, KIND_CALL_INDIRECT)
                   : KIND_INTERPRET;
    case ZYDIS_MNEMONIC_RET:
        return op->run == op_ret && op->width == 8 ? KIND_RETURN : KIND_INTERPRET;
    default:
        return KIND_INTERPRET;
    }
}

static bool is_bit_string(const struct plan *plan, bool memory)
{
    switch (plan->instruction.mnemonic) {
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        return memory && plan->operand[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    default:
        return false;
    }
}

/* An access by a register and a distance may share its look-up. */
static struct reach reach_of_operand(const struct op *op, unsigned size, bool write)
{
    enum { NEAR = 1 << 20 };
    bool plain = op->segment == SEGMENT_FLAT && op->index == GPR_ZERO && op->address_width == 8 &&
                 op->base != GPR_RIP && (int64_t)op->disp < NEAR && (int64_t)op->disp > -NEAR;
    return (struct reach){
        .size = (uint16_t)size,
        .write = write,
        .base = plain ? op->base : (uint8_t)GPR_ZERO,
        .group = NO_GROUP,
        .disp = plain ? (int32_t)op->disp : 0,
    };
}

static struct reach reach_of_stack(uint8_t base, int32_t disp, bool write)
{
    return (struct reach){.size = 8, .write = write, .base = base, .group = NO_GROUP, .disp = disp};
}

static void plan_reaches(struct plan *plan, const struct op *op)
{
    switch (plan->kind) {
    case KIND_PUSH:
    case KIND_PUSH_CONSTANT:
    case KIND_CALL:
        plan->reach[REACH_STACK] = reach_of_stack(GPR_RSP, -8, true);
        break;
    case KIND_CALL_INDIRECT:
        plan->reach[REACH_STACK] = reach_of_stack(GPR_RSP, -8, true);
        __attribute__((fallthrough));
    case KIND_JUMP_INDIRECT:
        if (op->flags & OP_MEMORY)
            plan->reach[REACH_OPERAND] = reach_of_operand(op, 8, false);
        break;
    case KIND_PUSHF:
        plan->reach[REACH_STACK] = reach_of_stack(GPR_RSP, -8, true);
        break;
    case KIND_POPF:
    case KIND_POP:
    case KIND_RETURN:
        plan->reach[REACH_STACK] = reach_of_stack(GPR_RSP, 0, false);
        break;
    case KIND_LEAVE:
        plan->reach[REACH_STACK] = reach_of_stack(GPR_RBP, 0, false);
        break;
    default:
        break;
    }
}

/* Describe the instruction as one that is copied, if it may be. */
static bool plan_copy(struct plan *plan, const struct op *op)
{
    struct thunk thunk = {0};
    ZydisISASet set = plan->instruction.meta.isa_set;
    /* Slow anyway, and never the same twice: lock-step compares what is translated. */
    if (set == ZYDIS_ISA_SET_RDRAND || set == ZYDIS_ISA_SET_RDSEED)
        return false;
    if (allow_form(&plan->instruction, plan->operand, &thunk) != FORM_CODE ||
        thunk.pointers == POINTERS_CLEAR)
        return false;
    plan->sets_pointers = thunk.pointers == POINTERS_SET;
    const ZydisDecodedOperand *memory = encode_memory(&plan->instruction, plan->operand);
    if (is_bit_string(plan, memory != NULL))
        return false;
    if (memory != NULL) {
        if (memory->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
            memory->mem.type != ZYDIS_MEMOP_TYPE_MEM || memory->size == 0 || memory->size > 512)
            return false;
        bool write = (memory->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        plan->reach[REACH_OPERAND] = reach_of_operand(op, memory->size / 8u, write);
    }
    if (thunk.need & NEED_AVX)
        plan->level = VECTOR_AVX;
    else if (thunk.need & NEED_STATE)
        plan->level = VECTOR_SSE;
    return true;
}

/* ---- flags ---- */

static bool is_logic(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_AND || mnemonic == ZYDIS_MNEMONIC_OR ||
           mnemonic == ZYDIS_MNEMONIC_XOR || mnemonic == ZYDIS_MNEMONIC_TEST;
}

/*
 * What an instruction leaves undefined may depend on what was there, so only those that define all
 * six flags end the life of the old ones; the logical instructions clear AF on every processor.
 */
static void plan_copied_flags(struct plan *plan)
{
    const ZydisAccessedFlags *flags = plan->instruction.cpu_flags;
    if (flags == NULL)
        return;
    uint32_t defined = flags->modified | flags->set_0 | flags->set_1;
    uint32_t written = (defined | flags->undefined) & FLAGS_ARITHMETIC;
    if (is_logic(plan->instruction.mnemonic))
        defined |= FLAG_AF;
    bool counted = plan->instruction.meta.category == ZYDIS_CATEGORY_SHIFT ||
                   plan->instruction.meta.category == ZYDIS_CATEGORY_ROTATE;
    plan->reads_flags = (flags->tested & FLAGS_ARITHMETIC) != 0;
    plan->writes_flags = written != 0;
    plan->kills_flags = (defined & FLAGS_ARITHMETIC) == FLAGS_ARITHMETIC && !counted;
}

static void plan_flags(struct plan *plan)
{
    switch (plan->kind) {
    case KIND_INTERPRET:
        plan->reads_flags = true;
        plan->writes_flags = true; /* they are live and saved afterwards */
        break;
    case KIND_COPY:
        plan_copied_flags(plan);
        break;
    case KIND_JUMP_IF:
    case KIND_PUSHF:
        plan->reads_flags = true;
        break;
    case KIND_POPF: /* a stub has it do anything */
        plan->reads_flags = true;
        plan->writes_flags = true;
        break;
    case KIND_STOS: /* a stub may be interrupted in the middle */
    case KIND_MOVS:
    case KIND_CLI: /* what is pending has to be delivered in front of it */
        plan->reads_flags = true;
        break;
    default:
        break;
    }
}

/* Behind the block nothing is known: all flags count as needed there. */
static void plan_lives(struct plan *plan, unsigned count, bool all)
{
    bool needed = true;
    for (unsigned i = count; i-- > 0;) {
        plan[i].flags_needed_after = needed;
        if (plan[i].kills_flags && !all)
            needed = false;
        if (plan[i].reads_flags)
            needed = true;
        plan[i].flags_needed_before = needed;
    }
}

static void plan_op(const struct work *work, unsigned index, struct plan *plan)
{
    const struct block *block = work->block;
    const struct op *op = &block->op[index];
    *plan = (struct plan){.kind = KIND_INTERPRET};
    for (unsigned which = 0; which < REACHES; which++)
        plan->reach[which] = (struct reach){.base = GPR_ZERO, .group = NO_GROUP};
    ZyanStatus status =
        ZydisDecoderDecodeFull(&work->translator->decoder, block->bytes + op->offset, op->length,
                               &plan->instruction, plan->operand);
    bool known = ZYAN_SUCCESS(status) && op->run != op_undefined && op->run != op_too_long;
    if (op->base == GPR_RIP && !is_reachable(block, op->disp))
        known = false;
    if (known && !work->refused[index]) {
        plan->kind = special_kind(plan, block, op);
        if (plan->kind == KIND_INTERPRET && plan_copy(plan, op))
            plan->kind = KIND_COPY;
        plan_reaches(plan, op);
    }
    plan_flags(plan);
}

/*
 * Of x87 instructions that follow each other only the last need tell where FIP and FDP point: one
 * without an operand keeps FDP.
 */
static void plan_pointers(struct plan *plan, unsigned count)
{
    for (unsigned i = 0; i + 1 < count; i++) {
        bool next = plan[i + 1].sets_pointers && plan[i + 1].kind == KIND_COPY;
        bool keeps_data = plan[i].reach[REACH_OPERAND].size == 0;
        bool next_data = plan[i + 1].reach[REACH_OPERAND].size != 0;
        plan[i].leaves_pointers = plan[i].sets_pointers && next && (keeps_data || next_data);
    }
}

void plan_block(struct work *work)
{
    for (unsigned i = 0; i < work->block->count; i++)
        plan_op(work, i, &work->plan[i]);
    plan_lives(work->plan, work->block->count, work->translator->keeps_flags);
    plan_pointers(work->plan, work->block->count);
}
