/*
 * Formats: IEEE 754 and Intel SDM vol. 1 § 4.2, § 8.1, § 10.2.3, § 13.4.
 */
#include "values.h"

#include "base/bytes.h"

static const uint64_t integer_edges[] = {
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x10000,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    0x100000000,
    UINT64_C(0x7fffffffffffffff),
    UINT64_C(0x8000000000000000),
    UINT64_C(0xffffffffffffffff),
    UINT64_C(0xfffffffffffffffe),
    UINT64_C(0xffffffff80000000),
    UINT64_C(0xffffffffffffff80),
    UINT64_C(0xffffffffffff8000),
    UINT64_C(0x0000800000000000),
    UINT64_C(0xffff800000000000),
    UINT64_C(0x5555555555555555),
    UINT64_C(0xaaaaaaaaaaaaaaaa),
    UINT64_C(0x0123456789abcdef),
    UINT64_C(0x0999999999999999),
};

static const uint32_t float_edges[] = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff,
    0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xffa00000, 0x4f000000,
    0xcf000000, 0x5f000000, 0x3f000000, 0x3fc00000, 0x40490fdb, 0x34000000,
};

static const uint64_t double_edges[] = {
    0,
    UINT64_C(0x8000000000000000),
    UINT64_C(0x3ff0000000000000),
    UINT64_C(0xbff0000000000000),
    1,
    UINT64_C(0x800fffffffffffff),
    UINT64_C(0x0010000000000000),
    UINT64_C(0x7fefffffffffffff),
    UINT64_C(0x7ff0000000000000),
    UINT64_C(0xfff0000000000000),
    UINT64_C(0x7ff8000000000000),
    UINT64_C(0xfff8000000000000),
    UINT64_C(0x7ff0000000000001),
    UINT64_C(0xfff4000000000000),
    UINT64_C(0x41dfffffffc00000),
    UINT64_C(0x41e0000000000000),
    UINT64_C(0xc1e0000000000000),
    UINT64_C(0x43e0000000000000),
    UINT64_C(0xc3e0000000000000),
    UINT64_C(0x3fe0000000000000),
    UINT64_C(0x400921fb54442d18),
    UINT64_C(0x3810000000000000),
    UINT64_C(0x36a0000000000000),
};

/* Sign and exponent of an 80-bit value, then its significand. */
static const struct {
    uint16_t head;
    uint64_t significand;
} extended_edges[] = {
    {0x0000, 0},
    {0x8000, 0},
    {0x3fff, UINT64_C(0x8000000000000000)},
    {0xbfff, UINT64_C(0x8000000000000000)},
    {0x7fff, UINT64_C(0x8000000000000000)},
    {0xffff, UINT64_C(0x8000000000000000)},
    {0x7fff, UINT64_C(0xc000000000000000)},
    {0xffff, UINT64_C(0xc000000000000000)},
    {0x7fff, UINT64_C(0xa000000000000000)},
    {0x0000, 1},
    {0x0000, UINT64_C(0x8000000000000000)},
    {0x7ffe, UINT64_C(0xffffffffffffffff)},
    {0x0001, UINT64_C(0x8000000000000000)},
    {0x3fff, UINT64_C(0x0000000000000001)},
    {0x7fff, 0},
    {0x4000, UINT64_C(0xc90fdaa22168c235)},
    {0x403e, UINT64_C(0x8000000000000000)},
    {0xc03e, UINT64_C(0x8000000000000000)},
    {0x3ffe, UINT64_C(0x8000000000000000)},
    {0x403a, UINT64_C(0xde0b6b3a763fffe0)},
};

#define PICK(rng, table) ((table)[rng_below((rng), sizeof(table) / sizeof((table)[0]))])

uint64_t values_integer(struct rng *rng)
{
    switch (rng_below(rng, 8)) {
    case 0:
    case 1:
        return PICK(rng, integer_edges);
    case 2:
        return PICK(rng, integer_edges) + rng_below(rng, 5) - 2;
    case 3:
        return rng_below(rng, 256);
    case 4:
        return rng_next(rng) >> 32;
    case 5:
        return UINT64_C(1) << rng_below(rng, 64);
    default:
        return rng_next(rng);
    }
}

uint32_t values_mxcsr(struct rng *rng)
{
    uint32_t value = rng_below(rng, 0x10000);
    return rng_percent(rng, 85) ? value | 0x1f80 : value;
}

uint16_t values_fpu_control(struct rng *rng)
{
    uint32_t value = (rng_below(rng, 0x2000) & ~0xc0U) | 0x40;
    return (uint16_t)(rng_percent(rng, 85) ? value | 0x3f : value);
}

static void put_extended(struct rng *rng, uint8_t *to)
{
    if (rng_percent(rng, 50)) {
        uint32_t i = rng_below(rng, sizeof(extended_edges) / sizeof(extended_edges[0]));
        put_le64(to, extended_edges[i].significand);
        put_le16(to + 8, extended_edges[i].head);
        return;
    }
    /* A normal number whose exponent is near 0 as often as not. */
    uint32_t exponent =
        rng_percent(rng, 70) ? 0x3fff - 40 + rng_below(rng, 108) : rng_below(rng, 0x8000);
    put_le64(to, rng_next(rng) | UINT64_C(1) << 63);
    put_le16(to + 8, (uint16_t)(exponent | rng_below(rng, 2) << 15));
}

static void put_float(struct rng *rng, uint8_t *to)
{
    uint32_t value = (uint32_t)rng_next(rng);
    if (rng_percent(rng, 50))
        value = PICK(rng, float_edges);
    else if (rng_percent(rng, 60))
        value = (value & 0x807fffff) | (100 + rng_below(rng, 60)) << 23;
    put_le32(to, value);
}

static void put_double(struct rng *rng, uint8_t *to)
{
    uint64_t value = rng_next(rng);
    if (rng_percent(rng, 50))
        value = PICK(rng, double_edges);
    else if (rng_percent(rng, 60))
        value = (value & UINT64_C(0x800fffffffffffff)) |
                (uint64_t)(0x3ff - 40 + rng_below(rng, 110)) << 52;
    put_le64(to, value);
}

void values_vector(struct rng *rng, uint8_t *to, size_t length)
{
    uint32_t kind = rng_below(rng, 5);
    for (size_t i = 0; i + 8 <= length; i += 8) {
        switch (kind) {
        case 0:
            put_float(rng, to + i);
            put_float(rng, to + i + 4);
            break;
        case 1:
            put_double(rng, to + i);
            break;
        case 2:
            put_le64(to + i, values_integer(rng));
            break;
        case 3:
            put_le64(to + i, rng_below(rng, 64));
            break;
        default:
            put_le64(to + i, rng_next(rng));
        }
    }
}

/*
 * Status word: condition codes, TOP and sticky flags as they come; an unmasked pending exception
 * (which the next waiting x87 instruction raises as #MF) in few cases only.
 */
static uint16_t fpu_status(struct rng *rng, uint16_t control)
{
    uint32_t flags = rng_percent(rng, 50) ? rng_below(rng, 0x40) : 0;
    if (rng_percent(rng, 90))
        flags &= control;
    uint32_t status = (rng_below(rng, 0x10000) & 0x7f00) | flags;
    bool pending = (flags & ~(uint32_t)control & 0x3f) != 0;
    return (uint16_t)(pending ? status | 0x8080 : status);
}

void values_xsave(struct rng *rng, uint8_t *to)
{
    memset(to, 0, DIFF_XSAVE_SIZE);
    uint16_t control = values_fpu_control(rng);
    put_le16(to, control);
    put_le16(to + 2, fpu_status(rng, control));
    to[4] = (uint8_t)(rng_percent(rng, 50) ? rng_next(rng) : 0xff);
    put_le32(to + 24, values_mxcsr(rng));
    put_le32(to + 28, 0xffff);
    bool mmx = rng_percent(rng, 40);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *st = to + 32 + 16 * (size_t)i;
        put_extended(rng, st);
        if (mmx) {
            values_vector(rng, st, 8);
            put_le16(st + 8, 0xffff);
        }
    }
    values_vector(rng, to + 160, 128);
    values_vector(rng, to + 288, 128);
    values_vector(rng, to + DIFF_XSAVE_AVX, 128);
    values_vector(rng, to + DIFF_XSAVE_AVX + 128, 128);
    put_le64(to + DIFF_XSAVE_HEADER, rng_percent(rng, 90) ? 7 : rng_below(rng, 8));
}

void values_data(struct rng *rng, uint8_t *to)
{
    for (size_t at = 0; at < DIFF_DATA_SIZE; at += 64)
        values_vector(rng, to + at, 64);
    for (size_t i = 0; i < VALUES_IMAGES; i++) {
        uint8_t image[DIFF_XSAVE_SIZE];
        values_xsave(rng, image);
        if (i == VALUES_IMAGES - 1) /* compacted: Intel SDM vol. 1 § 13.4.3 */
            put_le64(image + DIFF_XSAVE_HEADER + 8, UINT64_C(0x8000000000000007));
        memcpy(to + VALUES_IMAGE_FIRST + i * VALUES_IMAGE_STEP, image, sizeof(image));
    }
}

static uint64_t random_flags(struct rng *rng)
{
    uint64_t flags = 0x202 | (rng_next(rng) & 0x8d5);
    if (rng_percent(rng, 15))
        flags |= 1 << 10; /* DF */
    if (rng_percent(rng, 3))
        flags |= 1 << 18; /* AC */
    if (rng_percent(rng, 3))
        flags |= 1 << 8; /* TF */
    if (rng_percent(rng, 10))
        flags |= 1 << 21; /* ID */
    return flags;
}

static uint64_t random_base(struct rng *rng)
{
    if (rng_percent(rng, 70))
        return DIFF_RW0 + rng_below(rng, DIFF_RW_SIZE);
    return rng_next(rng) >> 17;
}

/* Mostly the flat segment; sometimes one that has a limit or may not be written. */
static uint16_t data_segment(struct rng *rng)
{
    static const uint8_t entry[] = {DIFF_LDT_RW, DIFF_LDT_RW, DIFF_LDT_DOWN, DIFF_LDT_RO};
    if (rng_percent(rng, 85))
        return DIFF_USER_DS;
    return DIFF_LDT_SELECTOR(entry[rng_below(rng, sizeof(entry))]);
}

static void narrow_segments(struct rng *rng, enum diff_mode mode, struct diff_state *ret)
{
    ret->segment[DIFF_FS] = DIFF_LDT_SELECTOR(DIFF_LDT_RW);
    ret->segment[DIFF_GS] = DIFF_LDT_SELECTOR(DIFF_LDT_DOWN);
    ret->segment[DIFF_DS] = data_segment(rng);
    ret->segment[DIFF_ES] = data_segment(rng);
    if (rng_percent(rng, 10))
        ret->segment[DIFF_SS] = DIFF_LDT_SELECTOR(DIFF_LDT_STACK16);
    if (mode != DIFF_MODE16)
        return;
    ret->segment[DIFF_CS] = DIFF_LDT_SELECTOR(DIFF_LDT_CODE16);
    if (rng_percent(rng, 90))
        ret->segment[DIFF_SS] = DIFF_LDT_SELECTOR(DIFF_LDT_STACK16);
    for (unsigned i = 0; i < 2 && rng_percent(rng, 95); i++)
        ret->segment[i == 0 ? DIFF_DS : DIFF_ES] = DIFF_LDT_SELECTOR(DIFF_LDT_RW);
}

void values_state(struct rng *rng, enum diff_mode mode, bool has_ldt, struct diff_state *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (unsigned i = 0; i < 16; i++)
        ret->gpr[i] = values_integer(rng);
    ret->rflags = random_flags(rng);
    ret->segment[DIFF_CS] = mode == DIFF_MODE64 ? DIFF_USER_CS64 : DIFF_USER_CS32;
    ret->segment[DIFF_SS] = DIFF_USER_DS;
    ret->segment[DIFF_DS] = DIFF_USER_DS;
    ret->segment[DIFF_ES] = DIFF_USER_DS;
    if (mode == DIFF_MODE64) {
        ret->fs_base = random_base(rng);
        ret->gs_base = random_base(rng);
    } else {
        for (unsigned i = 0; i < 16; i++)
            ret->gpr[i] = i < 8 ? ret->gpr[i] & 0xffffffff : 0;
        if (has_ldt)
            narrow_segments(rng, mode, ret);
        if (ret->segment[DIFF_SS] == DIFF_LDT_SELECTOR(DIFF_LDT_STACK16))
            ret->gpr[4] = (ret->gpr[4] & 0xffff) | DIFF_ENTRY;
    }
    values_xsave(rng, ret->xsave);
}
