/*
 * Debug registers and breakpoints. Source: Intel SDM vol. 3B ch. 17.
 *
 * Pages with data breakpoints have no TLB tags (tlb.h), so every access to them comes through
 * debug_check_data. Instruction breakpoints are looked for by the run loop.
 */
#include "engine/soft/cpu.h"
#include "engine/soft/tlb.h"

enum { BREAKPOINTS = 4 };
enum condition {
    CONDITION_FETCH = 0,
    CONDITION_WRITE = 1,
    CONDITION_PORT = 2,
    CONDITION_ACCESS = 3
};

#define DR6_FIXED    UINT64_C(0xffff0ff0)
#define DR6_WRITABLE UINT64_C(0xe00f)
#define DR7_FIXED    UINT64_C(0x400)
#define DR7_WRITABLE UINT64_C(0xffff23ff)
#define DR7_ENABLES  UINT64_C(0xff)

static bool is_enabled(const struct cpu *cpu, unsigned index)
{
    return (cpu->dr[7] >> 2 * index & 3) != 0;
}

static enum condition condition_of(const struct cpu *cpu, unsigned index)
{
    return (enum condition)(cpu->dr[7] >> (16 + 4 * index) & 3);
}

static uint64_t length_of(const struct cpu *cpu, unsigned index)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    return lengths[cpu->dr[7] >> (18 + 4 * index) & 3];
}

/* A breakpoint covers its length, from the address rounded down to it (§ 17.2.5). */
static bool overlaps(const struct cpu *cpu, unsigned index, uint64_t start, unsigned size)
{
    uint64_t length = length_of(cpu, index);
    uint64_t first = cpu->dr[index] & ~(length - 1);
    return first <= start + size - 1 && start <= first + length - 1;
}

/* Set, change, or take away breakpoints: the TLB's tags and the run loop depend on them. */
static void breakpoints_changed(struct cpu *cpu)
{
    tlb_flush_all(cpu);
    cpu_mode_changed(cpu);
}

int debug_write(struct cpu *cpu, unsigned index, uint64_t value)
{
    if (index >= BREAKPOINTS && value >> 32 != 0)
        return fault_code(cpu, VECTOR_GP, 0);
    if (index < BREAKPOINTS) {
        bool changed = cpu->dr[index] != value;
        cpu->dr[index] = value;
        if (changed && is_enabled(cpu, index))
            breakpoints_changed(cpu);
        return STEP_NEXT;
    }
    if (index == 6 || index == 4) {
        cpu->dr[6] = (value & DR6_WRITABLE) | DR6_FIXED;
        return STEP_NEXT;
    }
    uint64_t old = cpu->dr[7];
    cpu->dr[7] = (value & DR7_WRITABLE) | DR7_FIXED;
    if (((old | cpu->dr[7]) & DR7_ENABLES) != 0)
        breakpoints_changed(cpu);
    return STEP_NEXT;
}

static bool is_hit(const struct cpu *cpu, unsigned index, uint64_t start, unsigned size)
{
    return is_enabled(cpu, index) && overlaps(cpu, index, start, size);
}

void debug_check_data(struct cpu *cpu, uint64_t linear, unsigned size, bool write)
{
    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        enum condition condition = condition_of(cpu, i);
        bool wanted = condition == CONDITION_ACCESS || (condition == CONDITION_WRITE && write);
        if (wanted && is_hit(cpu, i, linear, size))
            cpu->debug_trap |= UINT64_C(1) << i;
    }
}

void debug_check_port(struct cpu *cpu, uint16_t port, unsigned size)
{
    for (unsigned i = 0; i < BREAKPOINTS && (cpu->cr4 & CR4_DE) != 0; i++) {
        if (condition_of(cpu, i) == CONDITION_PORT && is_hit(cpu, i, port, size))
            cpu->debug_trap |= UINT64_C(1) << i;
    }
}

uint64_t debug_check_fetch(const struct cpu *cpu, uint64_t linear)
{
    uint64_t hits = 0;
    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        if (is_enabled(cpu, i) && condition_of(cpu, i) == CONDITION_FETCH && cpu->dr[i] == linear)
            hits |= UINT64_C(1) << i;
    }
    return hits;
}
