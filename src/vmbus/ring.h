/*
 * A ring between guest and host: a control page and data pages that the guest gave.
 *
 * 1. The guest may write every byte of it at any time. Each index is read once and checked before
 *    it is used; our own indices are kept here and only published there.
 * 2. Copies go page by page; no byte outside the ring's pages is touched, whatever the indices say.
 */
#ifndef VMBUS_RING_H
#define VMBUS_RING_H

#include "mem/mem.h"

struct ring {
    struct mem *mem;
    uint8_t *control;
    uint64_t control_gpa;
    uint8_t **pages;      /* data pages; the owner's array */
    const uint64_t *pfns; /* their numbers */
    uint32_t size;        /* bytes of data */
    uint32_t index;       /* ours: read index of a ring that we read, write index of the other */
};

/* `pages` has room for page_count entries. -EFAULT: a page is no RAM; -EINVAL: too few pages. */
int ring_init(struct ring *ring, struct mem *mem, const uint64_t *pfns, size_t page_count,
              uint8_t **pages);

uint32_t ring_load(const struct ring *ring, unsigned field);
void ring_store(struct ring *ring, unsigned field, uint32_t value);

/* The other side's index, checked: -EPROTO when it is no multiple of 8 or leaves the ring. */
int ring_other_index(const struct ring *ring, unsigned field, uint32_t *ret);

/* Copy from or to the data at `at`, which wraps around. length <= size. */
void ring_copy_out(const struct ring *ring, uint32_t at, void *to, uint32_t length);
void ring_copy_in(struct ring *ring, uint32_t at, const void *from, uint32_t length);

static inline uint32_t ring_add(const struct ring *ring, uint32_t index, uint32_t length)
{
    uint32_t sum = index + length;
    return sum >= ring->size ? sum - ring->size : sum;
}

/* Bytes between two indices. */
static inline uint32_t ring_distance(const struct ring *ring, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : ring->size - from + to;
}

#endif
