/* Inside of the twins: what is compared, and how. */
#ifndef TESTS_HARNESS_SOFT_TWINS_PRIVATE_H
#define TESTS_HARNESS_SOFT_TWINS_PRIVATE_H

#include "engine/soft/xsave.h"
#include "tests/harness/soft_twins.h"

enum { TWINS_PAGE = 0x1000, TWINS_VECTOR_BYTES = XSAVE_AVX_OFFSET + XSAVE_AVX_SIZE };

/* What a guest can see of its processor, and why it came out. No bytes between the fields count. */
struct twins_state {
    uint64_t kind, address, size, value;
    uint64_t gpr[GPR_COUNT], rip, flags;
    uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
    uint64_t dr[8];
    uint64_t msr[10];
    uint64_t gdt, idt, limits;
    uint64_t segment[SEGMENT_COUNT][4];
    uint64_t mode, cpl, shadow, activity, nmi_blocked;
    uint8_t vectors[TWINS_VECTOR_BYTES];
};

/* A machine with all that soft_twins.h says. */
struct guest *twins_create(enum engine_translate translate);

void twins_take_state(const struct guest *guest, struct twins_state *ret);
/* FNV-1a. */
uint64_t twins_digest(uint64_t sum, const void *bytes, size_t length);
void twins_tell_difference(const struct twins_state *plain, const struct twins_state *translated,
                           FILE *to);
void twins_tell_memory(const struct guest *plain, const struct guest *translated, FILE *to);

/* What a TLB holds of tables that were changed is up to it, and frames may lie anywhere when the
 * IDT is not as it was. */
bool twins_tables_changed(const struct guest *guest, const uint8_t *pristine);

/* The rules that hold whatever a guest does; ends the program when one does not. */
void twins_check(const struct guest *guest);
/* A host address of the engine's in memory that is not as in `pristine`. */
void twins_check_memory(const struct guest *guest, const uint8_t *pristine);

#endif
