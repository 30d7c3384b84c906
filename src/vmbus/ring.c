#include "vmbus/ring.h"

#include <errno.h>
#include <string.h>

#include "vmbus/vmbus_wire.h"

enum { MOST_PAGES = 1 << 15 };

int ring_init(struct ring *ring, struct mem *mem, const uint64_t *pfns, size_t page_count,
              uint8_t **pages)
{
    if (page_count < 2 || page_count > MOST_PAGES)
        return -EINVAL;
    *ring = (struct ring){.mem = mem,
                          .pages = pages,
                          .pfns = pfns + 1,
                          .size = (uint32_t)((page_count - 1) * MEM_PAGE_SIZE),
                          .control_gpa = pfns[0] * MEM_PAGE_SIZE};
    ring->control = mem_pin(mem, ring->control_gpa, MEM_PAGE_SIZE);
    if (ring->control == NULL)
        return -EFAULT;
    for (size_t i = 0; i + 1 < page_count; i++) {
        pages[i] = mem_pin(mem, pfns[i + 1] * MEM_PAGE_SIZE, MEM_PAGE_SIZE);
        if (pages[i] == NULL)
            return -EFAULT;
    }
    return 0;
}

uint32_t ring_load(const struct ring *ring, unsigned field)
{
    return __atomic_load_n((const uint32_t *)(const void *)(ring->control + field),
                           __ATOMIC_ACQUIRE);
}

void ring_store(struct ring *ring, unsigned field, uint32_t value)
{
    /* Sequentially consistent: what is read of the other side next must be newer than this. */
    __atomic_store_n((uint32_t *)(void *)(ring->control + field), value, __ATOMIC_SEQ_CST);
    mem_written(ring->mem, ring->control_gpa + field, sizeof(value));
}

int ring_other_index(const struct ring *ring, unsigned field, uint32_t *ret)
{
    uint32_t index = ring_load(ring, field);

    if (index >= ring->size || index % 8 != 0)
        return -EPROTO;
    *ret = index;
    return 0;
}

static uint32_t piece_at(const struct ring *ring, uint32_t at, uint32_t length)
{
    uint32_t left = (uint32_t)MEM_PAGE_SIZE - at % (uint32_t)MEM_PAGE_SIZE;
    (void)ring;
    return length < left ? length : left;
}

void ring_copy_out(const struct ring *ring, uint32_t at, void *to, uint32_t length)
{
    uint8_t *bytes = to;

    while (length > 0) {
        uint32_t piece = piece_at(ring, at, length);
        memcpy(bytes, ring->pages[at / MEM_PAGE_SIZE] + at % MEM_PAGE_SIZE, piece);
        bytes += piece;
        length -= piece;
        at = ring_add(ring, at, piece);
    }
}

void ring_copy_in(struct ring *ring, uint32_t at, const void *from, uint32_t length)
{
    const uint8_t *bytes = from;

    while (length > 0) {
        uint32_t piece = piece_at(ring, at, length);
        uint64_t page = at / MEM_PAGE_SIZE;
        memcpy(ring->pages[page] + at % MEM_PAGE_SIZE, bytes, piece);
        mem_written(ring->mem, ring->pfns[page] * MEM_PAGE_SIZE + at % MEM_PAGE_SIZE, piece);
        bytes += piece;
        length -= piece;
        at = ring_add(ring, at, piece);
    }
}
