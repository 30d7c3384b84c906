/*
 * Control, debug and model-specific registers, descriptor-table registers, TLB and time
 * instructions. Source: Intel SDM vol. 2.
 */
#include "engine/soft/memory.h"
#include "engine/soft/ops.h"
#include "engine/soft/partition.h"
#include "engine/soft/tlb.h"

static int protection_fault(struct cpu *cpu)
{
    return fault_code(cpu, VECTOR_GP, 0);
}

/* Go on at the next instruction in a block that is looked up anew. */
static int continue_at(struct cpu *cpu, uint64_t rip)
{
    cpu->rip = rip;
    return STEP_JUMP;
}

/* Control and debug registers move as a whole: 64 bits in 64-bit code, 32 elsewhere. */
static unsigned register_width(const struct cpu *cpu)
{
    return cpu_long(cpu) ? 8 : 4;
}

/* ---- control registers ---- */

static uint64_t read_control(const struct cpu *cpu, unsigned index)
{
    switch (index) {
    case 0:
        return cpu->cr0;
    case 2:
        return cpu->cr2;
    case 3:
        return cpu->cr3;
    case 4:
        return cpu->cr4;
    default:
        return lapic_read_cr8(cpu);
    }
}

static int write_control(struct cpu *cpu, unsigned index, uint64_t value)
{
    switch (index) {
    case 0:
        return control_write_cr0(cpu, value);
    case 2:
        cpu->cr2 = value;
        return STEP_NEXT;
    case 3:
        return control_write_cr3(cpu, value);
    case 4:
        return control_write_cr4(cpu, value);
    default:
        if (value > 15)
            return protection_fault(cpu);
        lapic_write_cr8(cpu, value);
        return STEP_NEXT;
    }
}

static bool control_exists(const struct cpu *cpu, unsigned index)
{
    return index == 0 || (index >= 2 && index <= 4) || (index == 8 && cpu_long(cpu));
}

int op_mov_from_cr(struct cpu *cpu, const struct op *op)
{
    if (!control_exists(cpu, op->extra))
        return fault(cpu, VECTOR_UD);
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    gpr_write(cpu, op->rm, register_width(cpu), read_control(cpu, op->extra));
    return STEP_NEXT;
}

int op_mov_to_cr(struct cpu *cpu, const struct op *op)
{
    uint64_t next = op_next_rip(cpu, op);
    if (!control_exists(cpu, op->extra))
        return fault(cpu, VECTOR_UD);
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    int step = write_control(cpu, op->extra, gpr_read(cpu, op->rm, register_width(cpu)));
    return step == STEP_NEXT ? continue_at(cpu, next) : step;
}

int op_clts(struct cpu *cpu, const struct op *op)
{
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    cpu->cr0 &= ~(uint64_t)CR0_TS;
    cpu_mode_changed(cpu);
    return continue_at(cpu, op_next_rip(cpu, op));
}

/* Sets PE, MP, EM and TS; cannot clear PE. */
int op_lmsw(struct cpu *cpu, const struct op *op)
{
    enum { LOADED = CR0_PE | CR0_MP | CR0_EM | CR0_TS };
    uint64_t value = gpr_read(cpu, op->rm, 2);
    uint64_t next = op_next_rip(cpu, op);
    int step = STEP_NEXT;
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    if (op->flags & OP_MEMORY)
        step = operand_read(cpu, op, 2, &value);
    if (step != STEP_NEXT)
        return step;
    uint64_t kept = cpu->cr0 & ~(uint64_t)(LOADED & ~CR0_PE);
    step = control_write_cr0(cpu, kept | (value & LOADED));
    return step == STEP_NEXT ? continue_at(cpu, next) : step;
}

/* SGDT, SIDT, SLDT, STR, SMSW tell user code nothing when CR4.UMIP says so. */
static bool is_hidden_from_user(const struct cpu *cpu)
{
    return cpu->cpl != 0 && (cpu->cr4 & CR4_UMIP) != 0;
}

int op_smsw(struct cpu *cpu, const struct op *op)
{
    if (is_hidden_from_user(cpu))
        return protection_fault(cpu);
    if (op->flags & OP_MEMORY)
        return operand_write(cpu, op, 2, cpu->cr0 & 0xffff);
    gpr_write(cpu, op->rm, op->width, cpu->cr0);
    return STEP_NEXT;
}

/* ---- debug registers ---- */

enum { DR7_GENERAL_DETECT = 1 << 13, DR6_GENERAL_DETECT = 1 << 13 };

static int check_debug_access(struct cpu *cpu, unsigned index)
{
    if ((index == 4 || index == 5) && (cpu->cr4 & CR4_DE) != 0)
        return fault(cpu, VECTOR_UD);
    if (index > 7)
        return fault(cpu, VECTOR_UD);
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    if (cpu->dr[7] & DR7_GENERAL_DETECT) {
        (void)fault(cpu, VECTOR_DB);
        cpu->fault.dr6 = DR6_GENERAL_DETECT;
        return STEP_FAULT;
    }
    return STEP_NEXT;
}

/* DR4 and DR5 are other names of DR6 and DR7. */
static unsigned debug_alias(unsigned index)
{
    return index == 4 || index == 5 ? index + 2 : index;
}

int op_mov_from_dr(struct cpu *cpu, const struct op *op)
{
    int step = check_debug_access(cpu, op->extra);
    if (step == STEP_NEXT)
        gpr_write(cpu, op->rm, register_width(cpu), cpu->dr[debug_alias(op->extra)]);
    return step;
}

int op_mov_to_dr(struct cpu *cpu, const struct op *op)
{
    uint64_t next = op_next_rip(cpu, op);
    int step = check_debug_access(cpu, op->extra);
    if (step == STEP_NEXT)
        step = debug_write(cpu, debug_alias(op->extra), gpr_read(cpu, op->rm, register_width(cpu)));
    return step == STEP_NEXT ? continue_at(cpu, next) : step;
}

/* ---- descriptor-table registers ---- */

static unsigned table_size(const struct cpu *cpu)
{
    return cpu_long(cpu) ? 10 : 6;
}

static int load_table(struct cpu *cpu, const struct op *op, struct engine_table *table)
{
    uint64_t linear;
    uint64_t limit;
    uint64_t base;
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    int step = operand_linear(cpu, op, table_size(cpu), ACCESS_READ, &linear);
    if (step == STEP_NEXT)
        step = linear_read(cpu, linear, 2, ACCESS_READ, &limit);
    if (step != STEP_NEXT)
        return step;
    uint64_t second = cpu_long(cpu) ? linear + 2 : (uint32_t)(linear + 2);
    step = linear_read(cpu, second, table_size(cpu) - 2, ACCESS_READ, &base);
    if (step != STEP_NEXT)
        return step;
    if (!cpu_long(cpu) && op->width == 2)
        base &= 0xffffff;
    if (!is_canonical(base))
        return protection_fault(cpu);
    table->limit = (uint16_t)limit;
    table->base = base;
    return STEP_NEXT;
}

static int store_table(struct cpu *cpu, const struct op *op, const struct engine_table *table)
{
    uint64_t linear;
    void *memory;
    unsigned size = table_size(cpu);
    if (is_hidden_from_user(cpu))
        return protection_fault(cpu);
    int step = operand_linear(cpu, op, size, ACCESS_WRITE, &linear);
    if (step == STEP_NEXT)
        step = memory_begin(cpu, linear, size, ACCESS_WRITE, &memory);
    if (step != STEP_NEXT)
        return step;
    uint8_t *to = memory;
    to[0] = (uint8_t)table->limit;
    to[1] = (uint8_t)(table->limit >> 8);
    for (unsigned i = 2; i < size; i++)
        to[i] = (uint8_t)(table->base >> 8 * (i - 2));
    return memory_commit(cpu);
}

int op_lgdt(struct cpu *cpu, const struct op *op)
{
    return load_table(cpu, op, &cpu->gdt);
}

int op_lidt(struct cpu *cpu, const struct op *op)
{
    return load_table(cpu, op, &cpu->idt);
}

int op_sgdt(struct cpu *cpu, const struct op *op)
{
    return store_table(cpu, op, &cpu->gdt);
}

int op_sidt(struct cpu *cpu, const struct op *op)
{
    return store_table(cpu, op, &cpu->idt);
}

/* ---- TLB and caches ---- */

/* Checks neither limits nor the canonical hole: an address that is not mapped has nothing to flush.
 */
int op_invlpg(struct cpu *cpu, const struct op *op)
{
    uint64_t next = op_next_rip(cpu, op);
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    uint64_t linear = cpu->segment[op->segment].base + op_address(cpu, op);
    tlb_flush_page(cpu, cpu_long(cpu) ? linear : (uint32_t)linear);
    return continue_at(cpu, next);
}

enum invpcid_type { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL };

static int invalidate(struct cpu *cpu, uint64_t type, uint64_t pcid, uint64_t linear)
{
    bool names_pcid = type == INVPCID_ADDRESS || type == INVPCID_CONTEXT;
    if (type > INVPCID_ALL || pcid > 0xfff)
        return protection_fault(cpu);
    if (names_pcid && pcid != 0 && (cpu->cr4 & CR4_PCIDE) == 0)
        return protection_fault(cpu);
    if (type == INVPCID_ADDRESS && !is_canonical(linear))
        return protection_fault(cpu);
    if (type == INVPCID_ADDRESS)
        tlb_flush_page(cpu, linear);
    else if (type == INVPCID_CONTEXT)
        tlb_flush_pcid(cpu, (uint16_t)pcid);
    else
        tlb_flush_all(cpu);
    return STEP_NEXT;
}

int op_invpcid(struct cpu *cpu, const struct op *op)
{
    uint64_t linear;
    uint64_t descriptor[2];
    uint64_t next = op_next_rip(cpu, op);
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    int step = operand_linear(cpu, op, 16, ACCESS_READ, &linear);
    for (unsigned i = 0; i < 2 && step == STEP_NEXT; i++) {
        uint64_t at = linear + UINT64_C(8) * i;
        step = linear_read(cpu, cpu_long(cpu) ? at : (uint32_t)at, 8, ACCESS_READ, &descriptor[i]);
    }
    if (step != STEP_NEXT)
        return step;
    uint64_t type = gpr_read(cpu, op->reg, register_width(cpu));
    step = invalidate(cpu, type, descriptor[0], descriptor[1]);
    return step == STEP_NEXT ? continue_at(cpu, next) : step;
}

int op_cache_flush_all(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return cpu->cpl == 0 ? STEP_NEXT : protection_fault(cpu);
}

/* ---- model-specific registers, CPUID, time ---- */

static void write_pair(struct cpu *cpu, uint64_t value)
{
    cpu->gpr[GPR_RAX] = (uint32_t)value;
    cpu->gpr[GPR_RDX] = value >> 32;
}

int op_rdmsr(struct cpu *cpu, const struct op *op)
{
    uint64_t value;
    (void)op;
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    int step = msr_read(cpu, (uint32_t)cpu->gpr[GPR_RCX], &value);
    if (step == STEP_NEXT)
        write_pair(cpu, value);
    return step;
}

int op_wrmsr(struct cpu *cpu, const struct op *op)
{
    uint64_t next = op_next_rip(cpu, op);
    if (cpu->cpl != 0)
        return protection_fault(cpu);
    uint64_t value = cpu->gpr[GPR_RDX] << 32 | (uint32_t)cpu->gpr[GPR_RAX];
    int step = msr_write(cpu, (uint32_t)cpu->gpr[GPR_RCX], value);
    return step == STEP_NEXT ? continue_at(cpu, next) : step;
}

/* No performance counter exists (CPUID leaf 0xa is empty), so every index is a bad one. */
int op_rdpmc(struct cpu *cpu, const struct op *op)
{
    (void)op;
    return protection_fault(cpu);
}

/* Serializing: the next block is looked up anew, so code written by others is seen. */
int op_cpuid(struct cpu *cpu, const struct op *op)
{
    uint32_t words[4];
    cpuid_query(cpu, (uint32_t)cpu->gpr[GPR_RAX], (uint32_t)cpu->gpr[GPR_RCX], words);
    cpu->gpr[GPR_RAX] = words[0];
    cpu->gpr[GPR_RBX] = words[1];
    cpu->gpr[GPR_RCX] = words[2];
    cpu->gpr[GPR_RDX] = words[3];
    return continue_at(cpu, op_next_rip(cpu, op));
}

static bool time_is_hidden(const struct cpu *cpu)
{
    return cpu->cpl != 0 && (cpu->cr4 & CR4_TSD) != 0;
}

int op_rdtsc(struct cpu *cpu, const struct op *op)
{
    (void)op;
    if (time_is_hidden(cpu))
        return protection_fault(cpu);
    write_pair(cpu, guest_tsc(cpu));
    return STEP_NEXT;
}

int op_rdtscp(struct cpu *cpu, const struct op *op)
{
    int step = op_rdtsc(cpu, op);
    if (step == STEP_NEXT)
        cpu->gpr[GPR_RCX] = (uint32_t)cpu->tsc_aux;
    return step;
}

int op_rdpid(struct cpu *cpu, const struct op *op)
{
    gpr_write(cpu, op->rm, register_width(cpu), cpu->tsc_aux);
    return STEP_NEXT;
}

/* ---- FS and GS bases ---- */

static int check_base_access(struct cpu *cpu)
{
    if (!cpu_long(cpu) || (cpu->cr4 & CR4_FSGSBASE) == 0)
        return fault(cpu, VECTOR_UD);
    return STEP_NEXT;
}

static int read_base(struct cpu *cpu, const struct op *op, enum engine_segment_index index)
{
    int step = check_base_access(cpu);
    if (step == STEP_NEXT)
        gpr_write(cpu, op->rm, op->width, cpu->segment[index].base);
    return step;
}

static int write_base(struct cpu *cpu, const struct op *op, enum engine_segment_index index)
{
    uint64_t value = gpr_read(cpu, op->rm, op->width);
    int step = check_base_access(cpu);
    if (step != STEP_NEXT)
        return step;
    if (!is_canonical(value))
        return protection_fault(cpu);
    cpu->segment[index].base = value;
    return STEP_NEXT;
}

int op_rdfsbase(struct cpu *cpu, const struct op *op)
{
    return read_base(cpu, op, SEGMENT_FS);
}

int op_rdgsbase(struct cpu *cpu, const struct op *op)
{
    return read_base(cpu, op, SEGMENT_GS);
}

int op_wrfsbase(struct cpu *cpu, const struct op *op)
{
    return write_base(cpu, op, SEGMENT_FS);
}

int op_wrgsbase(struct cpu *cpu, const struct op *op)
{
    return write_base(cpu, op, SEGMENT_GS);
}

/* ---- the rest ---- */

static int set_alignment_check(struct cpu *cpu, const struct op *op, bool set)
{
    uint64_t next = op_next_rip(cpu, op);
    if (cpu->cpl != 0)
        return fault(cpu, VECTOR_UD);
    cpu_set_flags(cpu, set ? cpu->flags | FLAG_AC : cpu->flags & ~(uint64_t)FLAG_AC);
    cpu_mode_changed(cpu);
    return continue_at(cpu, next);
}

int op_clac(struct cpu *cpu, const struct op *op)
{
    return set_alignment_check(cpu, op, false);
}

int op_stac(struct cpu *cpu, const struct op *op)
{
    return set_alignment_check(cpu, op, true);
}

/* There is a hypervisor to call when CPUID says so; it serves the kernel alone. */
int op_vmcall(struct cpu *cpu, const struct op *op)
{
    if (cpu->cpl != 0 || cpu->partition->config.hypervisor_leaf_count == 0)
        return fault(cpu, VECTOR_UD);
    cpu->rip = op_next_rip(cpu, op);
    cpu->exit->kind = ENGINE_EXIT_HYPERCALL;
    cpu->exit->hypercall.long_mode = cpu_long(cpu);
    cpu->exit->hypercall.rax = cpu->gpr[GPR_RAX];
    cpu->exit->hypercall.rbx = cpu->gpr[GPR_RBX];
    cpu->exit->hypercall.rcx = cpu->gpr[GPR_RCX];
    cpu->exit->hypercall.rdx = cpu->gpr[GPR_RDX];
    cpu->exit->hypercall.rsi = cpu->gpr[GPR_RSI];
    cpu->exit->hypercall.rdi = cpu->gpr[GPR_RDI];
    cpu->exit->hypercall.r8 = cpu->gpr[GPR_R8];
    cpu->called = true;
    return STEP_LEAVE;
}
