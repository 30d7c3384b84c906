/*
 * The enumeration of forms. Encoding facts: Intel SDM vol. 2A ch. 2.
 *
 * Variants that differ only in an ignored prefix or an ignored W bit fold into the first of them;
 * ModRM fields that give the same form are gathered in `allowed`.
 */
#include "forms.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 15 };

/* One encoding to try. */
struct trial {
    struct form form;
    uint8_t reg, rm;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

struct maker {
    const struct policy *policy;
    struct form_list *list;
    ZydisDecoder decoder;
    uint64_t *key; /* open addressing: signature → index + 1 */
    uint32_t *index;
    int error;
};

void form_decoder(enum diff_mode mode, ZydisDecoder *ret)
{
    static const struct {
        ZydisMachineMode machine;
        ZydisStackWidth stack;
    } modes[] = {
        [DIFF_MODE16 / 32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
        [DIFF_MODE32 / 32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
        [DIFF_MODE64 / 32] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    };
    (void)ZydisDecoderInit(ret, modes[mode / 32].machine, modes[mode / 32].stack);
}

/* ---- names ---- */

static const char *register_kind(const ZydisDecodedOperand *operand, char *ret, size_t size)
{
    if (operand->encoding == ZYDIS_OPERAND_ENCODING_NONE)
        return ZydisRegisterGetString(operand->reg.value);
    switch (ZydisRegisterGetClass(operand->reg.value)) {
    case ZYDIS_REGCLASS_X87:
        return "st";
    case ZYDIS_REGCLASS_MMX:
        return "mm";
    case ZYDIS_REGCLASS_XMM:
        return "xmm";
    case ZYDIS_REGCLASS_YMM:
        return "ymm";
    case ZYDIS_REGCLASS_SEGMENT:
        return "sreg";
    case ZYDIS_REGCLASS_CONTROL:
        return "cr";
    case ZYDIS_REGCLASS_DEBUG:
        return "dr";
    default:
        (void)snprintf(ret, size, "r%u", operand->size);
        return ret;
    }
}

static const char *operand_kind(const ZydisDecodedOperand *operand, char *ret, size_t size)
{
    switch (operand->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return register_kind(operand, ret, size);
    case ZYDIS_OPERAND_TYPE_MEMORY:
        (void)snprintf(ret, size, "m%u", operand->size);
        return ret;
    case ZYDIS_OPERAND_TYPE_POINTER:
        return "ptr";
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        (void)snprintf(ret, size, "%s%u", operand->imm.is_relative ? "rel" : "imm", operand->size);
        return ret;
    default:
        return "?";
    }
}

static const char *repeat_name(const ZydisDecodedInstruction *instruction)
{
    if ((instruction->attributes & ZYDIS_ATTRIB_HAS_REP) != 0)
        return "rep ";
    if ((instruction->attributes & ZYDIS_ATTRIB_HAS_REPE) != 0)
        return "repe ";
    return (instruction->attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0 ? "repne " : "";
}

void form_describe(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
                   char *ret, size_t size)
{
    char kind[16];
    int used = snprintf(ret, size, "%s%s", repeat_name(instruction),
                        ZydisMnemonicGetString(instruction->mnemonic));
    for (unsigned i = 0; i < instruction->operand_count_visible; i++) {
        if (used < 0 || (size_t)used >= size)
            return;
        used += snprintf(ret + used, size - (size_t)used, "%c%s", i == 0 ? ' ' : ',',
                         operand_kind(&operands[i], kind, sizeof(kind)));
    }
}

static void name_form(struct trial *trial)
{
    char what[48];
    form_describe(&trial->instruction, trial->operands, what, sizeof(what));
    static const char *const map_name[] = {"", "0f", "0f38", "0f3a"};
    (void)snprintf(trial->form.name, sizeof(trial->form.name), "%d %s%s%02x %s",
                   (int)trial->form.mode, trial->form.encoding == FORM_VEX ? "v" : "",
                   map_name[trial->form.map], trial->form.opcode, what);
}

/* ---- signatures ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value + UINT64_C(0x9e3779b97f4a7c15) + (hash << 6) + (hash >> 2);
    return hash * UINT64_C(0xff51afd7ed558ccd);
}

static uint64_t operand_signature(uint64_t hash, const ZydisDecodedOperand *operand)
{
    hash = mix(hash,
               (uint64_t)operand->type << 32 | (uint64_t)operand->encoding << 16 | operand->size);
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return hash;
    if (operand->encoding == ZYDIS_OPERAND_ENCODING_NONE)
        return mix(hash, operand->reg.value);
    return mix(hash, ZydisRegisterGetClass(operand->reg.value));
}

static uint64_t signature(const struct trial *trial)
{
    const ZydisDecodedInstruction *instruction = &trial->instruction;
    uint64_t hash = mix(trial->form.encoding, (uint64_t)trial->form.opcode << 8 | trial->form.map);
    hash = mix(hash, (uint64_t)trial->form.mode << 2 | trial->form.l << 1 | trial->form.memory);
    hash = mix(hash, instruction->mnemonic);
    hash = mix(hash, instruction->attributes &
                         (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
    for (unsigned i = 0; i < instruction->operand_count_visible; i++)
        hash = operand_signature(hash, &trial->operands[i]);
    return hash;
}

/* ---- the list ---- */

static int list_add(struct form_list *list, const struct form *form)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 4096 : list->capacity * 2;
        struct form *grown = realloc(list->form, capacity * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        list->form = grown;
        list->capacity = capacity;
    }
    list->form[list->count++] = *form;
    return 0;
}

void form_list_free(struct form_list *list)
{
    free(list->form);
    *list = (struct form_list){0};
}

static void remember(struct maker *maker, struct trial *trial)
{
    uint64_t key = signature(trial);
    uint64_t bit = UINT64_C(1) << (trial->reg * 8 + trial->rm);
    size_t slot = (size_t)(key % BUCKETS);
    while (maker->index[slot] != 0 && maker->key[slot] != key)
        slot = (slot + 1) % BUCKETS;
    if (maker->index[slot] != 0) {
        struct form *known = &maker->list->form[maker->index[slot] - 1];
        if (known->prefix == trial->form.prefix && known->w == trial->form.w &&
            known->vsib == trial->form.vsib)
            known->allowed |= bit;
        return;
    }
    trial->form.allowed = bit;
    trial->form.mnemonic = trial->instruction.mnemonic;
    trial->form.has_modrm = (trial->instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
    trial->form.verdict =
        policy_judge(maker->policy, trial->form.mode, &trial->instruction, trial->operands);
    trial->form.group = policy_group_of(&trial->instruction);
    name_form(trial);
    maker->error = list_add(maker->list, &trial->form);
    if (maker->list->count > BUCKETS / 2)
        maker->error = -ENOMEM;
    maker->key[slot] = key;
    maker->index[slot] = (uint32_t)maker->list->count;
}

/* ---- encodings ---- */

static size_t put_opcode(const struct form *form, uint8_t *to)
{
    size_t n = 0;
    if (form->map >= 1)
        to[n++] = 0x0f;
    if (form->map >= 2)
        to[n++] = form->map == 2 ? 0x38 : 0x3a;
    to[n++] = form->opcode;
    return n;
}

static size_t put_head(const struct form *form, uint8_t vvvv, uint8_t *to)
{
    size_t n = 0;
    if (form->encoding == FORM_VEX) {
        to[n++] = 0xc4;
        to[n++] = (uint8_t)(0xe0 | form->map);
        to[n++] = (uint8_t)(form->w << 7 | vvvv << 3 | form->l << 2 | form->prefix);
        to[n++] = form->opcode;
        return n;
    }
    if (form->prefix != 0)
        to[n++] = form->prefix;
    if (form->w != 0)
        to[n++] = 0x48;
    return n + put_opcode(form, to + n);
}

static bool decode(const struct maker *maker, struct trial *trial, uint8_t vvvv)
{
    uint8_t bytes[24] = {0};
    size_t n = put_head(&trial->form, vvvv, bytes);
    if (!trial->form.memory) {
        bytes[n] = (uint8_t)(0xc0 | trial->reg << 3 | trial->rm);
    } else if (trial->form.vsib) {
        bytes[n] = (uint8_t)(0x84 | trial->reg << 3);
        bytes[n + 1] = 0x59; /* base 1, index 3, scale 2 */
    } else {
        bytes[n] = (uint8_t)(0x81 | trial->reg << 3);
    }
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&maker->decoder, bytes, ZYDIS_MAX_INSTRUCTION_LENGTH,
                                             &trial->instruction, trial->operands)))
        return false;
    /* C4, C5, 62 and 8F are opcodes of their own only with some ModRM bytes. */
    bool vex = trial->instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    bool legacy = trial->instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
                  trial->instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW;
    return trial->form.encoding == FORM_VEX ? vex : legacy;
}

static bool names_vector_index(const struct trial *trial)
{
    for (unsigned i = 0; i < trial->instruction.operand_count_visible; i++)
        if (trial->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            trial->operands[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
            return true;
    return false;
}

/* Whether the bytes decode; leaves the decoded instruction and vvvv_free in the trial. */
static bool try_encoding(const struct maker *maker, struct trial *trial)
{
    if (trial->form.encoding == FORM_LEGACY)
        return decode(maker, trial, 0);
    trial->form.vvvv_free = decode(maker, trial, 0x5); /* register 10, or 2 in 32-bit mode */
    if (trial->form.vvvv_free)
        return !trial->form.vsib || names_vector_index(trial);
    return !trial->form.vsib && decode(maker, trial, 0xf);
}

static void try_registers(struct maker *maker, struct trial *trial)
{
    for (trial->reg = 0; trial->reg < 8; trial->reg++)
        for (trial->rm = 0; trial->rm < 8 && maker->error == 0; trial->rm++) {
            if (!try_encoding(maker, trial))
                continue;
            remember(maker, trial);
            if ((trial->instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) == 0)
                return;
        }
}

static void try_memory(struct maker *maker, struct trial *trial)
{
    trial->rm = 0;
    for (trial->reg = 0; trial->reg < 8 && maker->error == 0; trial->reg++) {
        trial->form.vsib = false;
        bool good = try_encoding(maker, trial);
        if (!good && trial->form.encoding == FORM_VEX && trial->form.map == 2) {
            trial->form.vsib = true;
            good = try_encoding(maker, trial);
        }
        if (good && (trial->instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0)
            remember(maker, trial);
    }
}

static void try_opcode(struct maker *maker, const struct form *start)
{
    struct trial trial = {.form = *start};
    try_registers(maker, &trial);
    trial.form = *start;
    trial.form.memory = true;
    try_memory(maker, &trial);
}

/* Bytes of map 0 that are prefixes or lead to other maps: not opcodes of their own. */
static bool is_opcode(const struct form *form)
{
    if (form->map == 1)
        return form->opcode != 0x38 && form->opcode != 0x3a;
    if (form->map != 0)
        return true;
    switch (form->opcode) {
    case 0x0f:
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return false;
    default:
        return form->mode != DIFF_MODE64 || (form->opcode & 0xf0) != 0x40;
    }
}

static void try_legacy(struct maker *maker, enum diff_mode mode)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    struct form form = {.encoding = FORM_LEGACY, .mode = mode};
    for (form.map = 0; form.map < 4; form.map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned p = 0; p < sizeof(prefixes); p++)
                for (form.w = 0; form.w < (mode == DIFF_MODE64 ? 2 : 1); form.w++) {
                    form.opcode = (uint8_t)opcode;
                    form.prefix = prefixes[p];
                    if (is_opcode(&form))
                        try_opcode(maker, &form);
                }
}

static void try_vex(struct maker *maker, enum diff_mode mode)
{
    struct form form = {.encoding = FORM_VEX, .mode = mode};
    for (form.map = 1; form.map < 4; form.map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned bits = 0; bits < 16; bits++) {
                form.opcode = (uint8_t)opcode;
                form.prefix = (uint8_t)(bits & 3);
                form.l = bits >> 2 & 1;
                form.w = bits >> 3 & 1;
                try_opcode(maker, &form);
            }
}

int form_list_make(const struct policy *policy, struct form_list *ret)
{
    *ret = (struct form_list){0};
    struct maker maker = {.policy = policy, .list = ret};
    maker.key = calloc(BUCKETS, sizeof(*maker.key));
    maker.index = calloc(BUCKETS, sizeof(*maker.index));
    if (maker.key == NULL || maker.index == NULL)
        maker.error = -ENOMEM;
    static const enum diff_mode modes[] = {DIFF_MODE16, DIFF_MODE32, DIFF_MODE64};
    for (unsigned i = 0; i < 3 && maker.error == 0; i++) {
        form_decoder(modes[i], &maker.decoder);
        try_legacy(&maker, modes[i]);
        try_vex(&maker, modes[i]);
    }
    free(maker.key);
    free(maker.index);
    if (maker.error != 0)
        form_list_free(ret);
    return maker.error;
}
