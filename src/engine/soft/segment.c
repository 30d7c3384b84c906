/*
 * Descriptors and selectors: reading the GDT and LDT, loading segment registers, LAR, LSL, VERR,
 * VERW.
 *
 * 1. A register changes only after every check has passed and the accessed bit is in memory.
 * 2. The cached attributes carry SEGMENT_UNUSABLE exactly when the selector is null.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/memory.h"

static uint32_t raw_limit(uint64_t raw)
{
    uint32_t limit = (uint32_t)(raw & 0xffff) | (uint32_t)((raw >> 32) & 0xf0000);
    bool pages = (raw >> 55) & 1;
    return pages ? limit << 12 | 0xfff : limit;
}

static void decode(struct descriptor *descriptor)
{
    uint64_t raw = descriptor->raw;
    descriptor->base = ((raw >> 16) & 0xffffff) | ((raw >> 32) & 0xff000000);
    descriptor->limit = raw_limit(raw);
    descriptor->attributes = (uint16_t)(((raw >> 40) & 0xff) | ((raw >> 44) & 0xf00));
}

/* The table a selector points into; false when that is an LDT and there is none. */
static bool table_of(const struct cpu *cpu, uint16_t selector, uint64_t *ret_base,
                     uint32_t *ret_limit)
{
    if (!selector_is_local(selector)) {
        *ret_base = cpu->gdt.base;
        *ret_limit = cpu->gdt.limit;
        return true;
    }
    const struct engine_segment *ldt = &cpu->segment[SEGMENT_LDTR];
    *ret_base = ldt->base;
    *ret_limit = ldt->limit;
    return (ldt->attributes & SEGMENT_UNUSABLE) == 0;
}

int descriptor_find(struct cpu *cpu, uint16_t selector, struct descriptor *ret, bool *ret_found)
{
    uint64_t base;
    uint32_t limit;
    uint32_t offset = selector & 0xfff8u;
    *ret_found = table_of(cpu, selector, &base, &limit) && offset + 7 <= limit;
    if (!*ret_found)
        return STEP_NEXT;
    ret->address = base + offset;
    if (!cpu_ia32e(cpu))
        ret->address = (uint32_t)ret->address;
    ret->selector = selector;
    ret->high = 0;
    int step = linear_read(cpu, ret->address, 8, ACCESS_READ | ACCESS_SYSTEM, &ret->raw);
    if (step == STEP_NEXT)
        decode(ret);
    return step;
}

int descriptor_fetch(struct cpu *cpu, uint16_t selector, enum vector vector, struct descriptor *ret)
{
    bool found;
    int step = descriptor_find(cpu, selector, ret, &found);
    if (step != STEP_NEXT)
        return step;
    return found ? STEP_NEXT : fault_selector(cpu, vector, selector);
}

int descriptor_extend(struct cpu *cpu, struct descriptor *descriptor)
{
    uint64_t base;
    uint32_t limit;
    if (!cpu_ia32e(cpu))
        return STEP_NEXT;
    uint32_t offset = descriptor->selector & 0xfff8u;
    if (!table_of(cpu, descriptor->selector, &base, &limit) || offset + 15 > limit)
        return fault_selector(cpu, VECTOR_GP, descriptor->selector);
    int step = linear_read(cpu, descriptor->address + 8, 8, ACCESS_READ | ACCESS_SYSTEM,
                           &descriptor->high);
    if (step != STEP_NEXT)
        return step;
    descriptor->base |= descriptor->high << 32;
    return STEP_NEXT;
}

int descriptor_set_type(struct cpu *cpu, struct descriptor *descriptor, uint8_t bits)
{
    void *byte;
    if ((descriptor->attributes & bits) == bits)
        return STEP_NEXT;
    int step = memory_begin(cpu, descriptor->address + 5, 1,
                            ACCESS_WRITE | ACCESS_SYSTEM | ACCESS_LOCKED, &byte);
    if (step != STEP_NEXT)
        return step;
    (void)__atomic_fetch_or((uint8_t *)byte, bits, __ATOMIC_SEQ_CST);
    step = memory_commit(cpu);
    if (step == STEP_NEXT)
        descriptor->attributes |= bits;
    return step;
}

int descriptor_clear_busy(struct cpu *cpu, uint16_t selector)
{
    void *byte;
    uint64_t address = cpu->gdt.base + (selector & 0xfff8u) + 5;
    int step = memory_begin(cpu, (uint32_t)address, 1, ACCESS_WRITE | ACCESS_SYSTEM | ACCESS_LOCKED,
                            &byte);
    if (step != STEP_NEXT)
        return step;
    (void)__atomic_fetch_and((uint8_t *)byte, (uint8_t)~TYPE_TSS_BUSY, __ATOMIC_SEQ_CST);
    return memory_commit(cpu);
}

struct engine_segment segment_of(const struct descriptor *descriptor, uint16_t selector)
{
    return (struct engine_segment){
        .base = descriptor->base,
        .limit = descriptor->limit,
        .selector = selector,
        .attributes = descriptor->attributes,
    };
}

struct engine_segment segment_null(uint16_t selector, unsigned dpl)
{
    return (struct engine_segment){
        .selector = selector,
        .attributes = (uint16_t)(SEGMENT_UNUSABLE | dpl << SEGMENT_DPL_SHIFT),
    };
}

struct engine_segment segment_fixed_code(uint16_t selector, unsigned dpl, bool is_long)
{
    unsigned attributes = SEGMENT_P | SEGMENT_S | SEGMENT_G | TYPE_CODE | TYPE_READABLE |
                          TYPE_ACCESSED | dpl << SEGMENT_DPL_SHIFT;
    return (struct engine_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .attributes = (uint16_t)(attributes | (is_long ? SEGMENT_L : SEGMENT_DB)),
    };
}

struct engine_segment segment_fixed_stack(uint16_t selector, unsigned dpl)
{
    return (struct engine_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .attributes = (uint16_t)(SEGMENT_P | SEGMENT_S | SEGMENT_G | SEGMENT_DB | TYPE_WRITABLE |
                                 TYPE_ACCESSED | dpl << SEGMENT_DPL_SHIFT),
    };
}

void segment_drop_privileged(struct cpu *cpu)
{
    static const uint8_t data[] = {SEGMENT_ES, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS};
    for (unsigned i = 0; i < sizeof(data); i++) {
        struct engine_segment *segment = &cpu->segment[data[i]];
        unsigned dpl = (segment->attributes >> SEGMENT_DPL_SHIFT) & 3u;
        bool conforming =
            (segment->attributes & (TYPE_CODE | TYPE_CONFORMING)) == (TYPE_CODE | TYPE_CONFORMING);
        if ((segment->attributes & SEGMENT_UNUSABLE) != 0 || conforming || dpl >= cpu->cpl)
            continue;
        segment->selector = 0;
        segment->attributes = SEGMENT_UNUSABLE; /* the base stays, which 64-bit code can see */
    }
}

/* ---- data segments and SS ---- */

static bool data_allows(const struct cpu *cpu, const struct descriptor *descriptor)
{
    unsigned rpl = descriptor->selector & 3u;
    unsigned dpl = descriptor_dpl(descriptor);
    return descriptor_is_conforming(descriptor) || (rpl <= dpl && cpu->cpl <= dpl);
}

/* `vector`: #GP for instructions, #TS for task switches. */
static int load_data(struct cpu *cpu, enum engine_segment_index index, uint16_t selector,
                     enum vector vector)
{
    struct descriptor descriptor;
    if (selector_is_null(selector)) {
        cpu->segment[index] = segment_null(selector, 0);
        return STEP_NEXT;
    }
    int step = descriptor_fetch(cpu, selector, vector, &descriptor);
    if (step != STEP_NEXT)
        return step;
    if (!descriptor_is_readable(&descriptor) || !data_allows(cpu, &descriptor))
        return fault_selector(cpu, vector, selector);
    if (!descriptor_present(&descriptor))
        return fault_selector(cpu, VECTOR_NP, selector);
    step = descriptor_set_type(cpu, &descriptor, TYPE_ACCESSED);
    if (step == STEP_NEXT)
        cpu->segment[index] = segment_of(&descriptor, selector);
    return step;
}

static int load_stack(struct cpu *cpu, uint16_t selector, enum vector vector)
{
    struct descriptor descriptor;
    unsigned rpl = selector & 3u;
    if (selector_is_null(selector)) {
        if (!cpu_long(cpu) || cpu->cpl == 3 || rpl != cpu->cpl || vector != VECTOR_GP)
            return fault_selector(cpu, vector, 0);
        cpu->segment[SEGMENT_SS] = segment_null(selector, cpu->cpl);
        return STEP_NEXT;
    }
    int step = descriptor_fetch(cpu, selector, vector, &descriptor);
    if (step != STEP_NEXT)
        return step;
    if (rpl != cpu->cpl || descriptor_dpl(&descriptor) != cpu->cpl ||
        !descriptor_is_writable(&descriptor))
        return fault_selector(cpu, vector, selector);
    if (!descriptor_present(&descriptor))
        return fault_selector(cpu, VECTOR_SS, selector);
    step = descriptor_set_type(cpu, &descriptor, TYPE_ACCESSED);
    if (step == STEP_NEXT)
        cpu->segment[SEGMENT_SS] = segment_of(&descriptor, selector);
    return step;
}

int segment_load(struct cpu *cpu, enum engine_segment_index index, uint16_t selector)
{
    if (index != SEGMENT_SS)
        return load_data(cpu, index, selector, VECTOR_GP);
    int step = load_stack(cpu, selector, VECTOR_GP);
    if (step == STEP_NEXT)
        cpu_mode_changed(cpu);
    return step;
}

int segment_load_task_data(struct cpu *cpu, enum engine_segment_index index, uint16_t selector)
{
    return load_data(cpu, index, selector, VECTOR_TS);
}

int segment_load_task_stack(struct cpu *cpu, uint16_t selector)
{
    return load_stack(cpu, selector, VECTOR_TS);
}

/*
 * Real mode changes base and selector only, which lets a program keep limits from protected mode;
 * virtual-8086 mode sets the whole cache (Intel SDM vol. 3A § 20.1.1, § 20.2.1).
 */
void segment_load_real(struct cpu *cpu, enum engine_segment_index index, uint16_t selector)
{
    enum { DATA = SEGMENT_P | SEGMENT_S | TYPE_WRITABLE | TYPE_ACCESSED };
    struct engine_segment *segment = &cpu->segment[index];
    bool v86 = (cpu->cr0 & CR0_PE) != 0;
    segment->selector = selector;
    segment->base = (uint64_t)selector << 4;
    if (v86) {
        segment->attributes = DATA | SEGMENT_DPL;
        segment->limit = 0xffff;
    } else {
        if (segment->attributes & SEGMENT_UNUSABLE)
            segment->limit = 0xffff;
        unsigned kept = segment->attributes & (SEGMENT_DB | SEGMENT_G | SEGMENT_AVL);
        segment->attributes = (uint16_t)(DATA | (index == SEGMENT_CS ? TYPE_CODE : 0) | kept);
    }
}

/* ---- system segments ---- */

static bool is_ldt(const struct descriptor *descriptor)
{
    return descriptor_is_system(descriptor) && descriptor_type(descriptor) == SYSTEM_LDT;
}

static bool is_free_tss(const struct cpu *cpu, const struct descriptor *descriptor)
{
    unsigned type = descriptor_type(descriptor);
    if (!descriptor_is_system(descriptor))
        return false;
    return type == SYSTEM_TSS || (type == SYSTEM_TSS16 && !cpu_ia32e(cpu));
}

/* The common part of LLDT and LTR: fetch from the GDT, whole, with a base that can be. */
static int fetch_system(struct cpu *cpu, uint16_t selector, enum vector vector,
                        struct descriptor *ret)
{
    if (selector_is_local(selector))
        return fault_selector(cpu, vector, selector);
    return descriptor_fetch(cpu, selector, vector, ret);
}

static int load_ldtr(struct cpu *cpu, uint16_t selector, enum vector vector)
{
    struct descriptor descriptor;
    if (selector_is_null(selector)) {
        cpu->segment[SEGMENT_LDTR] = segment_null(selector, 0);
        return STEP_NEXT;
    }
    int step = fetch_system(cpu, selector, vector, &descriptor);
    if (step != STEP_NEXT)
        return step;
    if (!is_ldt(&descriptor))
        return fault_selector(cpu, vector, selector);
    if (!descriptor_present(&descriptor))
        return fault_selector(cpu, vector == VECTOR_GP ? VECTOR_NP : vector, selector);
    step = descriptor_extend(cpu, &descriptor);
    if (step != STEP_NEXT)
        return step;
    if (!is_canonical(descriptor.base))
        return fault_selector(cpu, VECTOR_GP, selector);
    cpu->segment[SEGMENT_LDTR] = segment_of(&descriptor, selector);
    return STEP_NEXT;
}

int segment_load_ldtr(struct cpu *cpu, uint16_t selector)
{
    return load_ldtr(cpu, selector, VECTOR_GP);
}

int segment_load_task_ldtr(struct cpu *cpu, uint16_t selector)
{
    return load_ldtr(cpu, selector, VECTOR_TS);
}

int segment_load_tr(struct cpu *cpu, uint16_t selector)
{
    struct descriptor descriptor;
    if (selector_is_null(selector))
        return fault_code(cpu, VECTOR_GP, 0);
    int step = fetch_system(cpu, selector, VECTOR_GP, &descriptor);
    if (step != STEP_NEXT)
        return step;
    if (!is_free_tss(cpu, &descriptor))
        return fault_selector(cpu, VECTOR_GP, selector);
    if (!descriptor_present(&descriptor))
        return fault_selector(cpu, VECTOR_NP, selector);
    step = descriptor_extend(cpu, &descriptor);
    if (step != STEP_NEXT)
        return step;
    if (!is_canonical(descriptor.base))
        return fault_selector(cpu, VECTOR_GP, selector);
    step = descriptor_set_type(cpu, &descriptor, TYPE_TSS_BUSY);
    if (step == STEP_NEXT)
        cpu->segment[SEGMENT_TR] = segment_of(&descriptor, selector);
    return step;
}

/* ---- LAR, LSL, VERR, VERW: SDM vol. 2 ---- */

/* System types LAR knows; LSL knows those of them that have a limit. */
static bool is_known_system_type(const struct cpu *cpu, unsigned type, bool with_limit)
{
    enum {
        LONG_LIMIT = 1 << SYSTEM_LDT | 1 << SYSTEM_TSS | 1 << (SYSTEM_TSS | TYPE_TSS_BUSY),
        LONG_ALL = LONG_LIMIT | 1 << SYSTEM_CALL_GATE,
        LIMIT = LONG_LIMIT | 1 << SYSTEM_TSS16 | 1 << (SYSTEM_TSS16 | TYPE_TSS_BUSY),
        ALL = LIMIT | LONG_ALL | 1 << SYSTEM_CALL_GATE16 | 1 << SYSTEM_TASK_GATE,
    };
    unsigned known = with_limit ? LIMIT : ALL;
    if (cpu_ia32e(cpu))
        known = with_limit ? LONG_LIMIT : LONG_ALL;
    return (known >> type) & 1;
}

/* Fetch for a look that does not fault: false when the selector is null, outside, or off limits. */
static bool look(struct cpu *cpu, uint16_t selector, struct descriptor *ret, int *ret_step)
{
    bool found;
    *ret_step = STEP_NEXT;
    if (selector_is_null(selector))
        return false;
    *ret_step = descriptor_find(cpu, selector, ret, &found);
    return *ret_step == STEP_NEXT && found && data_allows(cpu, ret);
}

bool segment_access_rights(struct cpu *cpu, uint16_t selector, uint32_t *ret, int *ret_step)
{
    struct descriptor descriptor;
    if (!look(cpu, selector, &descriptor, ret_step))
        return false;
    if (descriptor_is_system(&descriptor) &&
        !is_known_system_type(cpu, descriptor_type(&descriptor), false))
        return false;
    *ret = (uint32_t)(descriptor.raw >> 32) & 0x00ffff00;
    return true;
}

bool segment_limit(struct cpu *cpu, uint16_t selector, uint32_t *ret, int *ret_step)
{
    struct descriptor descriptor;
    if (!look(cpu, selector, &descriptor, ret_step))
        return false;
    if (descriptor_is_system(&descriptor) &&
        !is_known_system_type(cpu, descriptor_type(&descriptor), true))
        return false;
    *ret = descriptor.limit;
    return true;
}

bool segment_verify(struct cpu *cpu, uint16_t selector, bool write, int *ret_step)
{
    struct descriptor descriptor;
    if (!look(cpu, selector, &descriptor, ret_step))
        return false;
    return write ? descriptor_is_writable(&descriptor) : descriptor_is_readable(&descriptor);
}
