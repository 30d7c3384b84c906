/* For tests: a hypervisor interface whose host writes down what is asked of it. After <cmocka.h>.
 */
#ifndef HV_HV_FIXTURE_H
#define HV_HV_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "hv/hv_private.h"

enum {
    FIXTURE_VPS = 4,
    SIMP_AT = 0x10000,
    SIEFP_AT = 0x11000,
    INPUT_AT = 0x20000,
    OUTPUT_AT = 0x21000
};
#define FIXTURE_RAM UINT64_C(0x200000)
#define FIXTURE_HZ  UINT64_C(2000000000)

struct fixture {
    struct mem *mem;
    struct hv *hv;
    _Atomic unsigned interrupts[FIXTURE_VPS][256];
    _Atomic unsigned auto_eois;  /* of them all */
    uint64_t timer[FIXTURE_VPS]; /* what was asked for last */
    uint64_t flushed;
    unsigned flushes, resets, crashes;
    struct hv_crash crash;
    bool refuse_apic;
    uint64_t apic[3];
};

static void fixture_interrupt(void *owner, unsigned vp, uint8_t vector, bool auto_eoi)
{
    struct fixture *f = owner;
    f->interrupts[vp][vector]++;
    f->auto_eois += auto_eoi;
}

static void fixture_set_timer(void *owner, unsigned vp, uint64_t deadline_ns)
{
    struct fixture *f = owner;
    f->timer[vp] = deadline_ns;
}

static bool fixture_apic(void *owner, unsigned vp, enum engine_apic_register which, bool write,
                         uint64_t *value)
{
    struct fixture *f = owner;
    (void)vp;
    if (write)
        f->apic[which] = *value;
    else
        *value = f->apic[which];
    return !f->refuse_apic;
}

static void fixture_flush(void *owner, uint64_t vp_set)
{
    struct fixture *f = owner;
    f->flushed = vp_set;
    f->flushes++;
}

static void fixture_crash(void *owner, unsigned vp, const struct hv_crash *crash)
{
    struct fixture *f = owner;
    (void)vp;
    f->crash = *crash;
    f->crashes++;
}

static void fixture_reset(void *owner)
{
    struct fixture *f = owner;
    f->resets++;
}

static struct fixture *fixture_create(uint64_t privileges)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct reason reason;
    if (f == NULL || mem_create(FIXTURE_RAM, FIXTURE_RAM, &f->mem) < 0)
        abort();
    struct hv_config config = {
        .host = {.owner = f,
                 .interrupt = fixture_interrupt,
                 .set_timer = fixture_set_timer,
                 .apic = fixture_apic,
                 .flush_tlb = fixture_flush,
                 .crash = fixture_crash,
                 .reset = fixture_reset},
        .mem = f->mem,
        .vp_count = FIXTURE_VPS,
        .tsc_hz = FIXTURE_HZ,
        .tsc_offset = -(int64_t)engine_host_tsc(),
        .apic_hz = 25000000,
        .privileges = privileges,
    };
    if (hv_create(&config, &f->hv, &reason) < 0)
        abort();
    return f;
}

static inline void fixture_destroy(struct fixture *f)
{
    hv_destroy(f->hv);
    mem_destroy(f->mem);
    free(f);
}

static inline int fixture_setup(void **state)
{
    *state = fixture_create(0);
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture_destroy(*state);
    return 0;
}

#define HV_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

static inline uint64_t read_msr(struct fixture *f, unsigned vp, uint32_t index)
{
    uint64_t value = 0;
    bool halt;
    assert_true(hv_read_msr(f->hv, vp, index, &value, &halt));
    return value;
}

static inline bool may_read(struct fixture *f, uint32_t index)
{
    uint64_t value = 0;
    bool halt;
    return hv_read_msr(f->hv, 0, index, &value, &halt);
}

static inline void write_msr(struct fixture *f, unsigned vp, uint32_t index, uint64_t value)
{
    assert_true(hv_write_msr(f->hv, vp, index, value));
}

/* As Linux does it for each processor: hv_synic_enable_regs. */
static inline void enable_synic(struct fixture *f, unsigned vp)
{
    write_msr(f, vp, HV_MSR_SIMP, (SIMP_AT + vp * 0x2000) | 1);
    write_msr(f, vp, HV_MSR_SIEFP, (SIEFP_AT + vp * 0x2000) | 1);
    write_msr(f, vp, HV_MSR_SINT0 + 2, 0xf3);
    write_msr(f, vp, HV_MSR_SCONTROL, 1);
}

static inline uint8_t *slot_of(struct fixture *f, unsigned vp, unsigned sint)
{
    return mem_pin(f->mem, SIMP_AT + vp * 0x2000 + sint * 256, 256);
}

#endif
