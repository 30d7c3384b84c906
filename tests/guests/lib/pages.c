/* See pages.h. */
#include "pages.h"

#include "tap.h"

enum { POOL = 0x2000000, POOL_END = 0x4000000 }; /* 32 to 64 MiB */

static uint64_t pool_next = POOL;

void *page_new(void)
{
    void *page = (void *)pool_next;
    if (pool_next >= POOL_END)
        bail_out("out of pages");
    pool_next += PAGE;
    __builtin_memset(page, 0, PAGE);
    return page;
}

void pages_release(void)
{
    pool_next = POOL;
}

uint64_t *root_new(void)
{
    uint64_t *root = page_new();
    root[0] = boot_root[0];
    return root;
}

uint64_t *entry_at(uint64_t *root, uint64_t address, unsigned level)
{
    uint64_t *table = root;
    for (unsigned at = 4;; at--) {
        uint64_t *entry = &table[address >> (12 + 9 * (at - 1)) & 511];
        if (at == level)
            return entry;
        if (!(*entry & PTE_P))
            *entry = (uint64_t)page_new() | PTE_P | PTE_W | PTE_U;
        table = (uint64_t *)(*entry & PTE_ADDRESS);
    }
}

uint64_t *map_page(uint64_t *root, uint64_t address, uint64_t entry, unsigned level)
{
    uint64_t *at = entry_at(root, address, level);
    *at = entry | PTE_P | (level > 1 ? PTE_PS : 0);
    return at;
}
