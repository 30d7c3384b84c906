/*
 * What the devices of this folder share: their interrupt line, their timer, and registers that are
 * one byte wide. Everything here runs with the chipset lock held.
 *
 * A device with a timer computes what time has done when it is looked at. Before it is saved, its
 * …_timer_expired is called, so that nothing that is already due stays undone; when it is loaded,
 * the interrupt controllers have been loaded before.
 */
#ifndef CHIPSET_DEVICE_H
#define CHIPSET_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "chipset/chipset.h"
#include "state/state.h"

__extension__ typedef unsigned __int128 chipset_u128;

/* Which of the host's timers is whose. */
enum chipset_timer {
    CHIPSET_TIMER_PIT,
    CHIPSET_TIMER_RTC,
    CHIPSET_TIMER_PM,
    CHIPSET_TIMER_UART,
};

/* A wire to the interrupt controllers; the true level means "asserted". */
struct line {
    void (*set)(void *owner, unsigned pin, bool level);
    void *owner;
    unsigned pin;
};

static inline void line_set(const struct line *line, bool level)
{
    line->set(line->owner, line->pin, level);
}

static inline uint64_t host_now(const struct chipset_host *host)
{
    return host->now_ns(host->owner);
}

/* Whole ticks of a clock of `hz` in `ns`. */
static inline uint64_t ticks_from_ns(uint64_t ns, uint32_t hz)
{
    return (uint64_t)((chipset_u128)ns * hz / NS_PER_SECOND);
}

/* The first nanosecond at which `ticks` are over; saturates. */
static inline uint64_t ns_from_ticks(uint64_t ticks, uint32_t hz)
{
    chipset_u128 ns = ((chipset_u128)ticks * NS_PER_SECOND + hz - 1) / hz;
    return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

/*
 * A moment of the host's clock is saved as how long ago it was (modulo 2^64, so that moments to
 * come work as well): the clock of the host that loads it has another origin.
 */
static inline void state_moment(struct state_visitor *v, const char *field, uint64_t now,
                                uint64_t *moment)
{
    uint64_t age = now - *moment;
    state_u64(v, field, &age);
    *moment = now - age;
}

/* Wider accesses to a device with byte registers are made of bytes, lowest first, as ISA does. */
static inline uint64_t read_bytewise(void *device, uint64_t offset, unsigned size,
                                     uint8_t (*read)(void *device, unsigned offset))
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read(device, (unsigned)offset + i) << (8 * i);
    return value;
}

static inline void write_bytewise(void *device, uint64_t offset, unsigned size, uint64_t value,
                                  void (*write)(void *device, unsigned offset, uint8_t value))
{
    for (unsigned i = 0; i < size; i++)
        write(device, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

#endif
