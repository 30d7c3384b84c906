/*
 * FNSTENV, FLDENV, FNSAVE, FRSTOR: the one place where an instruction's memory format depends on
 * the processor's mode, and where the pointers to the last instruction are seen.
 *
 * FCS and FDS are always 0: CPUID tells the guest so (leaf 7, EBX bit 13).
 * Formats: Intel SDM vol. 1 figures 8-9 to 8-12. Live code: see cpu.h, rule 2.
 */
#include "engine/soft/memory.h"
#include "engine/soft/native.h"
#include "engine/soft/xsave.h"

enum { NATIVE_ENVIRONMENT = 28, NATIVE_STATE = 108, REGISTERS = 80 };

/* In the format of 64-bit and 32-bit protected mode, as the host writes and reads it. */
struct native_state {
    uint8_t bytes[NATIVE_STATE];
};

static bool is_real(const struct cpu *cpu)
{
    return !cpu_protected(cpu);
}

/* Real-mode formats hold linear addresses. */
static uint32_t linear_pointer(const struct cpu *cpu, unsigned segment, uint64_t offset)
{
    return (uint32_t)(cpu->segment[segment].base + offset);
}

static void put_pointers32(const struct cpu *cpu, uint8_t *to)
{
    const struct x87_pointers *x87 = &cpu->x87;
    if (!is_real(cpu)) {
        xsave_put(to, 12, 4, x87->instruction);
        xsave_put(to, 16, 2, 0);
        xsave_put(to, 18, 2, x87->opcode);
        xsave_put(to, 20, 4, x87->data);
        xsave_put(to, 24, 2, 0);
        return;
    }
    uint32_t instruction = linear_pointer(cpu, SEGMENT_CS, x87->instruction);
    uint32_t data = linear_pointer(cpu, SEGMENT_DS, x87->data);
    xsave_put(to, 12, 4, 0xffff0000u | (instruction & 0xffff));
    xsave_put(to, 16, 4, (uint64_t)(instruction >> 16) << 12 | x87->opcode);
    xsave_put(to, 20, 4, 0xffff0000u | (data & 0xffff));
    xsave_put(to, 24, 4, (uint64_t)(data >> 16) << 12);
}

static void put_pointers16(const struct cpu *cpu, uint8_t *to)
{
    const struct x87_pointers *x87 = &cpu->x87;
    bool real = is_real(cpu);
    uint32_t instruction =
        real ? linear_pointer(cpu, SEGMENT_CS, x87->instruction) : (uint32_t)x87->instruction;
    uint32_t data = real ? linear_pointer(cpu, SEGMENT_DS, x87->data) : (uint32_t)x87->data;
    xsave_put(to, 6, 2, instruction);
    xsave_put(to, 8, 2, real ? ((instruction >> 16) & 0xf) << 12 | x87->opcode : 0);
    xsave_put(to, 10, 2, data);
    xsave_put(to, 12, 2, real ? ((data >> 16) & 0xf) << 12 : 0);
}

/* From the host's format to the one of this mode; returns the environment's size. */
static unsigned put_environment(const struct cpu *cpu, unsigned width, const uint8_t *native,
                                uint8_t *to)
{
    if (width != 2) {
        copy_live(to, native, NATIVE_ENVIRONMENT);
        put_pointers32(cpu, to);
        return 28;
    }
    for (unsigned i = 0; i < 3; i++)
        copy_live(to + (size_t)2 * i, native + (size_t)4 * i, 2);
    put_pointers16(cpu, to);
    return 14;
}

static struct x87_pointers get_pointers32(const struct cpu *cpu, const uint8_t *from)
{
    if (!is_real(cpu))
        return (struct x87_pointers){.instruction = xsave_get(from, 12, 4),
                                     .data = xsave_get(from, 20, 4),
                                     .opcode = (uint16_t)(xsave_get(from, 18, 2) & 0x7ff)};
    uint64_t high = xsave_get(from, 16, 4);
    uint64_t instruction = (high >> 12 & 0xffff) << 16 | xsave_get(from, 12, 2);
    uint64_t data = (xsave_get(from, 24, 4) >> 12 & 0xffff) << 16 | xsave_get(from, 20, 2);
    return (struct x87_pointers){.instruction =
                                     (uint32_t)(instruction - cpu->segment[SEGMENT_CS].base),
                                 .data = (uint32_t)(data - cpu->segment[SEGMENT_DS].base),
                                 .opcode = high & 0x7ff};
}

static struct x87_pointers get_pointers16(const struct cpu *cpu, const uint8_t *from)
{
    uint64_t instruction = xsave_get(from, 6, 2);
    uint64_t data = xsave_get(from, 10, 2);
    uint64_t high = xsave_get(from, 8, 2);
    if (!is_real(cpu))
        return (struct x87_pointers){.instruction = instruction, .data = data};
    instruction |= (high >> 12) << 16;
    data |= (xsave_get(from, 12, 2) >> 12) << 16;
    return (struct x87_pointers){.instruction =
                                     (uint32_t)(instruction - cpu->segment[SEGMENT_CS].base),
                                 .data = (uint32_t)(data - cpu->segment[SEGMENT_DS].base),
                                 .opcode = high & 0x7ff};
}

/* From this mode's format to the host's, without pointers; returns the environment's size. */
static unsigned get_environment(unsigned width, const uint8_t *from, uint8_t *native)
{
    unsigned step = width == 2 ? 2 : 4;
    zero_live(native, NATIVE_ENVIRONMENT);
    for (unsigned i = 0; i < 3; i++)
        copy_live(native + (size_t)4 * i, from + (size_t)step * i, 2);
    return width == 2 ? 14 : 28;
}

static unsigned environment_width(const struct thunk *thunk)
{
    return thunk->size == 14 || thunk->size == 94 ? 2 : 4;
}

static int begin(struct cpu *cpu, const struct op *op, unsigned access, void **ret)
{
    uint64_t linear;
    int step = operand_linear(cpu, op, op->thunk->size, access, &linear);
    if (step != STEP_NEXT)
        return step;
    return memory_begin(cpu, linear, op->thunk->size, access | (op->flags & OP_STACK), ret);
}

int op_fnstenv(struct cpu *cpu, const struct op *op)
{
    struct native_state native;
    void *memory;
    int step = native_available(cpu, NEED_X87);
    if (step == STEP_NEXT)
        step = begin(cpu, op, ACCESS_WRITE, &memory);
    if (step != STEP_NEXT)
        return step;
    fpu_enter(cpu);
    __asm__ volatile("fnstenv %0" : "=m"(native));
    (void)put_environment(cpu, environment_width(op->thunk), native.bytes, memory);
    step = memory_commit(cpu);
    if (step != STEP_NEXT) {
        fpu_enter(cpu);
        __asm__ volatile("fldenv %0" : : "m"(native));
    }
    return step;
}

int op_fnsave(struct cpu *cpu, const struct op *op)
{
    struct native_state native;
    void *memory;
    int step = native_available(cpu, NEED_X87);
    if (step == STEP_NEXT)
        step = begin(cpu, op, ACCESS_WRITE, &memory);
    if (step != STEP_NEXT)
        return step;
    fpu_enter(cpu);
    __asm__ volatile("fnsave %0" : "=m"(native));
    unsigned size = put_environment(cpu, environment_width(op->thunk), native.bytes, memory);
    copy_live((uint8_t *)memory + size, native.bytes + NATIVE_ENVIRONMENT, REGISTERS);
    step = memory_commit(cpu);
    if (step != STEP_NEXT) {
        fpu_enter(cpu);
        __asm__ volatile("frstor %0" : : "m"(native));
        return step;
    }
    fpu_enter(cpu);
    cpu->x87 = (struct x87_pointers){0};
    return STEP_NEXT;
}

/* FLDENV and FRSTOR wait: a pending exception comes first. */
static int check_pending(struct cpu *cpu)
{
    int step = native_available(cpu, NEED_X87);
    if (step != STEP_NEXT)
        return step;
    return fpu_is_pending(cpu) ? fault(cpu, VECTOR_MF) : STEP_NEXT;
}

static void load_pointers(struct cpu *cpu, unsigned width, const uint8_t *from)
{
    cpu->x87 = width == 2 ? get_pointers16(cpu, from) : get_pointers32(cpu, from);
}

int op_fldenv(struct cpu *cpu, const struct op *op)
{
    struct native_state native;
    uint8_t copy[NATIVE_ENVIRONMENT];
    void *memory;
    int step = check_pending(cpu);
    if (step == STEP_NEXT)
        step = begin(cpu, op, ACCESS_READ, &memory);
    if (step != STEP_NEXT)
        return step;
    copy_live(copy, memory, op->thunk->size);
    unsigned width = environment_width(op->thunk);
    (void)get_environment(width, copy, native.bytes);
    fpu_enter(cpu);
    __asm__ volatile("fldenv %0" : : "m"(native));
    load_pointers(cpu, width, copy);
    return STEP_NEXT;
}

int op_frstor(struct cpu *cpu, const struct op *op)
{
    struct native_state native;
    uint8_t copy[NATIVE_STATE];
    void *memory;
    int step = check_pending(cpu);
    if (step == STEP_NEXT)
        step = begin(cpu, op, ACCESS_READ, &memory);
    if (step != STEP_NEXT)
        return step;
    copy_live(copy, memory, op->thunk->size);
    unsigned width = environment_width(op->thunk);
    unsigned size = get_environment(width, copy, native.bytes);
    copy_live(native.bytes + NATIVE_ENVIRONMENT, copy + size, REGISTERS);
    fpu_enter(cpu);
    __asm__ volatile("frstor %0" : : "m"(native));
    load_pointers(cpu, width, copy);
    return STEP_NEXT;
}
