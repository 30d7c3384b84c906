/*
 * What a processor must find in memory to start in protected or long mode: flat segments, and an
 * identity mapping of the first 4 GiB.
 */
#include <string.h>

#include "base/bytes.h"
#include "firmware/loading.h"

/* Flat 4 GiB segments, accessed bit set: Intel SDM vol. 3A § 3.4.5. */
#define DESCRIPTOR_CODE_64 UINT64_C(0x00af9b000000ffff)
#define DESCRIPTOR_CODE_32 UINT64_C(0x00cf9b000000ffff)
#define DESCRIPTOR_DATA    UINT64_C(0x00cf93000000ffff)

enum { GDT_SIZE = 4 * 8 };

/* Page-table entries, Intel SDM vol. 3A § 4.5. */
#define ENTRY_TABLE      UINT64_C(0x03) /* present, writable */
#define ENTRY_LARGE_PAGE UINT64_C(0x83) /* present, writable, 2 MiB */

enum {
    TABLE_SIZE = 4096,
    TABLE_ENTRIES = 512,
    DIRECTORIES = 4, /* 1 GiB each */
    TABLES = 2 + DIRECTORIES,
};

static int make_gdt(struct loading *loading, struct boot_state *state)
{
    uint8_t gdt[GDT_SIZE] = {0};
    bool long_mode = state->mode == BOOT_MODE_LONG_64;
    put_le64(gdt + 0x10, long_mode ? DESCRIPTOR_CODE_64 : DESCRIPTOR_CODE_32);
    put_le64(gdt + 0x18, DESCRIPTOR_DATA);
    int r = loading_put(loading, gdt, sizeof(gdt), "the descriptor table", &state->gdt_base);
    state->gdt_limit = GDT_SIZE - 1;
    return r;
}

/* PML4, page-directory-pointer table, then the directories, one behind the other. */
static void fill_tables(uint8_t *tables, uint64_t gpa)
{
    uint8_t *pointers = tables + TABLE_SIZE;
    uint8_t *directory = pointers + TABLE_SIZE;
    put_le64(tables, (gpa + TABLE_SIZE) | ENTRY_TABLE);
    for (uint64_t i = 0; i < DIRECTORIES; i++)
        put_le64(pointers + i * 8, (gpa + (2 + i) * TABLE_SIZE) | ENTRY_TABLE);
    for (uint64_t i = 0; i < (uint64_t)DIRECTORIES * TABLE_ENTRIES; i++)
        put_le64(directory + i * 8, (i << 21) | ENTRY_LARGE_PAGE);
}

static int make_page_tables(struct loading *loading, struct boot_state *state)
{
    uint8_t tables[TABLES * TABLE_SIZE] = {0};
    int r = loading_find_low(loading, sizeof(tables), "page tables", &state->cr3);
    if (r < 0)
        return r;
    fill_tables(tables, state->cr3);
    return mem_write(loading->mem, state->cr3, tables, sizeof(tables));
}

int entry_prepare(struct loading *loading, struct boot_state *state)
{
    int r = make_gdt(loading, state);
    if (r == 0 && state->mode == BOOT_MODE_LONG_64)
        r = make_page_tables(loading, state);
    return r;
}
