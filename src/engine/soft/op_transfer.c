/* Far branches and software interrupts. Source: Intel SDM vol. 2. */
#include "engine/soft/ops.h"
#include "engine/soft/transfer.h"

int op_far_jump(struct cpu *cpu, const struct op *op)
{
    return transfer_far_jump(cpu, op, op->extra, op->imm);
}

int op_far_jump_indirect(struct cpu *cpu, const struct op *op)
{
    uint16_t selector;
    uint64_t offset;
    int step = transfer_read_pointer(cpu, op, &selector, &offset);
    return step == STEP_NEXT ? transfer_far_jump(cpu, op, selector, offset) : step;
}

int op_far_call(struct cpu *cpu, const struct op *op)
{
    return transfer_far_call(cpu, op, op->extra, op->imm);
}

int op_far_call_indirect(struct cpu *cpu, const struct op *op)
{
    uint16_t selector;
    uint64_t offset;
    int step = transfer_read_pointer(cpu, op, &selector, &offset);
    return step == STEP_NEXT ? transfer_far_call(cpu, op, selector, offset) : step;
}

int op_far_return(struct cpu *cpu, const struct op *op)
{
    return transfer_far_return(cpu, op, (uint16_t)op->imm);
}

int op_iret(struct cpu *cpu, const struct op *op)
{
    return transfer_iret(cpu, op);
}

/* In virtual-8086 mode INT n, alone of its kind, is sensitive to IOPL (SDM vol. 3A § 20.3.3). */
int op_int(struct cpu *cpu, const struct op *op)
{
    if ((cpu->mode & MODE_V86) && cpu_iopl(cpu) < 3)
        return fault_code(cpu, VECTOR_GP, 0);
    return exception_interrupt(cpu, (uint8_t)op->imm, EVENT_SOFTWARE, op_next_rip(cpu, op));
}

int op_int3(struct cpu *cpu, const struct op *op)
{
    return exception_interrupt(cpu, VECTOR_BP, EVENT_SOFTWARE, op_next_rip(cpu, op));
}

int op_into(struct cpu *cpu, const struct op *op)
{
    if ((cpu->flags & FLAG_OF) == 0)
        return STEP_NEXT;
    return exception_interrupt(cpu, VECTOR_OF, EVENT_SOFTWARE, op_next_rip(cpu, op));
}

/* One #DB serves INT1 and the data breakpoints that a MOV SS before it has held back. */
int op_icebp(struct cpu *cpu, const struct op *op)
{
    int step = exception_interrupt(cpu, VECTOR_DB, EVENT_ICEBP, op_next_rip(cpu, op));
    if (step != STEP_JUMP)
        return step;
    cpu->dr[6] |= cpu->debug_trap;
    cpu->debug_trap = 0;
    return STEP_JUMP;
}
