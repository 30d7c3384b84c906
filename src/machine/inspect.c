/*
 * A vCPU that stands still, seen from outside: registers, and memory by its page tables.
 * The walk changes nothing: no accessed bits, no faults. Source: Intel SDM vol. 3A § 4.3 to 4.5.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "machine/inspect_private.h"
#include "machine/machine_private.h"

enum {
    ENTRY_PRESENT = 1 << 0,
    ENTRY_LARGE = 1 << 7,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_LA57 = 1 << 12,
    EFER_LMA = 1 << 10,
    PAGE_SHIFT = 12,
    PAE_INDEX_BITS = 9,
};
#define CR0_PG        (UINT64_C(1) << 31)
#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)

static int read_entry(const struct mem *mem, uint64_t gpa, size_t size, uint64_t *ret)
{
    uint8_t bytes[8] = {0};

    if (mem_read(mem, gpa, bytes, size) < 0)
        return -EFAULT;
    *ret = get_le64(bytes);
    return *ret & ENTRY_PRESENT ? 0 : -EFAULT;
}

static struct physical page(uint64_t base, unsigned shift, uint64_t linear)
{
    uint64_t offset = linear & ((UINT64_C(1) << shift) - 1);
    return (struct physical){
        .gpa = (base & ~((UINT64_C(1) << shift) - 1)) + offset,
        .left = (UINT64_C(1) << shift) - offset,
    };
}

/* From a table of level `level` (0 is the page table) down; entries of 8 bytes. */
static int walk(const struct mem *mem, uint64_t table, unsigned level, uint64_t linear,
                struct physical *ret)
{
    for (;; level--) {
        unsigned shift = PAGE_SHIFT + PAE_INDEX_BITS * level;
        uint64_t index = (linear >> shift) & ((1 << PAE_INDEX_BITS) - 1);
        uint64_t entry = 0;
        int error = read_entry(mem, table + index * 8, 8, &entry);
        if (error < 0)
            return error;
        table = entry & ENTRY_ADDRESS;
        bool large = (level == 1 || level == 2) && (entry & ENTRY_LARGE) != 0;
        if (level == 0 || large) {
            *ret = page(table, shift, linear);
            return 0;
        }
    }
}

static int walk_long(const struct mem *mem, const struct engine_registers *registers,
                     uint64_t linear, struct physical *ret)
{
    unsigned top = registers->cr4 & CR4_LA57 ? 4 : 3;
    unsigned unused_bits = 64 - (PAGE_SHIFT + PAE_INDEX_BITS * (top + 1));

    if ((uint64_t)((int64_t)(linear << unused_bits) >> unused_bits) != linear)
        return -EFAULT; /* not canonical */
    return walk(mem, registers->cr3 & ENTRY_ADDRESS, top, linear, ret);
}

static int walk_pae(const struct mem *mem, const struct engine_registers *registers,
                    uint64_t linear, struct physical *ret)
{
    uint64_t table = registers->cr3 & 0xffffffe0;
    uint64_t entry = 0;

    int error = read_entry(mem, table + (linear >> 30) * 8, 8, &entry);
    return error < 0 ? error : walk(mem, entry & ENTRY_ADDRESS, 1, linear, ret);
}

static int walk_32(const struct mem *mem, const struct engine_registers *registers, uint64_t linear,
                   struct physical *ret)
{
    enum { LARGE_SHIFT = 22 };
    uint64_t entry = 0;

    int error =
        read_entry(mem, (registers->cr3 & 0xfffff000) + (linear >> LARGE_SHIFT) * 4, 4, &entry);
    if (error < 0)
        return error;
    if ((entry & ENTRY_LARGE) && (registers->cr4 & CR4_PSE)) {
        uint64_t high = (entry >> 13) & 0xff; /* PSE-36: bits 39:32 */
        *ret = page((entry & 0xffc00000) | high << 32, LARGE_SHIFT, linear);
        return 0;
    }
    error = read_entry(mem, (entry & 0xfffff000) + ((linear >> PAGE_SHIFT) & 0x3ff) * 4, 4, &entry);
    if (error == 0)
        *ret = page(entry & 0xfffff000, PAGE_SHIFT, linear);
    return error;
}

int linear_to_physical(const struct mem *mem, const struct engine_registers *registers,
                       uint64_t linear, struct physical *ret)
{
    if (registers->efer & EFER_LMA)
        return walk_long(mem, registers, linear, ret);
    linear &= UINT32_MAX;
    if (!(registers->cr0 & CR0_PG)) {
        *ret = page(linear, PAGE_SHIFT, linear);
        return 0;
    }
    if (registers->cr4 & CR4_PAE)
        return walk_pae(mem, registers, linear, ret);
    return walk_32(mem, registers, linear, ret);
}

int machine_vcpu_registers(struct machine *machine, unsigned vcpu, struct engine_registers *ret)
{
    if (vcpu >= machine->config.vcpu_count || machine->vcpus[vcpu].engine == NULL)
        return -ENOENT;
    return machine->config.engine->get(machine->vcpus[vcpu].engine, ret);
}

int machine_read_linear(struct machine *machine, const struct engine_registers *registers,
                        uint64_t linear, void *ret, size_t length)
{
    uint8_t *to = ret;

    while (length > 0) {
        struct physical physical = {0};
        int error = linear_to_physical(machine->mem, registers, linear, &physical);
        if (error < 0)
            return error;
        size_t part = length < physical.left ? length : (size_t)physical.left;
        error = mem_read(machine->mem, physical.gpa, to, part);
        if (error < 0)
            return error;
        to += part;
        linear += part;
        length -= part;
    }
    return 0;
}
