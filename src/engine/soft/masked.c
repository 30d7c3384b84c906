/*
 * Masked moves and gathers: only selected elements are touched, and only they can fault.
 *
 * They work on the guest's state in cpu->xsave, not live; the elements go through memory one by
 * one. Live code: see cpu.h, rule 2.
 */
#include "engine/soft/memory.h"
#include "engine/soft/native.h"
#include "engine/soft/xsave.h"

enum { VECTOR_MAX = 32 };

struct lanes {
    uint8_t bytes[VECTOR_MAX];
};

static void lanes_get(const struct cpu *cpu, unsigned number, struct lanes *ret)
{
    copy_live(ret->bytes, cpu->xsave + XSAVE_XMM + (size_t)16 * number, 16);
    copy_live(ret->bytes + 16, cpu->xsave + XSAVE_AVX_OFFSET + (size_t)16 * number, 16);
}

/* The first `size` bytes; the rest of the register becomes 0, as with every VEX instruction. */
static void lanes_put(struct cpu *cpu, unsigned number, struct lanes *value, unsigned size)
{
    zero_live(value->bytes + size, VECTOR_MAX - size);
    copy_live(cpu->xsave + XSAVE_XMM + (size_t)16 * number, value->bytes, 16);
    copy_live(cpu->xsave + XSAVE_AVX_OFFSET + (size_t)16 * number, value->bytes + 16, 16);
    uint64_t states = xsave_get(cpu->xsave, XSAVE_STATES, 8);
    xsave_put(cpu->xsave, XSAVE_STATES, 8, states | XSTATE_SSE | XSTATE_AVX);
}

static bool is_selected(const struct lanes *mask, unsigned element, unsigned size)
{
    return (xsave_get(mask->bytes, (element + 1) * size - 1, 1) & 0x80) != 0;
}

/* The op of one element: same segment and address size, `delta` bytes further on. */
static void element_op(const struct op *op, uint64_t delta, struct op *ret)
{
    const struct thunk *thunk = op->thunk;
    *ret = *op;
    if (thunk->implicit) {
        ret->base = GPR_RDI;
        ret->disp = 0;
        ret->segment = thunk->segment;
    }
    if (thunk->implicit || thunk->index_size != 0) {
        ret->index = GPR_ZERO;
        ret->scale = 0;
    }
    ret->disp += delta;
}

/* Elements are never misaligned as far as #AC goes (Intel SDM vol. 2C, VPMASKMOV): where alignment
 * is checked, byte by byte. */
static unsigned unit(const struct cpu *cpu, unsigned size)
{
    return cpu_checks_alignment(cpu) ? 1 : size;
}

static int element_read(struct cpu *cpu, struct op *element, unsigned size, uint64_t *ret)
{
    unsigned step_size = unit(cpu, size);
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i += step_size) {
        uint64_t part;
        int step = operand_read(cpu, element, step_size, &part);
        if (step != STEP_NEXT)
            return step;
        value |= part << (8 * i);
        element->disp += step_size;
    }
    *ret = value;
    return STEP_NEXT;
}

static int element_write(struct cpu *cpu, struct op *element, unsigned size, uint64_t value)
{
    unsigned step_size = unit(cpu, size);
    for (unsigned i = 0; i < size; i += step_size) {
        int step = operand_write(cpu, element, step_size, value >> (8 * i));
        if (step != STEP_NEXT)
            return step;
        element->disp += step_size;
    }
    return STEP_NEXT;
}

/* ---- stores ---- */

/* Could `size` bytes be written? */
static int probe_store(struct cpu *cpu, struct op *element, unsigned size)
{
    unsigned step_size = unit(cpu, size);
    for (unsigned i = 0; i < size; i += step_size) {
        uint64_t linear;
        void *host;
        int step = operand_linear(cpu, element, step_size, ACCESS_WRITE, &linear);
        if (step == STEP_NEXT)
            step = memory_begin(cpu, linear, step_size, ACCESS_WRITE | (element->flags & OP_STACK),
                                &host);
        if (step != STEP_NEXT)
            return step;
        memory_abandon(cpu);
        element->disp += step_size;
    }
    return STEP_NEXT;
}

/* Could every selected element be written? So that a fault leaves nothing half done. */
static int probe_stores(struct cpu *cpu, const struct op *op, const struct lanes *mask)
{
    const struct thunk *thunk = op->thunk;
    unsigned size = thunk->element_size;
    struct op element;
    /* With these, addresses that the mask does not select may fault too (Intel SDM vol. 2B,
     * MASKMOVDQU). */
    for (unsigned i = 0; thunk->implicit && i < 2; i++) {
        element_op(op, (uint64_t)i * (thunk->vector_size - 1u), &element);
        int step = probe_store(cpu, &element, 1);
        if (step != STEP_NEXT)
            return step;
    }
    for (unsigned i = 0; i < thunk->vector_size / size; i++) {
        if (!is_selected(mask, i, size))
            continue;
        element_op(op, (uint64_t)i * size, &element);
        int step = probe_store(cpu, &element, size);
        if (step != STEP_NEXT)
            return step;
    }
    return STEP_NEXT;
}

static int store_elements(struct cpu *cpu, const struct op *op, const struct lanes *mask,
                          const struct lanes *data)
{
    const struct thunk *thunk = op->thunk;
    unsigned size = thunk->element_size;
    int step = probe_stores(cpu, op, mask);
    for (unsigned i = 0; i < thunk->vector_size / size && step == STEP_NEXT; i++) {
        struct op element;
        if (!is_selected(mask, i, size))
            continue;
        element_op(op, (uint64_t)i * size, &element);
        step = element_write(cpu, &element, size, xsave_get(data->bytes, i * size, size));
    }
    return step;
}

/* MASKMOVQ is an MMX instruction: it raises what is pending, empties the stack pointer, fills the
 * tags. */
static int enter_mmx(struct cpu *cpu)
{
    if (fpu_is_pending(cpu))
        return fault(cpu, VECTOR_MF);
    unsigned unused;
    __asm__ volatile("movd %%mm0, %0" : "=r"(unused));
    return STEP_NEXT;
}

int op_masked_store(struct cpu *cpu, const struct op *op)
{
    const struct thunk *thunk = op->thunk;
    struct lanes mask;
    struct lanes data;
    int step = native_available(cpu, thunk->need);
    if (step == STEP_NEXT && thunk->vector_size == 8)
        step = enter_mmx(cpu);
    if (step != STEP_NEXT)
        return step;
    fpu_to_image(cpu);
    if (thunk->vector_size == 8) {
        copy_live(mask.bytes, cpu->xsave + XSAVE_ST + (size_t)16 * thunk->mask, 8);
        copy_live(data.bytes, cpu->xsave + XSAVE_ST + (size_t)16 * thunk->source, 8);
    } else {
        lanes_get(cpu, thunk->mask, &mask);
        lanes_get(cpu, thunk->source, &data);
    }
    return store_elements(cpu, op, &mask, &data);
}

/* ---- loads ---- */

int op_masked_load(struct cpu *cpu, const struct op *op)
{
    const struct thunk *thunk = op->thunk;
    unsigned size = thunk->element_size;
    struct lanes mask;
    struct lanes data;
    int step = native_available(cpu, thunk->need);
    if (step != STEP_NEXT)
        return step;
    fpu_to_image(cpu);
    lanes_get(cpu, thunk->mask, &mask);
    zero_live(data.bytes, sizeof(data.bytes));
    for (unsigned i = 0; i < thunk->vector_size / size; i++) {
        struct op element;
        uint64_t value;
        if (!is_selected(&mask, i, size))
            continue;
        element_op(op, (uint64_t)i * size, &element);
        step = element_read(cpu, &element, size, &value);
        if (step != STEP_NEXT)
            return step;
        xsave_put(data.bytes, i * size, size, value);
    }
    lanes_put(cpu, thunk->target, &data, thunk->vector_size);
    return STEP_NEXT;
}

/* ---- gathers ---- */

struct gather {
    struct lanes target, mask, index;
    unsigned count, target_size; /* elements; bytes of the target and the mask in use */
};

/* The wider of element and index fills the vector, the other one only part of its register. */
static void gather_load(struct cpu *cpu, const struct thunk *thunk, struct gather *ret)
{
    unsigned size = thunk->element_size;
    unsigned wider = size > thunk->index_size ? size : thunk->index_size;
    ret->count = thunk->vector_size / wider;
    ret->target_size = ret->count * size;
    lanes_get(cpu, thunk->target, &ret->target);
    lanes_get(cpu, thunk->mask, &ret->mask);
    lanes_get(cpu, thunk->source, &ret->index);
}

static uint64_t gather_delta(const struct thunk *thunk, const struct gather *gather, unsigned i)
{
    uint64_t index = xsave_get(gather->index.bytes, i * thunk->index_size, thunk->index_size);
    if (thunk->index_size == 4)
        index = (uint64_t)(int64_t)(int32_t)index;
    return index * thunk->scale;
}

static int gather_elements(struct cpu *cpu, const struct op *op, struct gather *gather)
{
    unsigned size = op->thunk->element_size;
    for (unsigned i = 0; i < gather->count; i++) {
        if (is_selected(&gather->mask, i, size)) {
            struct op element;
            uint64_t value;
            element_op(op, gather_delta(op->thunk, gather, i), &element);
            int step = element_read(cpu, &element, size, &value);
            if (step != STEP_NEXT)
                return step;
            xsave_put(gather->target.bytes, i * size, size, value);
        }
        xsave_put(gather->mask.bytes, i * size, size, 0);
    }
    return STEP_NEXT;
}

/* A fault keeps the elements already there, and their mask bits cleared (Intel SDM vol. 2C,
 * VPGATHERDD); an exit to the caller starts over with its answers. */
int op_gather(struct cpu *cpu, const struct op *op)
{
    const struct thunk *thunk = op->thunk;
    struct gather gather;
    int step = native_available(cpu, thunk->need);
    if (step != STEP_NEXT)
        return step;
    fpu_to_image(cpu);
    gather_load(cpu, thunk, &gather);
    step = gather_elements(cpu, op, &gather);
    if (step != STEP_NEXT && step != STEP_FAULT)
        return step;
    lanes_put(cpu, thunk->target, &gather.target, gather.target_size);
    lanes_put(cpu, thunk->mask, &gather.mask, gather.target_size);
    return step;
}

/* ---- clearing ---- */

/* Outside 64-bit code the upper eight registers are not touched. */
int op_zero_vectors(struct cpu *cpu, const struct op *op)
{
    bool upper_only = op->thunk->vector_size == 16;
    int step = native_available(cpu, op->thunk->need);
    if (step != STEP_NEXT)
        return step;
    fpu_to_image(cpu);
    zero_live(cpu->xsave + XSAVE_AVX_OFFSET, UINT64_C(8) * 16);
    if (!upper_only)
        zero_live(cpu->xsave + XSAVE_XMM, UINT64_C(8) * 16);
    return STEP_NEXT;
}
