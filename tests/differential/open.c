/*
 * Faults in which processors differ and the manual allows it. The host may be of either vendor.
 */
#include "compare.h"

enum {
    VECTOR_DB = 1,
    VECTOR_BP = 3,
    VECTOR_UD = 6,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_AC = 17,
    FLAG_AC = 1 << 18,
};

static bool is_fault(const struct diff_result *result)
{
    return result->vector != VECTOR_BP && result->vector != VECTOR_DB;
}

static bool is_address_fault(const struct diff_result *result)
{
    return result->vector >= VECTOR_SS && result->vector <= VECTOR_PF;
}

static bool is_any(uint32_t mnemonic, const uint16_t *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == mnemonic)
            return true;
    return false;
}

#define IS_ANY(mnemonic, list) is_any((mnemonic), (list), sizeof(list) / sizeof((list)[0]))

/* A mask may or may not keep the bytes that it leaves out from faulting: SDM vol. 2B, MASKMOVQ. */
static const uint16_t byte_masked[] = {ZYDIS_MNEMONIC_MASKMOVQ, ZYDIS_MNEMONIC_MASKMOVDQU,
                                       ZYDIS_MNEMONIC_VMASKMOVDQU};

/* Whether alignment is checked is left to the processor: SDM vol. 2C, VMASKMOV and VPMASKMOV. */
static const uint16_t element_masked[] = {ZYDIS_MNEMONIC_VMASKMOVPS, ZYDIS_MNEMONIC_VMASKMOVPD,
                                          ZYDIS_MNEMONIC_VPMASKMOVD, ZYDIS_MNEMONIC_VPMASKMOVQ};

/* Several stack slots, in any order. */
static const uint16_t many_slots[] = {
    ZYDIS_MNEMONIC_PUSHA, ZYDIS_MNEMONIC_PUSHAD, ZYDIS_MNEMONIC_POPA,  ZYDIS_MNEMONIC_POPAD,
    ZYDIS_MNEMONIC_IRET,  ZYDIS_MNEMONIC_IRETD,  ZYDIS_MNEMONIC_IRETQ,
};

/* Which of two operands is read first: SDM vol. 2A, CMPS. */
static const uint16_t compare_strings[] = {ZYDIS_MNEMONIC_CMPSB, ZYDIS_MNEMONIC_CMPSW,
                                           ZYDIS_MNEMONIC_CMPSD, ZYDIS_MNEMONIC_CMPSQ};

/* 80-bit numbers and areas of XSAVE's and FSAVE's kind are gone through in an order that the manual
 * leaves open. */
static bool moves_an_area(const struct build *build)
{
    return build->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
           (build->group == GROUP_XSAVE || build->group == GROUP_X87) &&
           build->operands[0].size >= 80;
}

/* An operand that is misaligned and lies outside of the stack segment may raise #GP or #SS. */
static bool may_be_aligned(const struct build *build)
{
    return build->group == GROUP_SSE || build->group == GROUP_AVX || build->group == GROUP_XSAVE ||
           build->group == GROUP_CRYPTO || build->group == GROUP_MMX;
}

static bool is_limit_fault(const struct diff_result *result)
{
    return (result->vector == VECTOR_SS || result->vector == VECTOR_GP) && result->error == 0;
}

/* Offsets that wrap around at 4 GiB may or may not fault: SDM vol. 3A § 5.3. */
static bool may_wrap(const struct diff_result *native)
{
    return native->vector == VECTOR_PF && native->cr2 >> 31 == 1;
}

/* LOCK where it is not allowed: the host was seen to read the operand first. */
static bool is_locked_illegally(const struct build *build, const struct diff_result *native,
                                const struct diff_result *guest)
{
    return !build->decoded && memchr(build->c.code, 0xf0, 4) != NULL && is_address_fault(native) &&
           guest->vector == VECTOR_UD;
}

static bool is_alignment(const struct diff_result *native, const struct diff_result *guest)
{
    return (native->vector == VECTOR_AC) != (guest->vector == VECTOR_AC);
}

static bool has_wide_memory(const struct build *build)
{
    for (unsigned i = 0; i < build->instruction.operand_count_visible; i++)
        if (build->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && build->operands[i].size == 256)
            return true;
    return false;
}

/* #AC for 32 bytes that are aligned to 16: SDM vol. 3A table 6-7 names no such type. */
static bool is_half_aligned(const struct build *build, const struct diff_result *native,
                            const struct diff_result *guest)
{
    if (!is_alignment(native, guest))
        return false;
    for (unsigned i = 0; i < build->instruction.operand_count_visible; i++)
        if (build->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            build->operands[i].size == 256 && build_operand_address(build, i) % 16 == 0)
            return true;
    return false;
}

/* Instructions whose several accesses and checks come in an order of the processor's own. */
static bool has_open_order(const struct build *build)
{
    switch (build->mnemonic) {
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
        return true;
    default:
        break;
    }
    if (build_pushes_segment(build) || moves_an_area(build))
        return true;
    return build->instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
           build->instruction.meta.category == ZYDIS_CATEGORY_RET;
}

static bool is_open_instruction(const struct build *build, const struct diff_result *native,
                                const struct diff_result *guest)
{
    bool differ = native->vector != guest->vector;
    bool addresses = is_address_fault(native) && is_address_fault(guest);
    bool both = is_fault(native) && is_fault(guest);
    bool any = is_address_fault(native) || is_address_fault(guest);
    if (IS_ANY(build->mnemonic, byte_masked))
        return differ && (any || is_alignment(native, guest));
    if (IS_ANY(build->mnemonic, element_masked))
        return is_alignment(native, guest);
    /* Two operands or several slots; registers popped before the fault may be there already. */
    if (IS_ANY(build->mnemonic, compare_strings) || IS_ANY(build->mnemonic, many_slots))
        return addresses || (both && differ);
    /*
     * Only elements right of the faulting one are sure to be loaded, and a trap for these may come
     * in lieu of the fault: SDM vol. 2C, VGATHERDPS.
     */
    if (build->instruction.meta.category == ZYDIS_CATEGORY_AVX2GATHER)
        return differ ? native->vector == VECTOR_DB : addresses;
    /* Two bytes or the whole slot: SDM vol. 2B, PUSH. */
    if (build_pushes_segment(build))
        return differ;
    /* A segment that may not be written is #GP (SDM vol. 2A), but it need not write. */
    if (build->mnemonic == ZYDIS_MNEMONIC_ARPL)
        return any;
    if (build->instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
        build->instruction.meta.category == ZYDIS_CATEGORY_INTERRUPT)
        return both && any;
    return has_open_order(build) && differ && both;
}

/*
 * An effective address that is not canonical but becomes so with the base of FS or GS: Zen 4 raises
 * #GP, the manual asks for a canonical linear address only (Intel SDM vol. 1 § 3.3.7.1).
 */
static bool is_made_canonical(const struct build *build, const struct diff_result *native,
                              const struct diff_result *guest)
{
    return build->mode == DIFF_MODE64 && native->vector == VECTOR_GP &&
           (guest->vector == VECTOR_PF || guest->vector == VECTOR_AC) &&
           (memchr(build->c.code, 0x64, build->c.code_length) != NULL ||
            memchr(build->c.code, 0x65, build->c.code_length) != NULL);
}

bool open_to_processors(const struct build *build, const struct diff_result *native,
                        const struct diff_result *guest)
{
    if (!build->decoded)
        return is_locked_illegally(build, native, guest);
    if (is_made_canonical(build, native, guest))
        return true;
    bool differ = native->vector != guest->vector;
    if (build->mode != DIFF_MODE64 && differ && is_address_fault(guest) && may_wrap(native))
        return true;
    if (build->kind == BUILD_SEQUENCE)
        return is_limit_fault(native) && is_limit_fault(guest) && build->mode != DIFF_MODE64;
    if (is_open_instruction(build, native, guest) || is_half_aligned(build, native, guest))
        return true;
    return may_be_aligned(build) && is_limit_fault(native) && is_limit_fault(guest);
}

/* Loads of an area; see moves_an_area. */
static const uint16_t area_loads[] = {ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_FLDENV};

/* Their undefined flags are not the host's, since the engine computes them itself. */
static const uint16_t decimal[] = {ZYDIS_MNEMONIC_AAA, ZYDIS_MNEMONIC_AAS, ZYDIS_MNEMONIC_AAM,
                                   ZYDIS_MNEMONIC_AAD, ZYDIS_MNEMONIC_DAA, ZYDIS_MNEMONIC_DAS};

bool open_address(const struct build *build, const struct diff_result *native,
                  const struct diff_result *guest)
{
    if (!build->decoded)
        return false;
    if (IS_ANY(build->mnemonic, many_slots) ||
        build->instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return (uint32_t)native->cr2 - (uint32_t)guest->cr2 + 40 <= 80;
    if (IS_ANY(build->mnemonic, byte_masked))
        return native->cr2 - guest->cr2 + 16 <= 32;
    uint64_t mask = build->instruction.address_width == 16 ? 0xffff
                    : build->mode != DIFF_MODE64           ? 0xffffffff
                                                           : ~UINT64_C(0);
    return moves_an_area(build) && ((native->cr2 - guest->cr2 + DIFF_PAGE / 2) & mask) < DIFF_PAGE;
}

bool open_within_sequence(const struct build *build)
{
    ZydisMnemonic mnemonic = build->mnemonic;
    ZydisInstructionCategory category = build->instruction.meta.category;
    bool branches = build->instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
    if (build->instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
        (!branches && has_open_order(build)) || IS_ANY(mnemonic, compare_strings))
        return true;
    if ((build->c.in.rflags & FLAG_AC) != 0 && has_wide_memory(build)) /* see is_half_aligned */
        return true;
    return IS_ANY(mnemonic, area_loads) || IS_ANY(mnemonic, decimal) ||
           IS_ANY(mnemonic, byte_masked) || IS_ANY(mnemonic, element_masked) ||
           IS_ANY(mnemonic, many_slots) || category == ZYDIS_CATEGORY_AVX2GATHER ||
           category == ZYDIS_CATEGORY_IOSTRINGOP;
}
