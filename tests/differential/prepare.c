/*
 * Registers and memory for the operands of one instruction.
 *
 * Every memory operand is aimed at a target in the data pages by setting its base or index
 * register, or its displacement in the code; then come values without which the instruction would
 * do nothing but fault: branch targets, selectors, small counts, divisible numbers.
 */
#include "prepare.h"

#include "base/bytes.h"
#include "build.h"
#include "values.h"

/* ---- small views of the operands ---- */

int preparing_gpr(ZydisRegister reg)
{
    ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64)
        return -1;
    return ZydisRegisterGetId(whole);
}

void preparing_set_gpr(struct preparing *p, int gpr, uint64_t value)
{
    if (gpr < 0)
        return;
    if (gpr == 4 && p->build->c.in.segment[DIFF_SS] == DIFF_LDT_SELECTOR(DIFF_LDT_STACK16))
        value = (value & 0xffff) | DIFF_ENTRY;
    p->build->c.in.gpr[gpr] = p->build->mode == DIFF_MODE64 ? value : value & 0xffffffff;
}

uint64_t preparing_next_rip(const struct build *build)
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

uint64_t preparing_odd_target(struct rng *rng, uint32_t size)
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
        return preparing_odd_target(rng, size);
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
    int gpr = preparing_gpr(reg);
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
    preparing_set_gpr(p, gpr, value);
    p->build->fixed |= 1U << gpr;
}

static void aim_by_registers(struct preparing *p, const ZydisDecodedOperand *operand,
                             uint64_t wanted)
{
    int base = preparing_gpr(operand->mem.base);
    int index = preparing_gpr(operand->mem.index);
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
        patch_displacement(p->build, wanted - preparing_next_rip(p->build));
    else if (preparing_gpr(operand->mem.base) < 0 && preparing_gpr(operand->mem.index) < 0)
        patch_displacement(p->build, wanted);
    else
        aim_by_registers(p, operand, wanted);
}

/* ---- single instructions ---- */

uint16_t preparing_selector(struct preparing *p)
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

static void put_operand(struct preparing *p, unsigned index, uint64_t value)
{
    const ZydisDecodedOperand *operand = &p->build->operands[index];
    uint8_t bytes[8];
    put_le64(bytes, value);
    if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
        is_free(p, preparing_gpr(operand->reg.value)))
        preparing_set_gpr(p, preparing_gpr(operand->reg.value), value);
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
        preparing_set_gpr(p, 0, (low & ~UINT64_C(0xff00)) | (high & 0xff) << 8);
    else if (is_free(p, 2))
        preparing_set_gpr(p, 2, high);
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
    if (is_free(p, preparing_gpr(offset->reg.value)))
        preparing_set_gpr(p, preparing_gpr(offset->reg.value),
                          (uint64_t)rng_below(p->rng, 16000) - 8000);
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
    put_le16(bytes + size, preparing_selector(p));
    build_patch(p->build, p->target[0], bytes, (size_t)size + 2);
}

/*
 * XCR0 of guest and host agree on these three components only. All are in use: whether a component
 * with initial values counts as that is the processor's choice (Intel SDM vol. 1 § 13.6).
 */
static void prepare_components(struct preparing *p)
{
    put_le64(p->build->c.in.xsave + DIFF_XSAVE_HEADER, 7);
    preparing_set_gpr(p, 0, (p->build->c.in.gpr[0] & ~UINT64_C(0xffffffff)) | rng_below(p->rng, 8));
    preparing_set_gpr(p, 2, p->build->c.in.gpr[2] & ~UINT64_C(0xffffffff));
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
            preparing_set_gpr(p, 1,
                              (p->build->c.in.gpr[1] & ~UINT64_C(0xffff)) | rng_below(p->rng, 3));
        if (rng_percent(p->rng, 60))
            preparing_set_gpr(p, 1, rng_below(p->rng, 3));
        break;
    default:
        /* Whether a repeated OUTS with count 0 may be refused is open; others may have any count.
         */
        if (p->build->instruction.meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
            preparing_set_gpr(p, 1, p->build->c.in.gpr[1] | 1);
        if (p->build->instruction.meta.category == ZYDIS_CATEGORY_STRINGOP &&
            rng_percent(p->rng, 97))
            preparing_set_gpr(p, 1, rng_below(p->rng, 40));
    }
}

static void prepare_explicit_lengths(struct preparing *p)
{
    preparing_set_gpr(p, 0, (uint64_t)rng_below(p->rng, 40) - 20);
    preparing_set_gpr(p, 2, (uint64_t)rng_below(p->rng, 40) - 20);
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
        put_operand(p, 1, preparing_selector(p));
        break;
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
        put_operand(p, 0, preparing_selector(p));
        break;
    case ZYDIS_MNEMONIC_MOV:
        if (p->build->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(p->build->operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            put_operand(p, 1, preparing_selector(p));
        break;
    case ZYDIS_MNEMONIC_POP:
        if (p->build->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(p->build->operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT) {
            uint8_t bytes[2];
            put_le16(bytes, preparing_selector(p));
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
        top = preparing_odd_target(p->rng, 16);
    top -= build_segment_base(p->build, ZYDIS_REGISTER_SS);
    preparing_set_gpr(p, 4, top);
    p->build->fixed |= 1U << 4;
    if (p->build->mnemonic == ZYDIS_MNEMONIC_LEAVE && rng_percent(p->rng, 90))
        preparing_set_gpr(p, 5, top);
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
