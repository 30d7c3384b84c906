/* Which pages of a guest are in its balloon: a bit each, by page number. */
#ifndef VSP_BALLOON_PAGES_H
#define VSP_BALLOON_PAGES_H

#include <stdint.h>

struct balloon_pages {
    uint64_t *words; /* the set's own */
    uint64_t limit;  /* page numbers are below it */
    uint64_t count;
    uint64_t low, high; /* words outside [low, high) are zero */
};

/* -ENOMEM. An unused set costs address space only. */
int balloon_pages_create(struct balloon_pages *pages, uint64_t limit);
void balloon_pages_release(struct balloon_pages *pages);
/* Put [first, first + count) in, all below the limit: how many of them were not there before. */
uint64_t balloon_pages_add(struct balloon_pages *pages, uint64_t first, uint64_t count);
/* Take neighbours out, the lowest, `most` at most: how many; 0: it is empty. */
uint64_t balloon_pages_take(struct balloon_pages *pages, uint64_t most, uint64_t *ret_first);
void balloon_pages_clear(struct balloon_pages *pages);

#endif
