/*
 * The guest's x87, SSE and AVX state: in cpu->xsave, or live in the host's registers.
 *
 * The area has the host's own layout (standard format, AVX at CPUID.0xD.2:EBX, which is 576 on
 * every processor). Its FIP, FDP and FOP are the guest's. Live code: see cpu.h, rule 2.
 */
#include "engine/soft/memory.h"
#include "engine/soft/native.h"
#include "engine/soft/partition.h"
#include "engine/soft/xsave.h"

/* x87, SSE and AVX; what XCR0 of the host lacks, the instructions ignore. */
enum { COMPONENTS = XSTATE_X87 | XSTATE_SSE | XSTATE_AVX };

/* All components in their initial state, MXCSR as the ABI wants it. */
static const struct {
    _Alignas(64) uint8_t bytes[XSAVE_AVX_OFFSET + XSAVE_AVX_SIZE];
} host_defaults = {.bytes = {[XSAVE_MXCSR] = 0x80, [XSAVE_MXCSR + 1] = 0x1f}};

void fpu_native_save(void *area, uint32_t components)
{
    __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(components), "d"(0) : "memory");
}

void fpu_native_restore(const void *area, uint32_t components)
{
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(components), "d"(0) : "memory");
}

/* Whatever set() or a loaded state put there: XRSTOR must not fault. */
static void make_valid(struct cpu *cpu)
{
    uint8_t *area = cpu->xsave;
    xsave_put(area, XSAVE_MXCSR, 4, xsave_get(area, XSAVE_MXCSR, 4) & MXCSR_MASK);
    uint64_t states = xsave_get(area, XSAVE_STATES, 8);
    xsave_put(area, XSAVE_STATES, 8, states & COMPONENTS & cpu->partition->xcr0_supported);
    for (unsigned i = 8; i < 64; i += 8)
        xsave_put(area, XSAVE_STATES + i, 8, 0);
}

void fpu_enter(struct cpu *cpu)
{
    const uint8_t *area = cpu->xsave;
    if (cpu->fpu_live)
        return;
    make_valid(cpu);
    bool x87 = (xsave_get(area, XSAVE_STATES, 8) & XSTATE_X87) != 0;
    cpu->x87.instruction = x87 ? xsave_get(area, XSAVE_FIP, 8) : 0;
    cpu->x87.data = x87 ? xsave_get(area, XSAVE_FDP, 8) : 0;
    cpu->x87.opcode = (uint16_t)(x87 ? xsave_get(area, XSAVE_FOP, 2) : 0);
    fpu_native_restore(area, COMPONENTS);
    cpu->fpu_live = true;
}

void fpu_leave(struct cpu *cpu)
{
    if (!cpu->fpu_live)
        return;
    uint8_t *area = cpu->xsave;
    fpu_native_save(area, COMPONENTS);
    xsave_put(area, XSAVE_FIP, 8, cpu->x87.instruction);
    xsave_put(area, XSAVE_FDP, 8, cpu->x87.data);
    xsave_put(area, XSAVE_FOP, 2, cpu->x87.opcode);
    fpu_native_restore(&host_defaults, COMPONENTS);
    cpu->fpu_live = false;
}

bool fpu_is_pending(struct cpu *cpu)
{
    enum { FSW_ES = 1 << 7 };
    uint16_t status;
    fpu_enter(cpu);
    __asm__ volatile("fnstsw %0" : "=m"(status));
    return (status & FSW_ES) != 0;
}

/* Through the registers even when it was not live: components in their initial state get their
 * bytes. */
void fpu_to_image(struct cpu *cpu)
{
    fpu_enter(cpu);
    fpu_leave(cpu);
}

/* Intel SDM vol. 3A table 9-1; INIT leaves all of it as it was. */
void fpu_reset(struct cpu *cpu, bool init)
{
    fpu_leave(cpu);
    if (init)
        return;
    zero_live(cpu->xsave, sizeof(cpu->xsave));
    xsave_put(cpu->xsave, XSAVE_FCW, 2, 0x40);
    xsave_put(cpu->xsave, XSAVE_FTW, 1, 0xff); /* all tagged zero: not empty */
    xsave_put(cpu->xsave, XSAVE_MXCSR, 4, MXCSR_DEFAULT);
    xsave_put(cpu->xsave, XSAVE_STATES, 8, XSTATE_X87 | XSTATE_SSE);
    cpu->xcr0 = XSTATE_X87;
}

/* ---- MXCSR ---- */

int op_ldmxcsr(struct cpu *cpu, const struct op *op)
{
    int step = native_available(cpu, op->thunk->need);
    uint64_t value;
    if (step == STEP_NEXT)
        step = operand_read(cpu, op, 4, &value);
    if (step != STEP_NEXT)
        return step;
    /* The host may allow more bits than the guest's processor has. */
    if (value & ~(uint64_t)MXCSR_MASK)
        return fault_code(cpu, VECTOR_GP, 0);
    uint32_t mxcsr = (uint32_t)value;
    fpu_enter(cpu);
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    return STEP_NEXT;
}

int op_stmxcsr(struct cpu *cpu, const struct op *op)
{
    int step = native_available(cpu, op->thunk->need);
    if (step != STEP_NEXT)
        return step;
    uint32_t mxcsr;
    fpu_enter(cpu);
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return operand_write(cpu, op, 4, mxcsr);
}

/* ---- XCR0 ---- */

int op_xgetbv(struct cpu *cpu, const struct op *op)
{
    (void)op;
    if ((cpu->cr4 & CR4_OSXSAVE) == 0)
        return fault(cpu, VECTOR_UD);
    uint32_t index = (uint32_t)cpu->gpr[GPR_RCX];
    uint64_t value = cpu->xcr0;
    if (index == 1 && xsave_has_xgetbv1(cpu)) {
        fpu_to_image(cpu);
        value &= xsave_get(cpu->xsave, XSAVE_STATES, 8);
    } else if (index != 0) {
        return fault_code(cpu, VECTOR_GP, 0);
    }
    cpu->gpr[GPR_RAX] = (uint32_t)value;
    cpu->gpr[GPR_RDX] = (uint32_t)(value >> 32);
    return STEP_NEXT;
}

int op_xsetbv(struct cpu *cpu, const struct op *op)
{
    if ((cpu->cr4 & CR4_OSXSAVE) == 0)
        return fault(cpu, VECTOR_UD);
    uint64_t value = (uint32_t)cpu->gpr[GPR_RAX] | cpu->gpr[GPR_RDX] << 32;
    bool valid = cpu->cpl == 0 && (uint32_t)cpu->gpr[GPR_RCX] == 0 && (value & XSTATE_X87) &&
                 (value & ~cpu->partition->xcr0_supported) == 0 &&
                 !((value & XSTATE_AVX) && !(value & XSTATE_SSE));
    if (!valid)
        return fault_code(cpu, VECTOR_GP, 0);
    cpu->xcr0 = value;
    cpu->rip = op_next_rip(cpu, op);
    return STEP_JUMP;
}
