/*
 * A virtual processor for unit tests: 4 MiB of RAM, a GDT with one segment of each kind, an IDT, a
 * TSS, and identity-mapped page tables for IA-32e mode. Tests call the functions under test
 * directly. To be included after <cmocka.h>.
 */
#ifndef SOFT_FIXTURE_H
#define SOFT_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "engine/soft/descriptor.h"
#include "engine/soft/op.h"
#include "engine/soft/partition.h"

enum {
    AT_GDT = 0x1000,
    AT_IDT = 0x2000,
    AT_TSS = 0x3000,
    AT_TSS2 = 0x3400,
    AT_LDT = 0x3800,
    AT_PML4 = 0x4000,
    AT_PDPT = 0x5000,
    AT_PD = 0x6000,
    STACK_USER = 0x20000,
    STACK_KERNEL = 0x30000,
    STACK_IST = 0x40000,
    HANDLER = 0x8000,
    CODE = 0x9000,
};

enum {
    KERNEL_CODE = 0x08,
    KERNEL_DATA = 0x10,
    USER_CODE = 0x18 | 3,
    USER_DATA = 0x20 | 3,
    KERNEL_CODE64 = 0x28,
    USER_CODE64 = 0x30 | 3,
    TSS_SELECTOR = 0x38, /* two entries */
    CONFORMING_CODE = 0x48,
    KERNEL_CODE16 = 0x50,
    KERNEL_DATA16 = 0x58,
    SCRATCH = 0x60, /* for the tests: four entries */
    USER_DATA16 = 0x80 | 3,
    GDT_LIMIT = 0xff,
};

/* Attributes of the usual segments: present, S, accessed. */
enum {
    CODE_ATTRIBUTES = 0x9b,
    DATA_ATTRIBUTES = 0x93,
    BIG = SEGMENT_DB | SEGMENT_G,
    DPL3 = 3 << SEGMENT_DPL_SHIFT,
};

struct machine {
    struct mem *mem;
    struct engine_partition *partition;
    struct engine_vcpu *vcpu;
    struct cpu *cpu;
    uint8_t *ram;
};

/* ---- memory ---- */

static inline void put64(struct machine *m, uint64_t at, uint64_t value)
{
    memcpy(m->ram + at, &value, 8);
}

static inline void put32(struct machine *m, uint64_t at, uint32_t value)
{
    memcpy(m->ram + at, &value, 4);
}

static inline void put16(struct machine *m, uint64_t at, uint16_t value)
{
    memcpy(m->ram + at, &value, 2);
}

static inline uint64_t get64(const struct machine *m, uint64_t at)
{
    uint64_t value;
    memcpy(&value, m->ram + at, 8);
    return value;
}

static inline uint32_t get32(const struct machine *m, uint64_t at)
{
    uint32_t value;
    memcpy(&value, m->ram + at, 4);
    return value;
}

static inline uint16_t get16(const struct machine *m, uint64_t at)
{
    uint16_t value;
    memcpy(&value, m->ram + at, 2);
    return value;
}

/* ---- descriptors ---- */

static inline uint64_t make_descriptor(uint32_t base, uint32_t limit, unsigned attributes)
{
    uint64_t raw = (limit & 0xffff) | (uint64_t)(limit & 0xf0000) << 32;
    raw |= (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    return raw | (uint64_t)(attributes & 0xff) << 40 | (uint64_t)(attributes & 0xf00) << 44;
}

static inline void set_gdt(struct machine *m, unsigned selector, uint32_t base, uint32_t limit,
                           unsigned attributes)
{
    put64(m, AT_GDT + (selector & 0xfff8), make_descriptor(base, limit, attributes));
}

static inline uint64_t make_gate(unsigned selector, uint32_t offset, unsigned type, unsigned dpl)
{
    return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)(offset >> 16) << 48 |
           (uint64_t)(0x80 | dpl << 5 | type) << 40;
}

static inline void set_gate(struct machine *m, unsigned vector, unsigned selector, uint32_t offset,
                            unsigned type)
{
    put64(m, AT_IDT + 8 * vector, make_gate(selector, offset, type, 0));
}

static inline void set_gate64(struct machine *m, unsigned vector, uint64_t offset, unsigned type,
                              unsigned ist)
{
    put64(m, AT_IDT + 16 * vector,
          make_gate(KERNEL_CODE64, (uint32_t)offset, type, 0) | (uint64_t)ist << 32);
    put64(m, AT_IDT + 16 * vector + 8, offset >> 32);
}

static inline void fill_gdt(struct machine *m)
{
    set_gdt(m, KERNEL_CODE, 0, 0xfffff, CODE_ATTRIBUTES | BIG);
    set_gdt(m, KERNEL_DATA, 0, 0xfffff, DATA_ATTRIBUTES | BIG);
    set_gdt(m, USER_CODE, 0, 0xfffff, CODE_ATTRIBUTES | BIG | DPL3);
    set_gdt(m, USER_DATA, 0, 0xfffff, DATA_ATTRIBUTES | BIG | DPL3);
    set_gdt(m, KERNEL_CODE64, 0, 0xfffff, CODE_ATTRIBUTES | SEGMENT_L | SEGMENT_G);
    set_gdt(m, USER_CODE64, 0, 0xfffff, CODE_ATTRIBUTES | SEGMENT_L | SEGMENT_G | DPL3);
    set_gdt(m, TSS_SELECTOR, AT_TSS, 0x67, 0x8b);
    set_gdt(m, CONFORMING_CODE, 0, 0xfffff, CODE_ATTRIBUTES | TYPE_CONFORMING | BIG);
    set_gdt(m, KERNEL_CODE16, 0, 0xffff, CODE_ATTRIBUTES);
    set_gdt(m, KERNEL_DATA16, 0, 0xffff, DATA_ATTRIBUTES);
    set_gdt(m, USER_DATA16, 0, 0xffff, DATA_ATTRIBUTES | DPL3);
}

/* ---- modes ---- */

static inline void use_segment(struct machine *m, unsigned index, unsigned selector)
{
    struct descriptor descriptor;
    bool found;
    assert_int_equal(descriptor_find(m->cpu, (uint16_t)selector, &descriptor, &found), STEP_NEXT);
    assert_true(found);
    m->cpu->segment[index] = segment_of(&descriptor, (uint16_t)selector);
}

/* Load all segments, CPL from CS. */
static inline void use_level(struct machine *m, unsigned code, unsigned data)
{
    static const uint8_t all[] = {SEGMENT_ES, SEGMENT_SS, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS};
    use_segment(m, SEGMENT_CS, code);
    for (unsigned i = 0; i < sizeof(all); i++)
        use_segment(m, all[i], data);
    m->cpu->cpl = code & 3;
    m->cpu->rip = CODE;
    m->cpu->gpr[GPR_RSP] = m->cpu->cpl == 3 ? STACK_USER : STACK_KERNEL - 0x1000;
    cpu_mode_changed(m->cpu);
}

/* 32-bit protected mode without paging, CPL 0. */
static inline void use_protected(struct machine *m)
{
    struct cpu *cpu = m->cpu;
    cpu->cr0 = CR0_PE | CR0_ET | CR0_NE;
    cpu->gdt = (struct engine_table){AT_GDT, GDT_LIMIT};
    cpu->idt = (struct engine_table){AT_IDT, 0x7ff};
    cpu->flags = FLAG_FIXED | FLAG_IF;
    cpu_mode_changed(cpu);
    use_level(m, KERNEL_CODE, KERNEL_DATA);
    use_segment(m, SEGMENT_TR, TSS_SELECTOR);
    put32(m, AT_TSS + 4, STACK_KERNEL);
    put32(m, AT_TSS + 8, KERNEL_DATA);
}

/* IA-32e mode, first 2 MiB mapped onto themselves for all levels, CPL 0 in 64-bit code. */
static inline void use_long(struct machine *m)
{
    struct cpu *cpu = m->cpu;
    use_protected(m);
    put64(m, AT_PML4, AT_PDPT | 7);
    put64(m, AT_PDPT, AT_PD | 7);
    put64(m, AT_PD, 0 | 0x80 | 7);
    cpu->idt.limit = 0xfff;
    cpu->cr3 = AT_PML4;
    cpu->cr4 = CR4_PAE;
    cpu->efer = EFER_LME | EFER_LMA | EFER_SCE;
    cpu->cr0 |= CR0_PG;
    cpu_mode_changed(cpu);
    use_level(m, KERNEL_CODE64, KERNEL_DATA);
    put64(m, AT_TSS + 4, STACK_KERNEL);
    put64(m, AT_TSS + 0x24, STACK_IST);
}

static inline int fixture_setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    struct reason reason;
    assert_non_null(m);
    assert_int_equal(mem_create(4 << 20, UINT64_C(3) << 30, &m->mem), 0);
    struct engine_config config = {.mem = m->mem, .vcpu_count = 1, .cpu_level = ENGINE_CPU_V2};
    assert_int_equal(soft_engine.partition_create(&config, &m->partition, &reason), 0);
    assert_int_equal(soft_engine.vcpu_create(m->partition, 0, &m->vcpu, &reason), 0);
    m->cpu = (struct cpu *)(void *)m->vcpu; /* its first member: soft.c */
    m->ram = mem_base(m->mem);
    fill_gdt(m);
    *state = m;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct machine *m = *state;
    soft_engine.vcpu_destroy(m->vcpu);
    soft_engine.partition_destroy(m->partition);
    mem_destroy(m->mem);
    free(m);
    return 0;
}

#define machine_test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* ---- expectations ---- */

static inline void expect_fault(const struct machine *m, int step, unsigned vector, unsigned code)
{
    assert_int_equal(step, STEP_FAULT);
    assert_int_equal(m->cpu->fault.vector, vector);
    assert_true(m->cpu->fault.has_code);
    assert_int_equal(m->cpu->fault.code, code);
}

static inline void expect_undefined(const struct machine *m, int step)
{
    assert_int_equal(step, STEP_FAULT);
    assert_int_equal(m->cpu->fault.vector, VECTOR_UD);
    assert_false(m->cpu->fault.has_code);
}

/* An instruction of two bytes at the current RIP, for handlers that want one. */
static inline struct op make_op(unsigned width)
{
    return (struct op){.length = 2,
                       .width = (uint8_t)width,
                       .base = GPR_ZERO,
                       .index = GPR_ZERO,
                       .segment = SEGMENT_DS};
}

#endif
