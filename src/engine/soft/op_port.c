/* IN, OUT, INS, OUTS. Who may: IOPL, else the I/O permission bitmap (Intel SDM vol. 1 § 19.5). */
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"

enum { TSS_IO_BASE = 0x66, TSS_TYPE_32_AVAILABLE = 9, TSS_TYPE_32_BUSY = 11 };

static int check_bitmap(struct cpu *cpu, uint16_t port, unsigned size)
{
    const struct engine_segment *tr = &cpu->segment[SEGMENT_TR];
    unsigned type = tr->attributes & SEGMENT_TYPE;
    bool has_bitmap = type == TSS_TYPE_32_AVAILABLE || type == TSS_TYPE_32_BUSY;
    if (!has_bitmap || tr->limit < TSS_IO_BASE + 1)
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t offset;
    int step = linear_read(cpu, tr->base + TSS_IO_BASE, 2, ACCESS_SYSTEM, &offset);
    if (step != STEP_NEXT)
        return step;
    offset += port / 8;
    /* Two bytes are always read, so that a port range that crosses a byte is covered. */
    if (offset + 1 > tr->limit)
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t bits;
    step = linear_read(cpu, tr->base + offset, 2, ACCESS_SYSTEM, &bits);
    if (step != STEP_NEXT)
        return step;
    uint64_t mask = ((UINT64_C(1) << size) - 1) << (port & 7);
    return (bits & mask) != 0 ? fault_code(cpu, VECTOR_GP, 0) : STEP_NEXT;
}

static int check_port(struct cpu *cpu, uint16_t port, unsigned size)
{
    if (cpu->mode & MODE_REAL)
        return STEP_NEXT;
    if ((cpu->mode & MODE_V86) == 0 && cpu->cpl <= cpu_iopl(cpu))
        return STEP_NEXT;
    return check_bitmap(cpu, port, size);
}

static void note_port(struct cpu *cpu, uint16_t port, unsigned size)
{
    if (cpu->dr[7] & 0xff)
        debug_check_port(cpu, port, size);
}

static uint16_t port_of(const struct cpu *cpu, const struct op *op)
{
    return (op->flags & OP_IMMEDIATE) ? (uint8_t)op->imm : (uint16_t)cpu->gpr[GPR_RDX];
}

int op_in(struct cpu *cpu, const struct op *op)
{
    uint16_t port = port_of(cpu, op);
    uint64_t value;
    int step = check_port(cpu, port, op->width);
    if (step == STEP_NEXT)
        step = exit_read(cpu, ENGINE_EXIT_PORT_READ, port, op->width, &value);
    if (step != STEP_NEXT)
        return step;
    gpr_write(cpu, GPR_RAX * 8, op->width, value);
    note_port(cpu, port, op->width);
    return STEP_NEXT;
}

int op_out(struct cpu *cpu, const struct op *op)
{
    uint16_t port = port_of(cpu, op);
    int step = check_port(cpu, port, op->width);
    if (step != STEP_NEXT)
        return step;
    step = exit_write(cpu, ENGINE_EXIT_PORT_WRITE, port, op->width,
                      gpr_read(cpu, GPR_RAX * 8, op->width));
    if (step == STEP_NEXT)
        note_port(cpu, port, op->width);
    return step;
}

/* ---- strings: one element each time; the run loop comes round for the next ---- */

static void advance(struct cpu *cpu, const struct op *op, enum engine_gpr gpr)
{
    uint64_t delta = (cpu->flags & FLAG_DF) ? -(uint64_t)op->width : op->width;
    gpr_write(cpu, gpr * 8u, op->address_width, gpr_read(cpu, gpr * 8u, op->address_width) + delta);
}

static int finish(struct cpu *cpu, const struct op *op, uint64_t left)
{
    if ((op->flags & (OP_REP | OP_REPNE)) == 0)
        return STEP_NEXT;
    gpr_write(cpu, GPR_RCX * 8, op->address_width, left - 1);
    exit_forget(cpu);
    if (left == 1)
        return STEP_NEXT;
    cpu->rip = op_rip(cpu, op);
    return STEP_JUMP;
}

static uint64_t elements(const struct cpu *cpu, const struct op *op)
{
    if ((op->flags & (OP_REP | OP_REPNE)) == 0)
        return 1;
    return gpr_read(cpu, GPR_RCX * 8, op->address_width);
}

int op_ins(struct cpu *cpu, const struct op *op)
{
    uint16_t port = (uint16_t)cpu->gpr[GPR_RDX];
    uint64_t left = elements(cpu, op);
    if (left == 0)
        return STEP_NEXT;
    uint64_t linear = gpr_read(cpu, GPR_RDI * 8, op->address_width);
    uint64_t value = 0;
    void *target;
    int step = check_port(cpu, port, op->width);
    if (step == STEP_NEXT && !cpu_long(cpu))
        step = segment_linear(cpu, SEGMENT_ES, linear, op->width, ACCESS_WRITE, &linear);
    /* The destination must be writable before the device is read. */
    if (step == STEP_NEXT)
        step = memory_begin(cpu, linear, op->width, ACCESS_WRITE | ACCESS_FRESH, &target);
    if (step != STEP_NEXT)
        return step;
    memory_abandon(cpu);
    step = exit_read(cpu, ENGINE_EXIT_PORT_READ, port, op->width, &value);
    if (step == STEP_NEXT)
        step = linear_write(cpu, linear, op->width, ACCESS_WRITE, value);
    if (step != STEP_NEXT)
        return step;
    note_port(cpu, port, op->width);
    advance(cpu, op, GPR_RDI);
    return finish(cpu, op, left);
}

int op_outs(struct cpu *cpu, const struct op *op)
{
    uint16_t port = (uint16_t)cpu->gpr[GPR_RDX];
    uint64_t left = elements(cpu, op);
    if (left == 0)
        return STEP_NEXT;
    uint64_t linear = gpr_read(cpu, GPR_RSI * 8, op->address_width);
    uint64_t value;
    int step = check_port(cpu, port, op->width);
    if (step == STEP_NEXT && op->segment != SEGMENT_FLAT)
        step = segment_linear(cpu, op->segment, linear, op->width, ACCESS_READ, &linear);
    if (step == STEP_NEXT)
        step = linear_read(cpu, linear, op->width, op->flags & OP_STACK, &value);
    if (step == STEP_NEXT)
        step = exit_write(cpu, ENGINE_EXIT_PORT_WRITE, port, op->width, value);
    if (step != STEP_NEXT)
        return step;
    note_port(cpu, port, op->width);
    advance(cpu, op, GPR_RSI);
    return finish(cpu, op, left);
}
