/*
 * Instructions of the kernel that are everywhere in its code: CLI, STI, PUSHF, POPF, SWAPGS. What
 * is not plain (another CPL than 0, an interrupt that waits, flags that change the mode) goes to
 * the stub.
 */
#include <stddef.h>

#include "engine/soft/translate_private.h"

enum { GROUP_OR = 1, GROUP_AND = 4, GROUP_XOR = 6 };

static const size_t flags_offset = offsetof(struct cpu, flags);

/* Also ends the life of live flags: what follows changes them. */
static void write_cpl_check(struct work *work)
{
    write_flags_aside(work);
    assemble_compare_field(&work->emit, 1, offsetof(struct cpu, cpl), 0);
    write_to_stub(work, CONDITION_NE);
}

/* To the stub when something may be delivered as soon as IF is set: see lapic_has_request. */
static void write_request_check(struct work *work, unsigned scratch)
{
    struct emit *emit = &work->emit;
    for (unsigned i = 0; i < 4; i++) {
        struct place word = place_of_cpu(offsetof(struct cpu, lapic.irr) + 8 * (size_t)i);
        assemble_memory(emit, true, i == 0 ? OPCODE_LOAD : OPCODE_OR, scratch, &word);
    }
    assemble_registers(emit, true, OPCODE_TEST, scratch, scratch);
    write_to_stub(work, CONDITION_NE);
    assemble_compare_field(emit, 1, offsetof(struct cpu, extint_line), 0);
    write_to_stub(work, CONDITION_NE);
    assemble_compare_field(emit, 1, offsetof(struct cpu, extint_ready), 0);
    write_to_stub(work, CONDITION_NE);
}

void write_kind_cli(struct work *work)
{
    write_cpl_check(work);
    assemble_group1_field(&work->emit, GROUP_AND, flags_offset, ~FLAG_IF);
}

/* The instruction behind it ends the block, and what follows polls: until then nothing is
 * delivered, as after STI nothing may be. */
void write_kind_sti(struct work *work)
{
    write_cpl_check(work);
    write_request_check(work, SCRATCH_ADDRESS);
    work->held = NO_GROUP;
    assemble_group1_field(&work->emit, GROUP_OR, flags_offset, FLAG_IF);
}

void write_kind_swapgs(struct work *work)
{
    struct emit *emit = &work->emit;
    struct place base =
        place_of_cpu(offsetof(struct cpu, segment) + SEGMENT_GS * sizeof(struct engine_segment) +
                     offsetof(struct engine_segment, base));
    struct place other = place_of_cpu(offsetof(struct cpu, kernel_gs_base));
    write_cpl_check(work);
    assemble_memory(emit, true, OPCODE_LOAD, SCRATCH_A, &base);
    assemble_memory(emit, true, OPCODE_LOAD, SCRATCH_B, &other);
    assemble_memory(emit, true, OPCODE_STORE, SCRATCH_A, &other);
    assemble_memory(emit, true, OPCODE_STORE, SCRATCH_B, &base);
}

/* SF ZF AF PF CF lie in the saved word's upper byte as in RFLAGS, OF in its lowest bit. */
enum { OF_SHIFT = 11 };
static const size_t saved_low = offsetof(struct cpu, saved_flags);
static const size_t saved_high = offsetof(struct cpu, saved_flags) + 1;

/* R15 = RFLAGS as PUSHF stores it. R14 is changed. */
static void write_compose_flags(struct work *work)
{
    struct emit *emit = &work->emit;
    struct place flags = place_of_cpu(flags_offset);
    struct place low = place_of_cpu(saved_low);
    struct place high = place_of_cpu(saved_high);
    assemble_memory(emit, false, OPCODE_LOAD, SCRATCH_B, &flags);
    assemble_group1(emit, false, GROUP_AND, SCRATCH_B, ~(FLAGS_ARITHMETIC | FLAG_RF | FLAG_VM));
    assemble_memory(emit, false, OPCODE_MOVZX8, SCRATCH_A, &high);
    assemble_registers(emit, false, OPCODE_OR, SCRATCH_B, SCRATCH_A);
    assemble_memory(emit, false, OPCODE_MOVZX8, SCRATCH_A, &low);
    assemble_shift_left32(emit, SCRATCH_A, OF_SHIFT);
    assemble_registers(emit, false, OPCODE_OR, SCRATCH_B, SCRATCH_A);
}

void write_kind_pushf(struct work *work)
{
    struct place down = place_at(HOST_RSP, -8);
    write_flags_aside(work);
    struct place top = write_reach(work, REACH_STACK);
    write_compose_flags(work);
    assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_B, &top);
    assemble_memory(&work->emit, true, OPCODE_LEA, HOST_RSP, &down);
}

/* Only the arithmetic flags and IF may change here; IF only if nothing waits for it. */
void write_kind_popf(struct work *work)
{
    enum { PLAIN = FLAGS_ARITHMETIC | FLAG_IF };
    struct emit *emit = &work->emit;
    struct place up = place_at(HOST_RSP, 8);
    struct place flags = place_of_cpu(flags_offset);
    struct place low = place_of_cpu(saved_low);
    struct place high = place_of_cpu(saved_high);
    write_cpl_check(work);
    struct place top = write_reach(work, REACH_STACK);
    assemble_memory(emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &top);
    work->held = NO_GROUP;
    assemble_registers(emit, true, OPCODE_LOAD, SCRATCH_A, SCRATCH_ADDRESS);
    assemble_memory(emit, true, OPCODE_XOR, SCRATCH_A, &flags);
    assemble_group1(emit, true, GROUP_AND, SCRATCH_A, ~PLAIN);
    write_to_stub(work, CONDITION_NE);
    write_request_check(work, SCRATCH_A);
    assemble_memory(emit, false, OPCODE_STORE, SCRATCH_ADDRESS, &flags);
    assemble_memory(emit, false, OPCODE_STORE8, SCRATCH_ADDRESS, &high);
    assemble_shift_right32(emit, SCRATCH_ADDRESS, OF_SHIFT);
    assemble_group1(emit, false, GROUP_AND, SCRATCH_ADDRESS, 1);
    assemble_memory(emit, false, OPCODE_STORE8, SCRATCH_ADDRESS, &low);
    assemble_memory(emit, true, OPCODE_LEA, HOST_RSP, &up);
    work->flags = FLAGS_SAVED;
}
