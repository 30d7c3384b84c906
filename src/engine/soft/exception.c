/*
 * Delivery of exceptions and interrupts through the IVT (real mode) and the IDT.
 *
 * 1. Everything is read and checked, and the frame is written, before a register changes: a
 * delivery that faults or has to ask the caller of run() has left no trace but bytes below the
 * stack pointer.
 * 2. The EXT bit is put into error codes in one place, deliver_event.
 * Source: Intel SDM vol. 3A ch. 6, vol. 2 INT n.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/frame.h"
#include "engine/soft/memory.h"
#include "engine/soft/task.h"

enum { ERROR_EXT = 1, ERROR_IDT = 2, LONGEST_CHAIN = 8 };
#define DR6_GENERAL_DETECT (UINT64_C(1) << 13)
#define DR6_BREAKPOINTS    UINT64_C(0xf)
#define DR7_GENERAL_DETECT (UINT64_C(1) << 13)

struct event {
    uint64_t rip;   /* what the handler returns to */
    uint64_t flags; /* as pushed */
    uint32_t code;
    uint8_t vector;
    bool has_code;
    bool software; /* INT n, INT3, INTO: the gate's DPL counts, EXT does not */
    bool switched; /* a task gate was taken: a fault belongs to the new task */
};

struct gate {
    uint64_t offset;
    uint16_t selector;
    uint8_t type, dpl, ist;
    bool present;
};

/* Where a gate leads: all that delivery needs to build the frame and go there. */
struct handler {
    struct gate gate;
    struct descriptor code;
    unsigned cpl;
};

static uint32_t gate_code(const struct event *event)
{
    return (uint32_t)event->vector << 3 | ERROR_IDT;
}

/* ---- real mode ---- */

static int deliver_real(struct cpu *cpu, const struct event *event)
{
    uint64_t vector;
    struct frame frame;
    unsigned offset = event->vector * 4u;
    if (offset + 3 > cpu->idt.limit)
        return fault(cpu, VECTOR_GP);
    int step = linear_read(cpu, cpu->idt.base + offset, 4, ACCESS_SYSTEM, &vector);
    if (step != STEP_NEXT)
        return step;
    frame_current(cpu, &frame);
    const uint64_t pushed[] = {event->flags, cpu->segment[SEGMENT_CS].selector, event->rip};
    for (unsigned i = 0; i < 3; i++) {
        step = frame_push(&frame, 2, pushed[i]);
        if (step != STEP_NEXT)
            return step;
    }
    cpu->gpr[GPR_RSP] = frame.sp;
    cpu->rip = vector & 0xffff;
    segment_load_real(cpu, SEGMENT_CS, (uint16_t)(vector >> 16));
    cpu->shadow = SHADOW_NONE;
    cpu_set_flags(cpu, cpu->flags & ~(uint64_t)(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF));
    cpu_mode_changed(cpu);
    return STEP_JUMP;
}

/* ---- the gate ---- */

static void decode_gate(uint64_t low, uint64_t high, struct gate *ret)
{
    ret->offset = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
    ret->selector = (uint16_t)(low >> 16);
    ret->ist = (low >> 32) & 7;
    ret->type = (low >> 40) & 0x1f; /* with S, which is 0 in gates */
    ret->dpl = (low >> 45) & 3;
    ret->present = (low >> 47) & 1;
    if (ret->type == SYSTEM_INTERRUPT_GATE16 || ret->type == SYSTEM_TRAP_GATE16)
        ret->offset &= 0xffff;
}

static bool is_known_gate(const struct cpu *cpu, unsigned type)
{
    if (type == SYSTEM_INTERRUPT_GATE || type == SYSTEM_TRAP_GATE)
        return true;
    if (cpu_ia32e(cpu))
        return false;
    return type == SYSTEM_TASK_GATE || type == SYSTEM_INTERRUPT_GATE16 ||
           type == SYSTEM_TRAP_GATE16;
}

static int read_gate(struct cpu *cpu, const struct event *event, struct gate *ret)
{
    unsigned size = cpu_ia32e(cpu) ? 16 : 8;
    unsigned offset = event->vector * size;
    uint64_t low;
    uint64_t high = 0;
    if (offset + size - 1 > cpu->idt.limit)
        return fault_code(cpu, VECTOR_GP, gate_code(event));
    uint64_t linear = cpu->idt.base + offset;
    if (size == 8)
        linear = (uint32_t)linear;
    int step = linear_read(cpu, linear, 8, ACCESS_SYSTEM, &low);
    if (step == STEP_NEXT && size == 16)
        step = linear_read(cpu, linear + 8, 8, ACCESS_SYSTEM, &high);
    if (step != STEP_NEXT)
        return step;
    decode_gate(low, high, ret);
    if (!is_known_gate(cpu, ret->type) || (event->software && ret->dpl < cpu->cpl))
        return fault_code(cpu, VECTOR_GP, gate_code(event));
    return ret->present ? STEP_NEXT : fault_code(cpu, VECTOR_NP, gate_code(event));
}

/* The handler's code segment and the level it runs at. */
static int find_code(struct cpu *cpu, struct handler *handler)
{
    uint16_t selector = handler->gate.selector;
    struct descriptor *code = &handler->code;
    if (selector_is_null(selector))
        return fault_code(cpu, VECTOR_GP, 0);
    int step = descriptor_fetch(cpu, selector, VECTOR_GP, code);
    if (step != STEP_NEXT)
        return step;
    unsigned dpl = descriptor_dpl(code);
    if (!descriptor_is_code(code) || dpl > cpu->cpl)
        return fault_selector(cpu, VECTOR_GP, selector);
    handler->cpl = descriptor_is_conforming(code) ? cpu->cpl : dpl;
    if ((cpu->mode & MODE_V86) && handler->cpl != 0)
        return fault_selector(cpu, VECTOR_GP, selector);
    if (cpu_ia32e(cpu) && (code->attributes & (SEGMENT_L | SEGMENT_DB)) != SEGMENT_L)
        return fault_selector(cpu, VECTOR_GP, selector);
    if (!descriptor_present(code))
        return fault_selector(cpu, VECTOR_NP, selector);
    return STEP_NEXT;
}

/* ---- the frame ---- */

static int push_all(struct frame *frame, unsigned size, const uint64_t *values, unsigned count)
{
    int step = STEP_NEXT;
    for (unsigned i = 0; i < count && step == STEP_NEXT; i++)
        step = frame_push(frame, size, values[i]);
    return step;
}

static int push_return(struct cpu *cpu, struct frame *frame, const struct event *event,
                       unsigned size)
{
    const uint64_t values[] = {event->flags, cpu->segment[SEGMENT_CS].selector, event->rip,
                               event->code};
    return push_all(frame, size, values, event->has_code ? 4 : 3);
}

static int push_stack(struct cpu *cpu, struct frame *frame, unsigned size)
{
    const uint64_t values[] = {cpu->segment[SEGMENT_SS].selector, cpu->gpr[GPR_RSP]};
    return push_all(frame, size, values, 2);
}

static int push_v86_segments(struct cpu *cpu, struct frame *frame, unsigned size)
{
    const uint64_t values[] = {cpu->segment[SEGMENT_GS].selector, cpu->segment[SEGMENT_FS].selector,
                               cpu->segment[SEGMENT_DS].selector,
                               cpu->segment[SEGMENT_ES].selector};
    return push_all(frame, size, values, 4);
}

/* IA-32e mode always pushes SS:RSP, on a stack aligned to 16 bytes (SDM vol. 3A § 6.14.2). */
static int build_long(struct cpu *cpu, const struct event *event, const struct handler *handler,
                      struct frame *frame)
{
    int step = STEP_NEXT;
    if (handler->gate.ist != 0) {
        step = frame_open_long(cpu, handler->cpl, frame_ist_offset(handler->gate.ist), frame);
    } else if (handler->cpl != cpu->cpl) {
        step = frame_open_long(cpu, handler->cpl, frame_rsp_offset(handler->cpl), frame);
    } else {
        frame_current(cpu, frame);
        frame->width = 8;
    }
    if (step != STEP_NEXT)
        return step;
    frame->sp &= ~UINT64_C(15);
    step = push_stack(cpu, frame, 8);
    if (step == STEP_NEXT)
        step = push_return(cpu, frame, event, 8);
    if (step == STEP_NEXT && !is_canonical(handler->gate.offset))
        step = fault_code(cpu, VECTOR_GP, 0);
    return step;
}

static int build_legacy(struct cpu *cpu, const struct event *event, const struct handler *handler,
                        struct frame *frame)
{
    unsigned size = (handler->gate.type & TYPE_32BIT) ? 4 : 2;
    int step = STEP_NEXT;
    if (handler->cpl == cpu->cpl) {
        frame_current(cpu, frame);
    } else {
        step = frame_open_inner(cpu, handler->cpl, frame);
        if (step == STEP_NEXT && (cpu->mode & MODE_V86))
            step = push_v86_segments(cpu, frame, size);
        if (step == STEP_NEXT)
            step = push_stack(cpu, frame, size);
    }
    if (step == STEP_NEXT)
        step = push_return(cpu, frame, event, size);
    if (step == STEP_NEXT && handler->gate.offset > handler->code.limit)
        step = fault_code(cpu, VECTOR_GP, 0);
    return step;
}

static void enter(struct cpu *cpu, const struct handler *handler, const struct frame *frame)
{
    uint64_t cleared = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;
    if ((handler->gate.type & 1) == 0) /* an interrupt gate */
        cleared |= FLAG_IF;
    if (cpu->mode & MODE_V86) {
        static const uint8_t data[] = {SEGMENT_ES, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS};
        for (unsigned i = 0; i < sizeof(data); i++)
            cpu->segment[data[i]] = segment_null(0, 0);
    }
    uint16_t selector = (uint16_t)((handler->gate.selector & 0xfffcu) | handler->cpl);
    cpu->segment[SEGMENT_CS] = segment_of(&handler->code, selector);
    if (handler->cpl != cpu->cpl)
        cpu->segment[SEGMENT_SS] = frame->ss;
    cpu->gpr[GPR_RSP] = frame->sp;
    cpu->cpl = (uint8_t)handler->cpl;
    cpu->rip = handler->gate.offset;
    cpu->shadow = SHADOW_NONE;
    cpu_set_flags(cpu, cpu->flags & ~cleared);
    cpu_mode_changed(cpu);
}

static int deliver_task(struct cpu *cpu, struct event *event, uint16_t selector)
{
    struct task_switch change = {.cause = TASK_EVENT,
                                 .rip = event->rip,
                                 .flags = event->flags,
                                 .has_code = event->has_code,
                                 .code = event->code};
    int step = task_switch(cpu, selector, &change);
    event->switched = change.done;
    return step;
}

static int deliver_protected(struct cpu *cpu, struct event *event)
{
    struct handler handler;
    struct frame frame;
    int step = read_gate(cpu, event, &handler.gate);
    if (step != STEP_NEXT)
        return step;
    if (handler.gate.type == SYSTEM_TASK_GATE)
        return deliver_task(cpu, event, handler.gate.selector);
    step = find_code(cpu, &handler);
    if (step == STEP_NEXT)
        step = cpu_ia32e(cpu) ? build_long(cpu, event, &handler, &frame)
                              : build_legacy(cpu, event, &handler, &frame);
    if (step == STEP_NEXT)
        step = descriptor_set_type(cpu, &handler.code, TYPE_ACCESSED);
    if (step != STEP_NEXT)
        return step;
    enter(cpu, &handler, &frame);
    return STEP_JUMP;
}

static int deliver_event(struct cpu *cpu, struct event *event)
{
    bool real = (cpu->mode & MODE_REAL) != 0;
    int step = real ? deliver_real(cpu, event) : deliver_protected(cpu, event);
    if (step == STEP_FAULT && !event->software && cpu->fault.has_code &&
        cpu->fault.vector != VECTOR_PF)
        cpu->fault.code |= ERROR_EXT;
    return step;
}

int exception_interrupt(struct cpu *cpu, uint8_t vector, enum event_type type, uint64_t rip)
{
    struct event event = {
        .vector = vector, .rip = rip, .flags = cpu->flags, .software = type == EVENT_SOFTWARE};
    int step = deliver_event(cpu, &event);
    cpu->entered = true;
    if (step == STEP_FAULT && event.switched)
        return exception_deliver(cpu);
    return step;
}

/* ---- faults: escalation, and what is recorded before delivery ---- */

/* Intel SDM vol. 3A table 6-5. */
static bool is_contributory(unsigned vector)
{
    return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

static bool makes_double_fault(unsigned first, unsigned second)
{
    if (first == VECTOR_PF)
        return is_contributory(second) || second == VECTOR_PF;
    return is_contributory(first) && is_contributory(second);
}

static void record(struct cpu *cpu, const struct fault *fault)
{
    if (fault->vector == VECTOR_PF)
        cpu->cr2 = fault->address;
    if (fault->vector == VECTOR_DB) {
        cpu->dr[6] = (cpu->dr[6] & ~DR6_BREAKPOINTS) | fault->dr6;
        cpu->dr[7] &= ~DR7_GENERAL_DETECT;
    }
}

/*
 * RF as pushed is set for faults, so that an instruction breakpoint does not hit again on return;
 * not for #DB, other than that of DR7.GD, and not for the abort #DF (Intel SDM vol. 3B § 17.3.1.1).
 */
static uint64_t pushed_flags(const struct cpu *cpu, const struct fault *fault)
{
    bool is_fault = fault->vector != VECTOR_DF && fault->vector != VECTOR_MC;
    if (fault->vector == VECTOR_DB)
        is_fault = (fault->dr6 & DR6_GENERAL_DETECT) != 0;
    return is_fault ? cpu->flags | FLAG_RF : cpu->flags;
}

static int deliver_fault(struct cpu *cpu, const struct fault *fault)
{
    struct event event = {.vector = fault->vector,
                          .has_code = fault->has_code,
                          .code = fault->code,
                          .rip = cpu->rip,
                          .flags = pushed_flags(cpu, fault)};
    return deliver_event(cpu, &event);
}

/*
 * Faults that are neither contributory nor page faults never become a double fault: a handler in
 * CPL 3 whose stack is misaligned under alignment checks raises #AC for ever. A processor hangs in
 * that; here it goes back to the instruction between two rounds, so that the run loop can be
 * stopped. Every other chain of faults is shorter.
 */
int exception_deliver(struct cpu *cpu)
{
    for (unsigned links = 0; links < LONGEST_CHAIN; links++) {
        struct fault first = cpu->fault;
        record(cpu, &first);
        int step = deliver_fault(cpu, &first);
        if (step != STEP_FAULT)
            return step;
        struct fault second = cpu->fault;
        record(cpu, &second);
        if (first.vector == VECTOR_DF)
            return STEP_SHUTDOWN;
        if (makes_double_fault(first.vector, second.vector))
            cpu->fault = (struct fault){.vector = VECTOR_DF, .has_code = true};
    }
    return STEP_JUMP;
}
