/*
 * For tests: surroundings of a device that record what it asks for, and a clock that the test
 * moves. A pointer to it serves as `owner`; timers that come due call `expired(device, timer)`.
 */
#ifndef CHIPSET_FAKE_HOST_H
#define CHIPSET_FAKE_HOST_H

#include <stdlib.h>
#include <string.h>

#include "chipset/device.h"

enum { FAKE_LOG_SIZE = 64, FAKE_OUTPUT_SIZE = 8192 };

struct fake_host {
    struct chipset_host host;
    uint64_t now, wall_s;

    struct chipset_interrupt interrupt[FAKE_LOG_SIZE]; /* the first ones */
    unsigned interrupts;
    bool extint;
    unsigned powers;
    enum chipset_power power;
    uint32_t power_code;
    uint8_t output[FAKE_OUTPUT_SIZE];
    size_t output_length;
    uint64_t deadline[CHIPSET_TIMER_COUNT];

    void *device;
    void (*expired)(void *device, unsigned timer);

    /* What fake_line's line does. */
    bool level;
    unsigned rises;
};

static inline void fake_interrupt(void *owner, const struct chipset_interrupt *message)
{
    struct fake_host *fake = owner;
    if (message->delivery_mode > 7)
        abort();
    if (fake->interrupts < FAKE_LOG_SIZE)
        fake->interrupt[fake->interrupts] = *message;
    fake->interrupts++;
}

static inline void fake_extint(void *owner, bool asserted)
{
    struct fake_host *fake = owner;
    if (asserted == fake->extint)
        abort(); /* promised: called when it changes */
    fake->extint = asserted;
}

static inline void fake_power(void *owner, enum chipset_power kind, uint32_t code)
{
    struct fake_host *fake = owner;
    if (kind > CHIPSET_POWER_DEBUG_EXIT)
        abort();
    fake->powers++;
    fake->power = kind;
    fake->power_code = code;
}

static inline void fake_serial_output(void *owner, const uint8_t *bytes, size_t length)
{
    struct fake_host *fake = owner;
    if (length == 0 || bytes == NULL)
        abort();
    size_t room = FAKE_OUTPUT_SIZE - fake->output_length;
    memcpy(fake->output + fake->output_length, bytes, length < room ? length : room);
    fake->output_length += length < room ? length : room;
}

static inline void fake_set_timer(void *owner, unsigned timer, uint64_t deadline_ns)
{
    struct fake_host *fake = owner;
    if (timer >= CHIPSET_TIMER_COUNT)
        abort();
    fake->deadline[timer] = deadline_ns;
}

static inline uint64_t fake_now(void *owner)
{
    const struct fake_host *fake = owner;
    return fake->now;
}

static inline uint64_t fake_wall(void *owner)
{
    const struct fake_host *fake = owner;
    return fake->wall_s;
}

static inline void fake_init(struct fake_host *fake)
{
    *fake = (struct fake_host){.now = UINT64_C(1000) * NS_PER_SECOND, .wall_s = 1000000000};
    fake->host = (struct chipset_host){
        .owner = fake,
        .interrupt = fake_interrupt,
        .extint = fake_extint,
        .power = fake_power,
        .serial_output = fake_serial_output,
        .set_timer = fake_set_timer,
        .now_ns = fake_now,
        .wall_clock_s = fake_wall,
    };
}

static inline void fake_set_line(void *owner, unsigned pin, bool level)
{
    struct fake_host *fake = owner;
    (void)pin;
    fake->rises += level && !fake->level ? 1 : 0;
    fake->level = level;
}

static inline struct line fake_line(struct fake_host *fake)
{
    return (struct line){fake_set_line, fake, 0};
}

/* The timer that comes due first and not after `until`; CHIPSET_TIMER_COUNT when there is none. */
static inline unsigned fake_next_timer(const struct fake_host *fake, uint64_t until)
{
    unsigned found = CHIPSET_TIMER_COUNT;
    for (unsigned i = 0; i < CHIPSET_TIMER_COUNT; i++) {
        uint64_t deadline = fake->deadline[i];
        if (deadline == 0 || deadline > until)
            continue;
        if (found == CHIPSET_TIMER_COUNT || deadline < fake->deadline[found])
            found = i;
    }
    return found;
}

/* Let `ns` pass; every timer that comes due in it expires at its time. */
static inline void fake_pass(struct fake_host *fake, uint64_t ns)
{
    uint64_t until = fake->now + ns;
    for (;;) {
        unsigned timer = fake_next_timer(fake, until);
        if (timer == CHIPSET_TIMER_COUNT)
            break;
        if (fake->deadline[timer] > fake->now)
            fake->now = fake->deadline[timer];
        fake->deadline[timer] = 0;
        fake->expired(fake->device, timer);
    }
    fake->now = until;
}

#endif
