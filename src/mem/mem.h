/*
 * Guest-physical memory of one partition.
 *
 * 1. All RAM lies in one reservation of host addresses: guest-physical address g is host byte
 *    mem_base + g; what is not RAM inside the reservation is mapped PROT_NONE, with guards around.
 * 2. Ranges are fixed after set-up, and what grows behind them only becomes more while the guest
 *    runs; look-ups need no lock. Contents are shared with running guests: whoever reads guest
 * memory reads each word once, through here, into its own variable.
 * 3. Whoever writes guest RAM other than as a virtual processor does so through mem_write, mem_fill
 *    or a pin for writing, so that the engine hears of it (translated code) and dirty pages are
 * known.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_PAGE_SIZE UINT64_C(4096)

struct mem;

struct mem_range {
    uint64_t gpa;
    uint64_t size;
};

/*
 * RAM of a PC: `size` bytes (a multiple of the page size), below `hole_start` first, the rest from
 * 4 GiB up. Returns 0, -EINVAL, -ENOMEM.
 */
int mem_create(uint64_t size, uint64_t hole_start, struct mem **ret);
/*
 * The same with more: addresses for `growth` bytes, a multiple of MEM_GROWTH, behind the last range
 * and from 4 GiB on, which are no RAM yet; and memory of a device, in the hole: RAM to all that is
 * below, but not among the ranges, which the guest is told of as its own. Sizes 0: none.
 */
#define MEM_GROWTH UINT64_C(0x8000000) /* what Linux adds at a time, and how it is aligned */
struct mem_plan {
    uint64_t size, growth, hole_start;
    struct mem_range device;
};
int mem_create_planned(const struct mem_plan *plan, struct mem **ret);
void mem_destroy(struct mem *mem);

uint64_t mem_size(const struct mem *mem);
size_t mem_range_count(const struct mem *mem); /* without a device's */
struct mem_range mem_range_at(const struct mem *mem, size_t index);

/* Host address of guest-physical address 0; valid for g only where mem_is_ram(g). Engines only. */
uint8_t *mem_base(const struct mem *mem);
/* One past the highest RAM address. */
uint64_t mem_end(const struct mem *mem);
/* The same with all that may become RAM, and a device's. */
uint64_t mem_limit(const struct mem *mem);
/* The memfd behind a range and the offset of its first byte, for engines that map it themselves. */
int mem_range_fd(const struct mem *mem, size_t index, uint64_t *ret_offset);

/* Whether [gpa, gpa + length) is RAM throughout; false on wrap-around; any thread. */
bool mem_is_ram(const struct mem *mem, uint64_t gpa, uint64_t length);

/* Memory of a device; size 0: none. */
struct mem_range mem_device(const struct mem *mem);

/* ---- memory that grows and is given back ---- */

/* Addresses that may become RAM; not among the ranges above. Size 0: none. */
struct mem_range mem_growth(const struct mem *mem);
/*
 * Its first `size` bytes are RAM from now on: never less than before, a multiple of the page size;
 * one thread. -EINVAL, -ENOMEM.
 */
int mem_grow(struct mem *mem, uint64_t size);
/* Nothing of it is RAM any more; only while nobody uses it: no processor runs, no pin is left. */
int mem_ungrow(struct mem *mem);
/*
 * Whole pages of RAM whose bytes nobody needs: the host has them back, and they read as zero until
 * they are written again. Any thread. -EFAULT, or what the host says.
 */
int mem_discard(struct mem *mem, uint64_t gpa, uint64_t length);

/* Bytes that the host holds for it now, or 0 when it does not say. */
uint64_t mem_resident(const struct mem *mem);

/* Copy out of or into RAM; all or nothing: -EFAULT when a byte of the range is not RAM. */
int mem_read(const struct mem *mem, uint64_t gpa, void *ret, size_t length);
int mem_write(struct mem *mem, uint64_t gpa, const void *bytes, size_t length);
int mem_fill(struct mem *mem, uint64_t gpa, uint8_t value, size_t length);

/*
 * A host pointer to RAM that lies in one range, or NULL. For zero-copy I/O: after writing through
 * it, call mem_written. Contents may change under the reader at any time.
 */
uint8_t *mem_pin(struct mem *mem, uint64_t gpa, uint64_t length);
void mem_written(struct mem *mem, uint64_t gpa, uint64_t length);

/* Called after every write of invariant 3, on the writer's thread. At most one; NULL removes it. */
typedef void (*mem_observer_fn)(void *owner, uint64_t gpa, uint64_t length);
void mem_set_observer(struct mem *mem, mem_observer_fn fn, void *owner);

#endif
