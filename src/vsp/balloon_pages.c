#include "vsp/balloon_pages.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 64 };

int balloon_pages_create(struct balloon_pages *pages, uint64_t limit)
{
    *pages = (struct balloon_pages){.limit = limit};
    pages->words = calloc(limit / BITS + 1, sizeof(pages->words[0]));
    return pages->words != NULL ? 0 : -ENOMEM;
}

void balloon_pages_release(struct balloon_pages *pages)
{
    free(pages->words);
    *pages = (struct balloon_pages){0};
}

/* The bits of one word that stand for [first, end). */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t mask = UINT64_MAX;

    if (first > word * BITS)
        mask <<= first - word * BITS;
    if (end < (word + 1) * BITS)
        mask &= (UINT64_C(1) << (end - word * BITS)) - 1;
    return mask;
}

uint64_t balloon_pages_add(struct balloon_pages *pages, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;
    uint64_t fresh = 0;

    if (count == 0)
        return 0;
    for (uint64_t word = first / BITS; word <= (end - 1) / BITS; word++) {
        uint64_t mask = mask_of(word, first, end);
        fresh += (unsigned)__builtin_popcountll(mask & ~pages->words[word]);
        pages->words[word] |= mask;
    }
    if (pages->count == 0 || first / BITS < pages->low)
        pages->low = first / BITS;
    if (pages->high < (end - 1) / BITS + 1)
        pages->high = (end - 1) / BITS + 1;
    pages->count += fresh;
    return fresh;
}

static bool is_in(const struct balloon_pages *pages, uint64_t page)
{
    return page / BITS < pages->high && (pages->words[page / BITS] >> (page % BITS) & 1) != 0;
}

uint64_t balloon_pages_take(struct balloon_pages *pages, uint64_t most, uint64_t *ret_first)
{
    uint64_t count = 0;

    if (pages->count == 0 || most == 0)
        return 0;
    while (pages->words[pages->low] == 0)
        pages->low++;
    uint64_t first = pages->low * BITS + (unsigned)__builtin_ctzll(pages->words[pages->low]);
    for (; count < most && is_in(pages, first + count); count++)
        pages->words[(first + count) / BITS] &= ~(UINT64_C(1) << ((first + count) % BITS));
    pages->count -= count;
    *ret_first = first;
    return count;
}

void balloon_pages_clear(struct balloon_pages *pages)
{
    memset(pages->words, 0, pages->high * sizeof(pages->words[0]));
    pages->count = 0;
    pages->low = 0;
    pages->high = 0;
}
