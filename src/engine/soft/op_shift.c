/*
 * Shifts and rotates by the host's own instructions. A masked count of zero changes no flag, and
 * rotates change only CF and OF (Intel SDM vol. 2, RCL/RCR/ROL/ROR and SAL/SAR/SHL/SHR).
 */
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"

enum { ROTATE_FLAGS = FLAG_CF | FLAG_OF, SHIFT_FLAGS = FLAGS_ARITHMETIC };

static inline unsigned shift_count(const struct cpu *cpu, const struct op *op)
{
    uint64_t count = (op->flags & OP_IMMEDIATE) ? op->imm : cpu->gpr[GPR_RCX];
    return (unsigned)count & (op->width == 8 ? 63 : 31);
}

#define STORE_REGISTER(W, p, v) gpr_store_##W(p, v)

static inline void gpr_store_1(void *p, uint8_t v)
{
    *(uint8_t *)p = v;
}

static inline void gpr_store_2(void *p, uint16_t v)
{
    *(uint16_t *)p = v;
}

static inline void gpr_store_4(void *p, uint32_t v)
{
    *(uint64_t *)p = v;
}

static inline void gpr_store_8(void *p, uint64_t v)
{
    *(uint64_t *)p = v;
}

#define SHIFT_WIDTH(name, mask, W, T, m)                                                          \
    static inline T name##_compute_##W(struct cpu *cpu, T a, unsigned count, uint64_t *ret_flags) \
    {                                                                                             \
        uint64_t out;                                                                             \
        __asm__("btl $0, %k[in]\n\t" #name " %%cl, %" m "[a]\n\tpushfq\n\tpopq %[out]"            \
                : [a] "+q"(a), [out] "=&r"(out)                                                   \
                : "c"(count), [in] "r"(cpu->flags)                                                \
                : "cc");                                                                          \
        *ret_flags = count == 0 ? cpu->flags : (cpu->flags & ~(uint64_t)(mask)) | (out & (mask)); \
        return a;                                                                                 \
    }                                                                                             \
    static int name##_register_##W(struct cpu *cpu, const struct op *op)                          \
    {                                                                                             \
        T *p = gpr_at(cpu, op->rm); /* NOLINT(bugprone-macro-parentheses) a type */               \
        uint64_t flags;                                                                           \
        T result = name##_compute_##W(cpu, *p, shift_count(cpu, op), &flags);                     \
        STORE_REGISTER(W, p, result);                                                             \
        cpu->flags = flags;                                                                       \
        return STEP_NEXT;                                                                         \
    }                                                                                             \
    static int name##_memory_##W(struct cpu *cpu, const struct op *op)                            \
    {                                                                                             \
        void *p;                                                                                  \
        int step = shift_begin(cpu, op, W, &p);                                                   \
        if (step != STEP_NEXT)                                                                    \
            return step;                                                                          \
        uint64_t flags;                                                                           \
        T result = name##_compute_##W(cpu, (T)host_load(p, W), shift_count(cpu, op), &flags);     \
        host_store(p, W, result);                                                                 \
        step = memory_commit(cpu);                                                                \
        if (step == STEP_NEXT)                                                                    \
            cpu->flags = flags;                                                                   \
        return step;                                                                              \
    }

static inline int shift_begin(struct cpu *cpu, const struct op *op, unsigned size, void **ret)
{
    uint64_t linear;
    unsigned access = ACCESS_WRITE | (op->flags & OP_STACK);
    int step = operand_linear(cpu, op, size, access, &linear);
    if (step != STEP_NEXT)
        return step;
    return memory_begin(cpu, linear, size, access, ret);
}

#define ROW(name, kind)                                                            \
    {                                                                              \
        name##_##kind##_1, name##_##kind##_2, name##_##kind##_4, name##_##kind##_8 \
    }

/* Zydis gives shifts by CL a register as second operand, hence the …R forms. */
#define SHIFT(name, mask)                     \
    SHIFT_WIDTH(name, mask, 1, uint8_t, "b")  \
    SHIFT_WIDTH(name, mask, 2, uint16_t, "w") \
    SHIFT_WIDTH(name, mask, 4, uint32_t, "k") \
    SHIFT_WIDTH(name, mask, 8, uint64_t, "q") \
    form_table op_##name = {                  \
        [FORM_RR] = ROW(name, register),      \
        [FORM_RI] = ROW(name, register),      \
        [FORM_MR] = ROW(name, memory),        \
        [FORM_MI] = ROW(name, memory),        \
    };

SHIFT(rol, ROTATE_FLAGS)
SHIFT(ror, ROTATE_FLAGS)
SHIFT(rcl, ROTATE_FLAGS)
SHIFT(rcr, ROTATE_FLAGS)
SHIFT(shl, SHIFT_FLAGS)
SHIFT(shr, SHIFT_FLAGS)
SHIFT(sar, SHIFT_FLAGS)
