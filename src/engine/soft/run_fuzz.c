/*
 * Invariant: whatever code a guest runs, with whatever registers, run() comes back; host memory
 * other than the guest's RAM stays as it was (guards and sanitizers watch), and translated it does
 * what it does interpreted: see tests/harness/soft_twins.h.
 *
 * Input: a byte for the mode and where code lies, one for flags and features, eight whose nibbles
 * choose the values of the registers, then the code. With PARTITA_FUZZ_COUNTS in the environment
 * the program tells at its end how much was run.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/harness/soft_twins.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum {
    HEADER = 2 + GPR_COUNT / 2,
    MODE = 3,
    OTHER_TABLES = 4,
    HOSTILE_STACK = 8,
    MANY_LAPS = 0x10
};

static const uint64_t values[16] = {
    0,
    1,
    UINT64_MAX,
    DATA_AT,
    DATA_AT + 0xffd,
    LARGE_AT,
    TWINS_LAST_AT + 0xffd,
    MMIO_LINEAR,
    MMIO_LINEAR + 0x1ffffd,
    STACK_TOP - 0x100,
    CODE_AT,
    TWINS_OTHER_PML4_AT,
    TWINS_CODE_ALIAS_AT + 0x10,
    UINT64_C(1) << 47,
    UINT64_C(0xffff800000000000),
    TWINS_READ_ONLY_AT,
};

static void choose_features(struct twins_input *in, uint8_t byte)
{
    static const uint64_t flags[] = {FLAG_IF, FLAG_DF, FLAG_TF, FLAG_AC, FLAG_IOPL};
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (byte & (1u << i))
            in->flags |= flags[i];
    }
    if (byte & 0x20)
        in->cr0 = CR0_AM;
    if (byte & 0x40)
        in->cr4 = CR4_UMIP | CR4_FSGSBASE | CR4_PGE;
    if (byte & 0x80)
        in->flags |= FLAG_NT;
}

static void choose_registers(struct twins_input *in, const uint8_t *bytes, bool hostile_stack)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        in->gpr[i] = values[(bytes[i / 2] >> (i % 2 * 4)) & 15];
    if (!hostile_stack)
        in->gpr[GPR_RSP] = in->mode == TWINS_REAL ? 0xf000 : STACK_TOP - 0x800;
}

static void tell_counts(void)
{
    twins_print(stdout);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static bool begun;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe) */
    if (!begun && getenv("PARTITA_FUZZ_COUNTS") != NULL)
        (void)atexit(tell_counts);
    begun = true;
    if (length < HEADER)
        return 0;
    struct twins_input in = {.mode = bytes[0] & MODE,
                             .other_tables = (bytes[0] & OTHER_TABLES) != 0,
                             .code = bytes + HEADER,
                             .length = length - HEADER,
                             .laps = bytes[0] & MANY_LAPS ? 32 : 4};
    if (in.length > TWINS_CODE_MAX)
        in.length = TWINS_CODE_MAX;
    in.offset = bytes[0] & 0x80 ? 0xff8 : 0; /* across a page, or at its start */
    choose_features(&in, bytes[1]);
    choose_registers(&in, bytes + 2, (bytes[0] & HOSTILE_STACK) != 0);
    twins_run(&in);
    return 0;
}
