/*
 * Hardware task switches through 32-bit and 16-bit TSSs.
 *
 * Up to the commit point (SDM vol. 3A § 7.3, step 12) a fault leaves the old task as it was; after
 * it the new task is current and a fault is its own.
 */
#include "engine/soft/task.h"

#include "engine/soft/frame.h"
#include "engine/soft/memory.h"
#include "engine/soft/paging.h"
#include "engine/soft/tlb.h"

/* Offsets in a 32-bit and in a 16-bit TSS, Intel SDM vol. 3A figures 7-2 and 7-10. */
struct layout {
    uint8_t size;  /* of a field */
    uint8_t limit; /* the least that will do */
    uint8_t eip;   /* then flags and eight registers */
    uint8_t segments, segment_count;
    uint8_t ldt;
};

static const struct layout layout32 = {4, 0x67, 0x20, 0x48, 6, 0x60};
static const struct layout layout16 = {2, 0x2b, 0x0e, 0x22, 4, 0x2a};

enum { TSS_CR3 = 0x1c, TSS_TRAP = 0x64, REGISTERS = 8 };
#define DR6_TASK     (UINT64_C(1) << 15)
#define DR7_LOCAL    UINT64_C(0x155) /* L0 to L3, LE */
#define FLAGS_LOADED UINT64_C(0x3f7fd5)

/* What a TSS holds, read before anything changes. */
struct image {
    uint32_t cr3, eip, flags;
    uint32_t gpr[REGISTERS];
    uint16_t selector[6];
    uint16_t ldt;
    bool wide, trap;
};

static const struct layout *layout_of(unsigned attributes)
{
    return (attributes & TYPE_32BIT) ? &layout32 : &layout16;
}

static int read_field(struct cpu *cpu, uint64_t tss, unsigned offset, unsigned size, uint32_t *ret)
{
    uint64_t value;
    int step = linear_read(cpu, (uint32_t)(tss + offset), size, ACCESS_SYSTEM, &value);
    if (step == STEP_NEXT)
        *ret = (uint32_t)value;
    return step;
}

static int read_registers(struct cpu *cpu, uint64_t tss, const struct layout *layout,
                          struct image *ret)
{
    unsigned offset = layout->eip;
    int step = read_field(cpu, tss, offset, layout->size, &ret->eip);
    if (step == STEP_NEXT)
        step = read_field(cpu, tss, offset + layout->size, layout->size, &ret->flags);
    offset += 2u * layout->size;
    for (unsigned i = 0; i < REGISTERS && step == STEP_NEXT; i++)
        step = read_field(cpu, tss, offset + i * layout->size, layout->size, &ret->gpr[i]);
    return step;
}

static int read_selectors(struct cpu *cpu, uint64_t tss, const struct layout *layout,
                          struct image *ret)
{
    uint32_t value = 0;
    int step = read_field(cpu, tss, layout->ldt, 2, &value);
    ret->ldt = (uint16_t)value;
    for (unsigned i = 0; i < 6; i++) {
        value = 0;
        if (i < layout->segment_count && step == STEP_NEXT)
            step = read_field(cpu, tss, layout->segments + i * layout->size, 2, &value);
        ret->selector[i] = (uint16_t)value;
    }
    return step;
}

static int read_image(struct cpu *cpu, const struct descriptor *tss, struct image *ret)
{
    const struct layout *layout = layout_of(tss->attributes);
    uint32_t trap = 0;
    ret->wide = layout == &layout32;
    ret->cr3 = 0;
    int step = read_registers(cpu, tss->base, layout, ret);
    if (step == STEP_NEXT)
        step = read_selectors(cpu, tss->base, layout, ret);
    if (step == STEP_NEXT && ret->wide)
        step = read_field(cpu, tss->base, TSS_CR3, 4, &ret->cr3);
    if (step == STEP_NEXT && ret->wide)
        step = read_field(cpu, tss->base, TSS_TRAP, 2, &trap);
    ret->trap = (trap & 1) != 0;
    return step;
}

/* Store the low `bytes` of a field of `size` and go on to the next one. */
static void put(uint8_t **to, unsigned size, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        (*to)[i] = (uint8_t)(value >> 8 * i);
    *to += size;
}

/* The dynamic part of the old TSS, as one write: it happens as a whole or not at all. */
static int save_old(struct cpu *cpu, const struct task_switch *change)
{
    const struct engine_segment *tr = &cpu->segment[SEGMENT_TR];
    const struct layout *layout = layout_of(tr->attributes);
    unsigned size = layout->segments + layout->segment_count * layout->size - layout->eip;
    void *memory;
    int step = memory_begin(cpu, (uint32_t)(tr->base + layout->eip), size,
                            ACCESS_WRITE | ACCESS_SYSTEM, &memory);
    if (step != STEP_NEXT)
        return step;
    uint8_t *to = memory;
    unsigned field = layout->size;
    put(&to, field, field, change->rip);
    put(&to, field, field, change->flags);
    for (unsigned i = 0; i < REGISTERS; i++)
        put(&to, field, field, cpu->gpr[i]);
    for (unsigned i = 0; i < layout->segment_count; i++)
        put(&to, field, 2, cpu->segment[i].selector);
    return memory_commit(cpu);
}

/* That the busy bit of the old descriptor can be cleared, found out before anything changes. */
static int probe_old_descriptor(struct cpu *cpu)
{
    void *byte;
    uint64_t address = cpu->gdt.base + (cpu->segment[SEGMENT_TR].selector & 0xfff8u) + 5;
    int step = memory_begin(cpu, (uint32_t)address, 1, ACCESS_WRITE | ACCESS_SYSTEM, &byte);
    if (step == STEP_NEXT)
        memory_abandon(cpu);
    return step;
}

static bool is_nesting(enum task_cause cause)
{
    return cause == TASK_CALL || cause == TASK_EVENT;
}

/* Steps 5 to 10: all writes to memory. */
static int write_memory(struct cpu *cpu, struct descriptor *tss, const struct task_switch *change)
{
    bool leaves = !is_nesting(change->cause);
    uint16_t old = cpu->segment[SEGMENT_TR].selector;
    int step = leaves ? probe_old_descriptor(cpu) : STEP_NEXT;
    if (step == STEP_NEXT)
        step = save_old(cpu, change);
    if (step == STEP_NEXT && !leaves)
        step = linear_write(cpu, (uint32_t)tss->base, 2, ACCESS_WRITE | ACCESS_SYSTEM, old);
    if (step == STEP_NEXT && leaves)
        step = descriptor_clear_busy(cpu, old);
    if (step == STEP_NEXT && change->cause != TASK_RETURN)
        step = descriptor_set_type(cpu, tss, TYPE_TSS_BUSY);
    return step;
}

static int load_cr3(struct cpu *cpu, uint32_t cr3)
{
    if ((cpu->cr0 & CR0_PG) == 0)
        return STEP_NEXT;
    if (cpu->cr4 & CR4_PAE) {
        int step = paging_load_pdptes(cpu, cr3);
        if (step != STEP_NEXT)
            return step;
    }
    cpu->cr3 = cr3;
    tlb_switch(cpu, 0, false);
    return STEP_NEXT;
}

static void load_registers(struct cpu *cpu, const struct image *image, bool nested)
{
    uint64_t flags = image->flags & FLAGS_LOADED;
    if (!image->wide)
        flags &= 0xffff;
    if (nested)
        flags |= FLAG_NT;
    /* A 16-bit TSS leaves the upper halves as they were. */
    for (unsigned i = 0; i < REGISTERS; i++) {
        uint64_t upper = image->wide ? 0 : cpu->gpr[i] & 0xffff0000;
        cpu->gpr[i] = upper | image->gpr[i];
    }
    cpu->rip = image->eip;
    cpu->cr0 |= CR0_TS;
    cpu->dr[7] &= ~DR7_LOCAL;
    cpu->cpl = (flags & FLAG_VM) ? 3 : (uint8_t)(image->selector[SEGMENT_CS] & 3);
    for (unsigned i = 0; i < 6; i++)
        cpu->segment[i] = segment_null(image->selector[i], i == SEGMENT_SS ? cpu->cpl : 0);
    cpu->segment[SEGMENT_LDTR] = segment_null(image->ldt, 0);
    cpu->shadow = SHADOW_NONE;
    cpu_set_flags(cpu, flags);
    cpu_mode_changed(cpu);
    tlb_flush_all(cpu); /* DR7 changed: which pages carry breakpoints */
}

static int load_code(struct cpu *cpu, uint16_t selector)
{
    struct descriptor code;
    if (selector_is_null(selector))
        return fault_code(cpu, VECTOR_TS, 0);
    int step = descriptor_fetch(cpu, selector, VECTOR_TS, &code);
    if (step != STEP_NEXT)
        return step;
    unsigned rpl = selector & 3u;
    unsigned dpl = descriptor_dpl(&code);
    if (!descriptor_is_code(&code) || (descriptor_is_conforming(&code) ? dpl > rpl : dpl != rpl))
        return fault_selector(cpu, VECTOR_TS, selector);
    if (!descriptor_present(&code))
        return fault_selector(cpu, VECTOR_NP, selector);
    step = descriptor_set_type(cpu, &code, TYPE_ACCESSED);
    if (step == STEP_NEXT)
        cpu->segment[SEGMENT_CS] = segment_of(&code, selector);
    return step;
}

static int load_segments(struct cpu *cpu, const struct image *image)
{
    static const uint8_t data[] = {SEGMENT_ES, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS};
    int step = segment_load_task_ldtr(cpu, image->ldt);
    if (step != STEP_NEXT)
        return step;
    if (cpu->flags & FLAG_VM) {
        for (unsigned i = 0; i < 6; i++)
            segment_load_real(cpu, i, image->selector[i]);
        cpu_mode_changed(cpu);
        return STEP_NEXT;
    }
    step = load_code(cpu, image->selector[SEGMENT_CS]);
    if (step == STEP_NEXT)
        step = segment_load_task_stack(cpu, image->selector[SEGMENT_SS]);
    cpu_mode_changed(cpu);
    for (unsigned i = 0; i < sizeof(data) && step == STEP_NEXT; i++)
        step = segment_load_task_data(cpu, data[i], image->selector[data[i]]);
    return step;
}

static int push_code(struct cpu *cpu, const struct task_switch *change, bool wide)
{
    struct frame frame;
    if (!change->has_code)
        return STEP_NEXT;
    frame_current(cpu, &frame);
    int step = frame_push(&frame, wide ? 4 : 2, change->code);
    if (step == STEP_NEXT)
        cpu->gpr[GPR_RSP] = frame.sp;
    return step;
}

/* After the commit point: faults are the new task's. */
static int finish(struct cpu *cpu, const struct image *image, const struct task_switch *change)
{
    int step = load_segments(cpu, image);
    if (step == STEP_NEXT)
        step = push_code(cpu, change, image->wide);
    if (step == STEP_NEXT && cpu->rip > cpu->segment[SEGMENT_CS].limit)
        step = fault_code(cpu, VECTOR_GP, 0);
    if (step != STEP_NEXT)
        return step;
    if (!image->trap)
        return STEP_JUMP;
    (void)fault(cpu, VECTOR_DB);
    cpu->fault.dr6 = DR6_TASK;
    return exception_deliver(cpu);
}

/* Returning through the back link wants a busy TSS, all else a free one. */
static int check_tss(struct cpu *cpu, const struct descriptor *tss, enum task_cause cause)
{
    unsigned type = descriptor_type(tss);
    bool is_tss = descriptor_is_system(tss) &&
                  (type & ~(unsigned)(TYPE_TSS_BUSY | TYPE_32BIT)) == SYSTEM_TSS16;
    bool busy = (type & TYPE_TSS_BUSY) != 0;
    enum vector vector = cause == TASK_RETURN ? VECTOR_TS : VECTOR_GP;
    if (!is_tss || busy != (cause == TASK_RETURN))
        return fault_selector(cpu, vector, tss->selector);
    if (!descriptor_present(tss))
        return fault_selector(cpu, VECTOR_NP, tss->selector);
    if (tss->limit < layout_of(tss->attributes)->limit)
        return fault_selector(cpu, VECTOR_TS, tss->selector);
    return STEP_NEXT;
}

int task_switch(struct cpu *cpu, uint16_t selector, struct task_switch *change)
{
    struct descriptor tss;
    struct image image;
    enum vector vector = change->cause == TASK_RETURN ? VECTOR_TS : VECTOR_GP;
    if (selector_is_local(selector) || selector_is_null(selector))
        return fault_selector(cpu, vector, selector);
    int step = descriptor_fetch(cpu, selector, vector, &tss);
    if (step == STEP_NEXT)
        step = check_tss(cpu, &tss, change->cause);
    if (step == STEP_NEXT)
        step = read_image(cpu, &tss, &image);
    if (step == STEP_NEXT)
        step = write_memory(cpu, &tss, change);
    if (step != STEP_NEXT)
        return step;
    cpu->segment[SEGMENT_TR] = segment_of(&tss, selector);
    change->done = true;
    if (image.wide)
        step = load_cr3(cpu, image.cr3);
    load_registers(cpu, &image, is_nesting(change->cause));
    return step == STEP_NEXT ? finish(cpu, &image, change) : step;
}
