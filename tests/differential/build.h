/*
 * Cases made from forms: bytes, registers and memory such that most of them do their work and
 * some fault.
 */
#ifndef DIFFERENTIAL_BUILD_H
#define DIFFERENTIAL_BUILD_H

#include "forms.h"
#include "layout.h"
#include "tests/harness/rng.h"

enum build_kind {
    BUILD_FORM,     /* one instruction of a known form */
    BUILD_EDGE,     /* such a one whose bytes reach into the page that is not there */
    BUILD_HIDDEN,   /* the guest's CPUID does not show it */
    BUILD_ILLEGAL,  /* bytes that are no instruction */
    BUILD_SEQUENCE, /* several instructions in a row */
    BUILD_KIND_COUNT,
};

/* What a case is, beside its bytes and state. */
struct build {
    struct diff_case c;
    enum build_kind kind;
    enum diff_mode mode;
    const struct form *form; /* NULL for random bytes */
    enum policy_group group;
    ZydisMnemonic mnemonic;
    /* The instruction at code[at], where it decodes: of a sequence, the one last added. */
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    uint32_t at;
    bool decoded;
    uint32_t fixed;     /* registers that already address something */
    uint64_t undefined; /* of a sequence: flags that any of its instructions leaves undefined */
};

struct build_context {
    const struct policy *policy;
    bool has_ldt;
    ZydisDecoder decoder[3]; /* by mode / 32 */
};

void build_context_init(const struct policy *policy, bool has_ldt, struct build_context *ret);

/* Make a case of `form`; false when the random bytes came out as something not to be run. */
bool build_from_form(const struct build_context *context, struct rng *rng, const struct form *form,
                     struct build *ret);
/*
 * Make a case of several forms of one mode, one after the other; false when one of them may not be
 * part of a sequence. Branches may only come last.
 */
bool build_sequence(const struct build_context *context, struct rng *rng,
                    const struct form *const *forms, size_t count, struct build *ret);
/* Make a case of given or random bytes. */
bool build_from_bytes(const struct build_context *context, struct rng *rng, enum diff_mode mode,
                      const uint8_t *bytes, size_t length, struct build *ret);
bool build_random_bytes(const struct build_context *context, struct rng *rng, struct build *ret);

/* prepare.c: registers and memory for the operands of ret->instruction. */
void prepare_operands(struct rng *rng, struct build *ret);

/* Put bytes over the data pages before the case; addresses outside them are ignored. */
void build_patch(struct build *build, uint64_t address, const uint8_t *bytes, size_t length);

/* The linear address of an operand that is memory. */
uint64_t build_operand_address(const struct build *build, unsigned index);
bool build_pushes_segment(const struct build *build);
/* Bases of the segments that the case starts with. */
uint64_t build_segment_base(const struct build *build, ZydisRegister segment);
/* The linear address of the top of its stack. */
uint64_t build_stack_address(const struct build *build);

#endif
