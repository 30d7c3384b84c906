/* See timing.h. */
#include "timing.h"

#include "cpu.h"

enum { PIT_CHANNEL_2 = 0x42, PIT_CONTROL = 0x43, PORT_B = 0x61, PIT_HZ = 1193182 };

static void count_down(unsigned ticks)
{
    uint8_t gate_off = (uint8_t)((in8(PORT_B) & 0xfc));

    out8(PORT_B, gate_off);
    out8(PIT_CONTROL, 0xb0); /* channel 2, both bytes, mode 0: output rises at the end */
    out8(PIT_CHANNEL_2, (uint8_t)ticks);
    out8(PIT_CHANNEL_2, (uint8_t)(ticks >> 8));
    out8(PORT_B, gate_off | 1);
    while (!(in8(PORT_B) & 0x20))
        relax();
}

void delay_us(unsigned us)
{
    count_down((unsigned)((uint64_t)us * PIT_HZ / 1000000) + 1);
}

/* A wait takes longer than it should when the host runs something else, so the least counts. */
static uint64_t measure_tsc(void)
{
    uint64_t least = ~0ull;
    for (unsigned i = 0; i < 50; i++) {
        uint64_t start = read_tsc();
        uint64_t passed;
        delay_us(1000);
        passed = read_tsc() - start;
        least = passed < least ? passed : least;
    }
    return least;
}

uint64_t tsc_per_ms(void)
{
    static uint64_t measured;
    if (!measured)
        measured = measure_tsc();
    return measured;
}

bool wait_for_count(volatile unsigned *counter, unsigned value, unsigned ms)
{
    uint64_t end = read_tsc() + ms * tsc_per_ms();
    while (*counter < value && read_tsc() < end)
        relax();
    return *counter >= value;
}
