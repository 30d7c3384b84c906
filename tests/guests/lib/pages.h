/*
 * Page tables of the 64-bit images.
 *
 * boot_root maps: 0-1 GiB as it is, for ring 0; 1-2 GiB a second time the first GiB, open to
 * ring 3 (USER_ALIAS); 2-4 GiB as it is, for ring 0, uncached. Tests make their own tables with
 * these in the first slot and work above 512 GiB.
 */
#ifndef GUEST_PAGES_H
#define GUEST_PAGES_H

#include "types.h"

#define PTE_P       (1ull << 0)
#define PTE_W       (1ull << 1)
#define PTE_U       (1ull << 2)
#define PTE_A       (1ull << 5)
#define PTE_D       (1ull << 6)
#define PTE_PS      (1ull << 7)
#define PTE_G       (1ull << 8)
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define PAGE    4096ull
#define PAGE_2M (1ull << 21)
#define PAGE_1G (1ull << 30)

extern uint64_t boot_root[512];

/* A zeroed page out of a pool; pages_release() takes all of them back. */
void *page_new(void);
void pages_release(void);

/* A new root with the boot mappings in its first slot. */
uint64_t *root_new(void);

/* The entry of `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB, 4) for an address; makes tables on the way,
 * with all rights. */
uint64_t *entry_at(uint64_t *root, uint64_t address, unsigned level);

/* Maps one page: `entry` is its physical address and bits without PTE_P and PTE_PS. */
uint64_t *map_page(uint64_t *root, uint64_t address, uint64_t entry, unsigned level);

#endif
