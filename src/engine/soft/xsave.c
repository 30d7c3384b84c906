/*
 * XSAVE, XSAVEOPT, XSAVEC, XRSTOR, FXSAVE, FXRSTOR of the guest.
 *
 * They copy between guest memory and cpu->xsave, which holds the state not live; so the guest's
 * area is never handed to the host's own instruction, and shows nothing but the guest's components.
 * Source: Intel SDM vol. 1 §§ 10.5, 13.7–13.10. Live code: see cpu.h, rule 2.
 */
#include "engine/soft/xsave.h"

#include "engine/soft/memory.h"
#include "engine/soft/native.h"
#include "engine/soft/partition.h"

enum xsave_kind { KIND_XSAVE, KIND_XSAVEOPT, KIND_XSAVEC };

enum { FXSAVE_USED = 416, AREA_MAX = XSAVE_AVX_OFFSET + XSAVE_AVX_SIZE };

#define COMPACT (UINT64_C(1) << 63)

static unsigned vector_registers(const struct cpu *cpu)
{
    return cpu_long(cpu) ? 16 : 8;
}

/* Address and alignment of the area; the memory itself is looked at by the caller. */
static int xsave_linear(struct cpu *cpu, const struct op *op, unsigned size, unsigned access,
                        uint64_t *ret)
{
    if (native_raw_linear(cpu, op) & 63)
        return fault_code(cpu, VECTOR_GP, 0);
    return operand_linear(cpu, op, size, access, ret);
}

/* Here the segment's limit comes first, and misalignment is #AC where that is enabled. */
static int fxsave_linear(struct cpu *cpu, const struct op *op, unsigned access, uint64_t *ret)
{
    int step = operand_linear(cpu, op, XSAVE_LEGACY_SIZE, access, ret);
    bool checked = cpu_checks_alignment(cpu) && is_canonical(*ret);
    if (step == STEP_NEXT && (*ret & 15) != 0)
        step = fault_code(cpu, checked ? VECTOR_AC : VECTOR_GP, 0);
    return step;
}

static unsigned with_stack(const struct op *op, unsigned access)
{
    return access | (op->flags & OP_STACK);
}

/* ---- the parts ---- */

/* Bytes 0 to 23 and the registers ST. `wide`: 64-bit pointers; else FCS and FDS, which are 0. */
static void save_x87(const struct cpu *cpu, uint8_t *area, bool wide)
{
    const uint8_t *image = cpu->xsave;
    copy_live(area, image, XSAVE_FIP);
    area[XSAVE_FTW + 1] = 0;
    uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
    xsave_put(area, XSAVE_FIP, 8, xsave_get(image, XSAVE_FIP, 8) & mask);
    xsave_put(area, XSAVE_FDP, 8, xsave_get(image, XSAVE_FDP, 8) & mask);
    copy_live(area + XSAVE_ST, image + XSAVE_ST, XSAVE_XMM - XSAVE_ST);
}

static void load_x87(struct cpu *cpu, const uint8_t *area, bool wide)
{
    uint8_t *image = cpu->xsave;
    uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
    copy_live(image, area, XSAVE_FIP);
    xsave_put(image, XSAVE_FIP, 8, xsave_get(area, XSAVE_FIP, 8) & mask);
    xsave_put(image, XSAVE_FDP, 8, xsave_get(area, XSAVE_FDP, 8) & mask);
    copy_live(image + XSAVE_ST, area + XSAVE_ST, XSAVE_XMM - XSAVE_ST);
}

static void save_mxcsr(const struct cpu *cpu, uint8_t *area)
{
    copy_live(area + XSAVE_MXCSR, cpu->xsave + XSAVE_MXCSR, 4);
    xsave_put(area, XSAVE_MXCSR_MASK, 4, MXCSR_MASK);
}

static void set_states(struct cpu *cpu, uint64_t clear, uint64_t set)
{
    uint64_t states = xsave_get(cpu->xsave, XSAVE_STATES, 8);
    xsave_put(cpu->xsave, XSAVE_STATES, 8, (states & ~clear) | set);
}

/* ---- XSAVE ---- */

static uint64_t requested(const struct cpu *cpu)
{
    uint64_t mask = (uint32_t)cpu->gpr[GPR_RAX] | cpu->gpr[GPR_RDX] << 32;
    return mask & cpu->xcr0;
}

static int check_xsave(struct cpu *cpu)
{
    if ((cpu->cr4 & CR4_OSXSAVE) == 0)
        return fault(cpu, VECTOR_UD);
    return (cpu->cr0 & CR0_TS) ? fault(cpu, VECTOR_NM) : STEP_NEXT;
}

static void save_components(const struct cpu *cpu, uint8_t *area, uint64_t components, bool wide)
{
    unsigned bytes = 16 * vector_registers(cpu);
    if (components & XSTATE_X87)
        save_x87(cpu, area, wide);
    if (components & XSTATE_SSE)
        copy_live(area + XSAVE_XMM, cpu->xsave + XSAVE_XMM, bytes);
    if (components & XSTATE_AVX)
        copy_live(area + XSAVE_AVX_OFFSET, cpu->xsave + XSAVE_AVX_OFFSET, bytes);
}

/* XSTATE_BV and XCOMP_BV; the rest of the header is left as it is. */
static void save_header(const struct cpu *cpu, uint8_t *area, uint64_t rfbm, enum xsave_kind kind)
{
    uint64_t in_use = xsave_get(cpu->xsave, XSAVE_STATES, 8);
    if (kind == KIND_XSAVEC) {
        if (xsave_get(cpu->xsave, XSAVE_MXCSR, 4) != MXCSR_DEFAULT)
            in_use |= XSTATE_SSE;
        xsave_put(area, XSAVE_STATES, 8, in_use & rfbm);
        xsave_put(area, XSAVE_COMPACT, 8, rfbm | COMPACT);
        return;
    }
    uint64_t old = xsave_get(area, XSAVE_STATES, 8);
    xsave_put(area, XSAVE_STATES, 8, (old & ~rfbm) | (in_use & rfbm));
}

int op_xsave(struct cpu *cpu, const struct op *op)
{
    enum xsave_kind kind = (enum xsave_kind)op->extra;
    uint64_t linear;
    void *memory;
    int step = check_xsave(cpu);
    if (step != STEP_NEXT)
        return step;
    uint64_t rfbm = requested(cpu);
    unsigned size = (rfbm & XSTATE_AVX) ? AREA_MAX : XSAVE_HEADER_END;
    step = xsave_linear(cpu, op, size, ACCESS_WRITE, &linear);
    if (step == STEP_NEXT)
        step = memory_begin(cpu, linear, size, with_stack(op, ACCESS_WRITE), &memory);
    if (step != STEP_NEXT)
        return step;
    fpu_to_image(cpu);
    uint64_t components = rfbm;
    if (kind != KIND_XSAVE)
        components &= xsave_get(cpu->xsave, XSAVE_STATES, 8);
    save_components(cpu, memory, components, op->width == 8);
    bool mxcsr = (rfbm & XSTATE_SSE) || ((rfbm & XSTATE_AVX) && kind != KIND_XSAVEC);
    if (mxcsr)
        save_mxcsr(cpu, memory);
    save_header(cpu, memory, rfbm, kind);
    return memory_commit(cpu);
}

/* ---- XRSTOR ---- */

struct restore {
    uint64_t rfbm, states;
    bool compact, wide;
    _Alignas(64) uint8_t area[AREA_MAX]; /* read once from the guest */
};

static bool is_zero(const uint8_t *area, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i += 8) {
        if (xsave_get(area, i, 8) != 0)
            return false;
    }
    return true;
}

/* Intel SDM vol. 1 §§ 13.8.1, 13.8.2; also finds which form it is. */
static bool is_header_valid(const struct cpu *cpu, struct restore *restore)
{
    const uint8_t *area = restore->area;
    uint64_t layout = xsave_get(area, XSAVE_COMPACT, 8);
    restore->states = xsave_get(area, XSAVE_STATES, 8);
    restore->compact = (layout & COMPACT) != 0;
    if (!restore->compact)
        return (restore->states & ~cpu->xcr0) == 0 &&
               is_zero(area, XSAVE_COMPACT, XSAVE_COMPACT + 16);
    layout &= ~COMPACT;
    return (layout & ~cpu->xcr0) == 0 && (restore->states & ~layout) == 0 &&
           is_zero(area, XSAVE_COMPACT + 8, XSAVE_HEADER_END);
}

static bool loads_mxcsr(const struct restore *restore)
{
    if (restore->compact)
        return (restore->rfbm & restore->states & XSTATE_SSE) != 0;
    return (restore->rfbm & (XSTATE_SSE | XSTATE_AVX)) != 0;
}

static void restore_x87(struct cpu *cpu, const struct restore *restore)
{
    set_states(cpu, XSTATE_X87, restore->states & XSTATE_X87);
    if (restore->states & XSTATE_X87)
        load_x87(cpu, restore->area, restore->wide);
}

static void restore_vectors(struct cpu *cpu, const struct restore *restore, uint64_t component,
                            unsigned offset)
{
    unsigned bytes = 16 * vector_registers(cpu);
    uint8_t *to = cpu->xsave + offset;
    if (restore->states & component)
        copy_live(to, restore->area + offset, bytes);
    else
        zero_live(to, bytes);
    /* Outside 64-bit code the upper eight registers keep their values. */
    set_states(cpu, 0, component);
}

static void restore_components(struct cpu *cpu, const struct restore *restore)
{
    if (restore->rfbm & XSTATE_X87)
        restore_x87(cpu, restore);
    if (restore->rfbm & XSTATE_SSE)
        restore_vectors(cpu, restore, XSTATE_SSE, XSAVE_XMM);
    if (restore->rfbm & XSTATE_AVX)
        restore_vectors(cpu, restore, XSTATE_AVX, XSAVE_AVX_OFFSET);
    if (loads_mxcsr(restore))
        copy_live(cpu->xsave + XSAVE_MXCSR, restore->area + XSAVE_MXCSR, 4);
    else if (restore->compact && (restore->rfbm & XSTATE_SSE))
        xsave_put(cpu->xsave, XSAVE_MXCSR, 4, MXCSR_DEFAULT);
}

static int read_area(struct cpu *cpu, const struct op *op, uint64_t linear, unsigned size,
                     uint8_t *ret)
{
    void *memory;
    int step = memory_begin(cpu, linear, size, with_stack(op, ACCESS_READ), &memory);
    if (step == STEP_NEXT)
        copy_live(ret, memory, size);
    return step;
}

int op_xrstor(struct cpu *cpu, const struct op *op)
{
    struct restore restore;
    uint64_t linear;
    int step = check_xsave(cpu);
    if (step != STEP_NEXT)
        return step;
    restore.rfbm = requested(cpu);
    restore.wide = op->width == 8;
    unsigned size = (restore.rfbm & XSTATE_AVX) ? AREA_MAX : XSAVE_HEADER_END;
    step = xsave_linear(cpu, op, size, ACCESS_READ, &linear);
    if (step == STEP_NEXT)
        step = read_area(cpu, op, linear, XSAVE_HEADER_END, restore.area);
    if (step != STEP_NEXT)
        return step;
    if (!is_header_valid(cpu, &restore))
        return fault_code(cpu, VECTOR_GP, 0);
    if (restore.rfbm & restore.states & XSTATE_AVX)
        step = read_area(cpu, op, linear + XSAVE_AVX_OFFSET, XSAVE_AVX_SIZE,
                         restore.area + XSAVE_AVX_OFFSET);
    if (step != STEP_NEXT)
        return step;
    if (loads_mxcsr(&restore) && (xsave_get(restore.area, XSAVE_MXCSR, 4) & ~(uint64_t)MXCSR_MASK))
        return fault_code(cpu, VECTOR_GP, 0);
    fpu_to_image(cpu);
    restore_components(cpu, &restore);
    fpu_enter(cpu); /* so that reserved bits become what the host's processor makes of them */
    return STEP_NEXT;
}

/* ---- FXSAVE, FXRSTOR ---- */

static int check_fxsave(struct cpu *cpu)
{
    return (cpu->cr0 & (CR0_EM | CR0_TS)) ? fault(cpu, VECTOR_NM) : STEP_NEXT;
}

/* Bytes from 416 on belong to software, and stay. */
int op_fxsave(struct cpu *cpu, const struct op *op)
{
    uint64_t linear;
    void *memory;
    int step = check_fxsave(cpu);
    if (step == STEP_NEXT)
        step = fxsave_linear(cpu, op, ACCESS_WRITE, &linear);
    if (step == STEP_NEXT)
        step = memory_begin(cpu, linear, XSAVE_LEGACY_SIZE, with_stack(op, ACCESS_WRITE), &memory);
    if (step != STEP_NEXT)
        return step;
    fpu_to_image(cpu);
    save_components(cpu, memory, XSTATE_X87, op->width == 8);
    save_mxcsr(cpu, memory);
    if (cpu->cr4 & CR4_OSFXSR)
        save_components(cpu, memory, XSTATE_SSE, false);
    return memory_commit(cpu);
}

int op_fxrstor(struct cpu *cpu, const struct op *op)
{
    struct restore restore;
    uint64_t linear;
    int step = check_fxsave(cpu);
    if (step == STEP_NEXT)
        step = fxsave_linear(cpu, op, ACCESS_READ, &linear);
    if (step == STEP_NEXT)
        step = read_area(cpu, op, linear, XSAVE_LEGACY_SIZE, restore.area);
    if (step != STEP_NEXT)
        return step;
    if (xsave_get(restore.area, XSAVE_MXCSR, 4) & ~(uint64_t)MXCSR_MASK)
        return fault_code(cpu, VECTOR_GP, 0);
    restore.states = XSTATE_X87 | XSTATE_SSE;
    restore.compact = false;
    restore.rfbm = (cpu->cr4 & CR4_OSFXSR) ? XSTATE_X87 | XSTATE_SSE : XSTATE_X87;
    restore.wide = op->width == 8;
    fpu_to_image(cpu);
    restore_components(cpu, &restore);
    fpu_enter(cpu); /* so that reserved bits become what the host's processor makes of them */
    return STEP_NEXT;
}
