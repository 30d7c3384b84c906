/*
 * The guest's time-stamp counter is the host's, moved by an offset; this finds how fast it runs.
 */
#include <cpuid.h>
#include <pthread.h>

#include "base/clock.h"
#include "engine/soft/partition.h"

enum {
    LEAF_TSC = 0x15,
    LEAF_HYPERVISOR = 0x40000000,
    LEAF_HYPERVISOR_TIMING = 0x40000010,
};
#define FEATURE_HYPERVISOR (1u << 31)
enum { MEASURE_NS = 40000000, MEASURE_TRIES = 16 };

uint64_t engine_host_tsc(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

uint64_t guest_tsc(const struct cpu *cpu)
{
    return engine_host_tsc() + (uint64_t)cpu->partition->config.tsc_offset +
           (uint64_t)(cpu->tsc_shift + cpu->tsc_adjust);
}

/* Intel SDM vol. 3B § 18.7.3: crystal × EBX / EAX, if the processor tells its crystal. */
static uint64_t hz_from_crystal(void)
{
    uint32_t denominator;
    uint32_t numerator;
    uint32_t crystal;
    uint32_t unused;
    if (__get_cpuid_max(0, NULL) < LEAF_TSC)
        return 0;
    __cpuid(LEAF_TSC, denominator, numerator, crystal, unused);
    if (denominator == 0 || numerator == 0 || crystal == 0)
        return 0;
    return (uint64_t)crystal * numerator / denominator;
}

/* Hypervisors that follow VMware's convention tell the TSC's kHz. */
static uint64_t hz_from_hypervisor(void)
{
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
    __cpuid(1, eax, ebx, ecx, edx);
    if ((ecx & FEATURE_HYPERVISOR) == 0)
        return 0;
    __cpuid(LEAF_HYPERVISOR, eax, ebx, ecx, edx);
    if (eax < LEAF_HYPERVISOR_TIMING || eax > LEAF_HYPERVISOR + 0xffff)
        return 0;
    __cpuid(LEAF_HYPERVISOR_TIMING, eax, ebx, ecx, edx);
    return (uint64_t)eax * 1000;
}

__extension__ typedef unsigned __int128 wide;

struct instant {
    uint64_t tsc, ns;
};

/* Of several readings, the one that was interrupted least. */
static struct instant read_instant(void)
{
    struct instant best = {0, 0};
    uint64_t best_gap = UINT64_MAX;
    for (unsigned i = 0; i < MEASURE_TRIES; i++) {
        uint64_t before = engine_host_tsc();
        uint64_t ns = clock_ns(CLOCK_MONOTONIC_RAW);
        uint64_t gap = engine_host_tsc() - before;
        if (gap < best_gap) {
            best_gap = gap;
            best = (struct instant){before + gap / 2, ns};
        }
    }
    return best;
}

static uint64_t hz_measured(void)
{
    struct instant start = read_instant();
    const struct timespec pause = {.tv_nsec = MEASURE_NS};
    (void)nanosleep(&pause, NULL);
    struct instant end = read_instant();
    while (end.ns - start.ns < MEASURE_NS / 2)
        end = read_instant();
    return (uint64_t)((wide)(end.tsc - start.tsc) * NS_PER_SECOND / (end.ns - start.ns));
}

static uint64_t host_hz;

static void find_host_hz(void)
{
    host_hz = hz_from_crystal();
    if (host_hz == 0)
        host_hz = hz_from_hypervisor();
    if (host_hz == 0)
        host_hz = hz_measured();
}

uint64_t engine_apic_hz(void)
{
    return LAPIC_TIMER_HZ;
}

uint64_t engine_tsc_hz(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, find_host_hz);
    return host_hz;
}
