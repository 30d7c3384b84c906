/*
 * Two-operand arithmetic, and INC, DEC, NEG, NOT: each done by the host's own instruction, whose
 * flags are the guest's.
 */
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"

static inline void set_arithmetic(struct cpu *cpu, uint64_t native)
{
    cpu->flags = (cpu->flags & ~(uint64_t)FLAGS_ARITHMETIC) | (native & FLAGS_ARITHMETIC);
}

/* Put the guest's carry into the host's before an instruction that reads it. */
#define LOAD_CARRY "btl $0, %k[in]\n\t"
#define NO_CARRY   ""
#define SAVE_FLAGS "pushfq\n\tpopq %[out]"

/* Register results clear the upper half when 32 bits wide. */
#define STORE_1(p, v) (*(uint8_t *)(p) = (v))
#define STORE_2(p, v) (*(uint16_t *)(void *)(p) = (v))
#define STORE_4(p, v) (*(uint64_t *)(void *)(p) = (v))
#define STORE_8(p, v) (*(uint64_t *)(void *)(p) = (v))

/* One computation on host registers, and one on memory with LOCK. */
#define COMPUTE(name, insn, carry, W, T, m)                                        \
    static inline T name##_compute_##W(T a, T b, uint64_t in, uint64_t *ret_flags) \
    {                                                                              \
        uint64_t out;                                                              \
        __asm__(carry insn " %" m "[b], %" m "[a]\n\t" SAVE_FLAGS                  \
                : [a] "+q"(a), [out] "=&r"(out)                                    \
                : [b] "q"(b), [in] "r"(in)                                         \
                : "cc");                                                           \
        *ret_flags = out;                                                          \
        return a;                                                                  \
    }

#define LOCKED(name, insn, carry, W, T, m, s)                                            \
    static inline void name##_locked_##W(void *p, T b, uint64_t in, uint64_t *ret_flags) \
    {                                                                                    \
        uint64_t out;                                                                    \
        __asm__ volatile(carry "lock " insn s " %" m "[b], %[a]\n\t" SAVE_FLAGS          \
                         : [a] "+m"(*(struct unaligned *)p), [out] "=&r"(out)            \
                         : [b] "q"(b), [in] "r"(in)                                      \
                         : "cc", "memory");                                              \
        *ret_flags = out;                                                                \
    }

/* dst is a register; `source` yields the other operand. */
#define REGISTER_FORM(name, form, dst, source, W, T, writes)                     \
    static int name##_##form##_##W(struct cpu *cpu, const struct op *op)         \
    {                                                                            \
        uint64_t flags;                                                          \
        T *p = gpr_at(cpu, dst); /* NOLINT(bugprone-macro-parentheses) a type */ \
        T result = name##_compute_##W(*p, (T)(source), cpu->flags, &flags);      \
        if (writes)                                                              \
            STORE_##W(p, result);                                                \
        set_arithmetic(cpu, flags);                                              \
        return STEP_NEXT;                                                        \
    }

#define LOAD_FORM(name, W, T, writes)                                                \
    static int name##_rm_##W(struct cpu *cpu, const struct op *op)                   \
    {                                                                                \
        uint64_t source;                                                             \
        uint64_t flags;                                                              \
        int step = operand_read(cpu, op, W, &source);                                \
        if (step != STEP_NEXT)                                                       \
            return step;                                                             \
        T *p = gpr_at(cpu, op->reg); /* NOLINT(bugprone-macro-parentheses) a type */ \
        T result = name##_compute_##W(*p, (T)source, cpu->flags, &flags);            \
        if (writes)                                                                  \
            STORE_##W(p, result);                                                    \
        set_arithmetic(cpu, flags);                                                  \
        return STEP_NEXT;                                                            \
    }

#define COMPARE_FORM(name, form, source, W, T)                               \
    static int name##_##form##_##W(struct cpu *cpu, const struct op *op)     \
    {                                                                        \
        uint64_t value;                                                      \
        uint64_t flags;                                                      \
        int step = operand_read(cpu, op, W, &value);                         \
        if (step != STEP_NEXT)                                               \
            return step;                                                     \
        (void)name##_compute_##W((T)value, (T)(source), cpu->flags, &flags); \
        set_arithmetic(cpu, flags);                                          \
        return STEP_NEXT;                                                    \
    }

#define MODIFY_FORM(name, form, source, W, T)                                                    \
    static int name##_##form##_##W(struct cpu *cpu, const struct op *op)                         \
    {                                                                                            \
        void *p;                                                                                 \
        uint64_t flags;                                                                          \
        int step = modify_begin(cpu, op, W, &p);                                                 \
        if (step != STEP_NEXT)                                                                   \
            return step;                                                                         \
        if (op->flags & OP_LOCK)                                                                 \
            name##_locked_##W(p, (T)(source), cpu->flags, &flags);                               \
        else                                                                                     \
            host_store(p, W,                                                                     \
                       name##_compute_##W((T)host_load(p, W), (T)(source), cpu->flags, &flags)); \
        step = memory_commit(cpu);                                                               \
        if (step == STEP_NEXT)                                                                   \
            set_arithmetic(cpu, flags);                                                          \
        return step;                                                                             \
    }

static inline int modify_begin(struct cpu *cpu, const struct op *op, unsigned size, void **ret)
{
    uint64_t linear;
    unsigned access = ACCESS_WRITE | (op->flags & OP_STACK);
    if (op->flags & OP_LOCK)
        access |= ACCESS_LOCKED;
    int step = operand_linear(cpu, op, size, access, &linear);
    if (step != STEP_NEXT)
        return step;
    return memory_begin(cpu, linear, size, access, ret);
}

#define REG(T) (*(T *)gpr_at(cpu, op->reg))

#define ALU_WIDTH(name, insn, carry, W, T, m, s)         \
    COMPUTE(name, insn, carry, W, T, m)                  \
    LOCKED(name, insn, carry, W, T, m, s)                \
    REGISTER_FORM(name, rr, op->rm, REG(T), W, T, true)  \
    REGISTER_FORM(name, ri, op->rm, op->imm, W, T, true) \
    LOAD_FORM(name, W, T, true)                          \
    MODIFY_FORM(name, mr, REG(T), W, T)                  \
    MODIFY_FORM(name, mi, op->imm, W, T)

#define COMPARE_WIDTH(name, insn, carry, W, T, m, s)      \
    COMPUTE(name, insn, carry, W, T, m)                   \
    REGISTER_FORM(name, rr, op->rm, REG(T), W, T, false)  \
    REGISTER_FORM(name, ri, op->rm, op->imm, W, T, false) \
    LOAD_FORM(name, W, T, false)                          \
    COMPARE_FORM(name, mr, REG(T), W, T)                  \
    COMPARE_FORM(name, mi, op->imm, W, T)

#define FORM_ROW(name, form)                                                       \
    {                                                                              \
        name##_##form##_1, name##_##form##_2, name##_##form##_4, name##_##form##_8 \
    }

#define FORM_TABLE(name)                                                \
    form_table op_##name = {                                            \
        [FORM_RR] = FORM_ROW(name, rr), [FORM_RI] = FORM_ROW(name, ri), \
        [FORM_MR] = FORM_ROW(name, mr), [FORM_MI] = FORM_ROW(name, mi), \
        [FORM_RM] = FORM_ROW(name, rm),                                 \
    };

#define ALL_WIDTHS(KIND, name, insn, carry)        \
    KIND(name, insn, carry, 1, uint8_t, "b", "b")  \
    KIND(name, insn, carry, 2, uint16_t, "w", "w") \
    KIND(name, insn, carry, 4, uint32_t, "k", "l") \
    KIND(name, insn, carry, 8, uint64_t, "q", "q") \
    FORM_TABLE(name)

ALL_WIDTHS(ALU_WIDTH, add, "add", NO_CARRY)
ALL_WIDTHS(ALU_WIDTH, or, "or", NO_CARRY)
ALL_WIDTHS(ALU_WIDTH, adc, "adc", LOAD_CARRY)
ALL_WIDTHS(ALU_WIDTH, sbb, "sbb", LOAD_CARRY)
ALL_WIDTHS(ALU_WIDTH, and, "and", NO_CARRY)
ALL_WIDTHS(ALU_WIDTH, sub, "sub", NO_CARRY)
ALL_WIDTHS(ALU_WIDTH, xor, "xor", NO_CARRY)
ALL_WIDTHS(COMPARE_WIDTH, cmp, "cmp", NO_CARRY)
ALL_WIDTHS(COMPARE_WIDTH, test, "test", NO_CARRY)

/* ---- one operand ---- */

/* INC and DEC keep CF: it is loaded before, and so comes back unchanged. */
#define UNARY_WIDTH(name, insn, carry, W, T, m, s)                                  \
    static int name##_rr_##W(struct cpu *cpu, const struct op *op)                  \
    {                                                                               \
        uint64_t out;                                                               \
        T *p = gpr_at(cpu, op->rm); /* NOLINT(bugprone-macro-parentheses) a type */ \
        T a = *p;                                                                   \
        __asm__(carry insn " %" m "[a]\n\t" SAVE_FLAGS                              \
                : [a] "+q"(a), [out] "=&r"(out)                                     \
                : [in] "r"(cpu->flags)                                              \
                : "cc");                                                            \
        STORE_##W(p, a);                                                            \
        name##_flags(cpu, out);                                                     \
        return STEP_NEXT;                                                           \
    }                                                                               \
    static int name##_mr_##W(struct cpu *cpu, const struct op *op)                  \
    {                                                                               \
        void *p;                                                                    \
        uint64_t out;                                                               \
        int step = modify_begin(cpu, op, W, &p);                                    \
        if (step != STEP_NEXT)                                                      \
            return step;                                                            \
        if (op->flags & OP_LOCK)                                                    \
            __asm__ volatile(carry "lock " insn s " %[a]\n\t" SAVE_FLAGS            \
                             : [a] "+m"(*(struct unaligned *)p), [out] "=&r"(out)   \
                             : [in] "r"(cpu->flags)                                 \
                             : "cc", "memory");                                     \
        else                                                                        \
            __asm__ volatile(carry insn s " %[a]\n\t" SAVE_FLAGS                    \
                             : [a] "+m"(*(struct unaligned *)p), [out] "=&r"(out)   \
                             : [in] "r"(cpu->flags)                                 \
                             : "cc", "memory");                                     \
        step = memory_commit(cpu);                                                  \
        if (step == STEP_NEXT)                                                      \
            name##_flags(cpu, out);                                                 \
        return step;                                                                \
    }

#define UNARY(name, insn, carry)                          \
    UNARY_WIDTH(name, insn, carry, 1, uint8_t, "b", "b")  \
    UNARY_WIDTH(name, insn, carry, 2, uint16_t, "w", "w") \
    UNARY_WIDTH(name, insn, carry, 4, uint32_t, "k", "l") \
    UNARY_WIDTH(name, insn, carry, 8, uint64_t, "q", "q") \
    form_table op_##name = {                              \
        [FORM_RR] = FORM_ROW(name, rr),                   \
        [FORM_MR] = FORM_ROW(name, mr),                   \
    };

static inline void inc_flags(struct cpu *cpu, uint64_t native)
{
    set_arithmetic(cpu, native);
}

static inline void dec_flags(struct cpu *cpu, uint64_t native)
{
    set_arithmetic(cpu, native);
}

static inline void neg_flags(struct cpu *cpu, uint64_t native)
{
    set_arithmetic(cpu, native);
}

/* NOT affects no flags. */
static inline void not_flags(struct cpu *cpu, uint64_t native)
{
    (void)cpu;
    (void)native;
}

UNARY(inc, "inc", LOAD_CARRY)
UNARY(dec, "dec", LOAD_CARRY)
UNARY(neg, "neg", NO_CARRY)
UNARY(not, "not", NO_CARRY)
