/* Interim: replaced by cpuid.c, lapic.c and time.c. */
#include <cpuid.h>
#include <x86intrin.h>

#include "engine/soft/cpu.h"
#include "engine/soft/partition.h"
int cpuid_build(struct soft_partition *p, struct reason *r)
{
    (void)r;
    p->physical_bits = 40;
    p->xcr0_supported = 7;
    p->mxcsr_mask = 0xffff;
    return 0;
}
void cpuid_query(struct cpu *c, uint32_t l, uint32_t s, uint32_t o[4])
{
    (void)c;
    __cpuid_count(l, s, o[0], o[1], o[2], o[3]);
    if (l >= 0x40000000 && l < 0x80000000)
        o[0] = o[1] = o[2] = o[3] = 0;
    if (l == 7 && s == 0) {
        o[1] &= ~(0xd0230000u | 1u << 20 | 1u << 4 | 1u << 11 | 1u << 14);
        o[2] &= 1u << 2;
        o[3] = 0;
    }
    if (l == 7 && s == 1) {
        o[0] = o[1] = o[2] = o[3] = 0;
    }
    if (l == 1) {
        o[2] &= ~(1u << 31 | 1u << 21 | 1u << 24 | 1u << 3);
        o[3] &= ~(1u << 9);
        o[1] = (o[1] & 0xffffff) | c->index << 24;
    }
}
bool cpuid_shows(const struct soft_partition *p, unsigned s)
{
    (void)p;
    (void)s;
    return true;
}
bool xsave_has_xgetbv1(const struct cpu *c);
bool xsave_has_xgetbv1(const struct cpu *c)
{
    (void)c;
    return true;
}
uint64_t guest_tsc(const struct cpu *c)
{
    return __rdtsc() + c->partition->tsc_offset + c->tsc_adjust;
}
uint64_t time_host_tsc_hz(void)
{
    return 2300000000;
}
void lapic_reset(struct cpu *c, bool i)
{
    (void)i;
    c->lapic.base = 0xfee00900;
}
uint32_t lapic_mmio_read(struct cpu *c, uint32_t o)
{
    (void)o;
    return o == 0x20 ? c->index << 24 : 0;
}
void lapic_mmio_write(struct cpu *c, uint32_t o, uint32_t v)
{
    (void)c;
    (void)o;
    (void)v;
}
bool lapic_msr_read(struct cpu *c, uint32_t i, uint64_t *r)
{
    (void)c;
    (void)i;
    *r = i == 0x1b ? 0xfee00900 : 0;
    return true;
}
bool lapic_msr_write(struct cpu *c, uint32_t i, uint64_t r)
{
    (void)c;
    (void)i;
    (void)r;
    return true;
}
uint64_t lapic_page(const struct cpu *c)
{
    (void)c;
    return 0xfee00000;
}
uint64_t lapic_read_cr8(const struct cpu *c)
{
    (void)c;
    return 0;
}
void lapic_write_cr8(struct cpu *c, uint64_t v)
{
    (void)c;
    (void)v;
}
int lapic_pending_vector(struct cpu *c)
{
    (void)c;
    return -1;
}
void lapic_accept(struct cpu *c, int v)
{
    (void)c;
    (void)v;
}
bool lapic_takes_extint(const struct cpu *c)
{
    (void)c;
    return true;
}
bool lapic_deliver(struct soft_partition *p, const struct engine_interrupt *m)
{
    (void)p;
    (void)m;
    return true;
}
uint64_t lapic_timer_deadline_ns(const struct cpu *c)
{
    (void)c;
    return 0;
}
void lapic_timer_poll(struct cpu *c)
{
    (void)c;
}
int lapic_visit_state(struct cpu *c, struct state_visitor *v)
{
    (void)c;
    (void)v;
    return 0;
}
