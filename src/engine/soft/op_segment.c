/* Instructions that read, load and inspect segment registers. Source: Intel SDM vol. 2. */
#include "engine/soft/descriptor.h"
#include "engine/soft/frame.h"
#include "engine/soft/memory.h"
#include "engine/soft/ops.h"
#include "engine/soft/transfer.h"

/* ---- operands ---- */

static int read_selector(struct cpu *cpu, const struct op *op, uint16_t *ret)
{
    uint64_t value;
    int step = STEP_NEXT;
    if (op->flags & OP_MEMORY)
        step = operand_read(cpu, op, 2, &value);
    else
        value = gpr_read(cpu, op->rm, 2);
    if (step == STEP_NEXT)
        *ret = (uint16_t)value;
    return step;
}

/* Memory gets 2 bytes; a register its whole width, zero-extended. */
static int write_selector(struct cpu *cpu, const struct op *op, uint16_t selector)
{
    if (op->flags & OP_MEMORY)
        return operand_write(cpu, op, 2, selector);
    gpr_write(cpu, op->rm, op->width, selector);
    return STEP_NEXT;
}

static int load(struct cpu *cpu, enum engine_segment_index index, uint16_t selector)
{
    if (cpu_protected(cpu))
        return segment_load(cpu, index, selector);
    segment_load_real(cpu, index, selector);
    return STEP_NEXT;
}

/* A new SS may change how the next instructions are decoded and run. */
static int after_load(struct cpu *cpu, const struct op *op, enum engine_segment_index index,
                      bool shadow)
{
    if (index != SEGMENT_SS)
        return STEP_NEXT;
    cpu->rip = op_next_rip(cpu, op);
    if (shadow)
        cpu->shadow = SHADOW_STACK;
    cpu_mode_changed(cpu);
    return STEP_JUMP;
}

/* ---- MOV, PUSH, POP, LDS and its like ---- */

int op_mov_from_segment(struct cpu *cpu, const struct op *op)
{
    return write_selector(cpu, op, cpu->segment[op->extra].selector);
}

int op_mov_to_segment(struct cpu *cpu, const struct op *op)
{
    uint16_t selector;
    enum engine_segment_index index = op->extra;
    if (index == SEGMENT_CS || index > SEGMENT_GS)
        return fault(cpu, VECTOR_UD);
    int step = read_selector(cpu, op, &selector);
    if (step == STEP_NEXT)
        step = load(cpu, index, selector);
    return step == STEP_NEXT ? after_load(cpu, op, index, true) : step;
}

int op_push_segment(struct cpu *cpu, const struct op *op)
{
    struct frame frame;
    frame_current(cpu, &frame);
    int step = frame_push_selector(&frame, op->width, cpu->segment[op->extra].selector);
    if (step == STEP_NEXT)
        cpu->gpr[GPR_RSP] = frame.sp;
    return step;
}

int op_pop_segment(struct cpu *cpu, const struct op *op)
{
    struct frame frame;
    uint64_t value;
    enum engine_segment_index index = op->extra;
    frame_current(cpu, &frame);
    int step = frame_pop(&frame, op->width, &value);
    if (step == STEP_NEXT)
        step = load(cpu, index, (uint16_t)value);
    if (step != STEP_NEXT)
        return step;
    cpu->gpr[GPR_RSP] = frame.sp;
    return after_load(cpu, op, index, true);
}

int op_load_far_pointer(struct cpu *cpu, const struct op *op)
{
    uint16_t selector;
    uint64_t offset;
    enum engine_segment_index index = op->extra;
    int step = transfer_read_pointer(cpu, op, &selector, &offset);
    if (step == STEP_NEXT)
        step = load(cpu, index, selector);
    if (step != STEP_NEXT)
        return step;
    gpr_write(cpu, op->reg, op->width, offset);
    return after_load(cpu, op, index, false);
}

/* ---- LAR, LSL, VERR, VERW, ARPL ---- */

static void set_zero_flag(struct cpu *cpu, bool set)
{
    cpu->flags = set ? cpu->flags | FLAG_ZF : cpu->flags & ~(uint64_t)FLAG_ZF;
}

typedef bool (*inspect_fn)(struct cpu *cpu, uint16_t selector, uint32_t *ret, int *ret_step);

static int inspect(struct cpu *cpu, const struct op *op, inspect_fn what)
{
    uint16_t selector;
    uint32_t value;
    if (!cpu_protected(cpu))
        return fault(cpu, VECTOR_UD);
    int step = read_selector(cpu, op, &selector);
    if (step != STEP_NEXT)
        return step;
    bool good = what(cpu, selector, &value, &step);
    if (step != STEP_NEXT)
        return step;
    set_zero_flag(cpu, good);
    if (good)
        gpr_write(cpu, op->reg, op->width, value);
    return STEP_NEXT;
}

int op_lar(struct cpu *cpu, const struct op *op)
{
    return inspect(cpu, op, segment_access_rights);
}

int op_lsl(struct cpu *cpu, const struct op *op)
{
    return inspect(cpu, op, segment_limit);
}

static int verify(struct cpu *cpu, const struct op *op, bool write)
{
    uint16_t selector;
    if (!cpu_protected(cpu))
        return fault(cpu, VECTOR_UD);
    int step = read_selector(cpu, op, &selector);
    if (step != STEP_NEXT)
        return step;
    bool good = segment_verify(cpu, selector, write, &step);
    if (step == STEP_NEXT)
        set_zero_flag(cpu, good);
    return step;
}

int op_verr(struct cpu *cpu, const struct op *op)
{
    return verify(cpu, op, false);
}

int op_verw(struct cpu *cpu, const struct op *op)
{
    return verify(cpu, op, true);
}

/* Processors read before they write: a page fault tells of the read if that faults, too. */
static int begin_adjust(struct cpu *cpu, uint64_t linear, void **ret)
{
    int step = memory_begin(cpu, linear, 2, ACCESS_WRITE, ret);
    if (step != STEP_FAULT || cpu->fault.vector != VECTOR_PF)
        return step;
    uint64_t unused;
    struct fault of_write = cpu->fault;
    step = linear_read(cpu, linear, 2, ACCESS_READ, &unused);
    if (step == STEP_NEXT)
        cpu->fault = of_write;
    return step == STEP_NEXT ? STEP_FAULT : step;
}

static int adjust_memory(struct cpu *cpu, const struct op *op, unsigned rpl, bool *ret_lower)
{
    void *memory;
    uint64_t linear;
    int step = operand_linear(cpu, op, 2, ACCESS_WRITE, &linear);
    if (step == STEP_NEXT)
        step = begin_adjust(cpu, linear, &memory);
    if (step != STEP_NEXT)
        return step;
    uint8_t *low = memory; /* RPL is in the first byte */
    *ret_lower = (*low & 3u) < rpl;
    if (!*ret_lower) {
        memory_abandon(cpu);
        return STEP_NEXT;
    }
    *low = (uint8_t)((*low & ~3u) | rpl);
    return memory_commit(cpu);
}

int op_arpl(struct cpu *cpu, const struct op *op)
{
    bool lower;
    unsigned rpl = (unsigned)gpr_read(cpu, op->reg, 2) & 3;
    if (!cpu_protected(cpu))
        return fault(cpu, VECTOR_UD);
    if (op->flags & OP_MEMORY) {
        int step = adjust_memory(cpu, op, rpl, &lower);
        if (step != STEP_NEXT)
            return step;
    } else {
        uint64_t selector = gpr_read(cpu, op->rm, 2);
        lower = (selector & 3) < rpl;
        if (lower)
            gpr_write(cpu, op->rm, 2, (selector & ~UINT64_C(3)) | rpl);
    }
    set_zero_flag(cpu, lower);
    return STEP_NEXT;
}

/* ---- LLDT, LTR, SLDT, STR ---- */

typedef int (*load_fn)(struct cpu *cpu, uint16_t selector);

static int load_system(struct cpu *cpu, const struct op *op, load_fn what)
{
    uint16_t selector;
    if (!cpu_protected(cpu))
        return fault(cpu, VECTOR_UD);
    if (cpu->cpl != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    int step = read_selector(cpu, op, &selector);
    return step == STEP_NEXT ? what(cpu, selector) : step;
}

int op_lldt(struct cpu *cpu, const struct op *op)
{
    return load_system(cpu, op, segment_load_ldtr);
}

int op_ltr(struct cpu *cpu, const struct op *op)
{
    return load_system(cpu, op, segment_load_tr);
}

static int store_system(struct cpu *cpu, const struct op *op, enum engine_segment_index index)
{
    if (!cpu_protected(cpu))
        return fault(cpu, VECTOR_UD);
    if (cpu->cpl != 0 && (cpu->cr4 & CR4_UMIP) != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    return write_selector(cpu, op, cpu->segment[index].selector);
}

int op_sldt(struct cpu *cpu, const struct op *op)
{
    return store_system(cpu, op, SEGMENT_LDTR);
}

int op_str(struct cpu *cpu, const struct op *op)
{
    return store_system(cpu, op, SEGMENT_TR);
}
