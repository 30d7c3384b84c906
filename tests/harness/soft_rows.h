/*
 * Tables of single instructions for tests of the software engine: registers, a word of memory and
 * flags before, and what they must be after. To be included after <cmocka.h>.
 */
#ifndef TESTS_HARNESS_SOFT_ROWS_H
#define TESTS_HARNESS_SOFT_ROWS_H

#include "tests/harness/soft_fixture.h"

enum {
    CF = FLAG_CF,
    PF = FLAG_PF,
    AF = FLAG_AF,
    ZF = FLAG_ZF,
    SF = FLAG_SF,
    OF = FLAG_OF,
    ALL = FLAGS_ARITHMETIC,
};

struct soft_row {
    const char *name;
    const char *code;
    unsigned length;
    uint64_t rax, rbx, rcx, memory; /* `memory` lies at RDI, which is DATA_AT */
    unsigned flags;
    struct {
        uint64_t rax, memory;
        unsigned flags;
        unsigned undefined; /* flags that the instruction may leave as it likes */
    } then;
};

#define CODE(bytes) .code = (bytes), .length = sizeof(bytes) - 1

static inline void soft_check_row(struct guest *g, const struct soft_row *row)
{
    struct cpu *cpu = g->cpu;
    cpu->gpr[GPR_RAX] = row->rax;
    cpu->gpr[GPR_RBX] = row->rbx;
    cpu->gpr[GPR_RCX] = row->rcx;
    cpu->gpr[GPR_RDI] = DATA_AT;
    cpu->flags = FLAG_FIXED | row->flags;
    guest_write64(g, DATA_AT, row->memory);
    int outcome = guest_try(g, row->code, row->length);
    unsigned compared = ALL & ~row->then.undefined;
    if (outcome != PORT_DONE)
        fail_msg("%s: ended as %d", row->name, outcome);
    if (cpu->gpr[GPR_RAX] != row->then.rax)
        fail_msg("%s: rax %#lx", row->name, cpu->gpr[GPR_RAX]);
    if (guest_read64(g, DATA_AT) != row->then.memory)
        fail_msg("%s: memory %#lx", row->name, guest_read64(g, DATA_AT));
    if ((cpu->flags & compared) != (row->then.flags & compared))
        fail_msg("%s: flags %#lx", row->name, cpu->flags);
}

static inline void soft_check_rows(struct guest *g, const struct soft_row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        soft_check_row(g, &rows[i]);
}

#define CHECK_ROWS(g, rows) soft_check_rows(g, rows, sizeof(rows) / sizeof((rows)[0]))

#endif
