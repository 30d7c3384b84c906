/*
 * Registers and memory for the operands of one instruction.
 *
 * Every memory operand is aimed at a target in the data pages by setting its base or index
 * register, or its displacement in the code; then come values without which the instruction would
 * do nothing but fault: branch targets, selectors, small counts, divisible numbers.
 */
#include "base/bytes.h"
#include "build.h"
#include "values.h"

struct preparing {
    struct rng *rng;
    struct build *build;
    uint64_t target[2]; /* linear addresses of the first memory operands */
    unsigned targets;
};

/* ---- small views of the operands ---- */

static int gpr_of(ZydisRegister reg)
{
    ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64)
        return -1;
    return ZydisRegisterGetId(whole);
}

static void set_gpr(struct preparing *p, int gpr, uint64_t value)
{
    if (gpr < 0)
        return;
    if (gpr == 4 && p->build->c.in.segment[DIFF_SS] == DIFF_LDT_SELECTOR(DIFF_LDT_STACK16))
        value = (value & 0xffff) | DIFF_ENTRY;
    p->build->c.in.gpr[gpr] = p->build->mode == DIFF_MODE64 ? value : value & 0xffffffff;
}

static uint64_t next_rip(const struct build *build)
{
    return build->c.in.rip + build->at + build->instruction.length;
}

static bool is_memory(const ZydisDecodedOperand *operand)
{
    return operand->type == ZYDIS_OPERAND_TYPE_MEMORY && operand->mem.type != ZYDIS_MEMOP_TYPE_AGEN;
}

static bool is_far_or_near_branch(const struct build *build)
{
    return build->instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
}

/* ---- targets ---- */

static uint64_t odd_target(struct rng *rng, uint32_t size)
{
    switch (rng_below(rng, 12)) {
    case 0:
    case 1:
    case 2:
        return DIFF_RW1 - 1 - rng_below(rng, size); /* over two writable pages */
    case 3:
    case 4:
        return DIFF_RO - rng_below(rng, size); /* into the read-only page */
    case 5:
        return DIFF_RO + rng_below(rng, DIFF_PAGE - size);
    case 6:
        return DIFF_RO + DIFF_PAGE - rng_below(rng, size + 1); /* into the absent page */
    case 7:
        return DIFF_RW0 - rng_below(rng, size + 1);
    case 8:
        return DIFF_CODE + rng_below(rng, 64);
    case 9:
        return rng_below(rng, 64);
    case 10:
        return values_integer(rng);
    default:
        return UINT64_C(0x00007fffffffffff) - rng_below(rng, 2 * size); /* end of canonical half */
    }
}

static bool takes_image(const struct build *build)
{
    switch (build->mnemonic) {
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FLDENV:
        return true;
    default:
        return false;
    }
}

static uint64_t pick_target(struct preparing *p, const ZydisDecodedOperand *operand)
{
    struct rng *rng = p->rng;
    uint32_t size = operand->size / 8U;
    if (size == 0)
        size = 1;
    if (size > 1024)
        size = 1024;
    if (rng_percent(rng, 12))
        return odd_target(rng, size);
    if (takes_image(p->build) && rng_percent(rng, 80))
        return DIFF_RW0 + VALUES_IMAGE_FIRST +
               (uint64_t)rng_below(rng, VALUES_IMAGES) * VALUES_IMAGE_STEP;
    uint64_t target = DIFF_RW0 + rng_below(rng, DIFF_RW_SIZE - size);
    if (rng_percent(rng, size >= 16 ? 88 : 70))
        target &= ~(uint64_t)(size >= 512 ? 63 : size - 1);
    return target;
}

/* ---- aiming ---- */

static void patch_displacement(struct build *build, uint64_t value)
{
    unsigned size = build->instruction.raw.disp.size / 8U;
    for (unsigned i = 0; i < size; i++)
        build->c.code[build->at + build->instruction.raw.disp.offset + i] =
            (uint8_t)(value >> 8 * i);
}

static bool is_free(const struct preparing *p, int gpr)
{
    return gpr >= 0 && (p->build->fixed >> gpr & 1) == 0;
}

static uint64_t register_part(const struct build *build, ZydisRegister reg)
{
    int gpr = gpr_of(reg);
    if (gpr < 0)
        return 0;
    uint64_t value = build->c.in.gpr[gpr];
    return reg == ZYDIS_REGISTER_AL ? value & 0xff : value;
}

static void set_address_register(struct preparing *p, int gpr, uint64_t value)
{
    /* With narrower addresses the upper part must not matter. */
    unsigned width = p->build->instruction.address_width;
    if (width < 64) {
        uint64_t mask = (UINT64_C(1) << width) - 1;
        value = (value & mask) | (rng_next(p->rng) & ~mask);
    }
    set_gpr(p, gpr, value);
    p->build->fixed |= 1U << gpr;
}

static void aim_by_registers(struct preparing *p, const ZydisDecodedOperand *operand,
                             uint64_t wanted)
{
    int base = gpr_of(operand->mem.base);
    int index = gpr_of(operand->mem.index);
    uint64_t scale = operand->mem.scale;
    wanted -= (uint64_t)operand->mem.disp.value;
    if (is_free(p, base) && base == index && operand->mem.index != ZYDIS_REGISTER_AL)
        set_address_register(p, base, wanted / (1 + scale));
    else if (is_free(p, base))
        set_address_register(p, base, wanted - register_part(p->build, operand->mem.index) * scale);
    else if (is_free(p, index) && operand->mem.index != ZYDIS_REGISTER_AL)
        set_address_register(p, index,
                             (wanted - register_part(p->build, operand->mem.base)) /
                                 (scale == 0 ? 1 : scale));
    if (index >= 0)
        p->build->fixed |= 1U << index;
}

/* Offsets of a gather: small, so that most elements lie in the data pages. */
static void aim_vector_index(struct preparing *p, const ZydisDecodedOperand *operand)
{
    unsigned id = (unsigned)ZydisRegisterGetId(operand->mem.index);
    bool quad = false;
    switch (p->build->mnemonic) {
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
        quad = true;
        break;
    default:
        break;
    }
    uint32_t limit = rng_percent(p->rng, 85) ? 512 : 6000;
    for (unsigned half = 0; half < 2; half++) {
        uint8_t *to = p->build->c.in.xsave + (half == 0 ? 160 : DIFF_XSAVE_AVX) + (size_t)id * 16;
        for (unsigned i = 0; i < 16; i += quad ? 8 : 4) {
            uint64_t offset = (uint64_t)rng_below(p->rng, limit) - limit / 2;
            if (quad)
                put_le64(to + i, offset);
            else
                put_le32(to + i, (uint32_t)offset);
        }
    }
}

static void aim(struct preparing *p, const ZydisDecodedOperand *operand)
{
    uint64_t target = pick_target(p, operand);
    uint64_t wanted = target - build_segment_base(p->build, operand->mem.segment);
    if (p->targets < 2)
        p->target[p->targets++] = target;
    if (operand->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
        aim_vector_index(p, operand);
        wanted = DIFF_RW1 - build_segment_base(p->build, operand->mem.segment);
    }
    if (operand->mem.base == ZYDIS_REGISTER_RIP || operand->mem.base == ZYDIS_REGISTER_EIP)
        patch_displacement(p->build, wanted - next_rip(p->build));
    else if (gpr_of(operand->mem.base) < 0 && gpr_of(operand->mem.index) < 0)
        patch_displacement(p->build, wanted);
    else
        aim_by_registers(p, operand, wanted);
}

/* ---- branches ---- */

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
    return rng_percent(p->rng, 50) ? odd_target(p->rng, 8)
                                   : DIFF_RW0 + rng_below(p->rng, DIFF_DATA_SIZE);
}

static uint16_t selector(struct preparing *p)
{
    static const uint16_t choices[] = {
        0,
        1,
        2,
        3,
        DIFF_USER_CS32,
        DIFF_USER_DS,
        DIFF_USER_CS64,
        DIFF_USER_DS,
        DIFF_USER_DS & ~3,
        0x10,
        0x18,
        0x40,
        0x83,
        0xfff0,
        0x43,
        DIFF_LDT_SELECTOR(DIFF_LDT_RW),
        DIFF_LDT_SELECTOR(DIFF_LDT_DOWN),
        DIFF_LDT_SELECTOR(DIFF_LDT_RO),
        DIFF_LDT_SELECTOR(DIFF_LDT_GONE),
        DIFF_LDT_SELECTOR(DIFF_LDT_CODE16),
        DIFF_LDT_SELECTOR(DIFF_LDT_STACK16),
        DIFF_LDT_SELECTOR(DIFF_LDT_COUNT),
        7,
    };
    return choices[rng_below(p->rng, sizeof(choices) / sizeof(choices[0]))];
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
    return selector(p);
}

static void prepare_relative(struct preparing *p)
{
    struct build *build = p->build;
    unsigned size = build->instruction.raw.imm[0].size / 8U;
    uint64_t next = next_rip(build);
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
        word[4] = selector(p);
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

static void prepare_branch(struct preparing *p)
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
        set_gpr(p, gpr_of(operand->reg.value), branch_target(p));
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

/* ---- single instructions ---- */

static void put_operand(struct preparing *p, unsigned index, uint64_t value)
{
    const ZydisDecodedOperand *operand = &p->build->operands[index];
    uint8_t bytes[8];
    put_le64(bytes, value);
    if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && is_free(p, gpr_of(operand->reg.value)))
        set_gpr(p, gpr_of(operand->reg.value), value);
    else if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY && p->targets > 0)
        build_patch(p->build, p->target[0], bytes, operand->size / 8U > 8 ? 8 : operand->size / 8U);
}

/* The upper half of the dividend small enough, more often than not, for the quotient to fit. */
static void prepare_division(struct preparing *p)
{
    unsigned size = p->build->operands[0].size;
    uint64_t low = p->build->c.in.gpr[0];
    if (rng_percent(p->rng, 75))
        put_operand(p, 0, values_integer(p->rng) | UINT64_C(1) << rng_below(p->rng, size));
    if (rng_percent(p->rng, 25))
        return;
    bool extends = p->build->mnemonic == ZYDIS_MNEMONIC_IDIV && (low >> (size - 1) & 1) != 0;
    uint64_t high = extends ? ~UINT64_C(0) : 0;
    high += rng_percent(p->rng, 50) ? rng_below(p->rng, 16) : 0;
    if (size == 8)
        set_gpr(p, 0, (low & ~UINT64_C(0xff00)) | (high & 0xff) << 8);
    else if (is_free(p, 2))
        set_gpr(p, 2, high);
}

/* The comparison should succeed in half of the cases. */
static void prepare_compare_exchange(struct preparing *p)
{
    if (rng_percent(p->rng, 50))
        return;
    uint8_t bytes[16];
    put_le64(bytes, p->build->c.in.gpr[0]);
    put_le64(bytes + 8, p->build->c.in.gpr[2]);
    unsigned size = p->build->operands[0].size / 8U;
    if (p->build->mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B)
        put_le32(bytes + 4, (uint32_t)p->build->c.in.gpr[2]);
    if (p->build->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
        put_operand(p, 0, p->build->c.in.gpr[0]);
    else
        build_patch(p->build, p->target[0], bytes, size > 16 ? 16 : size);
}

/* The bit offset in a register reaches beyond the operand: keep it mostly within the pages. */
static void prepare_bit_offset(struct preparing *p)
{
    const ZydisDecodedOperand *offset = &p->build->operands[1];
    if (p->build->operands[0].type != ZYDIS_OPERAND_TYPE_MEMORY ||
        offset->type != ZYDIS_OPERAND_TYPE_REGISTER || rng_percent(p->rng, 5))
        return;
    if (is_free(p, gpr_of(offset->reg.value)))
        set_gpr(p, gpr_of(offset->reg.value), (uint64_t)rng_below(p->rng, 16000) - 8000);
}

static void prepare_bound(struct preparing *p)
{
    uint8_t bytes[8];
    unsigned size = p->build->operands[0].size / 8U;
    uint32_t lower = rng_below(p->rng, 1000) - 500;
    uint32_t upper = lower + rng_below(p->rng, 1000);
    memcpy(bytes, &lower, size);
    memcpy(bytes + size, &upper, size);
    build_patch(p->build, p->target[0], bytes, (size_t)size * 2);
    put_operand(p, 0, lower + rng_below(p->rng, 1100) - 50);
}

static void prepare_far_load(struct preparing *p)
{
    uint8_t bytes[10];
    unsigned size = p->build->operands[0].size / 8U;
    put_le64(bytes, rng_next(p->rng));
    put_le16(bytes + size, selector(p));
    build_patch(p->build, p->target[0], bytes, (size_t)size + 2);
}

/*
 * XCR0 of guest and host agree on these three components only. All are in use: whether a component
 * with initial values counts as that is the processor's choice (Intel SDM vol. 1 § 13.6).
 */
static void prepare_components(struct preparing *p)
{
    put_le64(p->build->c.in.xsave + DIFF_XSAVE_HEADER, 7);
    set_gpr(p, 0, (p->build->c.in.gpr[0] & ~UINT64_C(0xffffffff)) | rng_below(p->rng, 8));
    set_gpr(p, 2, p->build->c.in.gpr[2] & ~UINT64_C(0xffffffff));
}

static void prepare_word(struct preparing *p, uint32_t value)
{
    uint8_t bytes[4];
    put_le32(bytes, value);
    if (p->targets > 0)
        build_patch(p->build, p->target[0], bytes, sizeof(bytes));
}

static void prepare_pop_flags(struct preparing *p)
{
    uint8_t bytes[8];
    put_le64(bytes, rng_next(p->rng) & 0x3fffff);
    build_patch(p->build, build_stack_address(p->build), bytes, sizeof(bytes));
}

static void prepare_counts(struct preparing *p)
{
    switch (p->build->mnemonic) {
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JRCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JCXZ:
        if (rng_percent(p->rng, 80))
            set_gpr(p, 1, (p->build->c.in.gpr[1] & ~UINT64_C(0xffff)) | rng_below(p->rng, 3));
        if (rng_percent(p->rng, 60))
            set_gpr(p, 1, rng_below(p->rng, 3));
        break;
    default:
        /* Whether a repeated OUTS with count 0 may be refused is open; others may have any count.
         */
        if (p->build->instruction.meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
            set_gpr(p, 1, p->build->c.in.gpr[1] | 1);
        if (p->build->instruction.meta.category == ZYDIS_CATEGORY_STRINGOP &&
            rng_percent(p->rng, 97))
            set_gpr(p, 1, rng_below(p->rng, 40));
    }
}

static void prepare_explicit_lengths(struct preparing *p)
{
    set_gpr(p, 0, (uint64_t)rng_below(p->rng, 40) - 20);
    set_gpr(p, 2, (uint64_t)rng_below(p->rng, 40) - 20);
}

static void prepare_state_memory(struct preparing *p)
{
    switch (p->build->mnemonic) {
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
        prepare_word(p, rng_percent(p->rng, 90) ? values_mxcsr(p->rng)
                                                : (uint32_t)rng_next(p->rng) & ~0x20000U);
        break;
    case ZYDIS_MNEMONIC_FLDCW:
        prepare_word(p, values_fpu_control(p->rng));
        break;
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
        prepare_components(p);
        break;
    default:
        break;
    }
}

static void prepare_segments(struct preparing *p)
{
    switch (p->build->mnemonic) {
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
        prepare_far_load(p);
        break;
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
        put_operand(p, 1, selector(p));
        break;
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
        put_operand(p, 0, selector(p));
        break;
    case ZYDIS_MNEMONIC_MOV:
        if (p->build->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(p->build->operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            put_operand(p, 1, selector(p));
        break;
    case ZYDIS_MNEMONIC_POP:
        if (p->build->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(p->build->operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT) {
            uint8_t bytes[2];
            put_le16(bytes, selector(p));
            build_patch(p->build, build_stack_address(p->build), bytes, sizeof(bytes));
        }
        break;
    default:
        break;
    }
}

static void prepare_integer(struct preparing *p)
{
    switch (p->build->mnemonic) {
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        prepare_division(p);
        break;
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_CMPXCHG8B:
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        prepare_compare_exchange(p);
        break;
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        prepare_bit_offset(p);
        break;
    case ZYDIS_MNEMONIC_BOUND:
        prepare_bound(p);
        break;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
        prepare_pop_flags(p);
        break;
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_VPCMPESTRI:
    case ZYDIS_MNEMONIC_VPCMPESTRM:
        prepare_explicit_lengths(p);
        break;
    default:
        break;
    }
}

/* Most of the time the stack pointer is one: aligned, in the writable pages, with room around. */
static void prepare_stack(struct preparing *p)
{
    uint64_t top = DIFF_RW0 + 0x100 + rng_below(p->rng, DIFF_RW_SIZE - 0x200);
    if (rng_percent(p->rng, 90))
        top &= ~UINT64_C(7);
    if (rng_percent(p->rng, 5))
        top = odd_target(p->rng, 16);
    top -= build_segment_base(p->build, ZYDIS_REGISTER_SS);
    set_gpr(p, 4, top);
    p->build->fixed |= 1U << 4;
    if (p->build->mnemonic == ZYDIS_MNEMONIC_LEAVE && rng_percent(p->rng, 90))
        set_gpr(p, 5, top);
}

void prepare_operands(struct rng *rng, struct build *ret)
{
    struct preparing p = {.rng = rng, .build = ret};
    prepare_counts(&p);
    if (ret->at == 0)
        prepare_stack(&p);
    for (unsigned i = 0; i < ret->instruction.operand_count; i++)
        if (is_memory(&ret->operands[i]))
            aim(&p, &ret->operands[i]);
    if (is_far_or_near_branch(ret) || ret->instruction.meta.category == ZYDIS_CATEGORY_RET)
        prepare_branch(&p);
    prepare_integer(&p);
    prepare_segments(&p);
    prepare_state_memory(&p);
}
