#include "generate.h"

#include <Zydis/Zydis.h>

#include "tests/harness/soft_twins.h"

enum { HEADER = 10, ROOM = 16 };

/* What is being made. */
struct text {
    struct rng *rng;
    const struct generate_code *code;
    uint8_t *at, *end;
    ZydisDecoder decoder;
};

static void put(struct text *text, const void *bytes, size_t length)
{
    if ((size_t)(text->end - text->at) < length)
        return;
    memcpy(text->at, bytes, length);
    text->at += length;
}
#define PUT(text, bytes) put(text, bytes, sizeof(bytes) - 1)

static void put_byte(struct text *text, unsigned byte)
{
    uint8_t one = (uint8_t)byte;
    put(text, &one, 1);
}

static void put32(struct text *text, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    put(text, &word, sizeof(word));
}

static bool decode(struct text *text, const uint8_t *bytes, size_t length,
                   ZydisDecodedInstruction *ret)
{
    return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&text->decoder, NULL, bytes, length, ret));
}

/* ---- by the encoding ---- */

static unsigned put_prefixes(struct rng *rng, uint8_t *to)
{
    static const uint8_t legacy[] = {0x66, 0x66, 0x66, 0xf2, 0xf3, 0xf3, 0xf0, 0x64, 0x65, 0x67};
    unsigned count = 0;
    while (count < 3 && rng_percent(rng, 25))
        to[count++] = legacy[rng_below(rng, sizeof(legacy))];
    if (rng_percent(rng, 50))
        to[count++] = (uint8_t)(0x40 + rng_below(rng, 16));
    return count;
}

static unsigned put_opcode(struct rng *rng, uint8_t *to)
{
    static const uint8_t alu[] = {0x01, 0x03, 0x11, 0x13, 0x29, 0x2b, 0x31, 0x33, 0x39, 0x3b, 0x69,
                                  0x6b, 0x80, 0x81, 0x83, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b,
                                  0x8d, 0x8f, 0xc0, 0xc1, 0xc6, 0xc7, 0xd1, 0xd3, 0xf6, 0xf7, 0xfe,
                                  0xff, 0x50, 0x58, 0x98, 0x99, 0xa4, 0xab, 0x63, 0x9c, 0x9d, 0xc9};
    uint32_t kind = rng_below(rng, 100);
    if (kind < 45) {
        to[0] = alu[rng_below(rng, sizeof(alu))];
        return 1;
    }
    if (kind < 60) {
        to[0] = (uint8_t)rng_next(rng);
        return 1;
    }
    to[0] = 0x0f;
    to[1] = (uint8_t)rng_next(rng);
    if (kind < 88)
        return 2;
    if (kind < 94) {
        to[1] = rng_percent(rng, 60) ? 0x38 : 0x3a;
        to[2] = (uint8_t)rng_next(rng);
        return 3;
    }
    to[0] = rng_percent(rng, 50) ? 0xc5 : 0xc4;
    return 1;
}

/* Small distances from a register, mostly. */
static void bias_operand(struct rng *rng, uint8_t *modrm)
{
    if (rng_percent(rng, 60))
        modrm[0] = (uint8_t)((modrm[0] & 0x3f) | rng_below(rng, 2) << 6);
    if ((modrm[0] & 7) != 4)
        modrm[1] &= 0x9f;
}

static void put_encoded(struct text *text)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        uint8_t bytes[ROOM + 8];
        ZydisDecodedInstruction instruction;
        rng_fill(text->rng, bytes, sizeof(bytes));
        unsigned length = put_prefixes(text->rng, bytes);
        length += put_opcode(text->rng, bytes + length);
        if (rng_percent(text->rng, 70))
            bias_operand(text->rng, bytes + length);
        if (!decode(text, bytes, 15, &instruction))
            continue;
        if (instruction.mnemonic == ZYDIS_MNEMONIC_HLT && !rng_percent(text->rng, 5))
            continue;
        put(text, bytes, instruction.length);
        return;
    }
}

/* ---- real code ---- */

/* Jumps stay near, and go forward for the most part. */
static void bend_branch(struct rng *rng, const ZydisDecodedInstruction *instruction, uint8_t *bytes)
{
    if (!instruction->raw.imm[0].is_relative || rng_percent(rng, 5))
        return;
    int32_t distance = (int32_t)rng_below(rng, 48);
    if (rng_percent(rng, 6))
        distance = -distance;
    memcpy(bytes + instruction->raw.imm[0].offset, &distance, instruction->raw.imm[0].size / 8);
}

static void put_real(struct text *text)
{
    const struct generate_code *code = text->code;
    unsigned count = 3 + rng_below(text->rng, 30);
    uint32_t changes = rng_percent(text->rng, 50) ? 15 : 0;
    if (code->length < 4096)
        return;
    size_t at = rng_next(text->rng) % (code->length - 2048);
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[ROOM];
        ZydisDecodedInstruction instruction;
        memcpy(bytes, code->bytes + at, sizeof(bytes));
        if (!decode(text, bytes, 15, &instruction)) {
            at++;
            continue;
        }
        at += instruction.length;
        bend_branch(text->rng, &instruction, bytes);
        if (rng_percent(text->rng, changes))
            bytes[rng_below(text->rng, instruction.length)] ^=
                (uint8_t)(1u << rng_below(text->rng, 8));
        put(text, bytes, instruction.length);
    }
}

/* ---- pieces with a purpose ---- */

static uint64_t some_address(struct rng *rng)
{
    static const uint64_t near[] = {DATA_AT,
                                    DATA_AT + 0x1000,
                                    DATA_AT + 0x2000,
                                    DATA_AT + 0x3000,
                                    CODE_AT,
                                    CODE_AT + 0x1000,
                                    TWINS_READ_ONLY_AT,
                                    TWINS_ALIAS_AT,
                                    TWINS_LAST_AT,
                                    STACK_TOP - 0x1000,
                                    TWINS_CODE_ALIAS_AT,
                                    LARGE_AT + CODE_AT,
                                    LARGE_AT + PT_AT,
                                    MMIO_LINEAR,
                                    UINT64_C(0x800000000000),
                                    UINT64_C(0xffff800000000000),
                                    UINT64_C(0),
                                    PT_AT + 0x100,
                                    TWINS_LAST_AT + 0x1000};
    uint64_t base = near[rng_below(rng, sizeof(near) / sizeof(near[0]))];
    int64_t distance =
        rng_percent(rng, 40) ? -(int64_t)rng_below(rng, 40) : (int64_t)rng_below(rng, 0x400);
    return base + (uint64_t)distance;
}

static void put_load_register(struct text *text, unsigned reg, uint64_t value)
{
    put_byte(text, 0x48 | (reg >> 3));
    put_byte(text, 0xb8 | (reg & 7));
    put(text, &value, sizeof(value));
}

static void put_address(struct text *text)
{
    unsigned reg = rng_below(text->rng, 16);
    if (reg != GPR_RSP || rng_percent(text->rng, 20))
        put_load_register(text, reg, some_address(text->rng));
}

/* A store to the code around. */
static void put_change(struct text *text)
{
    int32_t distance = (int32_t)rng_below(text->rng, 96) - 48;
    if (rng_percent(text->rng, 50)) {
        PUT(text, "\xc6\x05");
        put32(text, (uint32_t)distance);
        put_byte(text, rng_below(text->rng, 256));
        return;
    }
    PUT(text, "\x48\x01\x05"); /* add [rip + distance], rax */
    put32(text, (uint32_t)distance);
}

static void put_cr3(struct text *text)
{
    uint64_t root = rng_percent(text->rng, 50) ? PML4_AT : TWINS_OTHER_PML4_AT;
    put_byte(text, 0xb8);
    put32(text, root);
    PUT(text, "\x0f\x22\xd8");
}

/* One bit of CR0 or CR4 that a running system changes. */
static void put_control(struct text *text)
{
    static const uint32_t cr0[] = {CR0_TS, CR0_AM, CR0_WP, CR0_MP, CR0_EM};
    static const uint32_t cr4[] = {CR4_PGE,      CR4_OSFXSR, CR4_OSXSAVE, CR4_UMIP,
                                   CR4_FSGSBASE, CR4_TSD,    CR4_SMAP,    CR4_PCIDE};
    bool zero = rng_percent(text->rng, 50);
    put_byte(text, 0x0f);
    put_byte(text, 0x20);
    put_byte(text, zero ? 0xc0 : 0xe0);
    put_byte(text, 0x35); /* xor eax, bit */
    put32(text, zero ? cr0[rng_below(text->rng, sizeof(cr0) / sizeof(cr0[0]))]
                     : cr4[rng_below(text->rng, sizeof(cr4) / sizeof(cr4[0]))]);
    put_byte(text, 0x0f);
    put_byte(text, 0x22);
    put_byte(text, zero ? 0xc0 : 0xe0);
}

static void put_flags(struct text *text)
{
    static const uint32_t bits[] = {FLAG_DF, FLAG_AC,   FLAG_NT, FLAG_TF,
                                    FLAG_IF, FLAG_IOPL, FLAG_ID};
    uint32_t flags = (uint32_t)rng_next(text->rng) & FLAGS_ARITHMETIC;
    unsigned which = rng_below(text->rng, sizeof(bits) / sizeof(bits[0]));
    if (bits[which] != FLAG_TF || rng_percent(text->rng, 10))
        flags |= bits[which];
    put_byte(text, 0x68);
    put32(text, flags);
    put_byte(text, 0x9d);
}

static void put_string(struct text *text)
{
    static const uint8_t op[] = {0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xae, 0xac};
    if (rng_percent(text->rng, 50))
        put_load_register(text, GPR_RDI, some_address(text->rng));
    if (rng_percent(text->rng, 50))
        put_load_register(text, GPR_RSI, some_address(text->rng));
    put_byte(text, 0xb9);
    put32(text, rng_below(text->rng, rng_percent(text->rng, 10) ? 0x2000 : 80));
    put_byte(text, rng_percent(text->rng, 80) ? 0xf3 : 0xf2);
    if (rng_percent(text->rng, 60))
        put_byte(text, 0x48);
    put_byte(text, op[rng_below(text->rng, sizeof(op))]);
}

static void put_transition(struct text *text)
{
    switch (rng_below(text->rng, 8)) {
    case 0:
        put_byte(text, 0xcd);
        put_byte(text, TWINS_GATE + rng_below(text->rng, TWINS_GATES));
        break;
    case 1:
        PUT(text, "\x0f\x05");
        break;
    case 2:
        PUT(text, "\x48\x0f\x07");
        break;
    case 3:
        PUT(text, "\x48\xcf");
        break;
    case 4:
        PUT(text, "\x0f\x01\xf8");
        break;
    case 5: /* ret to somewhere in the code */
        put_byte(text, 0x68);
        put32(text, CODE_AT + rng_below(text->rng, 512));
        put_byte(text, 0xc3);
        break;
    case 6: /* a frame for user code */
        PUT(text, "\x6a\x2b\x54\x9c\x6a\x33\x68");
        put32(text, CODE_AT + rng_below(text->rng, 512));
        PUT(text, "\x48\xcf");
        break;
    default: /* jmp rax within the alias of the code */
        put_load_register(text, GPR_RAX, TWINS_CODE_ALIAS_AT + rng_below(text->rng, 512));
        PUT(text, "\xff\xe0");
        break;
    }
}

static void put_flush(struct text *text)
{
    put_byte(text, 0x0f);
    put_byte(text, 0x01);
    put_byte(text, 0x38 | rng_below(text->rng, 8)); /* INVLPG, or SWAPGS and the like */
}

static void put_one(struct text *text);

static void put_loop(struct text *text)
{
    uint8_t *end = text->end;
    put_byte(text, 0xb9);
    put32(text, 2 + rng_below(text->rng, 40));
    uint8_t *start = text->at;
    if (end - start < 130)
        return;
    text->end = start + 100;
    for (unsigned i = 1 + rng_below(text->rng, 6); i > 0; i--)
        put_one(text);
    text->end = end;
    put_byte(text, 0xe2);
    put_byte(text, (unsigned)(start - text->at - 1));
}

static void put_bytes(struct text *text)
{
    uint8_t bytes[ROOM];
    rng_fill(text->rng, bytes, sizeof(bytes));
    put(text, bytes, 1 + rng_below(text->rng, ROOM - 1));
}

static void put_one(struct text *text)
{
    static const struct {
        unsigned weight;
        void (*fn)(struct text *text);
    } kinds[] = {
        {34, put_encoded},   {22, put_real},   {12, put_address}, {3, put_change},
        {2, put_cr3},        {2, put_control}, {3, put_flags},    {4, put_string},
        {4, put_transition}, {1, put_flush},   {8, put_loop},     {5, put_bytes},
    };
    uint32_t dice = rng_below(text->rng, 100);
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (dice < kinds[i].weight) {
            kinds[i].fn(text);
            return;
        }
        dice -= kinds[i].weight;
    }
}

/* ---- the whole ---- */

static void put_header(struct rng *rng, uint8_t *header)
{
    rng_fill(rng, header, HEADER);
    header[0] &= 0x9d; /* 64-bit code, kernel or user */
    if (rng_percent(rng, 4))
        header[0] |= 2; /* 16 or 32 bits */
    if (rng_percent(rng, 85))
        header[0] &= (uint8_t)~8; /* with a stack */
    if (rng_percent(rng, 70))
        header[0] |= 0x10;
    uint8_t flags = 0;
    for (unsigned bit = 0; bit < 8; bit++) {
        static const uint8_t percent[8] = {10, 10, 2, 15, 20, 30, 50, 5};
        if (rng_percent(rng, percent[bit]))
            flags |= (uint8_t)(1u << bit);
    }
    header[1] = flags;
    /* Good addresses for most registers. */
    for (unsigned i = 2; i < HEADER; i++) {
        if (rng_percent(rng, 60))
            header[i] = (uint8_t)(3 + rng_below(rng, 4) + (3 + rng_below(rng, 3)) * 16);
    }
}

size_t generate_input(struct rng *rng, const struct generate_code *code, uint8_t ret[GENERATE_MAX])
{
    struct text text = {.rng = rng, .code = code, .at = ret + HEADER};
    text.end = text.at + 32 + rng_below(rng, GENERATE_MAX - HEADER - 32);
    (void)ZydisDecoderInit(&text.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    put_header(rng, ret);
    while (text.end - text.at > ROOM)
        put_one(&text);
    return (size_t)(text.at - ret);
}
