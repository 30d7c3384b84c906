/*
 * Which accesses of a block share a look-up in the TLB.
 *
 * Followed through the block is, for each register, what it has been moved by since its group
 * began: by PUSH, POP, ADD, SUB, INC, DEC and LEA with a constant. Any other write ends the group,
 * and so does an instruction that the interpreter runs.
 */
#include "engine/soft/translate_private.h"

/* The wider a window, the likelier it reaches into the next page, and is then never found. */
enum { MAX_WINDOW = 192 };

/* The groups that are open at an instruction; loops over several arrays have some a register. */
enum { MAX_OPEN = 8 };
struct open_group {
    uint8_t base, group;
    int32_t moved;
};
struct open_groups {
    struct open_group row[MAX_OPEN];
    unsigned count;
};

static void close_one(struct open_groups *open, unsigned i)
{
    open->row[i] = open->row[--open->count];
}

/* ---- what an instruction does to registers ---- */

static bool is_register(const ZydisDecodedOperand *operand, int *ret_gpr)
{
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    *ret_gpr = encode_gpr_number(operand->reg.value);
    return *ret_gpr >= 0;
}

/* ADD, SUB, INC and DEC of 64 bits with a constant: by how much; 0 = something else. */
static int64_t constant_step(const struct plan *plan)
{
    const ZydisDecodedOperand *by = &plan->operand[1];
    if (plan->instruction.operand_width != 64)
        return 0;
    switch (plan->instruction.mnemonic) {
    case ZYDIS_MNEMONIC_INC:
        return 1;
    case ZYDIS_MNEMONIC_DEC:
        return -1;
    case ZYDIS_MNEMONIC_ADD:
        return by->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? by->imm.value.s : 0;
    case ZYDIS_MNEMONIC_SUB:
        return by->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? -by->imm.value.s : 0;
    default:
        return 0;
    }
}

static int64_t lea_step(const struct op *op)
{
    bool same = op->width == 8 && op->address_width == 8 && op->index == GPR_ZERO &&
                op->base == op->reg / 8;
    return same ? (int64_t)op->disp : 0;
}

static void move(struct open_groups *open, unsigned gpr, int64_t by)
{
    enum { FAR = 1 << 16 };
    for (unsigned i = open->count; i-- > 0;) {
        struct open_group *row = &open->row[i];
        if (row->base != gpr)
            continue;
        int64_t moved = row->moved + by;
        row->moved = (int32_t)moved;
        if (by == 0 || moved > FAR || moved < -FAR)
            close_one(open, i);
    }
}

static void follow_copy(const struct plan *plan, struct open_groups *open)
{
    for (unsigned i = 0; i < plan->instruction.operand_count; i++) {
        int gpr;
        const ZydisDecodedOperand *operand = &plan->operand[i];
        if ((operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0 ||
            !is_register(operand, &gpr))
            continue;
        move(open, (unsigned)gpr, i == 0 ? constant_step(plan) : 0);
    }
}

static void follow(const struct plan *plan, const struct op *op, struct open_groups *open)
{
    switch (plan->kind) {
    case KIND_INTERPRET:
        open->count = 0;
        break;
    case KIND_COPY:
        follow_copy(plan, open);
        break;
    case KIND_LEA:
        move(open, op->reg / 8, lea_step(op));
        break;
    case KIND_STOS:
    case KIND_MOVS:
        move(open, GPR_RDI, 0);
        move(open, GPR_RSI, 0);
        move(open, GPR_RCX, 0);
        break;
    case KIND_POPF:
        move(open, GPR_RSP, 8);
        break;
    case KIND_PUSHF:
    case KIND_PUSH:
    case KIND_PUSH_CONSTANT:
        move(open, GPR_RSP, -8);
        break;
    case KIND_POP:
        move(open, GPR_RSP, 8);
        move(open, op->rm / 8, 0);
        break;
    case KIND_LEAVE:
        move(open, GPR_RSP, 0);
        move(open, GPR_RBP, 0);
        break;
    default:
        break; /* the rest leaves the block, or changes no register */
    }
}

/* ---- groups ---- */

static bool fits(const struct group *group, int32_t low, int32_t high)
{
    int32_t least = low < group->low ? low : group->low;
    int32_t most = high > group->high ? high : group->high;
    return most - least <= MAX_WINDOW;
}

static void join(struct group *group, const struct reach *reach, int32_t low)
{
    if (low < group->low)
        group->low = low;
    if (low + reach->size > group->high)
        group->high = low + reach->size;
    group->write |= reach->write;
    group->count++;
}

/* The open group that holds the access, or NULL. */
static struct open_group *find_open(struct open_groups *open, const struct reach *reach,
                                    const struct group *group)
{
    for (unsigned i = 0; i < open->count; i++) {
        struct open_group *row = &open->row[i];
        int32_t low = row->moved + reach->disp;
        if (row->base == reach->base && fits(&group[row->group], low, low + reach->size))
            return row;
    }
    return NULL;
}

/* The last one is closed when there are too many. */
static struct open_group *open_group(struct open_groups *open, uint8_t base, unsigned group)
{
    if (open->count == MAX_OPEN)
        open->count--;
    struct open_group *row = &open->row[open->count++];
    *row = (struct open_group){.base = base, .group = (uint8_t)group};
    return row;
}

static void place_reach(struct reach *reach, unsigned op, struct open_groups *open,
                        struct group *group, unsigned *count)
{
    if (reach->size == 0 || reach->base == GPR_ZERO || reach->size > MAX_WINDOW)
        return;
    struct open_group *row = find_open(open, reach, group);
    if (row == NULL) {
        row = open_group(open, reach->base, *count);
        group[(*count)++] = (struct group){.base = reach->base,
                                           .low = reach->disp,
                                           .high = reach->disp + reach->size,
                                           .first = op};
        reach->first = true;
    }
    reach->group = row->group;
    reach->moved = row->moved;
    join(&group[row->group], reach, row->moved + reach->disp);
}

/* A group of one shares nothing. */
static void dissolve(struct plan *plan, unsigned ops, const struct group *group)
{
    for (unsigned i = 0; i < ops; i++) {
        for (unsigned which = 0; which < REACHES; which++) {
            struct reach *reach = &plan[i].reach[which];
            if (reach->group == NO_GROUP || group[reach->group].count > 1)
                continue;
            reach->group = NO_GROUP;
            reach->first = false;
        }
    }
}

/* The place in cpu->delta of a group is its index modulo CPU_DELTAS; a few are open at a time. */
static void keep_apart(struct open_groups *open, unsigned count)
{
    for (unsigned i = open->count; i-- > 0;) {
        if ((unsigned)open->row[i].group + CPU_DELTAS <= count)
            close_one(open, i);
    }
}

void group_accesses(const struct block *block, struct plan *plan, struct group *group)
{
    struct open_groups open = {.count = 0};
    unsigned count = 0;
    for (unsigned i = 0; i < block->count; i++) {
        for (unsigned which = 0; which < REACHES; which++) {
            place_reach(&plan[i].reach[which], i, &open, group, &count);
            keep_apart(&open, count);
        }
        follow(&plan[i], &block->op[i], &open);
    }
    dissolve(plan, block->count, group);
}
