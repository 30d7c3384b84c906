/*
 * Trials: run a piece of code in a chosen mode and see which trap it ends in.
 *
 * SNIPPET(name, before, at, after) makes a piece of assembler code. `at` is the instruction that
 * is expected to trap: name.at is its address, name.next the one behind it. The code gets its
 * argument in RDI (EDI) and returns in RAX (EAX).
 */
#ifndef GUEST_TRIAL_H
#define GUEST_TRIAL_H

#include "trap.h"

struct snippet {
    const char *code, *at, *next, *name;
};

#ifdef __x86_64__
#    define IMAGE_BITS "64"
#else
#    define IMAGE_BITS "32"
#endif

#define SNIPPET_BITS(bits, name, before, instruction, after)                            \
    asm(".pushsection .text.snippets, \"ax\", @progbits\n.balign 16\n.code" #bits "\n"  \
        "snippet_" #name ":\n" before "\n"                                              \
        "snippet_" #name "_at:\n" instruction "\n"                                      \
        "snippet_" #name "_next:\n" after "\n"                                          \
        "ret\n.code" IMAGE_BITS "\n.popsection\n");                                     \
    extern const char snippet_##name[], snippet_##name##_at[], snippet_##name##_next[]; \
    static const struct snippet name = {snippet_##name, snippet_##name##_at,            \
                                        snippet_##name##_next, #name}

#ifdef __x86_64__
#    define SNIPPET(name, before, at, after)   SNIPPET_BITS(64, name, before, at, after)
#    define SNIPPET32(name, before, at, after) SNIPPET_BITS(32, name, before, at, after)
#    define SNIPPET16(name, before, at, after) SNIPPET_BITS(16, name, before, at, after)
#else
#    define SNIPPET(name, before, at, after)   SNIPPET_BITS(32, name, before, at, after)
#    define SNIPPET16(name, before, at, after) SNIPPET_BITS(16, name, before, at, after)
#endif

enum mode {
    KERNEL, /* ring 0, the mode of the image */
    USER,   /* ring 3, the mode of the image */
#ifdef __x86_64__
    KERNEL32, /* ring 0, compatibility mode */
    USER32,   /* ring 3, compatibility mode */
#endif
};

/* The frame that user_enter() gives to iret. */
struct user_entry {
    word argument;
    word ip, cs, flags, sp, ss;
    void *stack0; /* where the task state keeps the stack of ring 0 */
};

/* Runs `code(argument)` in ring 0; never nested. The result is valid until the next trial. */
const struct trap *trial(const void *code, word argument);

/* Runs a snippet in `mode`. */
const struct trap *trial_in(enum mode mode, const struct snippet *code, word argument);

/* The ring-3 entry that trial_in() makes, to be changed and given to trial_user(). */
struct user_entry user_entry(enum mode mode, const void *code, word argument);
const struct trap *trial_user(struct user_entry *entry);

/* Where ring 3 finds what ring 0 has at 0: USER_ALIAS in 64-bit images; 32-bit images begin without
 * paging, so 0, and set it when their page tables have such an alias. */
extern word user_offset;

/* Where a snippet is seen to run in `mode`. */
word seen_at(enum mode mode, const void *address);

/* One check each: code traps as a fault (at `at`), as a trap (at `next`), or not at all. */
bool check_fault(enum mode mode, const struct snippet *code, word argument, unsigned vector,
                 word error);
bool check_trap(enum mode mode, const struct snippet *code, word argument, unsigned vector);
bool check_runs(enum mode mode, const struct snippet *code, word argument);

/* The same as a table. */
struct fault_row {
    const struct snippet *code;
    word argument;
    unsigned vector;
    word error;
};
void check_fault_rows(enum mode mode, const struct fault_row *rows, size_t count);

#endif
