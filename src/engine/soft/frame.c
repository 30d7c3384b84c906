#include "engine/soft/frame.h"

#include "engine/soft/descriptor.h"
#include "engine/soft/memory.h"

void frame_current(struct cpu *cpu, struct frame *ret)
{
    ret->cpu = cpu;
    ret->ss = cpu->segment[SEGMENT_SS];
    ret->sp = cpu->gpr[GPR_RSP];
    ret->width = stack_width(cpu);
    ret->access = 0;
    ret->code = 0;
}

static uint64_t moved(const struct frame *frame, uint64_t delta)
{
    uint64_t sp = frame->sp + delta;
    if (frame->width == 8)
        return sp;
    if (frame->width == 4)
        return (uint32_t)sp;
    return (frame->sp & ~UINT64_C(0xffff)) | (uint16_t)sp;
}

/* Intel SDM vol. 3A § 5.3; `offset` + `size` does not wrap, both are far below 2^64. */
static bool within_limit(const struct engine_segment *ss, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    if (ss->attributes & SEGMENT_UNUSABLE)
        return false;
    if ((ss->attributes & (TYPE_CODE | TYPE_CONFORMING)) != TYPE_CONFORMING)
        return last <= ss->limit;
    /* Bit 2 of a data segment's type: expand-down. */
    uint64_t top = (ss->attributes & SEGMENT_DB) ? UINT32_MAX : UINT16_MAX;
    return offset > ss->limit && last <= top;
}

static int locate(const struct frame *frame, uint64_t sp, unsigned size, uint64_t *ret)
{
    if (frame->width == 8) {
        if (!is_canonical(sp) || !is_canonical(sp + size - 1))
            return fault_code(frame->cpu, VECTOR_SS, frame->code);
        *ret = sp;
        return STEP_NEXT;
    }
    uint64_t offset = frame->width == 4 ? (uint32_t)sp : (uint16_t)sp;
    if (!within_limit(&frame->ss, offset, size))
        return fault_code(frame->cpu, VECTOR_SS, frame->code);
    *ret = (uint32_t)(frame->ss.base + offset);
    return STEP_NEXT;
}

static int push(struct frame *frame, unsigned size, unsigned bytes, uint64_t value)
{
    uint64_t linear;
    uint64_t sp = moved(frame, -(uint64_t)size);
    int step = locate(frame, sp, bytes, &linear);
    if (step == STEP_NEXT)
        step = linear_write(frame->cpu, linear, bytes, ACCESS_WRITE | frame->access, value);
    if (step == STEP_NEXT)
        frame->sp = sp;
    return step;
}

int frame_push(struct frame *frame, unsigned size, uint64_t value)
{
    return push(frame, size, size, value);
}

int frame_push_selector(struct frame *frame, unsigned size, uint16_t selector)
{
    return push(frame, size, size == 8 ? 8 : 2, selector);
}

int frame_peek(struct frame *frame, unsigned offset, unsigned size, uint64_t *ret)
{
    uint64_t linear;
    int step = locate(frame, moved(frame, offset), size, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_read(frame->cpu, linear, size, ACCESS_READ | frame->access, ret);
}

int frame_pop(struct frame *frame, unsigned size, uint64_t *ret)
{
    int step = frame_peek(frame, 0, size, ret);
    if (step == STEP_NEXT)
        frame->sp = moved(frame, size);
    return step;
}

void frame_skip(struct frame *frame, uint64_t bytes)
{
    frame->sp = moved(frame, bytes);
}

static int read_tss(struct cpu *cpu, unsigned offset, unsigned size, uint64_t *ret)
{
    const struct engine_segment *tss = &cpu->segment[SEGMENT_TR];
    uint64_t linear = tss->base + offset;
    if (!cpu_ia32e(cpu))
        linear = (uint32_t)linear;
    if (offset + size - 1 > tss->limit)
        return fault_selector(cpu, VECTOR_TS, tss->selector);
    return linear_read(cpu, linear, size, ACCESS_READ | ACCESS_SYSTEM, ret);
}

static int read_inner_pointer(struct cpu *cpu, unsigned cpl, uint64_t *ret_sp, uint64_t *ret_ss)
{
    bool wide = (cpu->segment[SEGMENT_TR].attributes & TYPE_32BIT) != 0;
    unsigned size = wide ? 4 : 2;
    unsigned offset = size + 2 * size * cpl;
    /* SS lies above the pointer: look there first, so that one limit check covers both. */
    int step = read_tss(cpu, offset + size, 2, ret_ss);
    return step == STEP_NEXT ? read_tss(cpu, offset, size, ret_sp) : step;
}

int frame_open_inner(struct cpu *cpu, unsigned cpl, struct frame *ret)
{
    uint64_t ss;
    struct descriptor descriptor;
    int step = read_inner_pointer(cpu, cpl, &ret->sp, &ss);
    if (step != STEP_NEXT)
        return step;
    uint16_t selector = (uint16_t)ss;
    if (selector_is_null(selector))
        return fault_code(cpu, VECTOR_TS, 0);
    step = descriptor_fetch(cpu, selector, VECTOR_TS, &descriptor);
    if (step != STEP_NEXT)
        return step;
    if ((selector & 3u) != cpl || descriptor_dpl(&descriptor) != cpl ||
        !descriptor_is_writable(&descriptor))
        return fault_selector(cpu, VECTOR_TS, selector);
    if (!descriptor_present(&descriptor))
        return fault_selector(cpu, VECTOR_SS, selector);
    step = descriptor_set_type(cpu, &descriptor, TYPE_ACCESSED);
    ret->cpu = cpu;
    ret->ss = segment_of(&descriptor, selector);
    ret->width = (descriptor.attributes & SEGMENT_DB) ? 4 : 2;
    ret->access = ACCESS_SYSTEM;
    ret->code = selector & 0xfffcu;
    return step;
}

int frame_open_long(struct cpu *cpu, unsigned cpl, unsigned offset, struct frame *ret)
{
    bool inner = cpl != cpu->cpl;
    ret->cpu = cpu;
    ret->ss = inner ? segment_null((uint16_t)cpl, cpl) : cpu->segment[SEGMENT_SS];
    ret->width = 8;
    ret->access = inner ? ACCESS_SYSTEM : 0;
    ret->code = 0;
    int step = read_tss(cpu, offset, 8, &ret->sp);
    if (step == STEP_NEXT && !is_canonical(ret->sp))
        step = fault_code(cpu, VECTOR_SS, 0);
    return step;
}
