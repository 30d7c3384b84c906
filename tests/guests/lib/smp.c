/* See smp.h. The start protocol is the one of Intel SDM vol. 3A § 8.4.4.1. */
#include "smp.h"

#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "tap.h"
#include "timing.h"

extern const char trampoline[], trampoline_end[];

void cpu_main(uint32_t index) __attribute__((noreturn));

static void woken(struct frame *frame)
{
    (void)frame;
    apic_eoi();
}

static void spurious(struct frame *frame)
{
    (void)frame; /* no EOI: nothing is in service (SDM vol. 3A § 10.9) */
}

/* Where the trampoline comes to, in 64-bit mode on the stack of its area. */
void cpu_main(uint32_t index)
{
    struct area *area = area_of(index);

    area_start(index);
    traps_load();
    apic_start();
    area->online++;
    for (;;) {
        for (unsigned spins = 0; !area->work && spins < 200; spins++)
            relax();
        if (!area->work) {
            wait_for_interrupt();
            continue;
        }
        area->work(area->work_argument);
        __atomic_store_n(&area->work, NULL, __ATOMIC_SEQ_CST);
    }
}

unsigned cpu_count(void)
{
    return (unsigned)option_number("cpus", 1);
}

unsigned cpu_index(void)
{
    return this_area()->index;
}

void cpu_restart(unsigned index)
{
    uint32_t before = area_of(index)->online;

    apic_send(index, ICR_INIT | ICR_ASSERT | ICR_LEVEL);
    delay_us(10000);
    apic_send(index, ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
    delay_us(200);
    if (area_of(index)->online == before)
        apic_send(index, ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
}

void smp_start(void)
{
    trap_handlers[WAKE_VECTOR] = woken;
    trap_handlers[SPURIOUS] = spurious;
    apic_start();
    __builtin_memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
    for (unsigned i = 1; i < cpu_count() && i < CPUS_MAX; i++) {
        cpu_restart(i);
        if (!wait_for_count(&area_of(i)->online, 1, 5000))
            bail_out("CPU %u does not start", i);
    }
}

void cpu_begin(unsigned index, void (*work)(void *), void *argument)
{
    struct area *area = area_of(index);

    area->work_argument = argument;
    __atomic_store_n(&area->work, work, __ATOMIC_SEQ_CST);
    apic_send(index, ICR_ASSERT | WAKE_VECTOR);
}

void cpu_wait(unsigned index)
{
    while (__atomic_load_n(&area_of(index)->work, __ATOMIC_SEQ_CST))
        relax();
}

void cpus_run(void (*work)(void *), void *argument)
{
    for (unsigned i = 1; i < cpu_count(); i++)
        cpu_begin(i, work, argument);
    work(argument);
    for (unsigned i = 1; i < cpu_count(); i++)
        cpu_wait(i);
}
