/*
 * Far JMP, CALL and RET: directly, through call gates, to other tasks.
 *
 * Pushes and checks come before any register changes; see frame.h.
 */
#include "engine/soft/transfer.h"

#include "engine/soft/memory.h"
#include "engine/soft/op.h"

struct call_gate {
    uint64_t offset;
    uint16_t selector;
    unsigned size;       /* of a stack slot: 2, 4, 8 */
    unsigned parameters; /* to be copied to an inner stack */
};

/* ---- parts ---- */

int transfer_read_pointer(struct cpu *cpu, const struct op *op, uint16_t *ret_selector,
                          uint64_t *ret_offset)
{
    uint64_t linear;
    uint64_t selector;
    int step = operand_linear(cpu, op, op->width + 2u, ACCESS_READ, &linear);
    if (step == STEP_NEXT)
        step = linear_read(cpu, linear, op->width, ACCESS_READ, ret_offset);
    if (step != STEP_NEXT)
        return step;
    uint64_t second = linear + op->width;
    if (!cpu_long(cpu))
        second = (uint32_t)second;
    step = linear_read(cpu, second, 2, ACCESS_READ, &selector);
    *ret_selector = (uint16_t)selector;
    return step;
}

int transfer_pop(struct frame *frame, unsigned size, uint64_t *values, unsigned count)
{
    int step = STEP_NEXT;
    for (unsigned i = 0; i < count && step == STEP_NEXT; i++)
        step = frame_pop(frame, size, &values[i]);
    return step;
}

int transfer_task(struct cpu *cpu, const struct op *op, enum task_cause cause, uint16_t selector)
{
    struct task_switch change = {.cause = cause, .rip = op_next_rip(cpu, op), .flags = cpu->flags};
    if (cause == TASK_RETURN)
        change.flags &= ~(uint64_t)FLAG_NT;
    int step = task_switch(cpu, selector, &change);
    if (step == STEP_FAULT && change.done)
        return exception_deliver(cpu);
    return step;
}

static bool is_long_code(const struct cpu *cpu, const struct descriptor *code)
{
    return cpu_ia32e(cpu) && (code->attributes & SEGMENT_L) != 0;
}

static bool has_bad_size(const struct cpu *cpu, const struct descriptor *code)
{
    return is_long_code(cpu, code) && (code->attributes & SEGMENT_DB) != 0;
}

static int check_rip(struct cpu *cpu, const struct descriptor *code, uint64_t rip)
{
    bool good = is_long_code(cpu, code) ? is_canonical(rip) : rip <= code->limit;
    return good ? STEP_NEXT : fault_code(cpu, VECTOR_GP, 0);
}

static int finish_code(struct cpu *cpu, struct descriptor *code, uint64_t rip)
{
    int step = check_rip(cpu, code, rip);
    return step == STEP_NEXT ? descriptor_set_type(cpu, code, TYPE_ACCESSED) : step;
}

static int jump_to(struct cpu *cpu, const struct descriptor *code, unsigned cpl, uint64_t rip)
{
    uint16_t selector = (uint16_t)((code->selector & 0xfffcu) | cpl);
    cpu->segment[SEGMENT_CS] = segment_of(code, selector);
    cpu->cpl = (uint8_t)cpl;
    cpu->rip = rip;
    cpu_mode_changed(cpu);
    return STEP_JUMP;
}

/* ---- real and virtual-8086 mode ---- */

static int jump_real(struct cpu *cpu, uint16_t selector, uint64_t offset)
{
    cpu->rip = offset;
    segment_load_real(cpu, SEGMENT_CS, selector);
    cpu_mode_changed(cpu);
    return STEP_JUMP;
}

static int call_real(struct cpu *cpu, const struct op *op, uint16_t selector, uint64_t offset)
{
    struct frame frame;
    frame_current(cpu, &frame);
    int step = frame_push(&frame, op->width, cpu->segment[SEGMENT_CS].selector);
    if (step == STEP_NEXT)
        step = frame_push(&frame, op->width, op_next_rip(cpu, op));
    if (step != STEP_NEXT)
        return step;
    if (offset > cpu->segment[SEGMENT_CS].limit)
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->gpr[GPR_RSP] = frame.sp;
    return jump_real(cpu, selector, offset);
}

static int return_real(struct cpu *cpu, const struct op *op, uint16_t extra_bytes)
{
    struct frame frame;
    uint64_t popped[2];
    frame_current(cpu, &frame);
    int step = transfer_pop(&frame, op->width, popped, 2);
    if (step != STEP_NEXT)
        return step;
    if (popped[0] > cpu->segment[SEGMENT_CS].limit)
        return fault_code(cpu, VECTOR_GP, 0);
    frame_skip(&frame, extra_bytes);
    cpu->gpr[GPR_RSP] = frame.sp;
    return jump_real(cpu, (uint16_t)popped[1], popped[0]);
}

/* ---- gates ---- */

/* DPL of a gate or TSS against CPL and RPL; then presence. */
static int check_gate(struct cpu *cpu, const struct descriptor *gate)
{
    unsigned dpl = descriptor_dpl(gate);
    if (dpl < cpu->cpl || dpl < (gate->selector & 3u))
        return fault_selector(cpu, VECTOR_GP, gate->selector);
    if (!descriptor_present(gate))
        return fault_selector(cpu, VECTOR_NP, gate->selector);
    return STEP_NEXT;
}

static int decode_call_gate(struct cpu *cpu, struct descriptor *from, struct call_gate *ret)
{
    int step = descriptor_extend(cpu, from);
    if (step != STEP_NEXT)
        return step;
    /* The type field of the second half must be 0 (Intel SDM vol. 3A § 5.8.3.1). */
    if ((from->high >> 40) & 0x1f)
        return fault_selector(cpu, VECTOR_GP, from->selector);
    bool wide = (descriptor_type(from) & TYPE_32BIT) != 0;
    ret->size = cpu_ia32e(cpu) ? 8 : wide ? 4 : 2;
    ret->selector = (uint16_t)(from->raw >> 16);
    ret->offset = from->raw & 0xffff;
    if (wide)
        ret->offset |= (from->raw >> 32 & 0xffff0000) | from->high << 32;
    ret->parameters = cpu_ia32e(cpu) ? 0 : (unsigned)(from->raw >> 32) & 0x1f;
    return STEP_NEXT;
}

static int fetch_gate_code(struct cpu *cpu, uint16_t selector, struct descriptor *ret)
{
    if (selector_is_null(selector))
        return fault_code(cpu, VECTOR_GP, 0);
    int step = descriptor_fetch(cpu, selector, VECTOR_GP, ret);
    if (step != STEP_NEXT)
        return step;
    if (!descriptor_is_code(ret) || descriptor_dpl(ret) > cpu->cpl)
        return fault_selector(cpu, VECTOR_GP, selector);
    if (cpu_ia32e(cpu) && (ret->attributes & (SEGMENT_L | SEGMENT_DB)) != SEGMENT_L)
        return fault_selector(cpu, VECTOR_GP, selector);
    return STEP_NEXT;
}

static int jump_through_gate(struct cpu *cpu, struct descriptor *from)
{
    struct call_gate gate;
    struct descriptor code;
    int step = check_gate(cpu, from);
    if (step == STEP_NEXT)
        step = decode_call_gate(cpu, from, &gate);
    if (step == STEP_NEXT)
        step = fetch_gate_code(cpu, gate.selector, &code);
    if (step != STEP_NEXT)
        return step;
    if (!descriptor_is_conforming(&code) && descriptor_dpl(&code) != cpu->cpl)
        return fault_selector(cpu, VECTOR_GP, gate.selector);
    if (!descriptor_present(&code))
        return fault_selector(cpu, VECTOR_NP, gate.selector);
    step = finish_code(cpu, &code, gate.offset);
    return step == STEP_NEXT ? jump_to(cpu, &code, cpu->cpl, gate.offset) : step;
}

static int push_return(struct cpu *cpu, const struct op *op, struct frame *frame, unsigned size)
{
    int step = frame_push(frame, size, cpu->segment[SEGMENT_CS].selector);
    return step == STEP_NEXT ? frame_push(frame, size, op_next_rip(cpu, op)) : step;
}

/* SS:RSP and the parameters of the old stack onto the inner one. */
static int push_outer(struct cpu *cpu, const struct call_gate *gate, struct frame *frame)
{
    struct frame outer;
    frame_current(cpu, &outer);
    int step = frame_push(frame, gate->size, outer.ss.selector);
    if (step == STEP_NEXT)
        step = frame_push(frame, gate->size, outer.sp);
    for (unsigned i = gate->parameters; i > 0 && step == STEP_NEXT; i--) {
        uint64_t parameter;
        step = frame_peek(&outer, (i - 1) * gate->size, gate->size, &parameter);
        if (step == STEP_NEXT)
            step = frame_push(frame, gate->size, parameter);
    }
    return step;
}

/* The stack of the gate's target level, with what an inner level gets before the return address. */
static int open_gate_frame(struct cpu *cpu, const struct call_gate *gate, unsigned cpl,
                           struct frame *frame)
{
    int step;
    if (cpl == cpu->cpl) {
        frame_current(cpu, frame);
        if (cpu_ia32e(cpu))
            frame->width = 8;
        return STEP_NEXT;
    }
    if (cpu_ia32e(cpu))
        step = frame_open_long(cpu, cpl, frame_rsp_offset(cpl), frame);
    else
        step = frame_open_inner(cpu, cpl, frame);
    return step == STEP_NEXT ? push_outer(cpu, gate, frame) : step;
}

static int call_through_gate(struct cpu *cpu, const struct op *op, struct descriptor *from)
{
    struct call_gate gate;
    struct descriptor code;
    struct frame frame;
    int step = check_gate(cpu, from);
    if (step == STEP_NEXT)
        step = decode_call_gate(cpu, from, &gate);
    if (step == STEP_NEXT)
        step = fetch_gate_code(cpu, gate.selector, &code);
    if (step != STEP_NEXT)
        return step;
    if (!descriptor_present(&code))
        return fault_selector(cpu, VECTOR_NP, gate.selector);
    unsigned cpl = descriptor_is_conforming(&code) ? cpu->cpl : descriptor_dpl(&code);
    step = open_gate_frame(cpu, &gate, cpl, &frame);
    if (step == STEP_NEXT)
        step = push_return(cpu, op, &frame, gate.size);
    if (step == STEP_NEXT)
        step = finish_code(cpu, &code, gate.offset);
    if (step != STEP_NEXT)
        return step;
    if (cpl != cpu->cpl)
        cpu->segment[SEGMENT_SS] = frame.ss;
    cpu->gpr[GPR_RSP] = frame.sp;
    return jump_to(cpu, &code, cpl, gate.offset);
}

/* ---- direct ---- */

static int check_direct(struct cpu *cpu, const struct descriptor *code)
{
    unsigned dpl = descriptor_dpl(code);
    bool allowed = descriptor_is_conforming(code)
                       ? dpl <= cpu->cpl
                       : dpl == cpu->cpl && (code->selector & 3u) <= cpu->cpl;
    if (!allowed || has_bad_size(cpu, code))
        return fault_selector(cpu, VECTOR_GP, code->selector);
    if (!descriptor_present(code))
        return fault_selector(cpu, VECTOR_NP, code->selector);
    return STEP_NEXT;
}

static int jump_direct(struct cpu *cpu, struct descriptor *code, uint64_t offset)
{
    int step = check_direct(cpu, code);
    if (step == STEP_NEXT)
        step = finish_code(cpu, code, offset);
    return step == STEP_NEXT ? jump_to(cpu, code, cpu->cpl, offset) : step;
}

static int call_direct(struct cpu *cpu, const struct op *op, struct descriptor *code,
                       uint64_t offset)
{
    struct frame frame;
    int step = check_direct(cpu, code);
    if (step != STEP_NEXT)
        return step;
    frame_current(cpu, &frame);
    /* From compatibility mode into 64-bit code: the return address is pushed flat. */
    if (is_long_code(cpu, code))
        frame.width = 8;
    step = push_return(cpu, op, &frame, op->width);
    if (step == STEP_NEXT)
        step = finish_code(cpu, code, offset);
    if (step != STEP_NEXT)
        return step;
    cpu->gpr[GPR_RSP] = frame.sp;
    return jump_to(cpu, code, cpu->cpl, offset);
}

/* ---- the verbs ---- */

static int transfer_system(struct cpu *cpu, const struct op *op, struct descriptor *to, bool call)
{
    unsigned type = descriptor_type(to);
    bool legacy = !cpu_ia32e(cpu);
    enum task_cause cause = call ? TASK_CALL : TASK_JUMP;
    if (type == SYSTEM_CALL_GATE || (type == SYSTEM_CALL_GATE16 && legacy))
        return call ? call_through_gate(cpu, op, to) : jump_through_gate(cpu, to);
    bool is_tss = type == SYSTEM_TSS || type == SYSTEM_TSS16;
    if (!legacy || (!is_tss && type != SYSTEM_TASK_GATE))
        return fault_selector(cpu, VECTOR_GP, to->selector);
    int step = check_gate(cpu, to);
    if (step != STEP_NEXT)
        return step;
    return transfer_task(cpu, op, cause, is_tss ? to->selector : (uint16_t)(to->raw >> 16));
}

static int transfer_protected(struct cpu *cpu, const struct op *op, uint16_t selector,
                              uint64_t offset, bool call)
{
    struct descriptor to;
    if (selector_is_null(selector))
        return fault_code(cpu, VECTOR_GP, 0);
    int step = descriptor_fetch(cpu, selector, VECTOR_GP, &to);
    if (step != STEP_NEXT)
        return step;
    if (descriptor_is_system(&to))
        return transfer_system(cpu, op, &to, call);
    if (!descriptor_is_code(&to))
        return fault_selector(cpu, VECTOR_GP, selector);
    return call ? call_direct(cpu, op, &to, offset) : jump_direct(cpu, &to, offset);
}

int transfer_far_jump(struct cpu *cpu, const struct op *op, uint16_t selector, uint64_t offset)
{
    if (cpu_protected(cpu))
        return transfer_protected(cpu, op, selector, offset, false);
    if (offset > cpu->segment[SEGMENT_CS].limit)
        return fault_code(cpu, VECTOR_GP, 0);
    return jump_real(cpu, selector, offset);
}

int transfer_far_call(struct cpu *cpu, const struct op *op, uint16_t selector, uint64_t offset)
{
    if (cpu_protected(cpu))
        return transfer_protected(cpu, op, selector, offset, true);
    return call_real(cpu, op, selector, offset);
}

/* ---- returns ---- */

int transfer_check_return(struct cpu *cpu, uint16_t selector, struct way_back *way)
{
    unsigned rpl = selector & 3u;
    if (selector_is_null(selector))
        return fault_code(cpu, VECTOR_GP, 0);
    int step = descriptor_fetch(cpu, selector, VECTOR_GP, &way->code);
    if (step != STEP_NEXT)
        return step;
    unsigned dpl = descriptor_dpl(&way->code);
    bool allowed = descriptor_is_conforming(&way->code) ? dpl <= rpl : dpl == rpl;
    if (!descriptor_is_code(&way->code) || rpl < cpu->cpl || !allowed ||
        has_bad_size(cpu, &way->code))
        return fault_selector(cpu, VECTOR_GP, selector);
    if (!descriptor_present(&way->code))
        return fault_selector(cpu, VECTOR_NP, selector);
    way->cpl = rpl;
    return STEP_NEXT;
}

int transfer_check_return_stack(struct cpu *cpu, uint16_t selector, struct way_back *way)
{
    struct descriptor ss;
    unsigned rpl = selector & 3u;
    if (selector_is_null(selector)) {
        if (!is_long_code(cpu, &way->code) || way->cpl == 3 || rpl != way->cpl)
            return fault_code(cpu, VECTOR_GP, 0);
        way->ss = segment_null(selector, way->cpl);
        return STEP_NEXT;
    }
    int step = descriptor_fetch(cpu, selector, VECTOR_GP, &ss);
    if (step != STEP_NEXT)
        return step;
    if (rpl != way->cpl || descriptor_dpl(&ss) != way->cpl || !descriptor_is_writable(&ss))
        return fault_selector(cpu, VECTOR_GP, selector);
    if (!descriptor_present(&ss))
        return fault_selector(cpu, VECTOR_SS, selector);
    step = descriptor_set_type(cpu, &ss, TYPE_ACCESSED);
    way->ss = segment_of(&ss, selector);
    return step;
}

int transfer_check_return_rip(struct cpu *cpu, struct way_back *way)
{
    return finish_code(cpu, &way->code, way->rip);
}

uint64_t transfer_stack_pointer(const struct cpu *cpu, const struct way_back *way)
{
    if (is_long_code(cpu, &way->code))
        return way->sp;
    if (way->ss.attributes & SEGMENT_DB)
        return (uint32_t)way->sp;
    return (cpu->gpr[GPR_RSP] & ~UINT64_C(0xffff)) | (way->sp & 0xffff);
}

/* To an outer level: its SS:RSP lie above the parameters, and lose those as well. */
static int return_outer(struct cpu *cpu, const struct op *op, struct frame *frame,
                        struct way_back *way, uint16_t extra_bytes)
{
    uint64_t popped[2];
    struct frame outer;
    frame_skip(frame, extra_bytes);
    int step = transfer_pop(frame, op->width, popped, 2);
    if (step == STEP_NEXT)
        step = transfer_check_return_stack(cpu, (uint16_t)popped[1], way);
    if (step == STEP_NEXT)
        step = transfer_check_return_rip(cpu, way);
    if (step != STEP_NEXT)
        return step;
    way->sp = popped[0];
    cpu->gpr[GPR_RSP] = transfer_stack_pointer(cpu, way);
    cpu->segment[SEGMENT_SS] = way->ss;
    (void)jump_to(cpu, &way->code, way->cpl, way->rip);
    segment_drop_privileged(cpu);
    frame_current(cpu, &outer);
    frame_skip(&outer, extra_bytes);
    cpu->gpr[GPR_RSP] = outer.sp;
    return STEP_JUMP;
}

int transfer_far_return(struct cpu *cpu, const struct op *op, uint16_t extra_bytes)
{
    struct frame frame;
    struct way_back way;
    uint64_t popped[2];
    if (!cpu_protected(cpu))
        return return_real(cpu, op, extra_bytes);
    frame_current(cpu, &frame);
    int step = transfer_pop(&frame, op->width, popped, 2);
    if (step == STEP_NEXT)
        step = transfer_check_return(cpu, (uint16_t)popped[1], &way);
    if (step != STEP_NEXT)
        return step;
    way.rip = popped[0];
    if (way.cpl != cpu->cpl)
        return return_outer(cpu, op, &frame, &way, extra_bytes);
    step = transfer_check_return_rip(cpu, &way);
    if (step != STEP_NEXT)
        return step;
    frame_skip(&frame, extra_bytes);
    cpu->gpr[GPR_RSP] = frame.sp;
    return jump_to(cpu, &way.code, way.cpl, way.rip);
}
