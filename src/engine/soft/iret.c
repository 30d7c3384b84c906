/*
 * IRET in all modes. Source: Intel SDM vol. 2 IRET/IRETD/IRETQ; vol. 3A § 6.7.1 and § 20.2.
 */
#include "engine/soft/memory.h"
#include "engine/soft/op.h"
#include "engine/soft/transfer.h"

enum { POP_IP, POP_CS, POP_FLAGS, POP_SP, POP_SS };
enum { POP_V86_ES = POP_SS + 1, POP_V86_DS, POP_V86_FS, POP_V86_GS, POP_V86_COUNT };

enum {
    FLAGS_ALWAYS = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT,
    FLAGS_UPPER = FLAG_RF | FLAG_AC | FLAG_ID, /* not with a 16-bit operand */
};

static uint64_t merge_flags(const struct cpu *cpu, uint64_t popped, uint64_t mask)
{
    return (cpu->flags & ~mask) | (popped & mask);
}

/* Real mode, and virtual-8086 mode with IOPL 3; the latter keeps IOPL. */
static int iret_real(struct cpu *cpu, const struct op *op)
{
    struct frame frame;
    uint64_t popped[3];
    bool v86 = (cpu->mode & MODE_V86) != 0;
    if (v86 && cpu_iopl(cpu) < 3)
        return fault_code(cpu, VECTOR_GP, 0);
    frame_current(cpu, &frame);
    int step = transfer_pop(&frame, op->width, popped, 3);
    if (step != STEP_NEXT)
        return step;
    if (popped[POP_IP] > cpu->segment[SEGMENT_CS].limit)
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t mask = FLAGS_ALWAYS | FLAG_IF;
    if (op->width != 2)
        mask |= FLAGS_UPPER;
    if (!v86)
        mask |= FLAG_IOPL;
    cpu->gpr[GPR_RSP] = frame.sp;
    cpu->rip = popped[POP_IP];
    segment_load_real(cpu, SEGMENT_CS, (uint16_t)popped[POP_CS]);
    cpu_set_flags(cpu, merge_flags(cpu, popped[POP_FLAGS], mask));
    cpu_mode_changed(cpu);
    return STEP_JUMP;
}

/* NT is set: back to the task whose selector the current TSS starts with. */
static int iret_task(struct cpu *cpu, const struct op *op)
{
    uint64_t link;
    uint64_t tss = (uint32_t)cpu->segment[SEGMENT_TR].base;
    int step = linear_read(cpu, tss, 2, ACCESS_READ | ACCESS_SYSTEM, &link);
    if (step != STEP_NEXT)
        return step;
    return transfer_task(cpu, op, TASK_RETURN, (uint16_t)link);
}

/* Flags that code of the current level may load in protected mode. */
static uint64_t loadable_flags(const struct cpu *cpu, unsigned width)
{
    uint64_t mask = FLAGS_ALWAYS;
    if (width != 2)
        mask |= FLAGS_UPPER;
    if (cpu->cpl <= cpu_iopl(cpu))
        mask |= FLAG_IF;
    if (cpu->cpl == 0)
        mask |= FLAG_IOPL | (width != 2 ? FLAG_VIF | FLAG_VIP : 0);
    return mask;
}

static int iret_to_v86(struct cpu *cpu, struct frame *frame, uint64_t *popped)
{
    static const uint8_t order[] = {SEGMENT_ES, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS};
    int step = transfer_pop(frame, 4, popped + POP_SP, POP_V86_COUNT - POP_SP);
    if (step != STEP_NEXT)
        return step;
    if (popped[POP_IP] > 0xffff)
        return fault_code(cpu, VECTOR_GP, 0);
    uint64_t mask = loadable_flags(cpu, 4) | FLAG_VM;
    cpu->cpl = 3;
    cpu->rip = popped[POP_IP];
    cpu->gpr[GPR_RSP] = popped[POP_SP];
    segment_load_real(cpu, SEGMENT_CS, (uint16_t)popped[POP_CS]);
    segment_load_real(cpu, SEGMENT_SS, (uint16_t)popped[POP_SS]);
    for (unsigned i = 0; i < sizeof(order); i++)
        segment_load_real(cpu, order[i], (uint16_t)popped[POP_V86_ES + i]);
    cpu_set_flags(cpu, merge_flags(cpu, popped[POP_FLAGS], mask));
    cpu_mode_changed(cpu);
    return STEP_JUMP;
}

static void go_back(struct cpu *cpu, const struct way_back *way, uint64_t flags)
{
    bool outer = way->cpl != cpu->cpl;
    cpu->segment[SEGMENT_CS] =
        segment_of(&way->code, (uint16_t)((way->code.selector & 0xfffcu) | way->cpl));
    cpu->cpl = (uint8_t)way->cpl;
    cpu->rip = way->rip;
    if (outer)
        segment_drop_privileged(cpu);
    cpu_set_flags(cpu, flags);
    cpu_mode_changed(cpu);
}

static int iret_protected(struct cpu *cpu, const struct op *op)
{
    struct frame frame;
    struct way_back way;
    uint64_t popped[POP_V86_COUNT];
    frame_current(cpu, &frame);
    int step = transfer_pop(&frame, op->width, popped, 3);
    if (step != STEP_NEXT)
        return step;
    if (op->width == 4 && (popped[POP_FLAGS] & FLAG_VM) && cpu->cpl == 0 && !cpu_ia32e(cpu))
        return iret_to_v86(cpu, &frame, popped);
    step = transfer_check_return(cpu, (uint16_t)popped[POP_CS], &way);
    if (step != STEP_NEXT)
        return step;
    way.rip = popped[POP_IP];
    /* 64-bit code always returns with SS:RSP. */
    bool with_stack = cpu_long(cpu) || way.cpl != cpu->cpl;
    if (with_stack) {
        step = transfer_pop(&frame, op->width, popped + POP_SP, 2);
        if (step == STEP_NEXT)
            step = transfer_check_return_stack(cpu, (uint16_t)popped[POP_SS], &way);
    }
    if (step == STEP_NEXT)
        step = transfer_check_return_rip(cpu, &way);
    if (step != STEP_NEXT)
        return step;
    if (with_stack) {
        way.sp = popped[POP_SP];
        cpu->gpr[GPR_RSP] = transfer_stack_pointer(cpu, &way);
        cpu->segment[SEGMENT_SS] = way.ss;
    } else {
        cpu->gpr[GPR_RSP] = frame.sp;
    }
    uint64_t mask = loadable_flags(cpu, op->width);
    go_back(cpu, &way, merge_flags(cpu, popped[POP_FLAGS], mask));
    return STEP_JUMP;
}

int transfer_iret(struct cpu *cpu, const struct op *op)
{
    cpu->nmi_blocked = false; /* even when it faults: Intel SDM vol. 3A § 6.7.1 */
    if (!cpu_protected(cpu))
        return iret_real(cpu, op);
    if ((cpu->flags & FLAG_NT) == 0)
        return iret_protected(cpu, op);
    if (cpu_ia32e(cpu))
        return fault_code(cpu, VECTOR_GP, 0);
    return iret_task(cpu, op);
}
