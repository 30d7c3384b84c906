/*
 * Guest-physical memory over one sealed memfd. The invariants are in mem.h.
 *
 * The file is dense: the bytes of the second range follow those of the first, then come those of
 * what may grow, and those of a device last, so the hole below 4 GiB costs address space only. Host
 * addresses are sparse: base
 * + gpa, always.
 */
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FOUR_GIB     UINT64_C(0x100000000)
#define SIZE_MIN     UINT64_C(0x100000)
#define SIZE_MAX_RAM (UINT64_C(1) << 40)

/* Translated code reaches at most a signed 32-bit displacement past a checked address. */
#define GUARD_SIZE UINT64_C(0x80000000)

/* So that a huge page of the guest is one of the host. */
#define BASE_ALIGNMENT UINT64_C(0x200000)

enum { MAX_RANGES = 2 };

struct mem {
    uint8_t *reservation;
    size_t reservation_size;
    uint8_t *base;
    uint64_t size;
    int fd;
    size_t range_count;
    struct mem_range range[MAX_RANGES];
    struct mem_range growth; /* addresses */
    _Atomic uint64_t grown;  /* bytes of it that are RAM, published after they are mapped */
    struct mem_range device;
    mem_observer_fn observer;
    void *observer_owner;
};

static int plan_ranges(struct mem *mem, uint64_t size, uint64_t hole_start)
{
    if (size < SIZE_MIN || size > SIZE_MAX_RAM || size % MEM_PAGE_SIZE != 0)
        return -EINVAL;
    if (hole_start < SIZE_MIN || hole_start > FOUR_GIB || hole_start % MEM_PAGE_SIZE != 0)
        return -EINVAL;
    mem->size = size;
    mem->range_count = 1;
    /* Without a hole there is one range, so that an access across 4 GiB stays in one. */
    bool split = size > hole_start && hole_start < FOUR_GIB;
    mem->range[0] = (struct mem_range){.gpa = 0, .size = split ? hole_start : size};
    if (split) {
        mem->range[1] = (struct mem_range){.gpa = FOUR_GIB, .size = size - hole_start};
        mem->range_count = 2;
    }
    return 0;
}

static int plan_growth(struct mem *mem, uint64_t growth)
{
    uint64_t from = mem_end(mem) < FOUR_GIB ? FOUR_GIB : mem_end(mem);

    if (growth % MEM_GROWTH != 0 || growth > SIZE_MAX_RAM - mem->size)
        return -EINVAL;
    if (growth > 0)
        mem->growth = (struct mem_range){(from + MEM_GROWTH - 1) & ~(MEM_GROWTH - 1), growth};
    return 0;
}

static int plan_device(struct mem *mem, struct mem_range device, uint64_t hole_start)
{
    if (device.size == 0)
        return 0;
    if ((device.gpa | device.size) % MEM_PAGE_SIZE != 0 || device.size > FOUR_GIB ||
        device.gpa < hole_start || device.gpa < mem->range[0].size ||
        device.gpa > FOUR_GIB - device.size)
        return -EINVAL;
    mem->device = device;
    return 0;
}

/* Sealed, because a file that shrinks under its mapping turns every access into SIGBUS. */
static int open_backing(struct mem *mem)
{
    auto_close int fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -ENOMEM;
    if (ftruncate(fd, (off_t)(mem->size + mem->growth.size + mem->device.size)) != 0)
        return -ENOMEM;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return -ENOMEM;
    mem->fd = take_fd(&fd);
    return 0;
}

static int reserve(struct mem *mem)
{
    uint64_t size = GUARD_SIZE + BASE_ALIGNMENT + mem_limit(mem) + GUARD_SIZE;
    void *at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -ENOMEM;
    mem->reservation = at;
    mem->reservation_size = size;
    uint64_t misaligned = (uintptr_t)at % BASE_ALIGNMENT;
    mem->base = mem->reservation + GUARD_SIZE + (BASE_ALIGNMENT - misaligned) % BASE_ALIGNMENT;
    return 0;
}

static int map_bytes(struct mem *mem, uint64_t gpa, uint64_t size, uint64_t offset)
{
    uint8_t *at = mem->base + gpa;

    if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, mem->fd, (off_t)offset) ==
        MAP_FAILED)
        return -ENOMEM;
    /* Hints: a kernel that refuses them costs speed, or a larger core file, nothing else. */
    (void)madvise(at, size, MADV_HUGEPAGE);
    (void)madvise(at, size, MADV_DONTDUMP);
    return 0;
}

static int map_ranges(struct mem *mem)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < mem->range_count; i++)
        r = map_bytes(mem, mem->range[i].gpa, mem->range[i].size, i == 0 ? 0 : mem->range[0].size);
    if (r == 0 && mem->device.size != 0)
        r = map_bytes(mem, mem->device.gpa, mem->device.size, mem->size + mem->growth.size);
    return r;
}

static int set_up(struct mem *mem, const struct mem_plan *plan)
{
    int r = plan_ranges(mem, plan->size, plan->hole_start);
    if (r == 0)
        r = plan_growth(mem, plan->growth);
    if (r == 0)
        r = plan_device(mem, plan->device, plan->hole_start);
    if (r == 0)
        r = open_backing(mem);
    if (r == 0)
        r = reserve(mem);
    if (r == 0)
        r = map_ranges(mem);
    return r;
}

int mem_create_planned(const struct mem_plan *plan, struct mem **ret)
{
    struct mem *mem = calloc(1, sizeof(*mem));
    if (mem == NULL)
        return -ENOMEM;
    mem->fd = -1;
    int r = set_up(mem, plan);
    if (r < 0) {
        mem_destroy(mem);
        return r;
    }
    *ret = mem;
    return 0;
}

int mem_create(uint64_t size, uint64_t hole_start, struct mem **ret)
{
    return mem_create_planned(&(struct mem_plan){.size = size, .hole_start = hole_start}, ret);
}

void mem_destroy(struct mem *mem)
{
    if (mem == NULL)
        return;
    if (mem->reservation != NULL)
        (void)munmap(mem->reservation, mem->reservation_size);
    cleanup_close(&mem->fd);
    free(mem);
}

uint64_t mem_size(const struct mem *mem)
{
    return mem->size;
}

size_t mem_range_count(const struct mem *mem)
{
    return mem->range_count;
}

struct mem_range mem_range_at(const struct mem *mem, size_t index)
{
    return index < mem->range_count ? mem->range[index] : (struct mem_range){0};
}

uint8_t *mem_base(const struct mem *mem)
{
    return mem->base;
}

uint64_t mem_end(const struct mem *mem)
{
    const struct mem_range *last = &mem->range[mem->range_count - 1];
    return last->gpa + last->size;
}

uint64_t mem_limit(const struct mem *mem)
{
    uint64_t limit = mem->growth.size != 0 ? mem->growth.gpa + mem->growth.size : mem_end(mem);
    uint64_t device = mem->device.gpa + mem->device.size;
    return limit > device ? limit : device;
}

int mem_range_fd(const struct mem *mem, size_t index, uint64_t *ret_offset)
{
    if (index >= mem->range_count)
        return -EINVAL;
    *ret_offset = index == 0 ? 0 : mem->range[0].size;
    return mem->fd;
}

/* The subtractions cannot wrap, whatever the guest chose for gpa and length. */
static bool range_holds(const struct mem_range *range, uint64_t gpa, uint64_t length)
{
    return gpa >= range->gpa && length <= range->size && gpa - range->gpa <= range->size - length;
}

/* What has grown may follow the last range without a gap: an access may lie in both. */
static bool grown_holds(const struct mem *mem, uint64_t gpa, uint64_t length)
{
    struct mem_range grown = {mem->growth.gpa, atomic_load(&mem->grown)};
    const struct mem_range *last = &mem->range[mem->range_count - 1];

    if (grown.size == 0)
        return false;
    if (last->gpa + last->size == grown.gpa)
        grown = (struct mem_range){last->gpa, last->size + grown.size};
    return range_holds(&grown, gpa, length);
}

bool mem_is_ram(const struct mem *mem, uint64_t gpa, uint64_t length)
{
    for (size_t i = 0; i < mem->range_count; i++)
        if (range_holds(&mem->range[i], gpa, length))
            return true;
    return grown_holds(mem, gpa, length) || range_holds(&mem->device, gpa, length);
}

struct mem_range mem_device(const struct mem *mem)
{
    return mem->device;
}

/* ---- memory that grows and is given back ---- */

struct mem_range mem_growth(const struct mem *mem)
{
    return mem->growth;
}

int mem_grow(struct mem *mem, uint64_t size)
{
    uint64_t grown = atomic_load(&mem->grown);

    if (size < grown || size > mem->growth.size || size % MEM_PAGE_SIZE != 0)
        return -EINVAL;
    if (size == grown)
        return 0;
    int r = map_bytes(mem, mem->growth.gpa + grown, size - grown, mem->size + grown);
    if (r == 0)
        atomic_store(&mem->grown, size);
    return r;
}

static int punch(struct mem *mem, uint64_t offset, uint64_t length)
{
    int r = fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)length);
    return r < 0 ? -errno : 0;
}

int mem_ungrow(struct mem *mem)
{
    uint64_t grown = atomic_exchange(&mem->grown, 0);

    if (grown == 0)
        return 0;
    mem_written(mem, mem->growth.gpa, grown);
    if (mmap(mem->base + mem->growth.gpa, grown, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        return -ENOMEM;
    return punch(mem, mem->size, grown);
}

/* Where a byte of RAM lies in the file. */
static uint64_t offset_of(const struct mem *mem, uint64_t gpa)
{
    if (range_holds(&mem->device, gpa, 1))
        return mem->size + mem->growth.size + (gpa - mem->device.gpa);
    if (mem->growth.size != 0 && gpa >= mem->growth.gpa)
        return mem->size + (gpa - mem->growth.gpa);
    if (mem->range_count > 1 && gpa >= mem->range[1].gpa)
        return mem->range[0].size + (gpa - mem->range[1].gpa);
    return gpa;
}

/* The file's bytes have no gap where the addresses have none. */
int mem_discard(struct mem *mem, uint64_t gpa, uint64_t length)
{
    if (!mem_is_ram(mem, gpa, length) || (gpa | length) % MEM_PAGE_SIZE != 0)
        return -EFAULT;
    int r = length == 0 ? 0 : punch(mem, offset_of(mem, gpa), length);
    mem_written(mem, gpa, length);
    return r;
}

uint64_t mem_resident(const struct mem *mem)
{
    struct stat stat;
    return fstat(mem->fd, &stat) == 0 ? (uint64_t)stat.st_blocks * 512 : 0;
}

int mem_read(const struct mem *mem, uint64_t gpa, void *ret, size_t length)
{
    if (!mem_is_ram(mem, gpa, length))
        return -EFAULT;
    if (length > 0)
        memcpy(ret, mem->base + gpa, length);
    return 0;
}

int mem_write(struct mem *mem, uint64_t gpa, const void *bytes, size_t length)
{
    if (!mem_is_ram(mem, gpa, length))
        return -EFAULT;
    if (length > 0)
        memcpy(mem->base + gpa, bytes, length);
    mem_written(mem, gpa, length);
    return 0;
}

int mem_fill(struct mem *mem, uint64_t gpa, uint8_t value, size_t length)
{
    if (!mem_is_ram(mem, gpa, length))
        return -EFAULT;
    if (length > 0)
        memset(mem->base + gpa, value, length);
    mem_written(mem, gpa, length);
    return 0;
}

uint8_t *mem_pin(struct mem *mem, uint64_t gpa, uint64_t length)
{
    return mem_is_ram(mem, gpa, length) ? mem->base + gpa : NULL;
}

void mem_written(struct mem *mem, uint64_t gpa, uint64_t length)
{
    if (mem->observer != NULL && length > 0)
        mem->observer(mem->observer_owner, gpa, length);
}

void mem_set_observer(struct mem *mem, mem_observer_fn fn, void *owner)
{
    mem->observer = fn;
    mem->observer_owner = owner;
}
