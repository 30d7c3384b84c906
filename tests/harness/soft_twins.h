/*
 * Two small machines for hostile code: one interprets it, the other translates all that it can.
 * They are run from exit to exit; at each exit all that a guest can see must be the same in both,
 * and at the end all of memory. Besides, for both: no host address is in a register or in memory
 * that was written, the translator's own routines are as they were, no lock stays taken, and the
 * processor's own rules hold. What breaks one of these ends the program by abort().
 *
 * RAM is small and only pages that changed are put back, so that an input takes no millisecond.
 * Code that faults in 64-bit mode goes on behind the instruction, and code that comes to its end
 * begins again for some laps: so blocks settle, are translated, and are run with other data.
 *
 * Not compared is an input that does not end; one that gives two results when it is interpreted
 * twice (it reads a clock); one that agrees once no flags count as dead (it changed its code: see
 * CAVEATS.md); and one that changed page tables or the IDT behind the TLB's back.
 */
#ifndef TESTS_HARNESS_SOFT_TWINS_H
#define TESTS_HARNESS_SOFT_TWINS_H

#include "tests/harness/soft_fixture.h"

enum {
    TWINS_RAM = 1 << 20,
    TWINS_CODE_MAX = 1024,
    /* Beside what soft_fixture.h says: four pages of data, the second and third of them swapped,
     * then as in soft_pair.h. The other tables have the data pages in another order. */
    TWINS_READ_ONLY_AT = DATA_AT + 0x12000,
    TWINS_ALIAS_AT = DATA_AT + 0x13000,
    TWINS_LAST_AT = DATA_AT + 0x14000,
    TWINS_CODE_ALIAS_AT = DATA_AT + 0x18000, /* the page at CODE_AT */
    TWINS_OTHER_PML4_AT = FREE_TABLES_AT + 0x3000,
    TWINS_FAULT_STACK_TOP = STACK_TOP - 0x1000,
    TWINS_GATE = 0x80, /* the first of those that lead to CODE_AT + TWINS_ENTRY, from CPL 3, too */
    TWINS_GATES = 8,
    TWINS_ENTRY = 0x40, /* where SYSCALL leads as well */
};

enum twins_mode { TWINS_KERNEL, TWINS_USER, TWINS_PROTECTED, TWINS_REAL };

struct twins_input {
    enum twins_mode mode;
    bool other_tables;        /* begins with the other CR3 */
    uint64_t flags, cr0, cr4; /* bits to set */
    uint64_t gpr[GPR_COUNT];
    const uint8_t *code;
    size_t length;
    uint64_t offset; /* from CODE_AT */
    unsigned laps;
};

/* Instructions that completed. Of those in inputs without an end only the interpreter's are known.
 */
struct twins_counts {
    uint64_t inputs, compared, endless, by_chance, by_flags, by_tables;
    uint64_t plain;      /* interpreted by the one machine, of inputs that were compared */
    uint64_t translated; /* of these, run as host code by the other machine; it handled the rest */
    uint64_t endless_plain;
    uint64_t exits, translations;
};

void twins_run(const struct twins_input *input);
struct twins_counts twins_counts(void);
/* One line. */
void twins_print(FILE *to);

#endif
