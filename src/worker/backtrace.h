/* Return addresses on the stack of a vCPU that stands still: a guess, for a person to read. */
#ifndef WORKER_BACKTRACE_H
#define WORKER_BACKTRACE_H

#include "machine/machine.h"

enum { BACKTRACE_MAX = 24 };

struct backtrace {
    bool scanned; /* there was no chain of frame pointers: every plausible word of the stack */
    size_t count;
    uint64_t address[BACKTRACE_MAX];
};

void backtrace_take(struct machine *machine, const struct engine_registers *registers,
                    struct backtrace *ret);

#endif
