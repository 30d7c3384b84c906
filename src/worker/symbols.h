/*
 * Names of a guest's addresses, from a System.map or from the symbol table of an ELF file.
 * The file is not trusted: whatever is odd in it is skipped or refused, never followed.
 */
#ifndef WORKER_SYMBOLS_H
#define WORKER_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

struct symbols;

/* `bytes` stays the caller's and must outlive the symbols. -ENOEXEC when there are none in it. */
int symbols_parse(const uint8_t *bytes, size_t length, struct symbols **ret, struct reason *reason);
void symbols_destroy(struct symbols *symbols);
size_t symbols_count(const struct symbols *symbols);

/* The address of a name. */
bool symbols_find(const struct symbols *symbols, const char *name, uint64_t *ret_address);

/*
 * The guest runs its code this far above where the symbols say (Linux with KASLR); 0 at first.
 */
void symbols_set_slide(struct symbols *symbols, uint64_t slide);
/*
 * The same from the MSR LSTAR of the guest, which has the entry of its system calls once it has set
 * up its processor. False: the slide is not known yet. Symbols without that entry are where they
 * say.
 */
bool symbols_follow_lstar(struct symbols *symbols, uint64_t lstar);

/* Write "name+0x1c" for an address in code, at most 16 MiB above a symbol; false when there is
 * none. */
bool symbols_describe(const struct symbols *symbols, uint64_t address, char *ret, size_t size);

#endif
