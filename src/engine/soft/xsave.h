/* Where things are in an XSAVE area, Intel SDM vol. 1 § 10.5.1 and ch. 13. */
#ifndef SOFT_XSAVE_H
#define SOFT_XSAVE_H

#include "engine/soft/cpu.h"
#include "engine/soft/native.h"

enum xstate { XSTATE_X87 = 1, XSTATE_SSE = 2, XSTATE_AVX = 4 };

enum {
    XSAVE_FCW = 0,
    XSAVE_FSW = 2,
    XSAVE_FTW = 4,
    XSAVE_FOP = 6,
    XSAVE_FIP = 8,
    XSAVE_FDP = 16,
    XSAVE_MXCSR = 24,
    XSAVE_MXCSR_MASK = 28,
    XSAVE_ST = 32,
    XSAVE_XMM = 160,
    XSAVE_LEGACY_SIZE = 512,
    XSAVE_STATES = 512,  /* XSTATE_BV */
    XSAVE_COMPACT = 520, /* XCOMP_BV */
    XSAVE_HEADER_END = 576,
    XSAVE_AVX_OFFSET = 576,
    XSAVE_AVX_SIZE = 256,
};

enum { MXCSR_DEFAULT = 0x1f80, MXCSR_MASK = 0xffff };

/* Little-endian fields of up to 8 bytes. */
static inline uint64_t xsave_get(const void *area, unsigned offset, unsigned size)
{
    uint64_t value = 0;
    copy_live(&value, (const uint8_t *)area + offset, size);
    return value;
}

static inline void xsave_put(void *area, unsigned offset, unsigned size, uint64_t value)
{
    copy_live((uint8_t *)area + offset, &value, size);
}

/* CPUID.(0xD, 1).EAX[2] of the guest. */
bool xsave_has_xgetbv1(const struct cpu *cpu);

#endif
