/*
 * The host code of each kind of instruction. In all of them the checks come first: what leads to
 * the stub has changed nothing.
 */
#include <stddef.h>

#include "engine/soft/tlb.h"
#include "engine/soft/translate_private.h"

static const struct op *current_op(const struct work *work)
{
    return &work->block->op[work->current];
}

/* ---- interpreting ---- */

/* See the routine: the call's return address is where it goes on. */
static void write_kind_interpret(struct work *work)
{
    const struct routines *routine = &work->translator->routine;
    bool saved = work->flags == FLAGS_SAVED;
    assemble_constant(&work->emit, SCRATCH_ADDRESS, work->current);
    assemble_constant(&work->emit, SCRATCH_A, (uint64_t)work->block);
    write_branch_to(&work->emit, assemble_call(&work->emit),
                    saved ? routine->interpret_saved : routine->interpret_live);
    work->flags = FLAGS_LIVE;
    work->level = VECTOR_NONE;
    work->held = NO_GROUP;
}

/* ---- copying ---- */

/* Guest registers that the instruction names outside its address and that live in memory. */
struct borrowed {
    uint8_t gpr[3], host[3];
    bool written[3];
    unsigned count;
};

static bool borrow(struct borrowed *borrowed, int gpr, bool written, bool has_address)
{
    static const uint8_t hosts[] = {SCRATCH_A, SCRATCH_B, SCRATCH_ADDRESS};
    for (unsigned i = 0; i < borrowed->count; i++) {
        if (borrowed->gpr[i] == gpr) {
            borrowed->written[i] |= written;
            return true;
        }
    }
    if (borrowed->count == (has_address ? 2 : 3))
        return false;
    borrowed->gpr[borrowed->count] = (uint8_t)gpr;
    borrowed->host[borrowed->count] = hosts[borrowed->count];
    borrowed->written[borrowed->count++] = written;
    return true;
}

static bool borrow_all(const struct plan *plan, struct borrowed *borrowed)
{
    for (unsigned i = 0; i < plan->instruction.operand_count; i++) {
        const ZydisDecodedOperand *operand = &plan->operand[i];
        if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        int gpr = encode_gpr_number(operand->reg.value);
        if (gpr < GPR_R12)
            continue;
        bool written = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        if (!borrow(borrowed, gpr, written, plan->reach[REACH_OPERAND].size != 0))
            return false;
    }
    return true;
}

/* The place that write_reach will give for the operand. */
static struct place predict_reach(const struct plan *plan)
{
    const struct reach *reach = &plan->reach[REACH_OPERAND];
    bool relative = reach->group != NO_GROUP || reach->base == GPR_RSP;
    if (!relative || reach->base >= GPR_R12)
        return place_at(SCRATCH_ADDRESS, 0);
    unsigned base = reach->base == GPR_RSP ? (unsigned)HOST_RSP : reach->base;
    return (struct place){.base = (uint8_t)base, .index = SCRATCH_ADDRESS, .disp = reach->disp};
}

static void aim(const struct borrowed *borrowed, struct place memory, struct encode_target *ret)
{
    *ret = (struct encode_target){.memory = memory.base, .disp = memory.disp};
    ret->has_index = memory.index != NO_REGISTER;
    ret->index = ret->has_index ? memory.index : 0;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        ret->gpr[i] = (uint8_t)i;
    ret->gpr[GPR_RSP] = HOST_RSP;
    for (unsigned i = 0; i < borrowed->count; i++)
        ret->gpr[borrowed->gpr[i]] = borrowed->host[i];
}

/* The vector units may be off, or hold the host's state: the interpreter sees to both. */
static void write_vector_check(struct work *work)
{
    const struct plan *plan = &work->plan[work->current];
    if (plan->level <= work->level)
        return;
    write_flags_aside(work);
    assemble_compare_field(&work->emit, 1, offsetof(struct cpu, vector_level), plan->level);
    write_to_stub(work, CONDITION_B);
    work->level = plan->level;
    work->made->has_vectors = true;
}

/* The host's own FIP and FDP are of no use: see struct x87_pointers. */
static void write_pointers(struct work *work)
{
    const struct op *op = current_op(work);
    struct place instruction = place_of_cpu(offsetof(struct cpu, x87.instruction));
    struct place data = place_of_cpu(offsetof(struct cpu, x87.data));
    struct place opcode = place_of_cpu(offsetof(struct cpu, x87.opcode));
    work->held = NO_GROUP;
    write_guest_address(&work->emit, work->block, work->block->rip + op->offset, SCRATCH_ADDRESS);
    assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &instruction);
    assemble_constant(&work->emit, SCRATCH_ADDRESS, op->thunk->opcode);
    assemble_memory16(&work->emit, OPCODE_STORE, SCRATCH_ADDRESS, &opcode);
    if (work->plan[work->current].reach[REACH_OPERAND].size == 0)
        return;
    write_address(work, op, op->address_width == 8, SCRATCH_ADDRESS);
    assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &data);
}

static bool write_kind_copy(struct work *work)
{
    const struct plan *plan = &work->plan[work->current];
    struct borrowed borrowed = {.count = 0};
    struct encode_target target;
    uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
    if (!borrow_all(plan, &borrowed))
        return false;
    aim(&borrowed, predict_reach(plan), &target);
    int length = encode_instruction(&plan->instruction, plan->operand, &target, bytes);
    if (length < 0)
        return false;
    write_vector_check(work);
    if (plan->reach[REACH_OPERAND].size != 0)
        (void)write_reach(work, REACH_OPERAND);
    if (plan->reads_flags || (plan->writes_flags && !plan->kills_flags && plan->flags_needed_after))
        write_flags_back(work, SCRATCH_A);
    for (unsigned i = 0; i < borrowed.count; i++) {
        struct place place = place_of_gpr(borrowed.gpr[i]);
        assemble_memory(&work->emit, true, OPCODE_LOAD, borrowed.host[i], &place);
    }
    emit_bytes(&work->emit, bytes, (size_t)length);
    for (unsigned i = 0; i < borrowed.count; i++) {
        struct place place = place_of_gpr(borrowed.gpr[i]);
        if (borrowed.written[i])
            assemble_memory(&work->emit, true, OPCODE_STORE, borrowed.host[i], &place);
    }
    if (plan->writes_flags)
        work->flags = FLAGS_LIVE;
    if (borrowed.count == 3)
        work->held = NO_GROUP;
    if (plan->sets_pointers && !plan->leaves_pointers)
        write_pointers(work);
    return true;
}

static void write_kind_lea(struct work *work)
{
    const struct op *op = current_op(work);
    unsigned gpr = op->reg / 8;
    unsigned to = gpr == GPR_RSP ? HOST_RSP : gpr;
    work->held = NO_GROUP;
    bool wide = op->width == 8 && op->address_width == 8;
    if (gpr < GPR_R12 && op->width != 2) {
        write_address(work, op, wide, to);
        return;
    }
    write_address(work, op, op->address_width == 8, SCRATCH_ADDRESS);
    if (gpr >= GPR_R12) {
        struct place place = place_of_gpr(gpr);
        if (op->width == 2)
            assemble_memory16(&work->emit, OPCODE_STORE, SCRATCH_ADDRESS, &place);
        else {
            if (op->width == 4)
                assemble_registers(&work->emit, false, OPCODE_LOAD, SCRATCH_ADDRESS,
                                   SCRATCH_ADDRESS);
            assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &place);
        }
        return;
    }
    if (op->width == 2) {
        static const uint8_t operand_size = 0x66;
        emit_bytes(&work->emit, &operand_size, 1);
    }
    assemble_registers(&work->emit, op->width == 8, OPCODE_LOAD, to, SCRATCH_ADDRESS);
}

/* ---- the stack ---- */

static void write_move_rsp(struct work *work, int32_t by)
{
    struct place place = place_at(HOST_RSP, by);
    assemble_memory(&work->emit, true, OPCODE_LEA, HOST_RSP, &place);
}

static void write_kind_push(struct work *work)
{
    struct place top = write_reach(work, REACH_STACK);
    unsigned from = write_fetch(work, current_op(work)->rm / 8, SCRATCH_A);
    assemble_memory(&work->emit, true, OPCODE_STORE, from, &top);
    write_move_rsp(work, -8);
}

static void write_push_constant(struct work *work, uint64_t value)
{
    struct place top = write_reach(work, REACH_STACK);
    if ((int64_t)value == (int32_t)value) {
        assemble_store_constant(&work->emit, &top, (int32_t)value);
    } else {
        assemble_constant(&work->emit, SCRATCH_A, value);
        assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_A, &top);
    }
    write_move_rsp(work, -8);
}

static uint64_t next_rip(const struct work *work)
{
    const struct op *op = current_op(work);
    return work->block->rip + op->offset + op->length;
}

static void write_push_next(struct work *work)
{
    if (!work->block->floats) {
        write_push_constant(work, next_rip(work));
        return;
    }
    struct place top = write_reach(work, REACH_STACK);
    write_guest_address(&work->emit, work->block, next_rip(work), SCRATCH_A);
    assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_A, &top);
    write_move_rsp(work, -8);
}

static void write_kind_pop(struct work *work)
{
    unsigned gpr = current_op(work)->rm / 8;
    struct place top = write_reach(work, REACH_STACK);
    if (gpr >= GPR_R12) {
        struct place place = place_of_gpr(gpr);
        assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_A, &top);
        assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_A, &place);
        write_move_rsp(work, 8);
    } else if (gpr == GPR_RSP) {
        assemble_memory(&work->emit, true, OPCODE_LOAD, HOST_RSP, &top);
    } else {
        assemble_memory(&work->emit, true, OPCODE_LOAD, gpr, &top);
        write_move_rsp(work, 8);
    }
}

static void write_kind_leave(struct work *work)
{
    struct place top = write_reach(work, REACH_STACK);
    struct place above = place_at(GPR_RBP, 8);
    assemble_memory(&work->emit, true, OPCODE_LEA, HOST_RSP, &above);
    assemble_memory(&work->emit, true, OPCODE_LOAD, GPR_RBP, &top);
}

/* ---- going elsewhere ---- */

static size_t jump_field(size_t field)
{
    return offsetof(struct cpu, jump) + field;
}

/* R14 = where in cpu->jump the address in R13 has its entry. Changes the flags. */
static void write_jump_index(struct emit *emit)
{
    enum { GROUP_AND = 4, JUMP_SHIFT = 5 };
    _Static_assert(sizeof(struct jump) == 1 << JUMP_SHIFT, "the shift of an index");
    assemble_registers(emit, false, OPCODE_LOAD, SCRATCH_A, SCRATCH_ADDRESS);
    assemble_group1(emit, false, GROUP_AND, SCRATCH_A, JUMP_COUNT - 1);
    assemble_shift_left32(emit, SCRATCH_A, JUMP_SHIFT);
}

/*
 * R13 = guest address: compare with what cpu->jump has for it, else to `otherwise`. R14 is then the
 * entry's offset. Changes R15 and the flags.
 */
static void write_find_jump(struct work *work, void (*otherwise)(struct work *, unsigned))
{
    struct emit *emit = &work->emit;
    struct place rip = place_of_cpu(jump_field(offsetof(struct jump, rip)));
    struct place key = place_of_cpu(jump_field(offsetof(struct jump, key)));
    struct place now = place_of_cpu(offsetof(struct cpu, jump_key));
    rip.base = SCRATCH_A;
    key.base = SCRATCH_A;
    write_jump_index(emit);
    assemble_memory(emit, true, OPCODE_LOAD, SCRATCH_B, &now);
    assemble_memory(emit, true, OPCODE_CMP, SCRATCH_ADDRESS, &rip);
    otherwise(work, CONDITION_NE);
    assemble_memory(emit, true, OPCODE_CMP, SCRATCH_B, &key);
    otherwise(work, CONDITION_NE);
}

static struct place found_place(void)
{
    struct place host = place_of_cpu(jump_field(offsetof(struct jump, host)));
    host.base = SCRATCH_A;
    return host;
}

static void write_jump_found(struct work *work)
{
    struct place host = found_place();
    assemble_jump_memory(&work->emit, &host);
    work->open = false;
}

/* R13 = the target of an indirect branch. */
static void write_read_target(struct work *work)
{
    const struct op *op = current_op(work);
    write_flags_aside(work);
    if (op->flags & OP_MEMORY) {
        struct place target = write_reach(work, REACH_OPERAND);
        work->held = NO_GROUP;
        assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &target);
        return;
    }
    work->held = NO_GROUP;
    unsigned from = write_fetch(work, op->rm / 8, SCRATCH_ADDRESS);
    if (from != SCRATCH_ADDRESS)
        assemble_registers(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, from);
}

static void write_kind_jump_indirect(struct work *work)
{
    write_read_target(work);
    write_find_jump(work, write_to_stub);
    write_jump_found(work);
}

static void write_kind_call_indirect(struct work *work)
{
    struct place host = found_place();
    struct place held = place_of_cpu(offsetof(struct cpu, held));
    struct place target = place_of_cpu(offsetof(struct cpu, held_target));
    bool may_float = (work->block->mode & MODE_USER) != 0;
    write_read_target(work);
    write_find_jump(work, write_to_stub);
    if (may_float)
        assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_ADDRESS, &target);
    assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_A, &host);
    assemble_memory(&work->emit, true, OPCODE_STORE, SCRATCH_A, &held);
    write_push_next(work);
    if (may_float)
        assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &target);
    assemble_jump_memory(&work->emit, &held);
    work->open = false;
}

static void write_kind_return(struct work *work)
{
    write_flags_aside(work);
    struct place top = write_reach(work, REACH_STACK);
    assemble_memory(&work->emit, true, OPCODE_LOAD, SCRATCH_ADDRESS, &top);
    write_find_jump(work, write_to_stub);
    write_move_rsp(work, 8 + (int32_t)(current_op(work)->imm & 0xffff));
    write_jump_found(work);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): what it points to is written later */
static struct exit_plan *add_exit(struct work *work, uint64_t target, uint8_t *site)
{
    struct exit_plan *exit = &work->exit[work->exit_count++];
    *exit = (struct exit_plan){
        .site = site, .target = target, .op = work->current, .flags = work->flags};
    return exit;
}

void write_exit(struct work *work, uint64_t target)
{
    (void)add_exit(work, target, assemble_patchable_jump(&work->emit));
    work->open = false;
}

static uint64_t branch_target(const struct work *work)
{
    return work->block->rip + current_op(work)->imm;
}

static void write_kind_jump_if(struct work *work)
{
    unsigned condition = work->plan[work->current].instruction.opcode & 15;
    write_flags_back(work, SCRATCH_A);
    (void)add_exit(work, branch_target(work), assemble_patchable_jump_if(&work->emit, condition));
}

static void write_kind_call(struct work *work)
{
    write_push_next(work);
    write_exit(work, branch_target(work));
}

/* ---- ways out ---- */

static bool is_same_page(uint64_t a, uint64_t b)
{
    return (a >> 12) == (b >> 12);
}

/* The entry of cpu->jump for the address in R13, which is known if the block does not float.
 * Changes R14 and the flags. */
static struct place write_jump_entry(struct emit *emit, const struct block *from, uint64_t target)
{
    struct place entry = place_of_cpu(offsetof(struct cpu, jump));
    if (!from->floats) {
        entry.disp += (int32_t)(target % JUMP_COUNT * sizeof(struct jump));
        return entry;
    }
    write_jump_index(emit);
    entry.base = SCRATCH_A;
    return entry;
}

static struct place field_of(struct place entry, size_t field)
{
    entry.disp += (int32_t)field;
    return entry;
}

void write_far_exit(struct emit *emit, const struct translator *translator,
                    const struct block *from, uint64_t target, bool flags_saved)
{
    struct place now = place_of_cpu(offsetof(struct cpu, jump_key));
    if (!flags_saved)
        assemble_save_flags(emit, offsetof(struct cpu, saved_flags), SCRATCH_ADDRESS);
    write_guest_address(emit, from, target, SCRATCH_ADDRESS);
    struct place entry = write_jump_entry(emit, from, target);
    struct place rip = field_of(entry, offsetof(struct jump, rip));
    struct place key = field_of(entry, offsetof(struct jump, key));
    struct place host = field_of(entry, offsetof(struct jump, host));
    assemble_memory(emit, true, OPCODE_LOAD, SCRATCH_B, &now);
    assemble_memory(emit, true, OPCODE_CMP, SCRATCH_ADDRESS, &rip);
    write_branch_to(emit, assemble_jump_if(emit, CONDITION_NE), translator->routine.go_saved);
    assemble_memory(emit, true, OPCODE_CMP, SCRATCH_B, &key);
    write_branch_to(emit, assemble_jump_if(emit, CONDITION_NE), translator->routine.go_saved);
    assemble_jump_memory(emit, &host);
}

static struct link *make_link(struct work *work, const struct exit_plan *exit)
{
    struct code_cache *code = work->translator->code;
    struct link *link = code_arena_take(code, sizeof(*link));
    if (link == NULL)
        return NULL;
    const struct op *op = &work->block->op[exit->op];
    *link = (struct link){
        .target = exit->target,
        .from = work->made,
        .site = exit->site,
        .stub = work->emit.at,
        /* Behind STI what waits for interrupts has to be seen, too. */
        .backward = exit->target <= work->block->rip + op->offset ||
                    (exit->op > 0 && exit->op == work->block->behind_sti),
        .flags_saved = exit->flags == FLAGS_SAVED,
    };
    return link;
}

void write_exit_stub(struct work *work, const struct exit_plan *exit)
{
    const struct routines *routine = &work->translator->routine;
    write_branch_to(&work->emit, exit->site, work->emit.at);
    bool alone = work->block->second_gpa == UINT64_MAX;
    if (!alone || !is_same_page(exit->target, work->block->rip)) {
        write_far_exit(&work->emit, work->translator, work->block, exit->target,
                       exit->flags == FLAGS_SAVED);
        return;
    }
    struct link *link = make_link(work, exit);
    if (link == NULL) {
        work->emit.full = true;
        return;
    }
    bool saved = exit->flags == FLAGS_SAVED;
    assemble_constant(&work->emit, SCRATCH_ADDRESS, (uint64_t)link);
    write_branch_to(&work->emit, assemble_jump(&work->emit),
                    saved ? routine->follow_saved : routine->follow_live);
}

/* ---- all of them ---- */

static void write_kind(struct work *work, enum kind kind)
{
    switch (kind) {
    case KIND_NOTHING:
        break;
    case KIND_LEA:
        write_kind_lea(work);
        break;
    case KIND_PUSH:
        write_kind_push(work);
        break;
    case KIND_PUSH_CONSTANT:
        write_push_constant(work, current_op(work)->imm);
        break;
    case KIND_POP:
        write_kind_pop(work);
        break;
    case KIND_LEAVE:
        write_kind_leave(work);
        break;
    case KIND_JUMP:
        write_exit(work, branch_target(work));
        break;
    case KIND_JUMP_IF:
        write_kind_jump_if(work);
        break;
    case KIND_JUMP_INDIRECT:
        write_kind_jump_indirect(work);
        break;
    case KIND_CALL:
        write_kind_call(work);
        break;
    case KIND_CALL_INDIRECT:
        write_kind_call_indirect(work);
        break;
    case KIND_RETURN:
        write_kind_return(work);
        break;
    case KIND_STOS:
        write_kind_stos(work);
        break;
    case KIND_MOVS:
        write_kind_movs(work);
        break;
    case KIND_CLI:
        write_kind_cli(work);
        break;
    case KIND_STI:
        write_kind_sti(work);
        break;
    case KIND_PUSHF:
        write_kind_pushf(work);
        break;
    case KIND_POPF:
        write_kind_popf(work);
        break;
    case KIND_SWAPGS:
        write_kind_swapgs(work);
        break;
    case KIND_COPY:
        if (write_kind_copy(work))
            break;
        work->refused[work->current] = true;
        work->again = true;
        __attribute__((fallthrough));
    case KIND_INTERPRET:
        write_kind_interpret(work);
        break;
    }
}

void write_op(struct work *work, unsigned index)
{
    work->current = index;
    work->stub[index].saved = work->flags == FLAGS_SAVED;
    write_kind(work, work->plan[index].kind);
    work->stub[index].resume = work->emit.at;
    work->stub[index].held = work->held;
}
