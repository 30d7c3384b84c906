/*
 * Branches: targets are places in the code page, where int3 ends the case, or such that fault.
 */
#include "base/bytes.h"
#include "build.h"
#include "prepare.h"

/* A place in the code page outside of the case's own bytes: int3 ends the case there. */
static uint64_t code_address(struct preparing *p)
{
    uint32_t start = p->build->c.code_offset;
    uint32_t end = start + p->build->at + ZYDIS_MAX_INSTRUCTION_LENGTH;
    uint32_t offset = 0;
    do {
        offset = rng_percent(p->rng, 80) ? start - 120 + rng_below(p->rng, 240)
                                         : rng_below(p->rng, DIFF_PAGE);
    } while (offset + 1 > start && offset < end);
    offset %= DIFF_PAGE;
    return p->build->mode == DIFF_MODE16 ? offset : DIFF_CODE + offset;
}

static uint64_t branch_target(struct preparing *p)
{
    if (rng_percent(p->rng, 85))
        return code_address(p);
    return rng_percent(p->rng, 50) ? preparing_odd_target(p->rng, 8)
                                   : DIFF_RW0 + rng_below(p->rng, DIFF_DATA_SIZE);
}

/*
 * Not from a 16-bit stack into 64-bit code: with which width the rest of the transfer then uses the
 * stack differs.
 */
static uint16_t code_selector(struct preparing *p)
{
    if (p->build->c.in.segment[DIFF_SS] == DIFF_LDT_SELECTOR(DIFF_LDT_STACK16))
        return rng_percent(p->rng, 70) ? DIFF_LDT_SELECTOR(DIFF_LDT_CODE16) : DIFF_USER_CS32;
    if (p->build->mode == DIFF_MODE16 && rng_percent(p->rng, 70))
        return DIFF_LDT_SELECTOR(DIFF_LDT_CODE16);
    if (rng_percent(p->rng, 70))
        return rng_percent(p->rng, 50) ? DIFF_USER_CS32 : DIFF_USER_CS64;
    return preparing_selector(p);
}

static void prepare_relative(struct preparing *p)
{
    struct build *build = p->build;
    unsigned size = build->instruction.raw.imm[0].size / 8U;
    uint64_t next = preparing_next_rip(build);
    uint64_t target = branch_target(p);
    if (size == 1) {
        /* Backward clear of the case's own bytes, or forward. */
        uint32_t own = build->at + build->instruction.length;
        uint64_t distance = rng_percent(p->rng, 50)
                                ? rng_below(p->rng, 128)
                                : (uint64_t)0 - own - 1 - rng_below(p->rng, 128 - own);
        target = next + distance;
    }
    uint64_t value = target - next;
    for (unsigned i = 0; i < size; i++)
        build->c.code[build->at + build->instruction.raw.imm[0].offset + i] =
            (uint8_t)(value >> 8 * i);
}

/* offset, selector and, for IRET, flags, stack pointer and stack segment. */
static void put_frame(struct preparing *p, uint64_t address, unsigned size, unsigned words)
{
    uint64_t word[5] = {branch_target(p), code_selector(p), rng_next(p->rng) & 0x240fd5,
                        DIFF_RW0 + rng_below(p->rng, DIFF_RW_SIZE), DIFF_USER_DS};
    uint8_t bytes[40];
    if (rng_percent(p->rng, 10))
        word[4] = preparing_selector(p);
    for (unsigned i = 0; i < words; i++)
        memcpy(bytes + (size_t)i * size, &word[i], size);
    build_patch(p->build, address, bytes, (size_t)words * size);
}

static void prepare_far_memory(struct preparing *p)
{
    unsigned size = p->build->operands[0].size / 8U; /* 4, 6 or 10 with the selector */
    uint8_t bytes[10];
    put_le64(bytes, branch_target(p));
    put_le16(bytes + size - 2, code_selector(p));
    build_patch(p->build, p->target[0], bytes, size);
}

static void prepare_far_pointer(struct preparing *p)
{
    struct build *build = p->build;
    unsigned size = build->instruction.operand_width == 16 ? 2 : 4;
    uint64_t target = branch_target(p);
    uint8_t *at = build->c.code + build->at + build->instruction.length - 2 - size;
    memcpy(at, &target, size);
    put_le16(at + size, code_selector(p));
}

static void prepare_return(struct preparing *p)
{
    uint64_t top = build_stack_address(p->build);
    unsigned size = p->build->instruction.operand_width / 8U;
    switch (p->build->mnemonic) {
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
        put_frame(p, top, size, 5);
        break;
    default:
        put_frame(p, top, size,
                  p->build->instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? 2 : 1);
    }
}

void prepare_branch(struct preparing *p)
{
    const struct build *build = p->build;
    const ZydisDecodedOperand *operand = &build->operands[0];
    if (build->instruction.meta.category == ZYDIS_CATEGORY_RET ||
        build->instruction.operand_count_visible == 0) {
        prepare_return(p);
        return;
    }
    if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand->imm.is_relative) {
        prepare_relative(p);
    } else if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        preparing_set_gpr(p, preparing_gpr(operand->reg.value), branch_target(p));
    } else if (operand->type == ZYDIS_OPERAND_TYPE_POINTER) {
        prepare_far_pointer(p);
    } else if (build->instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        prepare_far_memory(p);
    } else {
        uint8_t bytes[8];
        put_le64(bytes, branch_target(p));
        build_patch(p->build, p->target[0], bytes, sizeof(bytes));
    }
}
