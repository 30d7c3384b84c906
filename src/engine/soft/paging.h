/* Walking the guest's page tables. Source: Intel SDM vol. 3A ch. 4. */
#ifndef SOFT_PAGING_H
#define SOFT_PAGING_H

#include "engine/soft/cpu.h"

struct walked_page {
    uint64_t gpa;    /* of the byte asked for */
    bool user;       /* page is U/S = 1 all the way */
    bool writable;   /* R/W = 1 all the way */
    bool executable; /* no XD on the way */
    uint8_t shift;   /* log2 of the page size: 12, 21, 22, 30 */
    bool dirty;      /* D is set: a write needs no update */
    bool global;     /* a load of CR3 does not flush it */
};

/*
 * Translate `linear` for `access` (enum access) with the current privileges; sets A and D bits by
 * locked cmpxchg. 0, or STEP_FAULT with #PF in cpu->fault (a non-canonical address is the
 * caller's).
 */
int paging_walk(struct cpu *cpu, uint64_t linear, unsigned access, struct walked_page *ret);
/* PAE paging: read the four PDPTEs of CR3; #GP(0) on reserved bits. */
int paging_load_pdptes(struct cpu *cpu, uint64_t cr3);

#endif
