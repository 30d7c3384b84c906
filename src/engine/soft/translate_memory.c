/*
 * What stands before an instruction that touches memory: the guest address, the look-up in the TLB,
 * and the arithmetic flags put aside while that is done.
 */
#include <stddef.h>

#include "engine/soft/tlb.h"
#include "engine/soft/translate_private.h"

/* ---- flags ---- */

void write_flags_aside(struct work *work)
{
    if (work->flags != FLAGS_LIVE)
        return;
    if (work->plan[work->current].flags_needed_before) {
        assemble_save_flags(&work->emit, offsetof(struct cpu, saved_flags), SCRATCH_ADDRESS);
        work->held = NO_GROUP;
        work->flags = FLAGS_SAVED;
        work->stub[work->current].saved = true;
    } else {
        work->flags = FLAGS_DEAD;
    }
}

void write_flags_back(struct work *work, unsigned scratch)
{
    if (work->flags != FLAGS_SAVED)
        return;
    assemble_restore_flags(&work->emit, offsetof(struct cpu, saved_flags), scratch);
    work->flags = FLAGS_LIVE;
}

void write_to_stub(struct work *work, unsigned condition)
{
    unsigned i = work->current;
    work->stub[i].site[work->stub[i].count++] = assemble_jump_if(&work->emit, condition);
}

void write_branch_to(struct emit *emit, uint8_t *site, const uint8_t *target)
{
    if (!emit->full)
        assemble_set_distance(site, target);
}

/* ---- addresses ---- */

void write_guest_address(struct emit *emit, const struct block *block, uint64_t address,
                         unsigned reg)
{
    struct place page = place_of_cpu(offsetof(struct cpu, page));
    struct place sum = place_at(reg, (int32_t)address);
    if (!block->floats) {
        assemble_constant(emit, reg, address);
        return;
    }
    assemble_memory(emit, true, OPCODE_LOAD, reg, &page);
    assemble_memory(emit, true, OPCODE_LEA, reg, &sum);
}

unsigned write_fetch(struct work *work, unsigned gpr, unsigned scratch)
{
    if (gpr == GPR_RSP)
        return HOST_RSP;
    if (gpr < GPR_R12)
        return gpr;
    struct place place = place_of_gpr(gpr);
    assemble_memory(&work->emit, true, OPCODE_LOAD, scratch, &place);
    return scratch;
}

/* The displacement alone, or one too large for an instruction: from a register. */
static void write_far_address(struct work *work, const struct op *op, bool wide, unsigned reg)
{
    struct emit *emit = &work->emit;
    assemble_constant(emit, reg, wide ? op->disp : (uint32_t)op->disp);
    if (op->base != GPR_ZERO) {
        struct place sum = {.base = (uint8_t)reg,
                            .index = (uint8_t)write_fetch(work, op->base, SCRATCH_A)};
        assemble_memory(emit, wide, OPCODE_LEA, reg, &sum);
    }
    if (op->index != GPR_ZERO) {
        struct place sum = {.base = (uint8_t)reg,
                            .index = (uint8_t)write_fetch(work, op->index, SCRATCH_A),
                            .scale = op->scale};
        assemble_memory(emit, wide, OPCODE_LEA, reg, &sum);
    }
}

static void write_relative_address(struct work *work, const struct op *op, bool wide, unsigned reg)
{
    write_guest_address(&work->emit, work->block, work->block->rip + op->disp, reg);
    if (!wide)
        assemble_registers(&work->emit, false, OPCODE_LOAD, reg, reg);
}

void write_address(struct work *work, const struct op *op, bool wide, unsigned reg)
{
    if (op->base == GPR_RIP) {
        write_relative_address(work, op, wide, reg);
        return;
    }
    bool near = (int64_t)op->disp == (int32_t)op->disp;
    bool bare = op->base == GPR_ZERO && op->index == GPR_ZERO;
    if (bare || !near) {
        write_far_address(work, op, wide, reg);
        return;
    }
    struct place place = {.base = NO_REGISTER, .index = NO_REGISTER, .disp = (int32_t)op->disp};
    if (op->base != GPR_ZERO)
        place.base = (uint8_t)write_fetch(work, op->base, SCRATCH_ADDRESS);
    if (op->index != GPR_ZERO) {
        place.index = (uint8_t)write_fetch(work, op->index, SCRATCH_A);
        place.scale = op->scale;
    }
    assemble_memory(&work->emit, wide, OPCODE_LEA, reg, &place);
}

void write_segment_base(struct work *work, const struct op *op)
{
    if (op->segment == SEGMENT_FLAT)
        return;
    struct place base =
        place_of_cpu(offsetof(struct cpu, segment) + op->segment * sizeof(struct engine_segment) +
                     offsetof(struct engine_segment, base));
    assemble_memory(&work->emit, true, OPCODE_ADD, SCRATCH_ADDRESS, &base);
}

/* ---- the TLB ---- */

enum { ENTRY_SHIFT = 5, INDEX_MASK = (TLB_ENTRIES - 1) << ENTRY_SHIFT };
_Static_assert(sizeof(struct tlb_entry) == 1 << ENTRY_SHIFT, "the shift of an index");
_Static_assert(offsetof(struct tlb, entry) == 0, "the table begins with its entries");

enum { GROUP_OR = 1, GROUP_AND = 4, GROUP_CMP = 7 };

/* R14 = the entry; whether it fits, in ZF. */
static void write_compare_entry(struct emit *emit, bool write)
{
    struct place table = place_of_cpu(offsetof(struct cpu, tlb));
    struct place tag = place_at(SCRATCH_A, (int32_t)(write ? offsetof(struct tlb_entry, write)
                                                           : offsetof(struct tlb_entry, read)));
    assemble_rotate32(emit, SCRATCH_A, SCRATCH_ADDRESS, 12 - ENTRY_SHIFT);
    assemble_group1(emit, false, GROUP_AND, SCRATCH_A, INDEX_MASK);
    assemble_group1(emit, true, GROUP_OR, SCRATCH_B, (int32_t)~PAGE_MASK);
    assemble_memory(emit, true, OPCODE_ADD, SCRATCH_A, &table);
    assemble_memory(emit, true, OPCODE_CMP, SCRATCH_B, &tag);
}

void write_look_up(struct work *work, bool write)
{
    write_compare_entry(&work->emit, write);
    write_to_stub(work, CONDITION_NE);
}

const struct place translate_entry_delta = {
    .base = SCRATCH_A, .index = NO_REGISTER, .disp = (int32_t)offsetof(struct tlb_entry, delta)};

static void write_look_up_size(struct work *work, unsigned size, bool write)
{
    struct place last = place_at(SCRATCH_ADDRESS, (int32_t)size - 1);
    assemble_memory(&work->emit, true, OPCODE_LEA, SCRATCH_B, &last);
    write_look_up(work, write);
}

/* ---- the near page ---- */

static struct place place_of_near(size_t field)
{
    return place_of_cpu(offsetof(struct cpu, near) + NEAR_STACK * sizeof(struct near) + field);
}

/* R13 = distance from guest to host addresses for `size` bytes at the stack pointer + disp. */
static void write_near(struct work *work, int32_t disp, unsigned size, bool write)
{
    enum { PAGE_SIZE = 4096 };
    struct emit *emit = &work->emit;
    struct place first = place_at(HOST_RSP, disp);
    struct place start = place_of_near(offsetof(struct near, start));
    struct place delta = place_of_near(offsetof(struct near, delta));
    assemble_memory(emit, true, OPCODE_LEA, SCRATCH_B, &first);
    assemble_memory(emit, true, OPCODE_SUB, SCRATCH_B, &start);
    assemble_group1(emit, true, GROUP_CMP, SCRATCH_B, PAGE_SIZE - (int32_t)size);
    struct miss *miss = &work->miss[work->miss_count++];
    *miss = (struct miss){.site = assemble_jump_if(emit, CONDITION_A),
                          .op = work->current,
                          .size = (uint16_t)size,
                          .write = write,
                          .disp = disp};
    assemble_memory(emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &delta);
    miss->resume = emit->at;
}

void write_misses(struct work *work)
{
    const struct routines *routine = &work->translator->routine;
    struct emit *emit = &work->emit;
    for (unsigned i = 0; i < work->miss_count; i++) {
        const struct miss *miss = &work->miss[i];
        struct place first = place_at(HOST_RSP, miss->disp);
        struct place last = place_at(SCRATCH_ADDRESS, miss->size - 1);
        work->current = miss->op;
        write_branch_to(emit, miss->site, emit->at);
        assemble_memory(emit, true, OPCODE_LEA, SCRATCH_ADDRESS, &first);
        assemble_memory(emit, true, OPCODE_LEA, SCRATCH_B, &last);
        write_branch_to(emit, assemble_call(emit),
                        miss->write ? routine->near_write : routine->near_read);
        write_to_stub(work, CONDITION_NE);
        write_branch_to(emit, assemble_jump(emit), miss->resume);
    }
}

uint8_t *write_near_routine(struct emit *emit, bool write)
{
    uint8_t *at = emit->at;
    struct place start = place_of_near(offsetof(struct near, start));
    struct place delta = place_of_near(offsetof(struct near, delta));
    struct place page = place_at(SCRATCH_B, (int32_t)PAGE_MASK + 1);
    struct place readable = place_at(SCRATCH_A, (int32_t)offsetof(struct tlb_entry, read));
    struct place writable = place_at(SCRATCH_A, (int32_t)offsetof(struct tlb_entry, write));
    write_compare_entry(emit, write);
    uint8_t *other = assemble_jump_if(emit, CONDITION_NE);
    assemble_memory(emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &translate_entry_delta);
    assemble_memory(emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &delta);
    assemble_memory(emit, true, OPCODE_CMP, SCRATCH_B, write ? &readable : &writable);
    assemble_memory(emit, true, OPCODE_LEA, SCRATCH_B, &page);
    uint8_t *both = assemble_jump_if(emit, CONDITION_E);
    assemble_constant(emit, SCRATCH_B, NEAR_NONE);
    write_branch_to(emit, both, emit->at);
    assemble_memory(emit, true, OPCODE_STORE, SCRATCH_B, &start);
    assemble_registers(emit, false, OPCODE_XOR, SCRATCH_B, SCRATCH_B);
    write_branch_to(emit, other, emit->at);
    assemble_return(emit);
    return at;
}

/* ---- accesses ---- */

/* Is the only access off the stack pointer a shared one? */
static bool is_alone(const struct work *work, unsigned group)
{
    const struct block *block = work->block;
    for (unsigned i = 0; i < block->count; i++) {
        for (unsigned which = 0; which < REACHES; which++) {
            const struct reach *reach = &work->plan[i].reach[which];
            if (reach->size != 0 && reach->base == GPR_RSP && reach->group != group)
                return false;
        }
    }
    return true;
}

static bool is_near(const struct reach *reach)
{
    return reach->base == GPR_RSP;
}

/* Where the distance stays for the other accesses of a group. */
static struct place place_of_delta(const struct work *work, unsigned group)
{
    if (work->group[group].base == GPR_RSP && is_alone(work, group))
        return place_of_near(offsetof(struct near, delta));
    return place_of_cpu(offsetof(struct cpu, delta) + (group % CPU_DELTAS) * sizeof(uint64_t));
}

void write_held_again(struct work *work, unsigned group)
{
    struct place delta = place_of_delta(work, group);
    assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &delta);
}

/* R13 = distance from guest to host addresses, for all accesses of the group. */
static void write_group_look_up(struct work *work, const struct reach *reach)
{
    const struct group *group = &work->group[reach->group];
    struct place delta = place_of_delta(work, reach->group);
    unsigned size = (unsigned)(group->high - group->low);
    write_flags_aside(work);
    if (is_near(reach)) {
        write_near(work, group->low - reach->moved, size, group->write);
        if (is_alone(work, reach->group))
            return;
    } else {
        struct place low =
            place_at(write_fetch(work, reach->base, SCRATCH_ADDRESS), group->low - reach->moved);
        assemble_memory(&work->emit, true, OPCODE_LEA, SCRATCH_ADDRESS, &low);
        write_look_up_size(work, size, group->write);
        assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &translate_entry_delta);
    }
    assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &delta);
}

static struct place write_group_reach(struct work *work, const struct reach *reach)
{
    struct place delta = place_of_delta(work, reach->group);
    if (reach->first)
        write_group_look_up(work, reach);
    else if (work->held != reach->group)
        assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &delta);
    work->held = reach->group;
    struct place place = {.base = (uint8_t)write_fetch(work, reach->base, SCRATCH_A),
                          .index = SCRATCH_ADDRESS,
                          .disp = reach->disp};
    if (place.base != SCRATCH_A)
        return place;
    work->held = NO_GROUP;
    assemble_memory(&work->emit, true, OPCODE_LEA, SCRATCH_ADDRESS, &place);
    return place_at(SCRATCH_ADDRESS, 0);
}

struct place write_reach(struct work *work, unsigned which)
{
    const struct reach *reach = &work->plan[work->current].reach[which];
    if (reach->group != NO_GROUP)
        return write_group_reach(work, reach);
    write_flags_aside(work);
    work->held = NO_GROUP;
    if (is_near(reach)) {
        write_near(work, reach->disp, reach->size, reach->write);
        return (struct place){.base = HOST_RSP, .index = SCRATCH_ADDRESS, .disp = reach->disp};
    }
    if (which == REACH_OPERAND) {
        const struct op *op = &work->block->op[work->current];
        write_address(work, op, op->address_width == 8, SCRATCH_ADDRESS);
        write_segment_base(work, op);
    } else {
        struct place place = place_at(write_fetch(work, reach->base, SCRATCH_ADDRESS), reach->disp);
        assemble_memory(&work->emit, true, OPCODE_LEA, SCRATCH_ADDRESS, &place);
    }
    write_look_up_size(work, reach->size, reach->write);
    assemble_memory(&work->emit, true, OPCODE_ADD, SCRATCH_ADDRESS, &translate_entry_delta);
    return place_at(SCRATCH_ADDRESS, 0);
}
