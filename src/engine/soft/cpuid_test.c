/* What the guest's CPUID shows, against what Intel SDM vol. 2A says and what the host can run. */
#include "engine/soft/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include <cmocka.h>

enum { EAX, EBX, ECX, EDX };

static const struct engine_cpuid_leaf hypervisor[] = {
    {.leaf = 0x40000000, .eax = 0x40000001, .ebx = 1, .ecx = 2, .edx = 3},
    {.leaf = 0x40000001, .eax = 0x31237648},
};

struct fixture {
    struct soft_partition partition;
    struct cpu *cpu;
};

static struct fixture *make(enum engine_cpu_level level, unsigned vcpu_count)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->partition.config.cpu_level = level;
    f->partition.config.vcpu_count = vcpu_count;
    f->cpu = aligned_alloc(64, (sizeof(*f->cpu) + 63) & ~(size_t)63);
    assert_non_null(f->cpu);
    memset(f->cpu, 0, sizeof(*f->cpu));
    f->cpu->partition = &f->partition;
    f->cpu->mode = MODE_LONG;
    atomic_store(&f->cpu->lapic.base, 0xfee00900);
    assert_int_equal(cpuid_build(&f->partition, NULL), 0);
    return f;
}

static void destroy(struct fixture *f)
{
    free(f->cpu);
    free(f);
}

static void vendor_and_ranges(void **state)
{
    (void)state;
    struct fixture *f = make(ENGINE_CPU_V3, 1);
    uint32_t r[4];
    uint32_t last[4];
    cpuid_query(f->cpu, 0, 0, r);
    assert_int_equal(r[EAX], CPUID_MAX_BASIC);
    assert_memory_equal(&r[EBX], "Genu", 4);
    assert_memory_equal(&r[EDX], "ineI", 4);
    assert_memory_equal(&r[ECX], "ntel", 4);
    cpuid_query(f->cpu, CPUID_MAX_BASIC, 1, last);
    cpuid_query(f->cpu, CPUID_MAX_BASIC + 1, 1, r);
    assert_memory_equal(r, last, sizeof(r));
    cpuid_query(f->cpu, 0x80000009, 1, r);
    assert_memory_equal(r, last, sizeof(r));
    cpuid_query(f->cpu, 0x40000000, 1, r);
    assert_memory_equal(r, last, sizeof(r));
    cpuid_query(f->cpu, 0x80000000, 0, r);
    assert_int_equal(r[EAX], 0x80000008);
    destroy(f);
}

static void bits_that_follow_the_processor_state(void **state)
{
    (void)state;
    struct fixture *f = make(ENGINE_CPU_V3, 4);
    uint32_t r[4];
    f->cpu->index = 3;
    cpuid_query(f->cpu, 1, 0, r);
    assert_int_equal(r[EBX] >> 24, 3);
    assert_int_equal((r[EBX] >> 16) & 0xff, 4);
    assert_false(r[ECX] & CPUID1_ECX_OSXSAVE);
    assert_true(r[EDX] & CPUID1_EDX_APIC);
    f->cpu->cr4 = CR4_OSXSAVE;
    atomic_store(&f->cpu->lapic.base, 0xfee00000);
    cpuid_query(f->cpu, 1, 0, r);
    assert_true(r[ECX] & CPUID1_ECX_OSXSAVE);
    assert_false(r[EDX] & CPUID1_EDX_APIC);
    cpuid_query(f->cpu, 0x80000001, 0, r);
    assert_true(r[EDX] & CPUIDX_EDX_SYSCALL);
    f->cpu->mode = MODE_CODE32;
    cpuid_query(f->cpu, 0x80000001, 0, r);
    assert_false(r[EDX] & CPUIDX_EDX_SYSCALL);
    destroy(f);
}

static void xsave_sizes_follow_xcr0(void **state)
{
    (void)state;
    struct fixture *f = make(ENGINE_CPU_V3, 1);
    uint32_t r[4];
    f->cpu->xcr0 = 1;
    cpuid_query(f->cpu, 0xd, 0, r);
    assert_int_equal(r[EAX], f->partition.xcr0_supported);
    assert_int_equal(r[EBX], 576);
    bool avx = (f->partition.xcr0_supported & 4) != 0;
    assert_int_equal(r[ECX], avx ? 832 : 576);
    f->cpu->xcr0 = f->partition.xcr0_supported;
    cpuid_query(f->cpu, 0xd, 0, r);
    assert_int_equal(r[EBX], r[ECX]);
    cpuid_query(f->cpu, 0xd, 3, r);
    assert_int_equal(r[EAX] | r[EBX] | r[ECX] | r[EDX], 0);
    destroy(f);
}

/* Ids below 2^shift, and as many processors as there are, for every count. */
static void topology_agrees_with_apic_ids(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= ENGINE_MAX_VCPUS; count++) {
        struct fixture *f = make(ENGINE_CPU_V2, count);
        uint32_t r[4];
        f->cpu->index = count - 1;
        for (uint32_t leaf = 0xb; leaf <= 0x1f; leaf += 0x14) {
            cpuid_query(f->cpu, leaf, 0, r);
            assert_int_equal(r[EAX], 0);
            assert_int_equal(r[EBX], 1);
            assert_int_equal(r[ECX], 0x100);
            cpuid_query(f->cpu, leaf, 1, r);
            assert_int_equal(r[EBX], count);
            assert_int_equal(r[ECX], 0x201);
            assert_int_equal(r[EDX], count - 1);
            assert_int_equal((count - 1) >> r[EAX], 0);
            cpuid_query(f->cpu, leaf, 2, r);
            assert_int_equal(r[EBX], 0);
            assert_int_equal(r[ECX], 2);
        }
        cpuid_query(f->cpu, 4, 3, r);
        assert_true(((r[EAX] >> 14) & 0xfff) + 1 >= count);
        cpuid_query(f->cpu, 4, 4, r);
        assert_int_equal(r[EAX] & 0x1f, 0);
        destroy(f);
    }
}

/* What runs on the host's units is never more than the host has. */
static void never_more_than_the_host(void **state)
{
    (void)state;
    const uint32_t emulated = CPUID1_ECX_PCID | CPUID1_ECX_X2APIC | CPUID1_ECX_TSC_DEADLINE;
    uint32_t host[4];
    __cpuid(1, host[EAX], host[EBX], host[ECX], host[EDX]);
    for (int level = ENGINE_CPU_V2; level <= ENGINE_CPU_HOST; level++) {
        struct fixture *f = make((enum engine_cpu_level)level, 1);
        uint32_t r[4];
        cpuid_query(f->cpu, 1, 0, r);
        assert_int_equal(r[ECX] & ~emulated & ~host[ECX], 0);
        if (level == ENGINE_CPU_V2)
            assert_false(r[ECX] & CPUID1_ECX_AVX);
        cpuid_query(f->cpu, 7, 0, r);
        assert_int_equal(r[EBX] & UINT32_C(0xdc230000), 0); /* AVX-512 */
        assert_int_equal(r[ECX] & (1 << 16 | 1 << 3), 0);   /* LA57, PKU */
        destroy(f);
    }
}

static void hypervisor_leaves_and_bit(void **state)
{
    (void)state;
    struct fixture *f = make(ENGINE_CPU_V3, 1);
    uint32_t r[4];
    cpuid_query(f->cpu, 1, 0, r);
    assert_false(r[ECX] & CPUID1_ECX_HYPERVISOR);
    f->partition.config.hypervisor_leaves = hypervisor;
    f->partition.config.hypervisor_leaf_count = 2;
    assert_int_equal(cpuid_build(&f->partition, NULL), 0);
    cpuid_query(f->cpu, 1, 0, r);
    assert_true(r[ECX] & CPUID1_ECX_HYPERVISOR);
    cpuid_query(f->cpu, 0x40000001, 77, r);
    assert_int_equal(r[EAX], 0x31237648);
    cpuid_query(f->cpu, 0x40000002, 0, r);
    assert_int_equal(r[EAX] | r[EBX] | r[ECX] | r[EDX], 0);
    static const struct engine_cpuid_leaf outside = {.leaf = 7};
    f->partition.config.hypervisor_leaves = &outside;
    f->partition.config.hypervisor_leaf_count = 1;
    assert_int_equal(cpuid_build(&f->partition, NULL), -EINVAL);
    destroy(f);
}

static void instructions_follow_the_level(void **state)
{
    (void)state;
    struct fixture *f = make(ENGINE_CPU_V2, 1);
    assert_true(cpuid_shows(&f->partition, ZYDIS_ISA_SET_SSE42));
    assert_true(cpuid_shows(&f->partition, ZYDIS_ISA_SET_I386));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_AVX));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_BMI2));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_LZCNT));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_SMAP));
    destroy(f);
    f = make(ENGINE_CPU_HOST, 1);
    assert_true(cpuid_shows(&f->partition, ZYDIS_ISA_SET_SMAP));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_AVX512F_512));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_RTM));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_XSAVES));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_VTX));
    assert_false(cpuid_shows(&f->partition, ZYDIS_ISA_SET_MAX_VALUE + 1));
    destroy(f);
}

/* Linux computes kHz as crystal kHz × EBX / EAX in 32 bits. */
static int64_t told_hz(const struct fixture *f)
{
    uint32_t r[4];
    cpuid_query(f->cpu, 0x15, 0, r);
    assert_int_not_equal(r[EAX], 0);
    uint32_t crystal_khz = r[ECX] / 1000;
    return (int64_t)(crystal_khz * r[EBX] / r[EAX]) * 1000;
}

/*
 * Fractions with a bounded numerator lie up to three millionths apart, and whole kHz are cut off:
 * near a multiple of the crystal it is worst.
 */
static void frequencies_are_those_of_the_host(void **state)
{
    (void)state;
    static const uint64_t others[] = {0,          1999999999, 2000232900,
                                      2250006300, 2599987000, 5000014000};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct fixture *f = make(ENGINE_CPU_V3, 1);
        struct reason reason;
        if (others[i] == 0) {
            assert_int_equal(f->partition.tsc_hz, engine_tsc_hz());
        } else {
            f->partition.tsc_hz = others[i];
            f->partition.cpuid_count = 0;
            assert_int_equal(cpuid_build(&f->partition, &reason), 0);
        }
        int64_t hz = (int64_t)f->partition.tsc_hz;
        int64_t error = told_hz(f) - hz;
        assert_true(error < hz / 250000 && -error < hz / 250000);
        destroy(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vendor_and_ranges),
        cmocka_unit_test(bits_that_follow_the_processor_state),
        cmocka_unit_test(xsave_sizes_follow_xcr0),
        cmocka_unit_test(topology_agrees_with_apic_ids),
        cmocka_unit_test(never_more_than_the_host),
        cmocka_unit_test(hypervisor_leaves_and_bit),
        cmocka_unit_test(instructions_follow_the_level),
        cmocka_unit_test(frequencies_are_those_of_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
