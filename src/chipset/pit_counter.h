/*
 * One counter of the 8254 (Intel 231164), as functions of time: nothing runs between accesses, the
 * count and the output at a tick are computed from the tick at which the count was loaded.
 *
 * Time is in ticks of the 1.193182 MHz clock and only goes forward.
 */
#ifndef CHIPSET_PIT_COUNTER_H
#define CHIPSET_PIT_COUNTER_H

#include "chipset/device.h"

enum { PIT_HZ = 1193182 };
#define PIT_NEVER UINT64_MAX

/* Which bytes of the count the guest reads and writes; numbers of the control word. */
enum pit_access { PIT_ACCESS_LOW = 1, PIT_ACCESS_HIGH = 2, PIT_ACCESS_BOTH = 3 };

struct pit_counter {
    uint8_t mode; /* 0 to 5 */
    bool bcd;
    uint8_t access;
    bool gate;

    bool loaded;     /* a count was written since the control word */
    bool running;    /* modes 1 and 5: triggered; else true once loaded */
    uint32_t reload; /* 1 to 65536, or what an odd BCD number makes of it */
    uint64_t start;  /* tick at which the count is the full one; may be one ahead */
    uint64_t frozen; /* ticks counted when the gate closed (modes 0 and 4) */
    bool switching;  /* modes 2 and 3: a new count waits for the end of the period */
    uint32_t next;   /* that count */
    uint64_t switch_at;

    bool high_byte_next_write, high_byte_next_read;
    uint8_t low_byte_written;
    bool count_latched, status_latched;
    uint16_t latched_count;
    uint8_t latched_status;
};

void pit_counter_reset(struct pit_counter *c);
/* Control word, bits 5 to 0, that is not a latch command. */
void pit_counter_control(struct pit_counter *c, uint8_t control);
void pit_counter_write(struct pit_counter *c, uint64_t now, uint8_t value);
uint8_t pit_counter_read(struct pit_counter *c, uint64_t now);
void pit_counter_latch_count(struct pit_counter *c, uint64_t now);
void pit_counter_latch_status(struct pit_counter *c, uint64_t now);
void pit_counter_set_gate(struct pit_counter *c, uint64_t now, bool gate);
bool pit_counter_output(struct pit_counter *c, uint64_t now);
/*
 * The next tick after `now` at which the output rises (`ret_rises`), or at which a new count takes
 * effect (ask again then); PIT_NEVER when neither comes.
 */
uint64_t pit_counter_next_event(struct pit_counter *c, uint64_t now, bool *ret_rises);

int pit_counter_visit(struct pit_counter *c, struct state_visitor *visitor, unsigned number,
                      uint64_t now);

#endif
