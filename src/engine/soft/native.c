/*
 * Running native thunks.
 *
 * Order of events, as on the processor: is the unit enabled; is the operand aligned and accessible;
 * the instruction; the write to memory. Live code: see cpu.h, rule 2.
 */
#include "engine/soft/native.h"

#include "engine/soft/memory.h"
#include "engine/soft/paging.h"

/* Call a thunk that uses registers which a callee must keep. */
unsigned native_call_saved(struct cpu *cpu, void *memory, native_code code);

__asm__(".text\n"
        ".type native_call_saved, @function\n"
        "native_call_saved:\n"
        "    push %rbx\n"
        "    push %rbp\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    sub $8, %rsp\n"
        "    call *%rdx\n"
        "    add $8, %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbp\n"
        "    pop %rbx\n"
        "    ret\n"
        ".size native_call_saved, . - native_call_saved\n");

static inline unsigned call(struct cpu *cpu, const struct thunk *thunk, void *memory)
{
    return thunk->saved ? native_call_saved(cpu, memory, thunk->code) : thunk->code(cpu, memory);
}

int native_available(struct cpu *cpu, unsigned need)
{
    bool real = !cpu_protected(cpu);
    if ((need & (NEED_MMX | NEED_SSE)) && (cpu->cr0 & CR0_EM))
        return fault(cpu, VECTOR_UD);
    if ((need & NEED_SSE) && (cpu->cr4 & CR4_OSFXSR) == 0)
        return fault(cpu, VECTOR_UD);
    if ((need & (NEED_AVX | NEED_PROTECTED)) && real)
        return fault(cpu, VECTOR_UD);
    if ((need & NEED_AVX) && ((cpu->cr4 & CR4_OSXSAVE) == 0 || (cpu->xcr0 & 6) != 6))
        return fault(cpu, VECTOR_UD);
    if ((need & NEED_X87) && (cpu->cr0 & (CR0_EM | CR0_TS)))
        return fault(cpu, VECTOR_NM);
    if ((need & NEED_WAIT) && (cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        return fault(cpu, VECTOR_NM);
    if ((need & (NEED_MMX | NEED_SSE | NEED_AVX)) && (cpu->cr0 & CR0_TS))
        return fault(cpu, VECTOR_NM);
    return STEP_NEXT;
}

/* The host's trap as the guest's. */
static int trap_fault(struct cpu *cpu, unsigned trap)
{
    switch (trap) {
    case VECTOR_DE:
    case VECTOR_UD:
    case VECTOR_MF:
        return fault(cpu, (enum vector)trap);
    case VECTOR_AC:
        return fault_code(cpu, VECTOR_AC, 0);
    case VECTOR_XM:
        return fault(cpu, (cpu->cr4 & CR4_OSXMMEXCPT) ? VECTOR_XM : VECTOR_UD);
    default:
        return fault_code(cpu, VECTOR_GP, 0);
    }
}

int op_native_register(struct cpu *cpu, const struct op *op)
{
    unsigned trap = call(cpu, op->thunk, NULL);
    return trap == 0 ? STEP_NEXT : trap_fault(cpu, trap - 1);
}

/* BT and its kin address a bit string: the register's high part moves the address (SDM vol. 2, BT).
 */
static void bit_operand(const struct cpu *cpu, const struct op *op, struct op *ret)
{
    const struct thunk *thunk = op->thunk;
    unsigned unused = 64u - thunk->bit_width;
    int64_t bit = (int64_t)(cpu->gpr[thunk->bit_reg] << unused) >> unused;
    *ret = *op;
    ret->disp += (uint64_t)((bit & -(int64_t)thunk->bit_width) / 8);
}

static int operand(struct cpu *cpu, const struct op *op, uint64_t *ret)
{
    const struct thunk *thunk = op->thunk;
    /* An operand that must be aligned is looked at even before the segment's limit. */
    if (thunk->alignment > 1 && (native_raw_linear(cpu, op) & (thunk->alignment - 1u)) != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    return operand_linear(cpu, op, thunk->size, thunk->access, ret);
}

static int begin_memory(struct cpu *cpu, const struct op *op, void **ret)
{
    const struct thunk *thunk = op->thunk;
    uint64_t linear;
    int step;
    if (thunk->bit_width != 0) {
        struct op moved;
        bit_operand(cpu, op, &moved);
        step = operand_linear(cpu, &moved, thunk->size, thunk->access, &linear);
    } else {
        step = operand(cpu, op, &linear);
    }
    if (step != STEP_NEXT)
        return step;
    return memory_begin(cpu, linear, thunk->size, thunk->access | (op->flags & OP_STACK), ret);
}

/* An x87 exception that is pending comes before faults of the operand. */
static int begin(struct cpu *cpu, const struct op *op, void **ret)
{
    int step = begin_memory(cpu, op, ret);
    if (step == STEP_FAULT && op->thunk->waits && fpu_is_pending(cpu))
        return fault(cpu, VECTOR_MF);
    return step;
}

void native_note_pointers(struct cpu *cpu, const struct op *op)
{
    const struct thunk *thunk = op->thunk;
    bool set = thunk->pointers == POINTERS_SET;
    cpu->x87.instruction = set ? op_rip(cpu, op) : 0;
    cpu->x87.opcode = thunk->opcode;
    if (thunk->size != 0 || !set)
        cpu->x87.data = set ? op_address(cpu, op) : 0;
}

static unsigned execute(struct cpu *cpu, const struct op *op, void *memory)
{
    const struct thunk *thunk = op->thunk;
    if ((thunk->need & NEED_STATE) && !cpu->fpu_live)
        fpu_enter(cpu);
    unsigned trap = call(cpu, thunk, memory);
    if (thunk->pointers != POINTERS_KEEP && trap == 0)
        native_note_pointers(cpu, op);
    return trap;
}

/* What an instruction that writes memory can change besides. */
struct undo {
    uint64_t gpr[GPR_COUNT];
    uint64_t flags;
    struct x87_pointers x87;
    bool has_x87;
    _Alignas(64) uint8_t area[576];
};

static void undo_save(struct cpu *cpu, const struct thunk *thunk, struct undo *undo)
{
    copy_live(undo->gpr, cpu->gpr, sizeof(undo->gpr));
    undo->flags = cpu->flags;
    undo->has_x87 = thunk->pops;
    if (!undo->has_x87)
        return;
    if (!cpu->fpu_live)
        fpu_enter(cpu);
    undo->x87 = cpu->x87;
    zero_live(undo->area, sizeof(undo->area));
    fpu_native_save(undo->area, 1);
}

static void undo_apply(struct cpu *cpu, const struct undo *undo)
{
    copy_live(cpu->gpr, undo->gpr, sizeof(undo->gpr));
    cpu->flags = undo->flags;
    if (!undo->has_x87)
        return;
    if (!cpu->fpu_live)
        fpu_enter(cpu);
    fpu_native_restore(undo->area, 1);
    cpu->x87 = undo->x87;
}

/* The write may not happen after all, and the instruction then runs again: be able to take it back.
 */
static int execute_undoable(struct cpu *cpu, const struct op *op, void *memory)
{
    struct undo undo;
    undo_save(cpu, op->thunk, &undo);
    unsigned trap = execute(cpu, op, memory);
    if (trap != 0) {
        memory_abandon(cpu);
        return trap_fault(cpu, trap - 1);
    }
    int step = memory_commit(cpu);
    if (step != STEP_NEXT)
        undo_apply(cpu, &undo);
    return step;
}

int op_native(struct cpu *cpu, const struct op *op)
{
    const struct thunk *thunk = op->thunk;
    int step = native_available(cpu, thunk->need);
    if (step != STEP_NEXT)
        return step;
    void *memory = NULL;
    if (thunk->size != 0) {
        step = begin(cpu, op, &memory);
        if (step != STEP_NEXT)
            return step;
        if (cpu->commit.size != 0)
            return execute_undoable(cpu, op, memory);
    }
    unsigned trap = execute(cpu, op, memory);
    return trap == 0 ? STEP_NEXT : trap_fault(cpu, trap - 1);
}

/* Memory is coherent without them; what remains is that they fault as a load does. */
int op_cache_line(struct cpu *cpu, const struct op *op)
{
    uint64_t linear;
    int step = operand_linear(cpu, op, 1, ACCESS_READ, &linear);
    if (step == STEP_NEXT && cpu_ia32e(cpu) && !is_canonical(linear))
        step = fault_code(cpu, (op->flags & OP_STACK) ? VECTOR_SS : VECTOR_GP, 0);
    if (step != STEP_NEXT)
        return step;
    struct walked_page to;
    return paging_walk(cpu, linear, ACCESS_READ, &to);
}
