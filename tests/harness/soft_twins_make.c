/* What lies in the memory of a twin at the start. */
#include <string.h>

#include "tests/harness/soft_twins_private.h"

enum { TABLE = PAGE_P | PAGE_W | PAGE_U };

static void fill(struct guest *g, uint64_t gpa)
{
    uint8_t bytes[TWINS_PAGE];
    for (unsigned i = 0; i < TWINS_PAGE; i++)
        bytes[i] = (uint8_t)(i * 7 + (gpa >> 12) * 31 + (i >> 8));
    guest_write(g, gpa, bytes, sizeof(bytes));
}

/* Whoever goes astray comes to an INT3, and not to zeros without end. */
static void fill_free_pages(struct guest *g)
{
    static uint8_t page[TWINS_PAGE];
    memset(page, 0xcc, sizeof(page));
    for (uint64_t at = CODE_AT - 4 * TWINS_PAGE; at < TWINS_RAM; at += TWINS_PAGE)
        guest_write(g, at, page, sizeof(page));
}

/* One chain of tables serves all the edges of the address space. */
static void map_edges(struct guest *g)
{
    enum { PDPT = FREE_TABLES_AT, PD = PDPT + TWINS_PAGE, PT = PD + TWINS_PAGE };
    enum { LAST = 511 * 8, FIRST_HIGH = 256 * 8 };
    guest_write64(g, PML4_AT + FIRST_HIGH - 8, PDPT | TABLE);
    guest_write64(g, PML4_AT + FIRST_HIGH, PDPT | TABLE);
    guest_write64(g, PML4_AT + LAST, PDPT | TABLE);
    guest_write64(g, PDPT, PD | TABLE);
    guest_write64(g, PDPT + LAST, PD | TABLE);
    guest_write64(g, PD, PT | TABLE);
    guest_write64(g, PD + LAST, PT | TABLE);
    guest_write64(g, PT, (DATA_AT + 2 * TWINS_PAGE) | TABLE);
    guest_write64(g, PT + LAST, (DATA_AT + 3 * TWINS_PAGE) | TABLE);
}

/* Neighbours of the data pages lie elsewhere, so that crossing them without care shows. */
static void map_pages(struct guest *g)
{
    enum { SECOND = DATA_AT + TWINS_PAGE, THIRD = SECOND + TWINS_PAGE };
    guest_map(g, SECOND, THIRD | TABLE);
    guest_map(g, THIRD, SECOND | TABLE);
    guest_map(g, TWINS_READ_ONLY_AT, TWINS_READ_ONLY_AT | PAGE_P | PAGE_U);
    guest_map(g, TWINS_READ_ONLY_AT - TWINS_PAGE, 0);
    guest_map(g, TWINS_ALIAS_AT, DATA_AT | TABLE);
    guest_map(g, TWINS_LAST_AT, (TWINS_RAM - TWINS_PAGE) | TABLE);
    guest_map(g, TWINS_LAST_AT + TWINS_PAGE, TWINS_RAM | TABLE);
    guest_map(g, TWINS_CODE_ALIAS_AT, CODE_AT | TABLE);
    guest_write64(g, PD_AT + (LARGE_AT >> 21) * 8, TABLE | PAGE_PS); /* all RAM once more */
    map_edges(g);
}

/* As the first, but the data pages are in another order, and code is also run from global pages. */
static void make_other_tables(struct guest *g)
{
    enum {
        PDPT = TWINS_OTHER_PML4_AT + TWINS_PAGE,
        PD = PDPT + TWINS_PAGE,
        PT = PD + TWINS_PAGE,
    };
    uint8_t page[TWINS_PAGE];
    memcpy(page, g->ram + PT_AT, sizeof(page));
    guest_write(g, PT, page, sizeof(page));
    guest_write64(g, PD, PT | TABLE);
    guest_write64(g, PDPT, PD | TABLE);
    guest_write64(g, TWINS_OTHER_PML4_AT, PDPT | TABLE);
    guest_write64(g, PT + (DATA_AT >> 12) * 8, (DATA_AT + 3 * TWINS_PAGE) | TABLE);
    guest_write64(g, PT + (DATA_AT >> 12) * 8 + 24, DATA_AT | TABLE);
    guest_write64(g, PT + (CODE_AT >> 12) * 8, CODE_AT | TABLE | PAGE_G);
}

/* Faults have a stack of their own, so that RSP may hold anything; some gates are for all. */
static void set_gates(struct guest *g)
{
    enum { GATE_IST = 4, TSS_IST1 = 0x24 };
    static const uint64_t entry = CODE_AT + TWINS_ENTRY;
    guest_write64(g, TSS_AT + TSS_IST1, TWINS_FAULT_STACK_TOP);
    for (unsigned vector = 0; vector < 256; vector++)
        guest_write(g, IDT_AT + vector * 16 + GATE_IST, "\x01", 1);
    for (unsigned i = 0; i < TWINS_GATES; i++)
        guest_write64(g, IDT_AT + (TWINS_GATE + i) * UINT64_C(16),
                      (entry & 0xffff) | CODE64_SELECTOR << 16 | UINT64_C(0xee00) << 32 |
                          entry >> 16 << 48);
}

struct guest *twins_create(enum engine_translate translate)
{
    struct guest *g = guest_create_small(TWINS_RAM, translate);
    fill_free_pages(g);
    for (unsigned i = 0; i < 4; i++)
        fill(g, DATA_AT + i * TWINS_PAGE);
    fill(g, TWINS_RAM - TWINS_PAGE);
    fill(g, TWINS_READ_ONLY_AT);
    map_pages(g);
    make_other_tables(g);
    set_gates(g);
    return g;
}
