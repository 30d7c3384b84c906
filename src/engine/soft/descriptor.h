/*
 * Segment descriptors as they lie in the GDT and LDT: for segment.c, transfer.c, task.c,
 * exception.c. Source: Intel SDM vol. 3A § 3.4.5, § 3.5, § 5.8.3.
 */
#ifndef SOFT_DESCRIPTOR_H
#define SOFT_DESCRIPTOR_H

#include "engine/soft/cpu.h"

/* System descriptor types, Intel SDM vol. 3A table 3-2. */
enum system_type {
    SYSTEM_TSS16 = 1,
    SYSTEM_LDT = 2,
    SYSTEM_CALL_GATE16 = 4,
    SYSTEM_TASK_GATE = 5,
    SYSTEM_INTERRUPT_GATE16 = 6,
    SYSTEM_TRAP_GATE16 = 7,
    SYSTEM_TSS = 9,
    SYSTEM_CALL_GATE = 12,
    SYSTEM_INTERRUPT_GATE = 14,
    SYSTEM_TRAP_GATE = 15,
};

/* Bits of the type field. */
enum {
    TYPE_ACCESSED = 1 << 0,
    TYPE_WRITABLE = 1 << 1, /* data */
    TYPE_READABLE = 1 << 1, /* code */
    TYPE_TSS_BUSY = 1 << 1,
    TYPE_CONFORMING = 1 << 2,
    TYPE_CODE = 1 << 3,
    TYPE_32BIT = 1 << 3, /* TSS and gates */
};

struct descriptor {
    uint64_t address; /* linear, of its first byte */
    uint64_t raw;     /* first eight bytes: what a gate's fields are taken from */
    uint64_t high;    /* second eight bytes, once extended: else 0 */
    uint64_t base;
    uint32_t limit; /* granularity applied */
    uint16_t selector;
    uint16_t attributes;
};

static inline unsigned descriptor_type(const struct descriptor *descriptor)
{
    return descriptor->attributes & SEGMENT_TYPE;
}

static inline unsigned descriptor_dpl(const struct descriptor *descriptor)
{
    return (descriptor->attributes >> SEGMENT_DPL_SHIFT) & 3u;
}

static inline bool descriptor_present(const struct descriptor *descriptor)
{
    return (descriptor->attributes & SEGMENT_P) != 0;
}

static inline bool descriptor_is_system(const struct descriptor *descriptor)
{
    return (descriptor->attributes & SEGMENT_S) == 0;
}

static inline bool descriptor_is_code(const struct descriptor *descriptor)
{
    return (descriptor->attributes & (SEGMENT_S | TYPE_CODE)) == (SEGMENT_S | TYPE_CODE);
}

static inline bool descriptor_is_conforming(const struct descriptor *descriptor)
{
    return descriptor_is_code(descriptor) && (descriptor->attributes & TYPE_CONFORMING) != 0;
}

static inline bool descriptor_is_writable(const struct descriptor *descriptor)
{
    return (descriptor->attributes & (SEGMENT_S | TYPE_CODE | TYPE_WRITABLE)) ==
           (SEGMENT_S | TYPE_WRITABLE);
}

/* Data, or code that may be read. */
static inline bool descriptor_is_readable(const struct descriptor *descriptor)
{
    if (descriptor_is_system(descriptor))
        return false;
    return !descriptor_is_code(descriptor) || (descriptor->attributes & TYPE_READABLE) != 0;
}

static inline bool selector_is_null(uint16_t selector)
{
    return (selector & 0xfffc) == 0;
}

static inline bool selector_is_local(uint16_t selector)
{
    return (selector & 4) != 0;
}

/* A fault whose error code names a selector, Intel SDM vol. 3A § 6.13. */
static inline int fault_selector(struct cpu *cpu, enum vector vector, uint16_t selector)
{
    return fault_code(cpu, vector, selector & 0xfffcu);
}

/*
 * Read the first eight bytes of a selector's descriptor. `ret_found` is false when the selector
 * lies outside its table; a null selector is the caller's affair. STEP_NEXT, STEP_FAULT, STEP_EXIT.
 */
int descriptor_find(struct cpu *cpu, uint16_t selector, struct descriptor *ret, bool *ret_found);
/* The same, with `vector`(selector) when it lies outside. */
int descriptor_fetch(struct cpu *cpu, uint16_t selector, enum vector vector,
                     struct descriptor *ret);
/* IA-32e mode: read the second half of a system descriptor too; #GP(selector) when outside. */
int descriptor_extend(struct cpu *cpu, struct descriptor *descriptor);
/* Set bits of the type field in memory, by one locked access, if they are not set. */
int descriptor_set_type(struct cpu *cpu, struct descriptor *descriptor, uint8_t bits);
/* Clear the busy bit of a TSS descriptor in the GDT. */
int descriptor_clear_busy(struct cpu *cpu, uint16_t selector);

/* What goes into the segment register; `selector` with the RPL that it is to have. */
struct engine_segment segment_of(const struct descriptor *descriptor, uint16_t selector);
/* What a null selector leaves there; `dpl` matters for SS only. */
struct engine_segment segment_null(uint16_t selector, unsigned dpl);
/* SYSCALL, SYSENTER and their returns use segments with fixed contents. */
struct engine_segment segment_fixed_code(uint16_t selector, unsigned dpl, bool is_long);
struct engine_segment segment_fixed_stack(uint16_t selector, unsigned dpl);

/* After a return to an outer level: drop data segments that it may not use (SDM vol. 2, RET). */
void segment_drop_privileged(struct cpu *cpu);

/* Load the segments of a task; #TS where MOV raises #GP. */
int segment_load_task_data(struct cpu *cpu, enum engine_segment_index index, uint16_t selector);
int segment_load_task_stack(struct cpu *cpu, uint16_t selector);
int segment_load_task_ldtr(struct cpu *cpu, uint16_t selector);

#endif
