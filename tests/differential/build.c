/*
 * Bytes of a case: prefixes, ModRM, SIB, displacement and immediate, Intel SDM vol. 2A § 2.1-2.3.
 */
#include "build.h"

#include "base/bytes.h"
#include "compare.h"
#include "values.h"

struct bytes {
    uint8_t at[DIFF_CODE_MAX];
    size_t count;
};

static void put(struct bytes *bytes, uint32_t value)
{
    bytes->at[bytes->count++] = (uint8_t)value;
}

void build_context_init(const struct policy *policy, bool has_ldt, struct build_context *ret)
{
    ret->policy = policy;
    ret->has_ldt = has_ldt;
    form_decoder(DIFF_MODE16, &ret->decoder[DIFF_MODE16 / 32]);
    form_decoder(DIFF_MODE32, &ret->decoder[DIFF_MODE32 / 32]);
    form_decoder(DIFF_MODE64, &ret->decoder[DIFF_MODE64 / 32]);
}

/* ---- bytes ---- */

/* LOCK, segment and address-size prefixes and, rarely, ones without meaning here. */
static void put_prefixes(struct rng *rng, const struct form *form, struct bytes *to)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    static const uint8_t odd[] = {0x66, 0xf2, 0xf3, 0x2e, 0x3e};
    if (form->encoding == FORM_LEGACY && rng_percent(rng, form->memory ? 12 : 1))
        put(to, 0xf0);
    if (rng_percent(rng, 12))
        put(to, rng_percent(rng, 60) ? 0x64 + rng_below(rng, 2) : segments[rng_below(rng, 6)]);
    if (rng_percent(rng, form->mode == DIFF_MODE64 ? 6 : form->mode == DIFF_MODE16 ? 30 : 2))
        put(to, 0x67);
    if (form->encoding == FORM_LEGACY && form->prefix == 0 && rng_percent(rng, 2))
        put(to, odd[rng_below(rng, sizeof(odd))]);
}

static void put_vex(struct rng *rng, const struct form *form, struct bytes *to)
{
    uint32_t inverted = form->mode == DIFF_MODE64 ? rng_below(rng, 8) << 5 : 0xe0;
    uint32_t vvvv = form->vvvv_free ? rng_below(rng, 16) : 0xf;
    if (form->mode != DIFF_MODE64)
        vvvv |= 8;
    if (rng_percent(rng, 1))
        vvvv = rng_below(rng, 16);
    uint32_t tail = vvvv << 3 | (uint32_t)form->l << 2 | form->prefix;
    if (form->map == 1 && form->w == 0 && (inverted & 0x60) == 0x60 && rng_percent(rng, 50)) {
        put(to, 0xc5);
        put(to, (inverted & 0x80) | tail);
    } else {
        put(to, 0xc4);
        put(to, inverted | form->map);
        put(to, (uint32_t)form->w << 7 | tail);
    }
    put(to, form->opcode);
}

static void put_legacy(struct rng *rng, const struct form *form, struct bytes *to)
{
    if (form->prefix != 0)
        put(to, form->prefix);
    if (form->mode == DIFF_MODE64 && (form->w != 0 || rng_percent(rng, 50))) {
        uint32_t rex = 0x40 | (uint32_t)form->w << 3 | rng_below(rng, 8);
        if (form->has_modrm || rng_percent(rng, 60))
            put(to, rex);
        else if (form->w != 0)
            put(to, 0x48);
    }
    if (form->map >= 1)
        put(to, 0x0f);
    if (form->map >= 2)
        put(to, form->map == 2 ? 0x38 : 0x3a);
    put(to, form->opcode);
}

static uint32_t pick_fields(struct rng *rng, uint64_t allowed)
{
    uint32_t bit = rng_below(rng, 64);
    while ((allowed >> bit & 1) == 0)
        bit = (bit + 1) % 64;
    return bit;
}

/* Signed displacements that a base register can make good for. */
static uint32_t random_displacement(struct rng *rng)
{
    if (rng_percent(rng, 85))
        return rng_below(rng, 0x2000) - 0x1000;
    return (uint32_t)rng_next(rng);
}

/* Memory without base and index: relative to RIP in 64-bit code. */
static void put_absolute_modrm(struct rng *rng, const struct form *form, struct bytes *to)
{
    bool short_address = form->mode == DIFF_MODE16 && memchr(to->at, 0x67, to->count) == NULL;
    put(to, pick_fields(rng, form->allowed) >> 3 << 3 | (short_address ? 6 : 5));
    for (unsigned i = 0; i < (short_address ? 2 : 4); i++)
        put(to, 0);
}

static void put_modrm(struct rng *rng, const struct form *form, struct bytes *to)
{
    uint32_t fields = pick_fields(rng, form->allowed);
    uint32_t reg = fields >> 3;
    if (!form->memory) {
        put(to, 0xc0 | reg << 3 | (fields & 7));
        return;
    }
    uint32_t mod = rng_below(rng, 3);
    uint32_t rm = form->vsib ? 4 : rng_below(rng, 8);
    put(to, mod << 6 | reg << 3 | rm);
    uint32_t base = rm;
    if (rm == 4) {
        uint32_t sib = rng_below(rng, 256);
        put(to, sib);
        base = sib & 7;
    }
    uint32_t displacement = random_displacement(rng);
    unsigned size = mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0;
    for (unsigned i = 0; i < size; i++)
        put(to, displacement >> 8 * i);
}

static void put_immediate(struct rng *rng, struct bytes *to)
{
    uint64_t value = values_integer(rng);
    for (unsigned i = 0; i < 8; i++)
        put(to, (uint32_t)(value >> 8 * i));
}

/* ---- cases ---- */

static bool decode(const struct build_context *context, struct build *build)
{
    const ZydisDecoder *decoder = &context->decoder[build->mode / 32];
    build->decoded = ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, build->c.code + build->at,
                                                         ZYDIS_MAX_INSTRUCTION_LENGTH + 1,
                                                         &build->instruction, build->operands));
    if (build->decoded) {
        build->mnemonic = build->instruction.mnemonic;
        build->group = policy_group_of(&build->instruction);
    }
    return build->decoded;
}

static void start(const struct build_context *context, struct rng *rng, enum diff_mode mode,
                  struct build *ret)
{
    *ret = (struct build){.mode = mode, .group = GROUP_SYSTEM};
    values_state(rng, mode, context->has_ldt, &ret->c.in);
    memset(ret->c.code, 0xcc, sizeof(ret->c.code));
}

static void place(struct rng *rng, struct build *build)
{
    build->c.code_offset = 0x800 + rng_below(rng, 16);
    if (build->kind == BUILD_EDGE && build->c.code_length > 1)
        build->c.code_offset = DIFF_PAGE - 1 - rng_below(rng, build->c.code_length - 1);
    build->c.in.rip = build->c.code_offset + (build->mode == DIFF_MODE16 ? 0 : DIFF_CODE);
}

/* The last byte within the page stays: what does not fit is not there. */
static void cut_at_page(struct build *build)
{
    if (build->c.code_offset + build->c.code_length > DIFF_PAGE)
        build->c.code_length = DIFF_PAGE - build->c.code_offset;
}

/*
 * Bytes that Zydis refuses though the host executes them. Of EVEX the guest knows nothing either
 * way. MPX's opcodes (0F 1A, 0F 1B) are no-operations, LOCK VERR is no #UD, on Zen 4.
 *
 * So are VEX encodings of mask registers, for bits that the host does not look at:
 * opcodes 41-4B, 90-99 of map 1 and 30-33 of map 3.
 */
static bool is_refused_by_zydis_only(const uint8_t *code)
{
    if (memchr(code, 0x62, 5) != NULL || memmem(code, 8, "\x0f\x1a", 2) != NULL ||
        memmem(code, 8, "\x0f\x1b", 2) != NULL || memmem(code, 8, "\x0f\x00", 2) != NULL)
        return true;
    unsigned at = 0;
    while (at < 5 && code[at] != 0xc4 && code[at] != 0xc5)
        at++;
    if (at == 5)
        return false;
    uint8_t opcode = code[at + (code[at] == 0xc4 ? 3 : 2)];
    return (opcode >= 0x41 && opcode <= 0x4b) || (opcode >= 0x90 && opcode <= 0x99) ||
           (opcode >= 0x30 && opcode <= 0x33);
}

/*
 * SHA instructions check the alignment of memory on Intel only, as found on Zen 4; LOCK before MOV
 * to or from CR0 is CR8 on AMD (AMD64 APM vol. 3, MOV CRn).
 */
static bool vendors_differ(const struct build *build)
{
    if (!build->decoded && is_refused_by_zydis_only(build->c.code))
        return true;
    if (!build->decoded)
        return memchr(build->c.code, 0xf0, 4) != NULL &&
               (memmem(build->c.code, 8, "\x0f\x20", 2) != NULL ||
                memmem(build->c.code, 8, "\x0f\x22", 2) != NULL);
    if (build->instruction.meta.isa_set != ZYDIS_ISA_SET_SHA ||
        build->operands[1].type != ZYDIS_OPERAND_TYPE_MEMORY)
        return false;
    return build_operand_address(build, 1) % 16 != 0;
}

/* Without AVX the upper halves of YMM are not the guest's, and XCR0 has two components. */
static bool keep_to_level(const struct build_context *context, struct build *build)
{
    if (policy_has_avx(context->policy))
        return true;
    build->c.in.xsave[DIFF_XSAVE_HEADER] &= 3;
    if (build->group == GROUP_XSAVE)
        build->c.in.gpr[0] &= ~UINT64_C(4);
    return build->mnemonic != ZYDIS_MNEMONIC_XRSTOR && build->mnemonic != ZYDIS_MNEMONIC_XRSTOR64;
}

/*
 * int3 after the instruction comes from the page's own filling. Bytes that are no instruction are
 * all kept.
 */
static bool finish(const struct build_context *context, struct rng *rng, struct build *build,
                   size_t length)
{
    build->c.code_length = (uint32_t)length;
    if (!keep_to_level(context, build))
        return false;
    if (!build->decoded) {
        build->kind = BUILD_ILLEGAL;
        place(rng, build);
        return !vendors_differ(build);
    }
    build->c.code_length = build->instruction.length;
    switch (policy_judge(context->policy, build->mode, &build->instruction, build->operands)) {
    case POLICY_SKIP:
        return false;
    case POLICY_HIDDEN:
        build->kind = BUILD_HIDDEN;
        place(rng, build);
        return true;
    case POLICY_COMPARE:
        break;
    }
    /* UD0 and UD1 have no ModRM byte on AMD. */
    bool has_length =
        build->mnemonic != ZYDIS_MNEMONIC_UD0 && build->mnemonic != ZYDIS_MNEMONIC_UD1;
    if (has_length && rng_percent(rng, 1))
        build->kind = BUILD_EDGE;
    place(rng, build);
    prepare_operands(rng, build);
    (void)decode(context, build); /* again, for what was patched into the bytes */
    cut_at_page(build);
    return keep_to_level(context, build) && !vendors_differ(build);
}

static void put_instruction(struct rng *rng, const struct form *form, bool absolute,
                            struct build *build)
{
    struct bytes bytes = {.count = 0};
    put_prefixes(rng, form, &bytes);
    if (form->encoding == FORM_VEX)
        put_vex(rng, form, &bytes);
    else
        put_legacy(rng, form, &bytes);
    if (form->has_modrm && form->memory && absolute)
        put_absolute_modrm(rng, form, &bytes);
    else if (form->has_modrm)
        put_modrm(rng, form, &bytes);
    put_immediate(rng, &bytes);
    size_t room = sizeof(build->c.code) - build->at;
    memcpy(build->c.code + build->at, bytes.at, bytes.count < room ? bytes.count : room);
}

/* Those whose result holds pointers of the x87 unit, or which change how the rest is decoded. */
static bool may_be_within(const struct build *build, bool last)
{
    switch (build->mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
        return false;
    default:
        break;
    }
    if (build_pushes_segment(build) || open_within_sequence(build))
        return false;
    if (build->instruction.meta.isa_set == ZYDIS_ISA_SET_SHA) /* see vendors_differ */
        return false;
    switch (build->group) {
    case GROUP_XSAVE:
        return false;
    case GROUP_BRANCH:
    case GROUP_SEGMENT:
    case GROUP_SYSTEM:
        return last;
    default:
        return true;
    }
}

static bool append(const struct build_context *context, struct rng *rng, const struct form *form,
                   bool last, struct build *build)
{
    put_instruction(rng, form, !form->vsib && rng_percent(rng, 80), build);
    if (!decode(context, build) || !may_be_within(build, last) ||
        policy_judge(context->policy, build->mode, &build->instruction, build->operands) !=
            POLICY_COMPARE)
        return false;
    prepare_operands(rng, build);
    (void)decode(context, build);
    build->undefined |= flags_ever_undefined(build->mnemonic);
    return !vendors_differ(build);
}

bool build_sequence(const struct build_context *context, struct rng *rng,
                    const struct form *const *forms, size_t count, struct build *ret)
{
    start(context, rng, forms[0]->mode, ret);
    ret->kind = BUILD_SEQUENCE;
    place(rng, ret);
    for (size_t i = 0; i < count; i++) {
        ret->at = ret->c.code_length;
        if (ret->at + ZYDIS_MAX_INSTRUCTION_LENGTH > sizeof(ret->c.code) ||
            !append(context, rng, forms[i], i + 1 == count, ret))
            return false;
        ret->c.code_length += ret->instruction.length;
    }
    ret->form = forms[count - 1];
    return keep_to_level(context, ret);
}

bool build_from_form(const struct build_context *context, struct rng *rng, const struct form *form,
                     struct build *ret)
{
    start(context, rng, form->mode, ret);
    put_instruction(rng, form, false, ret);
    ret->form = form;
    (void)decode(context, ret);
    ret->group = form->group;
    return finish(context, rng, ret, ZYDIS_MAX_INSTRUCTION_LENGTH);
}

bool build_from_bytes(const struct build_context *context, struct rng *rng, enum diff_mode mode,
                      const uint8_t *bytes, size_t length, struct build *ret)
{
    start(context, rng, mode, ret);
    if (length > ZYDIS_MAX_INSTRUCTION_LENGTH + 1)
        length = ZYDIS_MAX_INSTRUCTION_LENGTH + 1;
    memcpy(ret->c.code, bytes, length);
    (void)decode(context, ret);
    return finish(context, rng, ret, length);
}

/* Random bytes lean towards the places where encodings are dense and rules are odd. */
bool build_random_bytes(const struct build_context *context, struct rng *rng, struct build *ret)
{
    static const uint8_t leads[] = {0x0f, 0x0f, 0x0f, 0xc4, 0xc5, 0x62, 0x8f, 0xd8,
                                    0xdd, 0xf0, 0x66, 0xf2, 0xf3, 0x48, 0xc6, 0xfe};
    uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH + 1];
    rng_fill(rng, bytes, sizeof(bytes));
    size_t at = 0;
    while (at < 13 && rng_percent(rng, at == 0 ? 80 : 40))
        bytes[at++] = leads[rng_below(rng, sizeof(leads))];
    if (at == 13 || rng_percent(rng, 1))
        memset(bytes, 0x66, sizeof(bytes) - 1); /* longer than 15 bytes */
    static const enum diff_mode modes[] = {DIFF_MODE64, DIFF_MODE64, DIFF_MODE32, DIFF_MODE16};
    enum diff_mode mode = modes[rng_below(rng, context->has_ldt ? 4 : 3)];
    return build_from_bytes(context, rng, mode, bytes, sizeof(bytes), ret);
}

void build_patch(struct build *build, uint64_t address, const uint8_t *bytes, size_t length)
{
    if (address < DIFF_RW0 || length > DIFF_PATCH_MAX ||
        address - DIFF_RW0 > DIFF_DATA_SIZE - length || build->c.patch_count == DIFF_PATCHES)
        return;
    struct diff_patch *patch = &build->c.patch[build->c.patch_count++];
    patch->offset = (uint16_t)(address - DIFF_RW0);
    patch->length = (uint16_t)length;
    memcpy(patch->bytes, bytes, length);
}

uint64_t build_segment_base(const struct build *build, ZydisRegister segment)
{
    if (build->mode == DIFF_MODE64)
        return segment == ZYDIS_REGISTER_FS   ? build->c.in.fs_base
               : segment == ZYDIS_REGISTER_GS ? build->c.in.gs_base
                                              : 0;
    if (ZydisRegisterGetClass(segment) != ZYDIS_REGCLASS_SEGMENT)
        return 0;
    uint16_t selector = build->c.in.segment[ZydisRegisterGetId(segment)];
    if (selector == DIFF_LDT_SELECTOR(DIFF_LDT_CODE16))
        return DIFF_CODE;
    return (selector & 4) != 0 ? DIFF_RW0 : 0;
}

uint64_t build_stack_address(const struct build *build)
{
    uint64_t mask = build->mode == DIFF_MODE64 ? ~UINT64_C(0) : 0xffffffff;
    if (build->c.in.segment[DIFF_SS] == DIFF_LDT_SELECTOR(DIFF_LDT_STACK16))
        mask = 0xffff;
    return (build->c.in.gpr[4] & mask) + build_segment_base(build, ZYDIS_REGISTER_SS);
}

uint64_t build_operand_address(const struct build *build, unsigned index)
{
    const ZydisDecodedOperand *operand = &build->operands[index];
    ZyanU64 address = 0;
    ZydisRegisterContext registers = {0};
    for (unsigned i = 0; i < 16; i++) {
        registers.values[ZYDIS_REGISTER_RAX + i] = build->c.in.gpr[i];
        registers.values[ZYDIS_REGISTER_EAX + i] = build->c.in.gpr[i] & 0xffffffff;
        registers.values[ZYDIS_REGISTER_AX + i] = build->c.in.gpr[i] & 0xffff;
    }
    if (!ZYAN_SUCCESS(ZydisCalcAbsoluteAddressEx(&build->instruction, operand, build->c.in.rip,
                                                 &registers, &address)))
        return 0;
    return address + build_segment_base(build, operand->mem.segment);
}

bool build_pushes_segment(const struct build *build)
{
    return build->mnemonic == ZYDIS_MNEMONIC_PUSH &&
           build->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(build->operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}
