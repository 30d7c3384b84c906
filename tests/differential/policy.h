/*
 * Which instructions are compared with the host, and which cannot be.
 */
#ifndef DIFFERENTIAL_POLICY_H
#define DIFFERENTIAL_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <Zydis/Zydis.h>

#include "layout.h"

enum policy_verdict {
    POLICY_COMPARE,
    POLICY_HIDDEN, /* the guest's CPUID does not show it: the engine must raise #UD, unasked */
    POLICY_SKIP,   /* its result is no function of the case, or it would leave the child */
};

enum policy_group {
    GROUP_INTEGER,
    GROUP_BRANCH,
    GROUP_STACK,
    GROUP_STRING,
    GROUP_SEGMENT,
    GROUP_BMI,
    GROUP_X87,
    GROUP_MMX,
    GROUP_SSE,
    GROUP_AVX,
    GROUP_CRYPTO,
    GROUP_XSAVE,
    GROUP_SYSTEM, /* must fault in user mode */
    GROUP_COUNT,
};

extern const char *const policy_group_name[GROUP_COUNT];

/* CPUID words that say which instructions there are: Intel SDM vol. 2A, CPUID. */
enum cpuid_word {
    WORD_1_ECX,
    WORD_1_EDX,
    WORD_7_EBX,
    WORD_7_ECX,
    WORD_7_1_EAX,
    WORD_D_1_EAX,
    WORD_X1_ECX, /* 0x80000001 */
    WORD_X1_EDX,
    WORD_COUNT,
};

struct policy {
    uint32_t word[WORD_COUNT];
};

/* Leaf, subleaf and register (0 eax … 3 edx) of a word. */
struct cpuid_place {
    uint32_t leaf, subleaf;
    uint8_t reg;
};
extern const struct cpuid_place policy_place[WORD_COUNT];

enum policy_verdict policy_judge(const struct policy *policy, enum diff_mode mode,
                                 const ZydisDecodedInstruction *instruction,
                                 const ZydisDecodedOperand *operands);

bool policy_has_avx(const struct policy *policy);
enum policy_group policy_group_of(const ZydisDecodedInstruction *instruction);

#endif
