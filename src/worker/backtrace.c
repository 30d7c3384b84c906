#include "worker/backtrace.h"

#include "base/bytes.h"

enum {
    EFER_LMA = 1 << 10,
    SCAN_BYTES = 4096,
    LONGEST_CALL = 7,
};

/* The stack as the walk sees it: how wide a word is, and which words may be code. */
struct stack {
    struct machine *machine;
    const struct engine_registers *registers;
    unsigned word; /* bytes */
};

static bool read_word(const struct stack *stack, uint64_t linear, uint64_t *ret)
{
    uint8_t bytes[8] = {0};

    if (machine_read_linear(stack->machine, stack->registers, linear, bytes, stack->word) < 0)
        return false;
    *ret = get_le64(bytes);
    return true;
}

/* Whether the instruction before `address` may be a CALL: E8 rel32, or FF /2 with its operand. */
static bool follows_call(const struct stack *stack, uint64_t address)
{
    uint8_t before[LONGEST_CALL];

    if (machine_read_linear(stack->machine, stack->registers, address - LONGEST_CALL, before,
                            sizeof(before)) < 0)
        return false;
    if (before[LONGEST_CALL - 5] == 0xe8)
        return true;
    for (unsigned length = 2; length <= LONGEST_CALL; length++) {
        const uint8_t *call = before + LONGEST_CALL - length;
        if (call[0] == 0xff && ((call[1] >> 3) & 7) == 2)
            return true;
    }
    return false;
}

static void add(struct backtrace *trace, uint64_t address)
{
    if (trace->count < BACKTRACE_MAX)
        trace->address[trace->count++] = address;
}

static void follow_frames(const struct stack *stack, struct backtrace *trace)
{
    uint64_t frame = stack->registers->gpr[GPR_RBP];
    uint64_t next = 0;
    uint64_t address = 0;

    while (trace->count < BACKTRACE_MAX && read_word(stack, frame, &next) &&
           read_word(stack, frame + stack->word, &address) && follows_call(stack, address)) {
        add(trace, address);
        if (next <= frame) /* callers lie above: a loop ends here */
            break;
        frame = next;
    }
}

static void scan(const struct stack *stack, struct backtrace *trace)
{
    uint64_t top = stack->registers->gpr[GPR_RSP];
    uint64_t word = 0;

    trace->scanned = true;
    for (uint64_t at = 0; at < SCAN_BYTES && trace->count < BACKTRACE_MAX; at += stack->word) {
        if (!read_word(stack, top + at, &word))
            return;
        if (follows_call(stack, word))
            add(trace, word);
    }
}

void backtrace_take(struct machine *machine, const struct engine_registers *registers,
                    struct backtrace *ret)
{
    const unsigned attributes = registers->segment[SEGMENT_CS].attributes;
    bool wide = (registers->efer & EFER_LMA) != 0 && (attributes & SEGMENT_L) != 0;
    const struct stack stack = {machine, registers, wide ? 8 : 4};

    *ret = (struct backtrace){0};
    if (!wide && !(attributes & SEGMENT_DB))
        return; /* 16-bit code: segments move, nothing can be said */
    follow_frames(&stack, ret);
    if (ret->count < 2) {
        *ret = (struct backtrace){0};
        scan(&stack, ret);
    }
}
